/*-------------------------------------------------------------------------
 *
 * store_alert.h
 *		Alerts as rows.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#ifndef JS_STORE_ALERT_H
#define JS_STORE_ALERT_H

#include "store/store.h"

/* Bytes of a name; alerts of a role; elements of channels, and of jobs. */
#define JS_ALERT_NAME_MAX 100
#define JS_MAX_ALERTS 5000
#define JS_MAX_ALERT_CHANNELS 10
#define JS_MAX_ALERT_JOBS 100
#define JS_MAX_ALERT_PATTERN 255
#define JS_MAX_ALERT_MUTES 100	/* of an alert: of single jobs */
#define JS_MAX_ALERT_THRESHOLD 100000

/* With within the instants of so many failures are kept. */
#define JS_MAX_ALERT_WITHIN 100

/* What of the metadata of a job is looked at, and may be looked for there. */
#define JS_MAX_ALERT_METADATA 1024
#define JS_MAX_ALERT_ELEMENTS 16
#define JS_MAX_ALERT_DEPTH 16
#define JS_MAX_SEARCHED_METADATA (64 * 1024)

/* Characters of the text of an error that are kept. */
#define JS_ALERT_ERROR 300

/* In the order in which messages name them. */
typedef enum JsAlertCondition
{
	JS_ALERT_FAILURES,
	JS_ALERT_NO_SUCCESS,
	JS_ALERT_RUNS_LONGER,
	JS_ALERT_WAITS_LONGER,
	JS_ALERT_LATE
} JsAlertCondition;

#define JS_ALERT_CONDITIONS (JS_ALERT_LATE + 1)

typedef struct JsAlert
{
	pg_uuid_t	id;
	char	   *name;
	Oid			owner;			/* perhaps nobody: see owner.h */
	bool		owner_is_stale;
	ArrayType  *channels;		/* of text; NULL: somebody has spoilt it */
	ArrayType  *jobs;			/* likewise */
	Jsonb	   *metadata;		/* NULL: none */
	bool		is_spoilt;		/* it is one that set_alert() would refuse */
	ArrayType  *on_status;
	int32		threshold;
	int64		within;			/* microseconds; 0: none */
	int64		spans[JS_ALERT_CONDITIONS]; /* of conditions of time, likewise */
	bool		every_failure;
	int64		group_for;
	int64		repeat_every;	/* 0: never */
	bool		resolved;
	TimestampTz created_at;
	TimestampTz updated_at;
	int64		revision;
} JsAlert;

typedef struct JsAlertState
{
	pg_uuid_t	alert_id;
	int64		job_id;
	JsAlertCondition condition;
	char	   *job_name;		/* NULL: not known */
	bool		firing;
	bool		held;			/* it changed while it was muted */
	TimestampTz since;
	TimestampTz until;
	int64		count;
	TimestampTz first_at;
	TimestampTz last_at;
	int64		last_run_id;	/* 0: none */
	char	   *status;
	char	   *sqlstate;
	char	   *error;
	int64		streak;
	TimestampTz streak_from;
	int64	   *failed_at;		/* the instants that may count; NULL: none */
	int32		nfailed_at;
	TimestampTz changed_at;
	int64		seq;
	int64		fired_seq;
	TimestampTz counts_from;
} JsAlertState;

typedef struct JsAlertTold
{
	pg_uuid_t	alert_id;
	char	   *channel;
	int64		told_seq;
	int64		told_before;
	int64		run_id;			/* 0: none */
	TimestampTz sent_at;
	TimestampTz remind_at;
	TimestampTz failed_at;
} JsAlertTold;

typedef struct JsAlertMute
{
	pg_uuid_t	alert_id;
	int64		job_id;			/* 0: all */
	TimestampTz until;
} JsAlertMute;

/* Of one that it does not take only id, owner, owner_is_stale and revision are read. */
typedef bool (*JsAlertFilter) (const JsAlert *head);
typedef void (*JsAlertVisitor) (const JsAlert *alert, void *arg);
typedef void (*JsAlertStateVisitor) (const JsAlertState *state, void *arg);
typedef void (*JsAlertToldVisitor) (const JsAlertTold *told, void *arg);
typedef void (*JsAlertMuteVisitor) (const JsAlertMute *mute, void *arg);

extern const char *js_alert_condition_name(JsAlertCondition condition);
extern int	js_alert_metadata_elements(Jsonb *metadata);
extern bool js_alert_metadata_is_fit(Jsonb *metadata);
extern void js_alert_lock(Oid owner, const char *name);
extern bool js_alert_find(Oid owner, const char *name, JsAlert *alert);
extern bool js_alert_exists(const pg_uuid_t *id);
extern int	js_alert_count(Oid owner);
extern void js_alert_write(const JsAlert *alert, bool is_new);
extern void js_alert_delete(const pg_uuid_t *id);
extern void js_alerts_visit(JsAlertFilter wants, JsAlertVisitor visit, void *arg);
extern void js_alerts_follow_roles(void);
extern void js_alerts_adopt(JsOwnerFilter may_adopt);

extern void js_alert_mute_write(const JsAlertMute *mute);
extern void js_alert_mute_delete(const pg_uuid_t *alert_id, int64 job_id, bool if_free);
extern int	js_alert_mute_count(const pg_uuid_t *alert_id, int64 job_id);
extern void js_alert_mutes_visit(JsAlertMuteVisitor visit, void *arg);

extern bool js_alert_state_write(const JsAlertState *state);
extern bool js_alert_state_delete(const JsAlertState *state);
extern void js_alert_states_visit(JsAlertStateVisitor visit, void *arg);

extern bool js_alert_told_is_free(const pg_uuid_t *alert_id, const char *channel);
extern bool js_alert_told_write(const JsAlertTold *told);
extern bool js_alert_told_delete(const pg_uuid_t *alert_id, const char *channel);
extern void js_alert_tolds_visit(JsAlertToldVisitor visit, void *arg);

typedef struct JsAlertJob
{
	char	   *name;
	TimestampTz created_at;
	Jsonb	   *metadata;		/* NULL: none, or too much of it */
} JsAlertJob;

extern bool js_alert_job_read(int64 job_id, bool with_metadata, JsAlertJob *job);

#endif							/* JS_STORE_ALERT_H */
