/*-------------------------------------------------------------------------
 *
 * sched_alert.h
 *		What the files of alerts share; sched_alert.c has the design.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#ifndef JS_SCHED_ALERT_H
#define JS_SCHED_ALERT_H

#include "scheduler/sched.h"
#include "store/store_alert.h"

typedef struct Alert Alert;
typedef struct AlertChannel AlertChannel;

/* A role that has alerts. */
typedef struct AlertOwner
{
	Oid			owner;
	int			nalerts;
	dlist_head	alerts;			/* Alert.node */
	dlist_head	channels;		/* AlertChannel.node */
} AlertOwner;

/* One to which some alert speaks, whether it is there or not. */
struct AlertChannel
{
	AlertOwner *owner;
	char	   *name;
	dlist_head	links;			/* AlertLink.node */
	TimestampTz due_at;			/* when changes are to be told; DT_NOEND:
								 * there are none */
	TimestampTz remind_at;		/* when some alert reminds; likewise */
	bool		in_heap;
	dlist_node	node;
	pairingheap_node due_node;
};

/* What a channel has been told of an alert: JsAlertTold. */
typedef struct AlertLink
{
	Alert	   *alert;
	AlertChannel *channel;
	bool		in_table;
	int64		told_seq;
	int64		told_before;
	int64		run_id;
	TimestampTz sent_at;
	TimestampTz remind_at;
	TimestampTz failed_at;
	dlist_node	node;
} AlertLink;

typedef struct AlertMute
{
	int64		job_id;			/* 0: all */
	TimestampTz until;
} AlertMute;

struct Alert
{
	pg_uuid_t	id;
	int64		revision;
	AlertOwner *owner;
	char	   *name;
	MemoryContext context;		/* of what the definition has */
	int			nlinks;
	AlertLink **links;
	int			npatterns;
	char	  **patterns;
	Jsonb	   *metadata;
	int			elements;		/* of arrays in it */
	uint32		statuses;		/* bits by JsStatus */
	int32		threshold;
	int64		within;
	int64		spans[JS_ALERT_CONDITIONS];
	bool		every_failure;
	int64		group_for;
	int64		repeat_every;
	bool		resolved;
	bool		clean_noted;
	bool		seen;			/* while all are read */
	bool		some_held;		/* states that changed while they were muted */
	int			nmutes;
	AlertMute  *mutes;
	dlist_head	states;			/* AlertState.node */
	dlist_head	watches;		/* AlertWatch.node */
	dlist_node	node;
	dlist_node	clean_node;
};

/* The key of a state; no padding. */
typedef struct AlertKey
{
	pg_uuid_t	alert_id;
	int64		job_id;
	int64		condition;
} AlertKey;

/* That something holds of a job, or did, or is about to. */
typedef struct AlertState
{
	AlertKey	key;			/* of the hash table */
	Alert	   *alert;			/* NULL: it has been dropped */
	JsAlertState row;			/* alert_id, job_id, condition are in the key;
								 * texts are allocated */
	bool		in_table;
	bool		dirty;
	bool		gone;			/* the row is to be deleted */
	bool		by_end;			/* changed by the end of a run: its row is
								 * written with the tally of the job */
	bool		unread;			/* the error of row.last_run_id is */
	dlist_node	node;
	dlist_node	dirty_node;
} AlertState;

/* An alert that concerns a job. */
typedef struct AlertWatch
{
	Alert	   *alert;
	struct JobAlerts *job;
	dlist_node	node;			/* in Alert.watches */
} AlertWatch;

/* The alerts that concern a job. */
struct JobAlerts
{
	JobEntry   *job;
	bool		looks;			/* some have conditions of time */
	bool		look_noted;
	bool		was_held;		/* when it was looked at */
	bool		looked;
	TimestampTz success_at;		/* the last success, or when it was created */
	TimestampTz timer;			/* DT_NOEND: none */
	TimestampTz look_after;		/* it is expensive; by the real clock */
	dlist_node	look_node;
	pairingheap_node timer_node;
	int			nwatches;
	AlertWatch	watches[FLEXIBLE_ARRAY_MEMBER];
};

/* To read a job or a run counts as so many comparisons. */
#define ALERT_READ_COST 50

/* Alerts that concern one job at most; others do not. */
#define ALERTS_OF_JOB 32

/* The end of a run of a job of which it is not known which alerts concern it. */
typedef struct AlertEnd
{
	int64		job_id;
	int64		run_id;
	JsStatus	status;
	TimestampTz finished_at;
	bool		unsure;			/* it may be that of a step */
} AlertEnd;

/* sched_alert_memory.c */
extern int64 sched_alert_seq;
extern AlertOwner *sched_alert_owner(Oid owner, bool make);
extern Alert *sched_alert_find(const pg_uuid_t *id);
extern Alert *sched_alert_make(const pg_uuid_t *id, AlertOwner *owner);
extern void sched_alert_remove(Alert *alert);
extern void sched_alerts_each(void (*visit) (Alert *alert));
extern AlertLink *sched_alert_link(Alert *alert, const char *channel);
extern void sched_alert_unlink(AlertLink *link);
extern AlertState *sched_alert_state(const pg_uuid_t *alert_id, int64 job_id, JsAlertCondition condition);
extern AlertState *sched_alert_state_open(Alert *alert, int64 job_id, JsAlertCondition condition);
extern void sched_alert_state_touch(AlertState *state);
extern void sched_alert_state_drop(AlertState *state);
extern void sched_alert_state_free(AlertState *state);
extern void sched_alert_state_text(char **to, const char *text);
extern void sched_alert_state_adopt(const JsAlertState *row, Alert *alert);
extern dlist_head *sched_alert_dirty(void);
extern bool sched_alert_is_muted(const Alert *alert, int64 job_id, TimestampTz now);
extern void sched_alert_note_clean(Alert *alert);
extern Alert *sched_alert_next_clean(void);
extern void sched_alert_set_due(AlertChannel *channel, TimestampTz due_at, TimestampTz remind_at);
extern void sched_alert_set_aside(AlertChannel *channel);
extern void sched_alert_channels_each(void (*visit) (AlertChannel *channel, void *arg), void *arg);
extern void sched_alert_channels_wake(void);
extern AlertChannel *sched_alert_first_channel(void);
extern TimestampTz sched_alert_channel_due(const AlertChannel *channel);
extern void sched_alert_set_timer(JobAlerts *alerts, TimestampTz when);
extern JobAlerts *sched_alert_first_timer(void);
extern JobAlerts *sched_alert_next_look(void);
extern bool sched_alert_looks_wait(void);
extern void sched_alert_attach(JobEntry *job, Alert **alerts, int count);
extern int64 sched_alert_next_stale(void);
extern void sched_alert_stale(JobEntry *job);
extern void sched_alert_keep_end(const AlertEnd *end);
extern bool sched_alert_next_end(AlertEnd *end);
extern bool sched_alert_ends_wait(void);
extern bool sched_alert_many_ends(void);
extern bool sched_alert_stale_waits(void);
extern bool sched_alert_clean_waits(void);
extern TimestampTz sched_alert_later(TimestampTz from, int64 us);

/* sched_alert_state.c */
extern bool sched_alert_is_pending(const AlertState *state, const AlertLink *link);
extern bool sched_alert_is_told(const AlertState *state);
extern void sched_alert_recall_due(Alert *alert);
extern void sched_alert_changed(AlertState *state, TimestampTz now);
extern void sched_alert_fire(AlertState *state, TimestampTz since, TimestampTz now);
extern void sched_alert_resolve(AlertState *state, TimestampTz now);
extern void sched_alert_stop(AlertState *state, TimestampTz now);
extern void sched_alert_take_end(JobAlerts *alerts, const AlertEnd *end);

/* sched_alert_define.c */
extern void sched_alerts_read(bool first);
extern TimestampTz sched_alerts_read_after(void);
extern bool sched_alerts_match(TimestampTz now);
extern bool sched_alerts_match_waits(void);
extern int	sched_alert_match(JobEntry *job, TimestampTz now);

/* sched_alert_look.c */
extern bool sched_alerts_look(TimestampTz now);
extern TimestampTz sched_alerts_look_after(void);

/* sched_alert_write.c */
extern bool sched_alerts_write(void);
extern TimestampTz sched_alerts_write_after(void);

/* sched_alert_text.c */
typedef struct AlertItem
{
	const AlertState *state;
	bool		reminds;
} AlertItem;

#define ALERT_ITEMS 10

typedef struct AlertMessage
{
	const char *channel;
	AlertItem	items[ALERT_ITEMS];
	int			nitems;
	int64		more;			/* states that are not among them */
	int64		count;			/* failures of all */
	int64		firing;			/* states that fire; */
	int64		over;			/* and that do not any more */
	bool		changes;		/* it is no mere reminder */
} AlertMessage;

extern Jsonb *sched_alert_compose(const AlertMessage *message, const char *id);

/* sched_alert_send.c */
extern bool sched_alerts_send(TimestampTz now);
extern TimestampTz sched_alerts_send_after(void);
extern void sched_alerts_hear(int64 channel_id);

#endif							/* JS_SCHED_ALERT_H */
