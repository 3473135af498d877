-- Triggers of tables that start jobs: what the runs get, and what is refused.
\set VERBOSITY terse
SET client_min_messages = warning;
SELECT jobsched.stop_processing();
SELECT jobsched.create_job('changes', command => 'SELECT 1') > 0 AS ok;
CREATE TABLE public.watched (id int PRIMARY KEY, kind text, secret text, gone int, twice int GENERATED ALWAYS AS (id * 2) STORED);
ALTER TABLE public.watched DROP COLUMN gone;
-- what a change has queued since the last time
CREATE TABLE public.seen AS SELECT coalesce(max(run_id), 0) AS run_id FROM jobsched.runs;
CREATE FUNCTION public.queued() RETURNS TABLE (status text, args jsonb) LANGUAGE sql AS $$
	WITH new AS (SELECT run_id, status, args FROM jobsched.runs WHERE run_id > (SELECT max(run_id) FROM public.seen)),
		noted AS (INSERT INTO public.seen SELECT run_id FROM new)
	SELECT status, args FROM new ORDER BY run_id
$$;
-- rows
CREATE TRIGGER each_row AFTER INSERT OR UPDATE OR DELETE ON public.watched
	FOR EACH ROW EXECUTE FUNCTION jobsched.trigger_job('changes', 'columns=twice,"id"');
INSERT INTO public.watched VALUES (1, 'a', 's'), (2, 'b', 's');
UPDATE public.watched SET id = 3 WHERE id = 2;
DELETE FROM public.watched WHERE id = 1;
SELECT * FROM public.queued();
DROP TRIGGER each_row ON public.watched;
-- statements
CREATE TRIGGER inserted AFTER INSERT ON public.watched REFERENCING NEW TABLE AS n
	FOR EACH STATEMENT EXECUTE FUNCTION jobsched.trigger_job('changes', 'batch=2', 'columns=id');
CREATE TRIGGER updated AFTER UPDATE ON public.watched REFERENCING NEW TABLE AS n OLD TABLE AS o
	FOR EACH STATEMENT EXECUTE FUNCTION jobsched.trigger_job('changes', 'columns=id,kind');
CREATE TRIGGER deleted AFTER DELETE ON public.watched REFERENCING OLD TABLE AS o
	FOR EACH STATEMENT EXECUTE FUNCTION jobsched.trigger_job('changes');
CREATE TRIGGER emptied AFTER TRUNCATE ON public.watched
	FOR EACH STATEMENT EXECUTE FUNCTION jobsched.trigger_job('changes');
INSERT INTO public.watched SELECT g, 'k' FROM generate_series(11, 15) g;
UPDATE public.watched SET kind = 'z' WHERE id IN (11, 12);
DELETE FROM public.watched WHERE id = 11;
DELETE FROM public.watched WHERE id = 11;
TRUNCATE public.watched;
SELECT * FROM public.queued();
-- keys
CREATE TRIGGER keyed AFTER INSERT ON public.watched FOR EACH ROW WHEN (NEW.kind = 'keyed')
	EXECUTE FUNCTION jobsched.trigger_job('changes', 'key={{table}}:{{record.secret}}', 'on_conflict=throttle', 'period=1 h', 'columns=id');
ALTER TABLE public.watched DISABLE TRIGGER inserted;
INSERT INTO public.watched VALUES (21, 'keyed', 'x'), (22, 'keyed', 'x'), (23, 'keyed', 'y');
SELECT * FROM public.queued();
-- what cannot be sent hinders nothing
INSERT INTO public.watched VALUES (24, 'keyed', NULL);
SELECT status, reason, sqlstate, error, args FROM jobsched.runs WHERE job_name = 'changes' AND reason = 'unsendable';
SELECT count(*) FROM public.watched;
-- refused
\set VERBOSITY default
CREATE TRIGGER bad BEFORE INSERT ON public.watched FOR EACH ROW EXECUTE FUNCTION jobsched.trigger_job('changes');
CREATE TRIGGER bad AFTER INSERT ON public.watched FOR EACH STATEMENT EXECUTE FUNCTION jobsched.trigger_job('changes');
CREATE TRIGGER bad AFTER INSERT ON public.watched FOR EACH ROW EXECUTE FUNCTION jobsched.trigger_job();
CREATE TRIGGER bad AFTER INSERT ON public.watched FOR EACH ROW EXECUTE FUNCTION jobsched.trigger_job('changes', 'other=1');
CREATE TRIGGER bad AFTER INSERT ON public.watched FOR EACH ROW EXECUTE FUNCTION jobsched.trigger_job('changes', 'columns=none');
CREATE TRIGGER bad AFTER INSERT ON public.watched FOR EACH ROW EXECUTE FUNCTION jobsched.trigger_job('changes', 'key=a', 'key=b');
CREATE TRIGGER bad AFTER INSERT ON public.watched FOR EACH ROW EXECUTE FUNCTION jobsched.trigger_job('changes', 'key={{record.id');
CREATE TRIGGER bad AFTER INSERT ON public.watched FOR EACH ROW EXECUTE FUNCTION jobsched.trigger_job('changes', 'key=a', 'on_conflict=error');
CREATE TRIGGER bad AFTER INSERT ON public.watched FOR EACH ROW EXECUTE FUNCTION jobsched.trigger_job('changes', 'on_conflict=replace');
CREATE TRIGGER bad AFTER INSERT ON public.watched FOR EACH ROW EXECUTE FUNCTION jobsched.trigger_job('changes', 'batch=5');
CREATE TRIGGER bad AFTER INSERT ON public.watched REFERENCING NEW TABLE AS n
	FOR EACH STATEMENT EXECUTE FUNCTION jobsched.trigger_job('changes', 'batch=100001');
CREATE TRIGGER bad AFTER INSERT ON public.watched REFERENCING NEW TABLE AS n
	FOR EACH STATEMENT EXECUTE FUNCTION jobsched.trigger_job('changes', 'key={{record.id}}');
SELECT jobsched.trigger_job();
CREATE TRIGGER later AFTER INSERT ON public.watched FOR EACH ROW EXECUTE FUNCTION jobsched.trigger_job('missing');
DROP TABLE public.watched, public.seen;
DROP FUNCTION public.queued();
-- metadata
SELECT jobsched.alter_job('changes', description => 'of a table');
SELECT jobsched.set_job_metadata('changes', '{"brand": 7, "tags": ["a", "b"]}');
SELECT name, description, metadata FROM jobsched.jobs_with_metadata('{"tags": ["b"]}');
SELECT count(*) FROM jobsched.jobs_with_metadata('{"brand": 8}');
SELECT jobsched.alter_job('changes', description => '');
SELECT jobsched.set_job_metadata('changes', NULL);
SELECT name, description, metadata FROM jobsched.jobs WHERE name = 'changes';
SELECT jobsched.set_job_metadata('missing', NULL);
SELECT jobsched.drop_job('changes');
SELECT jobsched.start_processing();
