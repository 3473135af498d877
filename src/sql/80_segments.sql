-- The partitions of history and of what goes with it: eight segments in each of
-- the two rings.  Attempts that were followed by others are in ring 1 only.

-- The checks spare a reader of failures the ring of successes, and the other
-- way round.
DO $$
DECLARE
	parent text;
	ring integer;
	number integer;
	holds text;
BEGIN
	FOR parent, ring, number IN
		SELECT p, r, n
		FROM unnest(ARRAY['history', 'run_log', 'attempt', 'http_response']) p,
			generate_series(0, 1) r, generate_series(0, 7) n
		WHERE p <> 'attempt' OR r = 1
	LOOP
		holds := CASE WHEN parent <> 'history' THEN ''
			WHEN ring = 0 THEN '(CHECK (status = ''succeeded''))'
			ELSE '(CHECK (status = ANY (ARRAY[''failed'', ''cancelled'', ''timed_out'', ''lost'', '
				'''skipped'', ''missed''])))' END;
		EXECUTE format('CREATE TABLE jobsched_internal.%I PARTITION OF jobsched_internal.%I %s '
			'FOR VALUES IN (%s)',
			format('%s_%s0%s', parent, ring, number), parent, holds, ring * 100 + number);
	END LOOP;
END $$;

-- In no ring: what is needed for longer, since other runs have waited for it.
CREATE TABLE jobsched_internal.history_kept PARTITION OF jobsched_internal.history FOR VALUES IN (200);
