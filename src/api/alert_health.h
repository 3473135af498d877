/*-------------------------------------------------------------------------
 *
 * alert_health.h
 *		What health() says of alerts.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#ifndef JS_ALERT_HEALTH_H
#define JS_ALERT_HEALTH_H

extern char *js_alert_problems(int *count);

#endif							/* JS_ALERT_HEALTH_H */
