-- What bench/callouts works on.

-- Which requests were made for what.
CREATE TABLE bench.requests (tag text NOT NULL, run_id bigint NOT NULL);

-- Requests one after the other: how long after its commit each one's response
-- could be read, in milliseconds.
CREATE TABLE bench.visible (ms double precision);
CREATE PROCEDURE bench.post_many(url text, n integer) LANGUAGE plpgsql AS $$
DECLARE
	id bigint;
	committed timestamptz;
BEGIN
	FOR i IN 1 .. n LOOP
		id := jobsched.http_post(url, '{"a": 1}');
		COMMIT;
		committed := clock_timestamp();
		WHILE NOT EXISTS (SELECT FROM jobsched.http_responses r WHERE r.run_id = id) LOOP
			PERFORM pg_sleep(0.0002);
			COMMIT;
		END LOOP;
		INSERT INTO bench.visible VALUES (bench.ms(clock_timestamp(), committed));
		COMMIT;
		PERFORM pg_sleep(0.005);
	END LOOP;
END $$;
