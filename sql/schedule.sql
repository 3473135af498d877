--
-- Schedules: the dialect, local time rules, words and errors
--
\set ECHO all
SET timezone = 'UTC';
SET datestyle = 'ISO, YMD';
SET client_min_messages = warning;

-- The instants of a schedule as text, in the zone's own time, the zone's
-- offset behind each.
CREATE FUNCTION pg_temp.slots(schedule text, zone text, since timestamptz, n int)
RETURNS text[] LANGUAGE plpgsql AS $$
DECLARE
	slot timestamptz;
	slots text[] := '{}';
BEGIN
	PERFORM set_config('timezone', zone, true);
	FOR slot IN SELECT * FROM jobsched.next_runs(schedule, zone, since, n) LOOP
		slots := slots || slot::text;
	END LOOP;
	PERFORM set_config('timezone', 'UTC', true);
	RETURN slots;
END $$;

-- What is wrong with a schedule.
CREATE FUNCTION pg_temp.refusal(schedule text)
RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	detail text;
	hint text;
BEGIN
	PERFORM * FROM jobsched.next_runs(schedule, 'UTC', '2025-01-01Z', 1);
	RETURN 'accepted';
EXCEPTION WHEN invalid_parameter_value THEN
	GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL,
		hint = PG_EXCEPTION_HINT;
	RETURN detail || CASE hint WHEN '' THEN '' ELSE ' // ' || hint END;
END $$;

--
-- Days, months and clock changes that go wrong elsewhere
--
CREATE TEMP TABLE tricky (number text, schedule text, zone text,
						  since timestamptz, expected text[]);
INSERT INTO tricky VALUES
-- spring, the clocks skip 02:00 to 03:00
('1', '0 2 * * *', 'America/New_York', '2025-03-09 00:00-05', '{2025-03-09 03:00:00-04,2025-03-10 02:00:00-04}'),
('2', '30 2 * * *', 'America/New_York', '2025-03-09 00:00-05', '{2025-03-09 03:00:00-04,2025-03-10 02:30:00-04}'),
('3', '0 * * * *', 'America/New_York', '2025-03-09 01:00-05', '{2025-03-09 03:00:00-04,2025-03-09 04:00:00-04}'),
('4', '30 */2 * * *', 'America/New_York', '2025-03-09 00:30-05', '{2025-03-09 04:30:00-04,2025-03-09 06:30:00-04}'),
('5', '30 1,2,3 * * *', 'America/New_York', '2025-03-09 01:30-05', '{2025-03-09 03:00:00-04,2025-03-09 03:30:00-04,2025-03-10 01:30:00-04}'),
('6', '*/30 * * * *', 'America/New_York', '2025-03-09 01:30-05', '{2025-03-09 03:00:00-04,2025-03-09 03:30:00-04}'),
-- autumn, the clocks read 01:00 to 02:00 twice
('7', '0 1 * * *', 'America/New_York', '2025-11-02 00:00-04', '{2025-11-02 01:00:00-04,2025-11-03 01:00:00-05}'),
('8', '30 1 * * *', 'America/New_York', '2025-11-02 01:30-04', '{2025-11-03 01:30:00-05}'),
('9', '0 * * * *', 'America/New_York', '2025-11-02 01:00-04', '{2025-11-02 01:00:00-05,2025-11-02 02:00:00-05}'),
('10', '*/30 * * * *', 'America/New_York', '2025-11-02 01:30-04', '{2025-11-02 01:00:00-05,2025-11-02 01:30:00-05}'),
('11', '30 */1 * * *', 'America/New_York', '2025-11-02 01:30-04', '{2025-11-02 01:30:00-05,2025-11-02 02:30:00-05}'),
('12', '0 2 * * *', 'America/New_York', '2025-11-02 01:30-04', '{2025-11-02 02:00:00-05,2025-11-03 02:00:00-05}'),
('13', '15 3 * * *', 'Europe/Riga', '2021-03-27 12:00+02', '{2021-03-28 04:00:00+03,2021-03-29 03:15:00+03}'),
('14', '0 3 * * *', 'Europe/Riga', '2021-10-31 03:00+03', '{2021-11-01 03:00:00+02}'),
('15', '0 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23 * * *', 'Europe/Riga', '2021-10-31 01:30+03', '{2021-10-31 02:00:00+03,2021-10-31 03:00:00+03,2021-10-31 04:00:00+02}'),
-- changes at midnight, of half an hour, of a whole day
('16', '0 0 * * *', 'America/Sao_Paulo', '2018-11-03 12:00-03', '{2018-11-04 01:00:00-02,2018-11-05 00:00:00-02}'),
('17', '0 0 * * *', 'America/Sao_Paulo', '2018-02-17 12:00-02', '{2018-02-18 00:00:00-03,2018-02-19 00:00:00-03}'),
('18', '0 0 * * *', 'Africa/Cairo', '2025-04-24 12:00+02', '{2025-04-25 01:00:00+03,2025-04-26 00:00:00+03}'),
('19', '15 2 * * *', 'Australia/Lord_Howe', '2025-10-04 12:00+10:30', '{2025-10-05 02:30:00+11,2025-10-06 02:15:00+11}'),
('20', '45 1 * * *', 'Australia/Lord_Howe', '2025-04-06 01:45+11', '{2025-04-07 01:45:00+10:30}'),
('21', '0 12 30 12 *', 'Pacific/Apia', '2011-12-28 00:00-10', '{2012-12-30 12:00:00+14}'),
-- days that few months or years have
('22', '0 0 29 2 *', 'UTC', '2025-01-01Z', '{2028-02-29 00:00:00+00,2032-02-29 00:00:00+00}'),
('23', '0 0 29 2 *', 'UTC', '2096-03-01Z', '{2104-02-29 00:00:00+00}'),
('24', '0 0 29 2 1', 'UTC', '2025-01-01Z', '{2025-02-03 00:00:00+00,2025-02-10 00:00:00+00}'),
('25', '0 0 29 2 */1', 'UTC', '2025-01-01Z', '{2028-02-29 00:00:00+00}'),
('28', '0 0 31 * *', 'UTC', '2025-01-31Z', '{2025-03-31 00:00:00+00,2025-05-31 00:00:00+00,2025-07-31 00:00:00+00}'),
-- day of month and day of week
('29', '0 0 13 * 5', 'UTC', '2025-01-01Z', '{2025-01-03 00:00:00+00,2025-01-10 00:00:00+00,2025-01-13 00:00:00+00}'),
('30', '0 0 */10 * SUN', 'UTC', '2012-07-09Z', '{2012-10-21 00:00:00+00,2012-11-11 00:00:00+00}'),
('31', '0 0 1-31/10 * SUN', 'UTC', '2012-07-11Z', '{2012-07-15 00:00:00+00,2012-07-21 00:00:00+00,2012-07-22 00:00:00+00}'),
('32', '0 0 13 * */2', 'UTC', '2025-01-01Z', '{2025-02-13 00:00:00+00,2025-03-13 00:00:00+00}'),
('33a', '0 0 * * 7', 'UTC', '2025-01-04Z', '{2025-01-05 00:00:00+00}'),
('33b', '0 0 * * 5-7', 'UTC', '2025-01-04Z', '{2025-01-05 00:00:00+00,2025-01-10 00:00:00+00}'),
('33c', '0 0 * * 0-7/2', 'UTC', '2025-01-04Z', '{2025-01-05 00:00:00+00,2025-01-07 00:00:00+00,2025-01-09 00:00:00+00}'),
-- ranges that wrap, steps that do not divide
('34a', '0 0 * * FRI-MON', 'UTC', '2025-01-04Z', '{2025-01-05 00:00:00+00,2025-01-06 00:00:00+00,2025-01-10 00:00:00+00}'),
('34b', '0 22-2 * * *', 'UTC', '2025-01-01 23:30Z', '{2025-01-02 00:00:00+00,2025-01-02 01:00:00+00,2025-01-02 02:00:00+00}'),
('35a', '*/23 * * * *', 'UTC', '2025-01-01 00:46Z', '{2025-01-01 01:00:00+00,2025-01-01 01:23:00+00}'),
('35b', '*/90 * * * *', 'UTC', '2025-01-01 00:00Z', '{2025-01-01 01:00:00+00,2025-01-01 02:00:00+00}'),
-- L, W and #
('36a', '0 0 L * *', 'UTC', '2024-02-01Z', '{2024-02-29 00:00:00+00,2024-03-31 00:00:00+00}'),
('36b', '0 0 L-2 * *', 'UTC', '2024-02-01Z', '{2024-02-27 00:00:00+00,2024-03-29 00:00:00+00,2024-04-28 00:00:00+00}'),
('37a', '0 0 15W * *', 'UTC', '2025-03-01Z', '{2025-03-14 00:00:00+00}'),
('37b', '0 0 1W * *', 'UTC', '2025-02-02Z', '{2025-02-03 00:00:00+00,2025-03-03 00:00:00+00}'),
('37d', '0 0 30W 11 *', 'UTC', '2025-05-01Z', '{2025-11-28 00:00:00+00,2026-11-30 00:00:00+00}'),
('37c', '0 0 31W * *', 'UTC', '2025-05-01Z', '{2025-05-30 00:00:00+00,2025-07-31 00:00:00+00,2025-08-29 00:00:00+00}'),
('38a', '0 0 LW * *', 'UTC', '2025-05-01Z', '{2025-05-30 00:00:00+00,2025-06-30 00:00:00+00}'),
('38b', '0 0 * * 5L', 'UTC', '2025-01-01Z', '{2025-01-31 00:00:00+00,2025-02-28 00:00:00+00}'),
('38c', '0 0 * * FRI#L', 'UTC', '2025-01-01Z', '{2025-01-31 00:00:00+00,2025-02-28 00:00:00+00}'),
('39a', '0 0 * * MON#5', 'UTC', '2025-01-01Z', '{2025-03-31 00:00:00+00,2025-06-30 00:00:00+00,2025-09-29 00:00:00+00}'),
('39b', '0 0 * 2 MON#5', 'UTC', '2020-01-01Z', '{2044-02-29 00:00:00+00,2072-02-29 00:00:00+00,2112-02-29 00:00:00+00}'),
-- beyond 32 bits
('40a', '14 3 19 1 *', 'UTC', '2037-12-31Z', '{2038-01-19 03:14:00+00}'),
('40b', '0 0 1 1 *', 'UTC', '2099-06-01Z', '{2100-01-01 00:00:00+00}');

SELECT number, schedule, zone,
	CASE WHEN got = expected THEN 'ok' ELSE array_to_string(got, ', ') END AS result
FROM tricky, pg_temp.slots(schedule, zone, since, cardinality(expected)) AS got
ORDER BY regexp_replace(number, '\D', '')::int, number COLLATE "C";

-- never: refused, for 26 and 27 and others that match no date
SELECT number, schedule, pg_temp.refusal(schedule)
FROM (VALUES ('26', '0 0 30 2 *'), ('27', '0 0 31 4,6,9,11 *'),
	('', '0 0 30,31 FEB ?'), ('', '0 0 L-29 2 *'), ('', '0 0 30W 2 *'),
	('', '0 0 1-7 * */8#5')) AS t (number, schedule);

--
-- More about clock changes
--
CREATE TEMP TABLE changes (LIKE tricky);
INSERT INTO changes VALUES
-- the flag is how the fields are written: 0-23 is not *, seconds do not count
('written out', '0 0-23 * * *', 'Europe/Berlin', '2025-10-26 01:30+02', '{2025-10-26 02:00:00+02,2025-10-26 03:00:00+01}'),
('starred', '0 * * * *', 'Europe/Berlin', '2025-10-26 01:30+02', '{2025-10-26 02:00:00+02,2025-10-26 02:00:00+01,2025-10-26 03:00:00+01}'),
('list', '*,5 2 26 10 *', 'Europe/Berlin', '2025-10-26 02:59+02', '{2025-10-26 02:00:00+01}'),
('seconds', '* 30 2 * * *', 'Europe/Berlin', '2025-03-30 01:00+01', '{2025-03-30 03:00:00+02,2025-03-31 02:30:00+02,2025-03-31 02:30:01+02}'),
('seconds', '*/30 30 2 * * *', 'Europe/Berlin', '2025-10-26 02:30:00+02', '{2025-10-26 02:30:30+02,2025-10-27 02:30:00+01}'),
('seconds', '59 59 1 * * *', 'Europe/Berlin', '2025-03-30 01:59:58+01', '{2025-03-30 01:59:59+01,2025-03-31 01:59:59+02}'),
-- from within the second pass, and at the very ends of gap and overlap
('second pass', '30 2 * * *', 'Europe/Berlin', '2025-10-26 02:15+01', '{2025-10-27 02:30:00+01}'),
('second pass', '30 2 * * *', 'Europe/Berlin', '2025-10-26 02:45+02', '{2025-10-27 02:30:00+01}'),
('gap end', '30 2 * * *', 'Europe/Berlin', '2025-03-30 03:00+02', '{2025-03-31 02:30:00+02}'),
('gap end', '30 2 * * *', 'Europe/Berlin', '2025-03-30 02:59:59.999999+02', '{2025-03-30 03:00:00+02}'),
('gap end', '0 2,3 * * *', 'Europe/Berlin', '2025-03-29 12:00+01', '{2025-03-30 03:00:00+02,2025-03-31 02:00:00+02}'),
('day', '30 2 * * MON-SAT', 'Europe/Berlin', '2025-03-29 12:00+01', '{2025-03-31 02:30:00+02}'),
-- daylight saving that is standard time, and the reverse in winter
('Dublin', '30 1 * * *', 'Europe/Dublin', '2025-03-29 12:00+00', '{2025-03-30 02:00:00+01,2025-03-31 01:30:00+01}'),
('Dublin', '30 1 * * *', 'Europe/Dublin', '2025-10-26 00:00+01', '{2025-10-26 01:30:00+01,2025-10-27 01:30:00+00}'),
('Casablanca', '30 2 * * *', 'Africa/Casablanca', '2025-02-23 00:00+01', '{2025-02-23 02:30:00+01,2025-02-24 02:30:00+00}'),
('Casablanca', '30 2 * * *', 'Africa/Casablanca', '2025-04-05 12:00+00', '{2025-04-06 03:00:00+01,2025-04-07 02:30:00+01}'),
('Troll', '30 1,2 * * *', 'Antarctica/Troll', '2025-03-30 00:00+00', '{2025-03-30 03:00:00+02,2025-03-31 01:30:00+02}'),
('Kathmandu', '0 0 1 1 *', 'Asia/Kathmandu', '1985-06-01 00:00+05:30', '{1986-01-01 00:15:00+05:45,1987-01-01 00:00:00+05:45}'),
-- the day that Samoa skipped, the day that Kwajalein had nearly twice
('Apia', '0 12 * * *', 'Pacific/Apia', '2011-12-29 00:00-10', '{2011-12-29 12:00:00-10,2011-12-31 12:00:00+14}'),
('Apia', '30 * * * *', 'Pacific/Apia', '2011-12-29 23:00-10', '{2011-12-29 23:30:00-10,2011-12-31 00:30:00+14}'),
('Kwajalein', '0 12 * * *', 'Pacific/Kwajalein', '1969-09-30 00:00+11', '{1969-09-30 12:00:00+11,1969-10-01 12:00:00-12}'),
('Kwajalein', '0 */12 * * *', 'Pacific/Kwajalein', '1969-09-30 00:00+11', '{1969-09-30 12:00:00+11,1969-09-30 12:00:00-12,1969-10-01 00:00:00-12}'),
-- rules go on for ever
('far', '30 2 * * *', 'Europe/Berlin', '2500-03-28 00:00Z', '{2500-03-28 03:00:00+02,2500-03-29 02:30:00+02}');

SELECT number, schedule, zone,
	CASE WHEN got = expected THEN 'ok' ELSE array_to_string(got, ', ') END AS result
FROM changes, pg_temp.slots(schedule, zone, since, cardinality(expected)) AS got
ORDER BY changes.ctid;

--
-- The dialect
--
SELECT schedule, array_to_string(array(
	SELECT to_char(r, 'MM-DD HH24:MI:SS') FROM jobsched.next_runs(schedule, 'UTC', '2025-01-01Z', 4) AS r), ', ') AS runs
FROM (VALUES
	('* * * * *'), ('*/15 * * * * *'), ('30 5 4 * * *'),
	(E'  0\t3  *  *  *\n'), ('5/15 * * * *'), ('50/15 8 * * *'),
	('0 8-18/4 * * *'), ('0,30 8,20 * * *'), ('0-3,2-5,59 * * * *'),
	('50-10/10 * * * *'), ('0 0 28-3 * *'), ('0 0 1 NOV-FEB *'),
	('0 0 1 jan,Mar,DEC *'), ('0 0 * * mon,Wed'), ('0 0 * * SAT-TUE'),
	('0 0 * * 7-2'), ('0 0 * * 6-7'), ('0 0 * * 1/2'), ('0 0 * * 7/3'),
	('0 0 ? * 3'), ('0 0 13 * ?'), ('0 0 ? * ?'), ('0 0 1,L * *'),
	('0 0 1W,15W,LW * *'), ('0 0 L-1,L-30 * *'), ('0 0 * * MON#1,WED#3'),
	('0 0 * * FRIL'), ('0 0 * * 7#1'), ('0 0 10 * TUE#2'),
	('0 0 */2 * MON#1'), ('0 0 1-31 * MON'), ('0 0 5,* * MON'),
	('@hourly'), ('@daily'), ('@Midnight'), ('@weekly'), ('@monthly'),
	('@yearly'), ('@ANNUALLY'), ('@startup'), ('@reboot')
) AS t (schedule);

-- the same however it is written
SELECT a, b, array(SELECT jobsched.next_runs(a, 'Europe/Berlin', '2025-01-01Z', 100)) =
	array(SELECT jobsched.next_runs(b, 'Europe/Berlin', '2025-01-01Z', 100)) AS same
FROM (VALUES
	('* * * * *', '0 * * * * *'), ('0 0 * * 0', '0 0 * * 7'),
	('0 0 * * 0-7', '0 0 * * *'), ('0 0 * * SUN', '0 0 * * sun'),
	('5/15 * * * *', '5-59/15 * * * *'), ('@weekly', '0 0 * * SUN'),
	('0 0 ? * MON', '0 0 * * MON'), ('0 0 L * *', '0 0 L,L * *'),
	('0 0 * * 5L', '0 0 * * FRI#L'), ('0 22-2/2 * * *', '0 22,0,2 * * *')
) AS t (a, b);

-- H: the same for the same name, within its range, and spread out
SELECT schedule,
	count(*) AS runs,
	min(extract(minute FROM r)) >= lo AND max(extract(minute FROM r)) <= hi AS in_range,
	count(DISTINCT extract(minute FROM r)) AS minutes
FROM (VALUES ('H * * * *', 0, 59), ('H(0-29) * * * *', 0, 29),
	('H/15 * * * *', 0, 59), ('H(0-29)/10 * * * *', 0, 29),
	('H(50-9) * * * *', 0, 59), ('H H * * *', 0, 59), ('H/90 * * * *', 0, 59)) AS t (schedule, lo, hi),
	jobsched.next_runs(schedule, 'UTC', '2025-01-01Z', 48) AS r
GROUP BY schedule, lo, hi ORDER BY schedule COLLATE "C";
SELECT count(*) AS months
FROM jobsched.next_runs('H H H * *', 'UTC', '2025-01-01Z', 120) AS r
WHERE extract(day FROM r) <= 28 AND r < '2035-01-01Z';

--
-- Steps from an anchor
--
CREATE TEMP TABLE steps (LIKE tricky);
INSERT INTO steps VALUES
('', 'every 90 seconds', 'UTC', '2025-01-01 00:00:00.25Z', '{2025-01-01 00:01:30.25+00,2025-01-01 00:03:00.25+00}'),
('', 'every second', 'UTC', '2025-01-01Z', '{2025-01-01 00:00:01+00,2025-01-01 00:00:02+00}'),
('', 'Every  5  Minutes ', 'UTC', '2025-01-01Z', '{2025-01-01 00:05:00+00,2025-01-01 00:10:00+00}'),
('', 'every minute', 'UTC', '2025-01-01Z', '{2025-01-01 00:01:00+00,2025-01-01 00:02:00+00}'),
('', 'every 36 hours', 'Europe/Berlin', '2025-03-29 00:00+01', '{2025-03-30 13:00:00+02,2025-04-01 01:00:00+02}'),
('', 'every hour', 'Europe/Berlin', '2025-10-26 01:30+02', '{2025-10-26 02:30:00+02,2025-10-26 02:30:00+01}'),
('', 'every 2 days', 'Europe/Berlin', '2025-03-28 02:30+01', '{2025-03-30 03:00:00+02,2025-04-01 02:30:00+02}'),
('', 'every day', 'Europe/Berlin', '2025-10-25 02:30:00.5+02', '{2025-10-26 02:30:00.5+02,2025-10-27 02:30:00.5+01}'),
('', 'every day', 'Pacific/Apia', '2011-12-28 12:00-10', '{2011-12-29 12:00:00-10,2011-12-31 12:00:00+14}'),
('', 'every week', 'Europe/Berlin', '2025-03-23 02:30+01', '{2025-03-30 03:00:00+02,2025-04-06 02:30:00+02}'),
('', 'every month', 'UTC', '2025-01-31 12:00Z', '{2025-02-28 12:00:00+00,2025-03-31 12:00:00+00,2025-04-30 12:00:00+00}'),
('', 'every 5 months', 'UTC', '2024-09-30Z', '{2025-02-28 00:00:00+00,2025-07-30 00:00:00+00,2025-12-30 00:00:00+00}'),
('', 'every year', 'UTC', '2024-02-29Z', '{2025-02-28 00:00:00+00,2026-02-28 00:00:00+00,2027-02-28 00:00:00+00,2028-02-29 00:00:00+00}'),
('', 'every 1000 years', 'UTC', '2000-01-01Z', '{3000-01-01 00:00:00+00,4000-01-01 00:00:00+00}'),
-- one instant
('', '2030-01-31T09:30:00Z', 'Europe/Berlin', '2025-01-01Z', '{2030-01-31 10:30:00+01}'),
('', '2030-01-31 09:30', 'Europe/Berlin', '2025-01-01Z', '{2030-01-31 09:30:00+01}'),
('', ' 2030-07-31t09:30:15.123456 ', 'Europe/Berlin', '2025-01-01Z', '{2030-07-31 09:30:15.123456+02}'),
('', '2030-01-31T09:30+02', 'UTC', '2025-01-01Z', '{2030-01-31 07:30:00+00}'),
('', '2030-01-31T09:30:00-0330', 'UTC', '2025-01-01Z', '{2030-01-31 13:00:00+00}'),
('', '2030-01-31T09:30:00.5+05:45', 'UTC', '2025-01-01Z', '{2030-01-31 03:45:00.5+00}'),
('', '2025-03-30T02:30:00.5', 'Europe/Berlin', '2025-01-01Z', '{2025-03-30 03:00:00+02}'),
('', '2025-10-26T02:30', 'Europe/Berlin', '2025-01-01Z', '{2025-10-26 02:30:00+02}'),
('', '2011-12-30T12:00', 'Pacific/Apia', '2011-01-01Z', '{2011-12-31 00:00:00+14}'),
('', '2025-01-01T00:00Z', 'UTC', '2025-01-01Z', '{}');

SELECT schedule, zone,
	CASE WHEN got = expected THEN 'ok' ELSE array_to_string(got, ', ') END AS result
FROM steps, pg_temp.slots(schedule, zone, since, greatest(cardinality(expected), 1)) AS got
ORDER BY steps.ctid;

--
-- The ends of time
--
SELECT 'cron' AS kind, * FROM jobsched.next_runs('0 0 1 1 *', 'UTC', 'infinity', 1)
UNION ALL SELECT 'cron', * FROM jobsched.next_runs('0 0 1 1 *', 'Europe/Berlin', '-infinity', 1)
UNION ALL SELECT 'cron', * FROM jobsched.next_runs('0 0 1 1 *', 'Europe/Berlin', '294276-01-01 12:00Z', 1)
UNION ALL SELECT 'cron', * FROM jobsched.next_runs('0 0 * * *', 'Europe/Berlin', '294276-12-30 12:00Z', 5)
UNION ALL SELECT 'every', * FROM jobsched.next_runs('every day', 'UTC', 'infinity', 1)
UNION ALL SELECT 'every', * FROM jobsched.next_runs('every day', 'UTC', '-infinity', 1)
UNION ALL SELECT 'every', * FROM jobsched.next_runs('every hour', 'UTC', '294276-12-31 22:30Z', 5)
UNION ALL SELECT 'every', * FROM jobsched.next_runs('every year', 'Asia/Tokyo', '294275-06-01Z', 5)
UNION ALL SELECT 'once', * FROM jobsched.next_runs('2030-01-01T00:00Z', 'UTC', '-infinity', 1)
UNION ALL SELECT 'once', * FROM jobsched.next_runs('2030-01-01T00:00Z', 'UTC', 'infinity', 1);
SELECT * FROM jobsched.next_runs('0 0 29 2 *', 'Europe/Berlin', '0005-01-01 BC', 2);

-- many rows, strictly ascending
SELECT count(*), count(DISTINCT r), max(r)
FROM jobsched.next_runs('*/7 2,3 * * *', 'Europe/Berlin', '2025-01-01Z', 10000) AS r;

--
-- Zones
--
SELECT zone, count(r) FROM unnest(ARRAY['UTC', 'utc', 'Europe/Berlin', 'europe/berlin',
	'Etc/GMT-14', 'America/Argentina/Buenos_Aires']) AS zone,
	jobsched.next_runs('@daily', zone, '2025-01-01Z', 1) AS r
GROUP BY zone ORDER BY zone COLLATE "C";
DO $$
DECLARE
	zone text;
BEGIN
	FOREACH zone IN ARRAY ARRAY['', ' ', 'Nowhere/City', 'FOO5', 'UTC+3', '<+03>-3',
		'CEST', '+02', 'localtime', 'posixrules', 'Factory', '../UTC', '/etc/passwd',
		'Europe', 'Europe/', 'Europe//Berlin', 'Europe/../UTC', 'posix/UTC',
		'right/UTC', 'EST5EDT4', 'zone.tab', repeat('A', 300)] LOOP
		BEGIN
			PERFORM * FROM jobsched.next_runs('@daily', zone);
			RAISE WARNING 'accepted: %', zone;
		EXCEPTION WHEN invalid_parameter_value THEN
			NULL;
		END;
	END LOOP;
END $$;
SELECT * FROM jobsched.next_runs('@daily', 'FOO5');
-- no zone means the default one
SELECT count(*) FROM jobsched.next_runs('@daily', NULL, '2025-01-01Z', 3);

--
-- Errors
--
SELECT * FROM jobsched.next_runs('0 25 * * *');
SELECT jobsched.explain_schedule('0 0 * * MUN');
SELECT * FROM jobsched.next_runs('* * * * *', 'UTC', '2025-01-01Z', 0);
SELECT * FROM jobsched.next_runs('* * * * *', 'UTC', '2025-01-01Z', 10001);
SELECT * FROM jobsched.next_runs(NULL);
SELECT jobsched.explain_schedule(NULL) IS NULL AS null_in_null_out;

SELECT schedule, pg_temp.refusal(schedule)
FROM unnest(ARRAY[
	'', '   ', '*', '* * * *', '* * * * * * *', 'foo', 'foo bar baz qux quux',
	'60 * * * *', '* 24 * * *', '* * 0 * *', '* * 32 * *', '* * * 13 *',
	'* * * 0 *', '* * * * 8', '60 * * * * *', '-1 * * * *', '1- * * * *',
	'1-60 * * * *', '*/0 * * * *', '*/ * * * *', '*/-5 * * * *',
	'*/x * * * *', '1,,2 * * * *', ',1 * * * *', '1, * * * *', '** * * * *',
	'*5 * * * *', '*-5 * * * *', '1-5-7 * * * *', '1/5/7 * * * *',
	'1.5 * * * *', '99999999999999999999 * * * *', '? * * * *',
	'* ? * * *', '* * ?/2 * *', '* * ? ? *', '* * * JANUARY *',
	'* * * FOO *', '* * * * MONDAY', '* * * * MON#0', '* * * * MON#6',
	'* * * * MON#', '* * * * #2', '* * * * L', '* * * * LFRI',
	'* * L-0 * *', '* * L-31 * *', '* * L- * *', '* * L5 * *',
	'* * L/2 * *', '* * W * *', '* * 0W * *', '* * 15WL * *', '* * 1-5W * *',
	'L * * * *', '5L * * * *', '5W * * * *', '* * * 5L *', '* * MON * *',
	'H() * * * *', 'H(5) * * * *', 'H(0-60) * * * *', 'H(0-29 * * * *',
	'H(0-29)/0 * * * *', 'H5 * * * *', 'H-5 * * * *', 'HH * * * *',
	'*/100000 * * * *', '@', '@hour', '@daily 5', '@every 5m',
	'every', 'every 5', 'every five minutes', 'every 0 days',
	'every -1 days', 'every 1.5 hours', 'every 5m', 'every 5 lightyears',
	'every day at noon', 'every 1001 years', 'every 99999999999999999999 seconds',
	'everyday', '2025-01-01', '2025-01-01T', '2025-1-1T00:00', '2025-13-01T00:00Z',
	'2025-02-29T00:00Z', '2025-01-01T24:00Z', '2025-01-01T00:60Z',
	'2025-01-01T00:00:60Z', '2025-01-01T00', '2025-01-01T00:00:00.Z',
	'2025-01-01T00:00:00.1234567Z', '2025-01-01T00:00X', '2025-01-01T00:00 UTC',
	'2025-01-01T00:00+16', '2025-01-01T00:00+2', '0000-01-01T00:00Z',
	'2025/01/01T00:00Z', 'R5/PT1H', '~ * * * *', '0 0 * * MON;SELECT',
	E'0 0 * * \x01']) WITH ORDINALITY AS t (schedule, i)
ORDER BY i;
-- What other schedulers take: the hint says what to write.
SELECT schedule, pg_temp.refusal(schedule)
FROM unnest(ARRAY['30 seconds', '1 second', ' 5  Minutes', '90 minutes past', '2 weeks',
	'0 0 $ * *', '0 0 1,$ * *', '$ 0 * * *', '@restart', '@RESTART', '@every 1h30m',
	'TZ=Europe/Berlin 0 9 * * *', 'CRON_TZ=UTC 0 9 * * *', 'cron_tz=x @daily', 'tz=', 'daily', 'Weekly', 'reboot',
	'T=1 * * * *', 'TZ 0 9 * *', '30 apples', '30seconds', '30']) WITH ORDINALITY AS t (schedule, i)
ORDER BY i;
SELECT pg_temp.refusal('0 0 * * mañana');
SELECT pg_temp.refusal('äöü');
SELECT pg_temp.refusal('0' || repeat(',0', 600) || ' * * * *');

--
-- In words
--
SELECT jobsched.explain_schedule(schedule, 'UTC')
FROM unnest(ARRAY['* * * * *', '* * * * * *', '*/10 * * * * *', '30 * * * * *',
	'0 * * * *', '*/15 * * * *', '*/20 0-6/2 * * *', '1,2 * * * *', '*/10 5 8-10 * * *', '5/20 * * * *', '7/20 * * * *', '7/10 * * * *',
	'30 */2 * * *', '*/5 9-17 * * MON-FRI', '0 9,12,18 * * *', '30 0 9 * * *',
	'15 30 9 * * *', '0 0 13 * FRI', '0 0 */10 * SUN', '0 0 1,15 * *',
	'0 0 L * *', '0 0 L-2,LW * *', '0 0 15W 1-3,12 *', '0 0 * * MON#2,5L',
	'0 0 31 * *', '0 0 L-1 * *', '*/90 * * * *', '*/23 * * * *',
	'0 3 */2 * *', 'H H * * *', '0 0 1-31 * MON', '@daily',
	'@startup', 'every 90 seconds', 'every month', 'every 2 weeks',
	'2000-01-01T09:30Z', '2999-01-01T09:30:15Z']) WITH ORDINALITY AS t (schedule, i)
ORDER BY i;

-- what happens when the clocks change depends on the year: only that it is said
SELECT schedule,
	said ~ '\nWarning: on \d{4}-03-\d\d the clocks of Europe/Berlin skip 02:00 to 03:00; what is due then runs once, at 03:00\.' AS gap,
	said ~ '\nWarning: on \d{4}-03-\d\d the clocks of Europe/Berlin skip 02:00 to 03:00; what is due then does not run\.' AS lost,
	said ~ '\nWarning: on \d{4}-10-\d\d the clocks of Europe/Berlin read 02:00 to 03:00 twice; what is due then runs the first time only\.' AS overlap,
	said ~ '\nWarning: on \d{4}-10-\d\d the clocks of Europe/Berlin read 02:00 to 03:00 twice; what is due then runs both times\.' AS both
FROM unnest(ARRAY['30 2 * * *', '30 3 * * *', '30 */2 * * *', '* 2 * * *',
	'* * * * *', '30 2 * * SAT', '0 0-23 * * *']) WITH ORDINALITY AS t (schedule, i),
	jobsched.explain_schedule(schedule, 'Europe/Berlin') AS said
ORDER BY i;
SELECT jobsched.explain_schedule('2035-03-25T02:30', 'Europe/Berlin');
SELECT jobsched.explain_schedule('2035-10-28T02:30', 'Europe/Berlin');
-- the next run is far
SELECT jobsched.explain_schedule('0 0 * 2 MON#5', 'UTC') ~ '\nWarning: the next run is not before \d{4}-02-29\.' AS far;
