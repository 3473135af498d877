# jobsched: see README.md for users, doc/ for how it works

EXTENSION = jobsched
MODULE_big = jobsched
PGFILEDESC = "jobsched - cron schedules, a job queue, HTTP callouts and run history"

srcdir ?= .

# The control file says the version, and nothing else does but META.json, which
# has a test for it.
EXTVERSION := $(shell sed -n "s/^default_version *= *'\(.*\)'/\1/p" $(srcdir)/jobsched.control)

# src/mux is the other library; all else is the extension's own.
sources = $(patsubst $(srcdir)/%,%,$(sort $(wildcard $(1:%=$(srcdir)/src/%))))
CURL_OBJS = $(patsubst %.c,%.o,$(call sources,mux/*.c))
OBJS = $(filter-out $(CURL_OBJS),$(patsubst %.c,%.o,$(call sources,*.c */*.c)))

# The install script is written by topic, and joined in the order of the numbers.
SQL_PIECES = $(sort $(wildcard $(srcdir)/src/sql/*.sql))
DATA_built = sql/jobsched--$(EXTVERSION).sql

REGRESS = install schedule jobs parameters keep run after children batches steps undo procedures events cancel retry callbacks slots idempotency pace limits secrets hooks http_request triggers context statistics privileges views error_patterns
REGRESS_OPTS = --temp-instance=$(CURDIR)/tmp_instance \
	--temp-config=$(srcdir)/test/test.conf --use-existing
ISOLATION = same_key same_secret visibility event_order
ISOLATION_OPTS = --temp-instance=$(CURDIR)/tmp_instance_iso \
	--temp-config=$(srcdir)/test/test.conf
TAP_TESTS = 1
PROVE_TESTS = test/t/*.pl

# libcurl is linked with a library of its own, which only one process loads.
CURL_CONFIG ?= $(shell command -v curl-config || echo pkg-config libcurl)
CURL_CPPFLAGS ?= $(shell $(CURL_CONFIG) --cflags)
CURL_LIBS ?= $(shell $(CURL_CONFIG) --libs)
# Without its header compressed bodies stay as they are.
ZLIB_LIBS ?= $(shell printf '\#include <zlib.h>\n' | $(CC) -E - >/dev/null 2>&1 && echo -lz)
EXTRA_CLEAN = $(CURL_OBJS) jobsched_curl$(DLSUFFIX)

PG_CPPFLAGS = -I$(srcdir)/src -DJS_VERSION='"$(EXTVERSION)"'
PG_CFLAGS = -Wall -Wextra -Wno-unused-parameter -Wno-sign-compare \
	-Wno-missing-field-initializers

PG_CONFIG ?= pg_config
PGXS := $(shell $(PG_CONFIG) --pgxs)
include $(PGXS)

# PGXS would add its own database after ours; the background processes need
# one that exists when the server starts.
CONTRIB_TESTDB = postgres
ISOLATION_TESTDB = isolation_regression

$(DATA_built): $(SQL_PIECES)
	cat $^ > $@

# Every object sees every header, and the version: the tree is small and a stale
# object is not worth the seconds.
$(OBJS) $(CURL_OBJS): $(wildcard $(srcdir)/src/*.h $(srcdir)/src/*/*.h) $(srcdir)/jobsched.control

# PGXS builds one library of several objects; this is the other.
$(CURL_OBJS): override CPPFLAGS += $(CURL_CPPFLAGS) $(if $(ZLIB_LIBS),-DHAVE_ZLIB)

jobsched_curl$(DLSUFFIX): $(CURL_OBJS)
	$(LINK.shared) -o $@ $(CURL_OBJS) $(LDFLAGS) $(LDFLAGS_SL) $(CURL_LIBS) $(ZLIB_LIBS)

all: jobsched_curl$(DLSUFFIX)

install: install-curl
uninstall: uninstall-curl

install-curl: jobsched_curl$(DLSUFFIX) installdirs
	$(INSTALL_SHLIB) $< '$(DESTDIR)$(pkglibdir)/'

uninstall-curl:
	rm -f '$(DESTDIR)$(pkglibdir)/jobsched_curl$(DLSUFFIX)'

.PHONY: install-curl uninstall-curl
