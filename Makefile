# jobsched: see README.md for users, doc/ for how it works

EXTENSION = jobsched
MODULE_big = jobsched
PGFILEDESC = "jobsched - cron schedules, a job queue, HTTP callouts and run history"

OBJS = \
	src/access.o \
	src/api.o \
	src/backfill.o \
	src/bounds.o \
	src/calendar.o \
	src/callback.o \
	src/cancel.o \
	src/capture.o \
	src/catalog.o \
	src/clock.o \
	src/context.o \
	src/cron.o \
	src/cron_explain.o \
	src/cron_fields.o \
	src/cron_next.o \
	src/cron_zone.o \
	src/egress.o \
	src/execsql.o \
	src/guard.o \
	src/guc.o \
	src/http.o \
	src/http_record.o \
	src/http_turn.o \
	src/http_worker.o \
	src/http_charset.o \
	src/http_definition.o \
	src/http_header.o \
	src/http_params.o \
	src/http_redirect.o \
	src/http_render_sql.o \
	src/http_request.o \
	src/http_response.o \
	src/http_sign.o \
	src/http_template.o \
	src/http_text.o \
	src/http_url.o \
	src/idempotency.o \
	src/interval.o \
	src/job_schedule.o \
	src/jobsched.o \
	src/keys.o \
	src/launcher.o \
	src/limit.o \
	src/needles.o \
	src/owner.o \
	src/policy.o \
	src/process.o \
	src/processing.o \
	src/queue.o \
	src/retry.o \
	src/row_json.o \
	src/sched_cancel.o \
	src/sched_dispatch.o \
	src/sched_end.o \
	src/sched_fair.o \
	src/sched_fire.o \
	src/sched_fold.o \
	src/sched_http.o \
	src/sched_idempotency.o \
	src/sched_jobless.o \
	src/sched_limit.o \
	src/sched_load.o \
	src/sched_memory.o \
	src/sched_owner.o \
	src/sched_overlap.o \
	src/sched_slot.o \
	src/schedule_sql.o \
	src/scheduler.o \
	src/secret.o \
	src/session.o \
	src/shmem.o \
	src/shmem_database.o \
	src/shmem_flight.o \
	src/shmem_slot.o \
	src/shutdown.o \
	src/status.o \
	src/store_history.o \
	src/store_idempotency.o \
	src/store_job.o \
	src/store_limit.o \
	src/store_request.o \
	src/store_retried.o \
	src/store_run.o \
	src/store_secret.o \
	src/table.o \
	src/trigger.o \
	src/utility_hook.o \
	src/vault.o \
	src/wait.o \
	src/wakeup.o \
	src/webhook_check.o \
	src/worker.o \
	src/worker_shared.o

# The install script is written in pieces, in the order of their numbers.
SQL_PIECES = $(sort $(wildcard $(srcdir)/src/sql/*.sql))
DATA_built = sql/jobsched--1.0.sql
EXTRA_CLEAN = sql/jobsched--1.0.sql

REGRESS = install schedule jobs run cancel retry slots idempotency pace limits secrets http_request context privileges views
REGRESS_OPTS = --temp-instance=$(CURDIR)/tmp_instance \
	--temp-config=$(srcdir)/test/test.conf --use-existing
ISOLATION = same_key same_secret visibility
ISOLATION_OPTS = --temp-instance=$(CURDIR)/tmp_instance_iso \
	--temp-config=$(srcdir)/test/test.conf
TAP_TESTS = 1
PROVE_TESTS = test/t/*.pl

# libcurl is linked with a library of its own, which only one process loads.
HTTP_OBJS = \
	src/http_module.o \
	src/http_mux.o \
	src/http_mux_call.o \
	src/http_mux_poll.o \
	src/http_mux_reply.o \
	src/http_mux_unpack.o
CURL_CONFIG ?= $(shell command -v curl-config || echo pkg-config libcurl)
CURL_CPPFLAGS ?= $(shell $(CURL_CONFIG) --cflags)
CURL_LIBS ?= $(shell $(CURL_CONFIG) --libs)
# Without its header compressed bodies stay as they are.
ZLIB_LIBS ?= $(shell printf '\#include <zlib.h>\n' | $(CC) -E - >/dev/null 2>&1 && echo -lz)
EXTRA_CLEAN += $(HTTP_OBJS) jobsched_http$(DLSUFFIX)

PG_CFLAGS = -Wall -Wextra -Wno-unused-parameter -Wno-sign-compare \
	-Wno-missing-field-initializers

srcdir ?= .
PG_CONFIG ?= pg_config
PGXS := $(shell $(PG_CONFIG) --pgxs)
include $(PGXS)

# PGXS would add its own database after ours; the background processes need
# one that exists when the server starts.
CONTRIB_TESTDB = postgres
ISOLATION_TESTDB = isolation_regression

sql/jobsched--1.0.sql: $(SQL_PIECES)
	cat $^ > $@

# Every object sees every header: the tree is small and a stale object is not
# worth the seconds.
$(OBJS) $(HTTP_OBJS): $(wildcard $(srcdir)/src/*.h)

# PGXS builds one library of several objects; this is the other.
$(HTTP_OBJS): override CPPFLAGS += $(CURL_CPPFLAGS) $(if $(ZLIB_LIBS),-DHAVE_ZLIB)

jobsched_http$(DLSUFFIX): $(HTTP_OBJS)
	$(LINK.shared) -o $@ $(HTTP_OBJS) $(LDFLAGS) $(LDFLAGS_SL) $(CURL_LIBS) $(ZLIB_LIBS)

all: jobsched_http$(DLSUFFIX)

install: install-http
uninstall: uninstall-http

install-http: jobsched_http$(DLSUFFIX) installdirs
	$(INSTALL_SHLIB) $< '$(DESTDIR)$(pkglibdir)/'

uninstall-http:
	rm -f '$(DESTDIR)$(pkglibdir)/jobsched_http$(DLSUFFIX)'

.PHONY: install-http uninstall-http
