/*-------------------------------------------------------------------------
 *
 * procedure.c
 *		Durable procedures: a handler that is a procedure, and its guard.
 *
 * DESIGN
 *
 * A handler that is a procedure is executed from its beginning as often as it takes:
 * after a failure, after a crash, after each sleep.  What it does goes through
 * jobsched.step(): a function is called, and its effect, its result and a memo, by
 * which a later execution knows that it was done, are one commit.  Where there is a
 * memo, step() returns what is stored.  So code between steps is executed many
 * times, and must have no effect.  That is what the guard sees to.
 *
 *		worker --> js_procedure_run() --> CALL, in a transaction that is read only
 *			CALL jobsched.step()	memo found: its result
 *									none: roll back, begin; function, memo; commit; begin,
 *									read only
 *			CALL jobsched.sleep()	memo found, and its time has come: goes on
 *									else: an error unwinds the procedure
 *		--> roll back, begin; memo of a sleep; record, and the run waits, as after
 *			snooze(), or has ended; commit
 *
 * THE GUARD
 *
 * What is outside of a step is not only read only, it is never committed: each
 * transaction that the procedure has been in is rolled back, at the beginning of a step
 * and at the end.  Read only is there to say so in time (25006); what gets around it is
 * lost and not repeated.  Every commit of such a run is one of a step or that of its
 * record.  Hence what somebody may try is this:
 *
 *		INSERT, DDL, nextval(), setval()	25006, by the server
 *		trigger(), http_request() and all	25006: js_check_may_write(), which each
 *			others of ours that write		function has to call
 *		SET TRANSACTION READ WRITE			refused: the transaction has had a snapshot
 *		COMMIT								2D000, before anything is committed
 *		ROLLBACK, to be in a transaction	allowed, but the run fails (2D000) at its next
 *			that could be made read write	step, or its end: nothing can be committed
 *		NOTIFY, LISTEN, temporary tables,	allowed by the server, and rolled back
 *			SET, SET ROLE
 *		large objects in 15					allowed by the server, and rolled back
 *		session locks						released when the execution ends
 *		dblink, COPY TO PROGRAM, other		not ours to undo; who does that outside of a
 *			effects outside of transactions	step does it again.  It is his own harm:
 *											all of it has his own rights
 *		BEGIN ... EXCEPTION around a step	2D000: a subtransaction cannot be committed
 *		WHEN OTHERS around a sleep			does not catch it (57014); who catches it by
 *											name gets no further: the run is suspended
 *											whatever he does then, and nothing of it stays
 *		snooze(), child => true				55000: both are about one execution
 *		a procedure that is SECURITY		2D000: there CALL can commit nothing
 *			DEFINER or has SET, a function
 *		a step in a step					2D000, for the same reason
 *		deferred triggers of a step			part of it: they are fired by its commit, and
 *											if they fail, nothing of it was done
 *
 * So the answer to whether it can be made safe is: yes.  No effect of a procedure is
 * committed without its memo; and reading the memos of others, or writing any, is not
 * possible with SQL: the table is not granted, and rows are written past the executor.
 *
 * NAMES
 *
 * A step is known by its name, which must not depend on how often or when something is
 * executed.  A name that comes twice in one execution would find the memo of the first:
 * it is refused (42710), rather than numbered, since numbers depend on the order of a
 * loop.  A memo of another function or of other arguments is refused too (55000).
 *
 * WHAT KILL -9 LEAVES
 *
 *		before the commit of a step			nothing of it: it is done anew
 *		after it							effect and memo: the next execution has both
 *		before the commit that suspends		a run without a worker, which is put back into
 *											the queue; its sleep begins anew
 *		after it							a run in the queue, with its run_at
 *		while it sleeps						the same
 *
 * A worker that was given up, but lives, can commit no step: it would find its run's row
 * changed, or the memo there (unique).
 *
 * WHERE MEMOS END
 *
 * They are kept as long as the run's record, whatever its end, and removed in portions
 * by the scheduler.  retry_run() copies them to the new run; trigger() is a new beginning.
 * Dumps have none, like runs.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"
