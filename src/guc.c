/*-------------------------------------------------------------------------
 *
 * guc.c
 *		Settings.
 *
 * Users can set only jobsched.timezone, a mere default, and
 * jobsched.traceparent, a mere label: a job must not be able to change the
 * rules that it runs under.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <limits.h>

#include "base/jobsched.h"
#include "cron/cron.h"
#include "guc.h"
#include "http/egress.h"
#include "http/mail.h"
#include "utils/guc.h"
#include "utils/varlena.h"

bool		js_guc_enabled = true;
int			js_guc_max_workers = 4;
int			js_guc_max_databases = 16;
char	   *js_guc_databases = NULL;
char	   *js_guc_timezone = NULL;
char	   *js_guc_instance_id = NULL;
int			js_guc_worker_idle_timeout = 60 * 1000;
int			js_guc_max_running_per_owner = 0;
int			js_guc_cancel_grace = 5 * 1000;
int			js_guc_shutdown_grace = 0;
int			js_guc_history_retention = 7 * 24 * 3600;
int			js_guc_failure_retention = 30 * 24 * 3600;
int			js_guc_stats_retention = 400 * 24 * 3600;
int			js_guc_metrics_jobs = 1000;
char	   *js_guc_traceparent = NULL;
int			js_guc_spare_workers = 2;
int			js_guc_max_queue_memory = 256 * 1024;
int			js_guc_max_job_size = 1024;
int			js_guc_max_args_size = 17 * 1024;	/* the largest body fits */
int			js_guc_max_events = 1000000;
int			js_guc_max_depth = 16;
int			js_guc_max_result_size = 1024;
int			js_guc_max_log_size = 64;
char	   *js_guc_http_allow = NULL;
char	   *js_guc_http_deny = NULL;
char	   *js_guc_http_ca_file = NULL;
char	   *js_guc_http_proxy = NULL;
int			js_guc_http_max_response = 256;
int			js_guc_http_max_per_host = 64;
int			js_guc_http_max_inflight = 1000;
char	   *js_guc_smtp_url = NULL;
char	   *js_guc_smtp_from = NULL;
int			js_guc_smtp_tls = JS_SMTP_TLS_REQUIRE;
char	   *js_guc_smtp_user = NULL;
char	   *js_guc_smtp_password_file = NULL;

static const struct config_enum_entry smtp_tls_options[] = {
	{"require", JS_SMTP_TLS_REQUIRE, false},
	{"none", JS_SMTP_TLS_NONE, false},
	{NULL, 0, false}
};

static bool
check_timezone_setting(char **newval, void **extra, GucSource source)
{
	if (js_timezone_lookup(*newval) != NULL)
		return true;
	GUC_check_errdetail("\"%s\" is no IANA time zone of this server.", *newval);
	GUC_check_errhint("View pg_timezone_names lists the names.");
	return false;
}

static bool
check_databases(char **newval, void **extra, GucSource source)
{
	char	   *copy = pstrdup(*newval);
	List	   *names = NIL;
	bool		ok = SplitIdentifierString(copy, ',', &names);

	list_free(names);
	pfree(copy);
	if (!ok)
		GUC_check_errdetail("The list of databases is not well formed.");
	return ok;
}

static bool
check_egress(char **newval, void **extra, GucSource source)
{
	char		error[400];
	JsEgressRules *rules = js_egress_parse(*newval, error, sizeof(error));

	js_egress_free(rules);
	if (rules == NULL)
	{
		GUC_check_errdetail("%s", error);
		GUC_check_errhint("It is a comma-separated list, such as \"10.0.0.0/8, [fd00::]/8:443, *.example.com\".");
	}
	return rules != NULL;
}

/* What follows the scheme is for libcurl to judge. */
static bool
check_proxy(char **newval, void **extra, GucSource source)
{
	static const char *const schemes[] = {"http://", "https://", "socks5://", "socks5h://"};

	if (**newval == '\0')
		return true;
	for (int i = 0; i < lengthof(schemes); i++)
		if (pg_strncasecmp(*newval, schemes[i], strlen(schemes[i])) == 0 &&
			(*newval)[strlen(schemes[i])] != '\0')
			return true;
	GUC_check_errdetail("It does not begin with http://, https://, socks5:// or socks5h://.");
	return false;
}

static bool
check_smtp_url(char **newval, void **extra, GucSource source)
{
	const char *problem = **newval != '\0' ? js_mail_relay_problem(*newval) : NULL;

	if (problem != NULL)
	{
		GUC_check_errdetail("%s", problem);
		GUC_check_errhint("It is, for example, \"smtp://relay.example.com:587\" or \"smtps://relay.example.com:465\".");
	}
	return problem == NULL;
}

static bool
check_smtp_from(char **newval, void **extra, GucSource source)
{
	const char *problem = **newval != '\0' ? js_mail_address_problem(*newval) : NULL;

	if (problem != NULL)
		GUC_check_errdetail("The address %s.", problem);
	return problem == NULL;
}

static void
define_process_settings(void)
{
	DefineCustomBoolVariable("jobsched.enabled",
							 "Starts runs; off stops everything but bookkeeping.",
							 "Running jobs finish. To switch off one database: ALTER DATABASE ... SET jobsched.enabled = off, then reload.",
							 &js_guc_enabled, true,
							 PGC_SUSET, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("jobsched.max_workers",
							"Worker processes of all databases together.",
							"Bounded by max_worker_processes, which they share with everything else.",
							&js_guc_max_workers, 4, 0, 1000,
							PGC_SIGHUP, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("jobsched.max_running_per_owner",
							"Runs of one role that are executed at the same time, in each database.",
							"0 means no limit.",
							&js_guc_max_running_per_owner, 0, 0, 10000,
							PGC_SIGHUP, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("jobsched.max_databases",
							"Databases of the cluster that can have a scheduler.",
							NULL,
							&js_guc_max_databases, 16, 1, 1000,
							PGC_POSTMASTER, 0, NULL, NULL, NULL);
	DefineCustomStringVariable("jobsched.databases",
							   "Databases whose jobs run; empty means every database with the extension.",
							   "A comma-separated list of names.",
							   &js_guc_databases, "",
							   PGC_SIGHUP, GUC_LIST_INPUT,
							   check_databases, NULL, NULL);
	DefineCustomIntVariable("jobsched.worker_idle_timeout",
							"How long a worker without a run keeps its session.",
							NULL,
							&js_guc_worker_idle_timeout, 60 * 1000, 0, INT_MAX,
							PGC_SIGHUP, GUC_UNIT_MS, NULL, NULL, NULL);
	DefineCustomIntVariable("jobsched.cancel_grace",
							"How long a cancelled or timed out run may take to stop.",
							"After that its worker is terminated.",
							&js_guc_cancel_grace, 5 * 1000, 0, INT_MAX,
							PGC_SIGHUP, GUC_UNIT_MS, NULL, NULL, NULL);
	DefineCustomIntVariable("jobsched.shutdown_grace",
							"How long a run may go on when the server is shut down.",
							"In a smart or fast shutdown; after that its worker ends.",
							&js_guc_shutdown_grace, 0, 0, INT_MAX,
							PGC_SIGHUP, GUC_UNIT_MS, NULL, NULL, NULL);
}

static void
define_history_settings(void)
{
	DefineCustomIntVariable("jobsched.history_retention",
							"How long succeeded runs are kept, at least.",
							"They go in sevenths of this time, whole segments at once.",
							&js_guc_history_retention, 7 * 24 * 3600, 60, INT_MAX,
							PGC_SIGHUP, GUC_UNIT_S, NULL, NULL, NULL);
	DefineCustomIntVariable("jobsched.failure_retention",
							"How long runs that did not succeed are kept, at least.",
							NULL,
							&js_guc_failure_retention, 30 * 24 * 3600, 60, INT_MAX,
							PGC_SIGHUP, GUC_UNIT_S, NULL, NULL, NULL);
	DefineCustomIntVariable("jobsched.stats_retention",
							"How long statistics are kept, at least.",
							"By hour for 30 days, then by day.",
							&js_guc_stats_retention, 400 * 24 * 3600, 3600, INT_MAX,
							PGC_SIGHUP, GUC_UNIT_S, NULL, NULL, NULL);
	DefineCustomIntVariable("jobsched.metrics_jobs",
							"How many jobs metrics() has series for, at most.",
							"What the others do is added up.",
							&js_guc_metrics_jobs, 1000, 0, 100000,
							PGC_SIGHUP, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("jobsched.max_result_size",
							"The largest result that is kept with a run.",
							"A larger one is dropped and the run's log says so.",
							&js_guc_max_result_size, 1024, 1, 1024 * 1024 - 1,
							PGC_SIGHUP, GUC_UNIT_KB, NULL, NULL, NULL);
	DefineCustomIntVariable("jobsched.max_log_size",
							"How much text of a run's messages is kept.",
							"What comes later is dropped and counted.",
							&js_guc_max_log_size, 64, 1, 1024 * 1024 - 1,
							PGC_SIGHUP, GUC_UNIT_KB, NULL, NULL, NULL);
}

/* Shares that one role has of what works for all. */
static void
define_share_settings(void)
{
	DefineCustomIntVariable("jobsched.spare_workers",
							"Worker processes beyond jobsched.max_workers, for roles that have none.",
							"So that one role's long runs do not keep another's from starting.",
							&js_guc_spare_workers, 2, 0, 1000,
							PGC_SIGHUP, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("jobsched.max_queue_memory",
							"Memory of a scheduler for the waiting runs of one role.",
							"Runs beyond it wait in their table only, and are read when there is room.",
							&js_guc_max_queue_memory, 256 * 1024, 1024, INT_MAX,
							PGC_SIGHUP, GUC_UNIT_KB, NULL, NULL, NULL);
	DefineCustomIntVariable("jobsched.max_job_size",
							"The largest definition of a job, all its texts together.",
							"A larger one is refused.",
							&js_guc_max_job_size, 1024, 64, 1024 * 1024 - 1,
							PGC_SIGHUP, GUC_UNIT_KB, NULL, NULL, NULL);
	DefineCustomIntVariable("jobsched.max_events",
							"Events of one role, in each database.",
							"It sends no more until some have expired.",
							&js_guc_max_events, 1000000, 1, INT_MAX,
							PGC_SIGHUP, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("jobsched.max_depth",
							"Generations of runs above a run: parents, and runs that have changed a table.",
							"A run that has so many above it can have no children, and triggers of tables start none for it.",
							&js_guc_max_depth, 16, 1, JS_MAX_DEPTH,
							PGC_SIGHUP, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("jobsched.max_args_size",
							"The largest args, request or state of a single run.",
							"Larger ones are refused.",
							&js_guc_max_args_size, 17 * 1024, 64, 1024 * 1024 - 1,
							PGC_SIGHUP, GUC_UNIT_KB, NULL, NULL, NULL);
}

/*
 * W3C Trace Context: 00-<trace id>-<parent id>-<flags>, no id all zeros.  It comes from
 * whoever sends a request to a gateway, and must not make that fail: what is malformed
 * is as none, as that standard wants it.
 */
static bool
check_traceparent(char **newval, void **extra, GucSource source)
{
	static const char form[] = "00-hhhhhhhhhhhhhhhhhhhhhhhhhhhhhhhh-hhhhhhhhhhhhhhhh-hh";
	char	   *text = *newval;
	bool		ok = strlen(text) == sizeof(form) - 1;

	for (int i = 0; ok && form[i] != '\0'; i++)
		ok = form[i] == 'h' ? strchr("0123456789abcdef", text[i]) != NULL : text[i] == form[i];
	if (!ok || strspn(text + 3, "0") >= 32 || strspn(text + 36, "0") >= 16)
		text[0] = '\0';
	return true;
}

static void
define_http_settings(void)
{
	DefineCustomStringVariable("jobsched.http_allow",
							   "Where HTTP requests may go besides the public internet.",
							   "A comma-separated list of CIDR[:port] and host patterns.",
							   &js_guc_http_allow, "",
							   PGC_SIGHUP, 0, check_egress, NULL, NULL);
	DefineCustomStringVariable("jobsched.http_deny",
							   "Where HTTP requests may not go.",
							   "A list like jobsched.http_allow, over which it prevails.",
							   &js_guc_http_deny, "",
							   PGC_SIGHUP, 0, check_egress, NULL, NULL);
	DefineCustomStringVariable("jobsched.http_ca_file",
							   "A file of certificate authorities that servers are verified with.",
							   "Empty: the system's.",
							   &js_guc_http_ca_file, "",
							   PGC_SIGHUP, 0, NULL, NULL, NULL);
	DefineCustomStringVariable("jobsched.http_proxy",
							   "The proxy that HTTP requests go through.",
							   "A URL. Empty: none, whatever the environment says.",
							   &js_guc_http_proxy, "",
							   PGC_SIGHUP, GUC_SUPERUSER_ONLY, check_proxy, NULL, NULL);
	DefineCustomIntVariable("jobsched.http_max_response",
							"How much of the body of a response is kept.",
							NULL,
							&js_guc_http_max_response, 256, 0, 64 * 1024,
							PGC_SIGHUP, GUC_UNIT_KB, NULL, NULL, NULL);
	DefineCustomIntVariable("jobsched.http_max_per_host",
							"HTTP requests of one role to one host and port that are under way at the same time, in each database.",
							NULL,
							&js_guc_http_max_per_host, 64, 1, 100000,
							PGC_SIGHUP, 0, NULL, NULL, NULL);
	DefineCustomIntVariable("jobsched.http_max_inflight",
							"HTTP requests of one role that are under way at the same time, in each database.",
							"0 means that none is sent.",
							&js_guc_http_max_inflight, 1000, 0, 100000,
							PGC_POSTMASTER, 0, NULL, NULL, NULL);
}

static void
define_smtp_settings(void)
{
	DefineCustomStringVariable("jobsched.smtp_url",
							   "The relay that e-mails are sent through.",
							   "smtp:// or smtps:// with host and port. Empty: no e-mail is sent.",
							   &js_guc_smtp_url, "",
							   PGC_SIGHUP, 0, check_smtp_url, NULL, NULL);
	DefineCustomStringVariable("jobsched.smtp_from",
							   "The address that e-mails are from.",
							   NULL,
							   &js_guc_smtp_from, "",
							   PGC_SIGHUP, 0, check_smtp_from, NULL, NULL);
	DefineCustomEnumVariable("jobsched.smtp_tls",
							 "Whether a relay at smtp:// has to offer STARTTLS.",
							 "none: e-mails are sent without TLS, and never a password.",
							 &js_guc_smtp_tls, JS_SMTP_TLS_REQUIRE, smtp_tls_options,
							 PGC_SIGHUP, 0, NULL, NULL, NULL);
	DefineCustomStringVariable("jobsched.smtp_user",
							   "The name to log in to the relay with.",
							   "Empty: without.",
							   &js_guc_smtp_user, "",
							   PGC_SIGHUP, GUC_SUPERUSER_ONLY, NULL, NULL, NULL);
	DefineCustomStringVariable("jobsched.smtp_password_file",
							   "A file with the password to log in to the relay with.",
							   "It is read for each e-mail. A relative path is one in the data directory.",
							   &js_guc_smtp_password_file, "",
							   PGC_SIGHUP, GUC_SUPERUSER_ONLY, NULL, NULL, NULL);
}

void
js_guc_init(void)
{
	define_process_settings();
	define_share_settings();
	define_history_settings();
	define_http_settings();
	define_smtp_settings();
	DefineCustomStringVariable("jobsched.timezone",
							   "The time zone of jobs that name none.",
							   "An IANA name.",
							   &js_guc_timezone, "UTC",
							   PGC_USERSET, 0, check_timezone_setting, NULL, NULL);
	DefineCustomStringVariable("jobsched.instance_id",
							   "Tells a physical copy of a cluster from its original.",
							   "Where it differs from the value at CREATE EXTENSION or adopt(), jobs sleep.",
							   &js_guc_instance_id, "",
							   PGC_POSTMASTER, 0, NULL, NULL, NULL);
	DefineCustomStringVariable("jobsched.traceparent",
							   "The W3C trace context that runs which are queued belong to.",
							   "Their HTTP requests continue it; inside a run it is the run's own.",
							   &js_guc_traceparent, "",
							   PGC_USERSET, 0, check_traceparent, NULL, NULL);
	MarkGUCPrefixReserved("jobsched");
}
