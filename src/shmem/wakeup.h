/*-------------------------------------------------------------------------
 *
 * wakeup.h
 *		Notifies the scheduler at commit of what a transaction has done.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#ifndef JS_WAKEUP_H
#define JS_WAKEUP_H

extern void js_wakeup_init(void);
extern void js_wakeup_run(int64 run_id);
extern void js_wakeup_job(int64 job_id);
extern void js_wakeup_stop(int64 stop_id);
extern void js_wakeup_event(int64 event_id);
extern void js_wakeup_processing(void);
extern void js_wakeup_limits(void);
extern void js_wakeup_alerts(void);
extern void js_wakeup_resets(void);
extern void js_wakeup_everything(void);
extern void js_wakeup_start(void);
extern void js_wakeup_unhold(void);
extern void js_wakeup_sweep(void);
extern void js_wakeup_roles(void);

#endif							/* JS_WAKEUP_H */
