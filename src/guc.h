/*-------------------------------------------------------------------------
 *
 * guc.h
 *		Settings.  doc/settings.md explains each of them.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#ifndef JS_GUC_H
#define JS_GUC_H

extern bool js_guc_enabled;
extern int	js_guc_max_workers;
extern int	js_guc_max_databases;
extern char *js_guc_databases;
extern char *js_guc_timezone;
extern char *js_guc_instance_id;
extern int	js_guc_worker_idle_timeout;
extern int	js_guc_max_running_per_owner;	/* 0: no limit */
extern int	js_guc_cancel_grace;	/* ms */
extern int	js_guc_shutdown_grace;	/* ms */
extern int	js_guc_history_retention;	/* s */
extern int	js_guc_failure_retention;	/* s */
extern int	js_guc_stats_retention; /* s */
extern int	js_guc_metrics_jobs;
extern char *js_guc_traceparent;
extern int	js_guc_spare_workers;
extern int	js_guc_max_queue_memory;	/* kB */
extern int	js_guc_max_job_size;	/* kB */
extern int	js_guc_max_args_size;	/* kB */
extern int	js_guc_max_events;
extern int	js_guc_max_depth;
extern int	js_guc_max_result_size; /* kB */
extern int	js_guc_max_log_size;	/* kB */
extern char *js_guc_http_allow; /* egress.h */
extern char *js_guc_http_deny;
extern char *js_guc_http_ca_file;	/* empty: the system's */
extern char *js_guc_http_proxy; /* empty: none */
extern int	js_guc_http_max_response;	/* kB */
extern int	js_guc_http_max_per_host;
extern int	js_guc_http_max_inflight;	/* 0: no HTTP worker */


/* jobsched.smtp_tls */
typedef enum JsSmtpTls
{
	JS_SMTP_TLS_REQUIRE,
	JS_SMTP_TLS_NONE
} JsSmtpTls;

extern char *js_guc_smtp_url;	/* empty: no e-mail */
extern char *js_guc_smtp_from;	/* empty: no e-mail */
extern int	js_guc_smtp_tls;	/* JsSmtpTls, of smtp:// */
extern char *js_guc_smtp_user;	/* empty: does not log in */
extern char *js_guc_smtp_password_file;

extern void js_guc_init(void);

#endif							/* JS_GUC_H */
