-- The partitions of history: eight segments in each ring.  Attempts that were
-- followed by others did not succeed, and are in ring 1 only.

-- The checks spare a reader of failures the ring of successes, and the other
-- way round.
CREATE TABLE jobsched_internal.history_000 PARTITION OF jobsched_internal.history
	(CHECK (status = 'succeeded')) FOR VALUES IN (0);
CREATE TABLE jobsched_internal.history_001 PARTITION OF jobsched_internal.history
	(CHECK (status = 'succeeded')) FOR VALUES IN (1);
CREATE TABLE jobsched_internal.history_002 PARTITION OF jobsched_internal.history
	(CHECK (status = 'succeeded')) FOR VALUES IN (2);
CREATE TABLE jobsched_internal.history_003 PARTITION OF jobsched_internal.history
	(CHECK (status = 'succeeded')) FOR VALUES IN (3);
CREATE TABLE jobsched_internal.history_004 PARTITION OF jobsched_internal.history
	(CHECK (status = 'succeeded')) FOR VALUES IN (4);
CREATE TABLE jobsched_internal.history_005 PARTITION OF jobsched_internal.history
	(CHECK (status = 'succeeded')) FOR VALUES IN (5);
CREATE TABLE jobsched_internal.history_006 PARTITION OF jobsched_internal.history
	(CHECK (status = 'succeeded')) FOR VALUES IN (6);
CREATE TABLE jobsched_internal.history_007 PARTITION OF jobsched_internal.history
	(CHECK (status = 'succeeded')) FOR VALUES IN (7);
CREATE TABLE jobsched_internal.history_100 PARTITION OF jobsched_internal.history
	(CHECK (status = ANY (ARRAY['failed', 'cancelled', 'timed_out', 'lost', 'skipped', 'missed']))) FOR VALUES IN (100);
CREATE TABLE jobsched_internal.history_101 PARTITION OF jobsched_internal.history
	(CHECK (status = ANY (ARRAY['failed', 'cancelled', 'timed_out', 'lost', 'skipped', 'missed']))) FOR VALUES IN (101);
CREATE TABLE jobsched_internal.history_102 PARTITION OF jobsched_internal.history
	(CHECK (status = ANY (ARRAY['failed', 'cancelled', 'timed_out', 'lost', 'skipped', 'missed']))) FOR VALUES IN (102);
CREATE TABLE jobsched_internal.history_103 PARTITION OF jobsched_internal.history
	(CHECK (status = ANY (ARRAY['failed', 'cancelled', 'timed_out', 'lost', 'skipped', 'missed']))) FOR VALUES IN (103);
CREATE TABLE jobsched_internal.history_104 PARTITION OF jobsched_internal.history
	(CHECK (status = ANY (ARRAY['failed', 'cancelled', 'timed_out', 'lost', 'skipped', 'missed']))) FOR VALUES IN (104);
CREATE TABLE jobsched_internal.history_105 PARTITION OF jobsched_internal.history
	(CHECK (status = ANY (ARRAY['failed', 'cancelled', 'timed_out', 'lost', 'skipped', 'missed']))) FOR VALUES IN (105);
CREATE TABLE jobsched_internal.history_106 PARTITION OF jobsched_internal.history
	(CHECK (status = ANY (ARRAY['failed', 'cancelled', 'timed_out', 'lost', 'skipped', 'missed']))) FOR VALUES IN (106);
CREATE TABLE jobsched_internal.history_107 PARTITION OF jobsched_internal.history
	(CHECK (status = ANY (ARRAY['failed', 'cancelled', 'timed_out', 'lost', 'skipped', 'missed']))) FOR VALUES IN (107);
CREATE TABLE jobsched_internal.run_log_000 PARTITION OF jobsched_internal.run_log FOR VALUES IN (0);
CREATE TABLE jobsched_internal.run_log_001 PARTITION OF jobsched_internal.run_log FOR VALUES IN (1);
CREATE TABLE jobsched_internal.run_log_002 PARTITION OF jobsched_internal.run_log FOR VALUES IN (2);
CREATE TABLE jobsched_internal.run_log_003 PARTITION OF jobsched_internal.run_log FOR VALUES IN (3);
CREATE TABLE jobsched_internal.run_log_004 PARTITION OF jobsched_internal.run_log FOR VALUES IN (4);
CREATE TABLE jobsched_internal.run_log_005 PARTITION OF jobsched_internal.run_log FOR VALUES IN (5);
CREATE TABLE jobsched_internal.run_log_006 PARTITION OF jobsched_internal.run_log FOR VALUES IN (6);
CREATE TABLE jobsched_internal.run_log_007 PARTITION OF jobsched_internal.run_log FOR VALUES IN (7);
CREATE TABLE jobsched_internal.run_log_100 PARTITION OF jobsched_internal.run_log FOR VALUES IN (100);
CREATE TABLE jobsched_internal.run_log_101 PARTITION OF jobsched_internal.run_log FOR VALUES IN (101);
CREATE TABLE jobsched_internal.run_log_102 PARTITION OF jobsched_internal.run_log FOR VALUES IN (102);
CREATE TABLE jobsched_internal.run_log_103 PARTITION OF jobsched_internal.run_log FOR VALUES IN (103);
CREATE TABLE jobsched_internal.run_log_104 PARTITION OF jobsched_internal.run_log FOR VALUES IN (104);
CREATE TABLE jobsched_internal.run_log_105 PARTITION OF jobsched_internal.run_log FOR VALUES IN (105);
CREATE TABLE jobsched_internal.run_log_106 PARTITION OF jobsched_internal.run_log FOR VALUES IN (106);
CREATE TABLE jobsched_internal.run_log_107 PARTITION OF jobsched_internal.run_log FOR VALUES IN (107);
CREATE TABLE jobsched_internal.attempt_100 PARTITION OF jobsched_internal.attempt FOR VALUES IN (100);
CREATE TABLE jobsched_internal.attempt_101 PARTITION OF jobsched_internal.attempt FOR VALUES IN (101);
CREATE TABLE jobsched_internal.attempt_102 PARTITION OF jobsched_internal.attempt FOR VALUES IN (102);
CREATE TABLE jobsched_internal.attempt_103 PARTITION OF jobsched_internal.attempt FOR VALUES IN (103);
CREATE TABLE jobsched_internal.attempt_104 PARTITION OF jobsched_internal.attempt FOR VALUES IN (104);
CREATE TABLE jobsched_internal.attempt_105 PARTITION OF jobsched_internal.attempt FOR VALUES IN (105);
CREATE TABLE jobsched_internal.attempt_106 PARTITION OF jobsched_internal.attempt FOR VALUES IN (106);
CREATE TABLE jobsched_internal.attempt_107 PARTITION OF jobsched_internal.attempt FOR VALUES IN (107);
CREATE TABLE jobsched_internal.http_response_000 PARTITION OF jobsched_internal.http_response FOR VALUES IN (0);
CREATE TABLE jobsched_internal.http_response_001 PARTITION OF jobsched_internal.http_response FOR VALUES IN (1);
CREATE TABLE jobsched_internal.http_response_002 PARTITION OF jobsched_internal.http_response FOR VALUES IN (2);
CREATE TABLE jobsched_internal.http_response_003 PARTITION OF jobsched_internal.http_response FOR VALUES IN (3);
CREATE TABLE jobsched_internal.http_response_004 PARTITION OF jobsched_internal.http_response FOR VALUES IN (4);
CREATE TABLE jobsched_internal.http_response_005 PARTITION OF jobsched_internal.http_response FOR VALUES IN (5);
CREATE TABLE jobsched_internal.http_response_006 PARTITION OF jobsched_internal.http_response FOR VALUES IN (6);
CREATE TABLE jobsched_internal.http_response_007 PARTITION OF jobsched_internal.http_response FOR VALUES IN (7);
CREATE TABLE jobsched_internal.http_response_100 PARTITION OF jobsched_internal.http_response FOR VALUES IN (100);
CREATE TABLE jobsched_internal.http_response_101 PARTITION OF jobsched_internal.http_response FOR VALUES IN (101);
CREATE TABLE jobsched_internal.http_response_102 PARTITION OF jobsched_internal.http_response FOR VALUES IN (102);
CREATE TABLE jobsched_internal.http_response_103 PARTITION OF jobsched_internal.http_response FOR VALUES IN (103);
CREATE TABLE jobsched_internal.http_response_104 PARTITION OF jobsched_internal.http_response FOR VALUES IN (104);
CREATE TABLE jobsched_internal.http_response_105 PARTITION OF jobsched_internal.http_response FOR VALUES IN (105);
CREATE TABLE jobsched_internal.http_response_106 PARTITION OF jobsched_internal.http_response FOR VALUES IN (106);
CREATE TABLE jobsched_internal.http_response_107 PARTITION OF jobsched_internal.http_response FOR VALUES IN (107);
