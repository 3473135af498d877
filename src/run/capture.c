/*-------------------------------------------------------------------------
 *
 * capture.c
 *		Captures the messages of a run.
 *
 * A hook on the server's log sees every message of the process.  While a run
 * executes, it copies the run's messages (notices, warnings) into a buffer that
 * was allocated when the worker started, up to jobsched.max_log_size; messages
 * that do not fit are counted.  The hook allocates nothing and reports
 * nothing.  The buffer outlives the run's transaction and is written with its
 * record.
 *
 * The server calls the hook only for messages that log_min_messages lets
 * through.  A worker lowers that setting to info for itself, and the hook keeps
 * the additional messages out of the server's log.
 *
 * Callbacks get responses, which only their owner may see.  So their messages
 * are captured, and are not in the server's log.
 *
 * A FATAL message is the last one of the process.  It goes to shared memory,
 * where the scheduler finds it.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "guc.h"
#include "mb/pg_wchar.h"
#include "run/capture.h"
#include "shmem/clock.h"
#include "shmem/shmem.h"
#include "utils/elog.h"
#include "utils/guc.h"
#include "utils/memutils.h"

#define MAX_MESSAGE (16 * 1024)

static emit_log_hook_type prev_emit_log_hook = NULL;
static bool watching = false;	/* this is a worker */
static bool capturing = false;
static bool secret = false;		/* keep it out of the server's log */
static bool in_hook = false;
static int	server_log_level = WARNING; /* log_min_messages as it was set */

static JsLogLine lines[JS_MOST_LINES];
static int	line_count;
static int	dropped;
static char *buffer = NULL;
static Size buffer_size;
static Size buffer_used;

/* Copies as much of a text as there is room for, whole characters. */
static char *
keep_text(const char *text)
{
	Size		room = buffer_size - buffer_used;
	char	   *copy = buffer + buffer_used;
	int			length;

	if (room < 2)
		return NULL;
	length = pg_mbcliplen(text, strlen(text), Min(room - 1, MAX_MESSAGE));
	if (length == 0 && text[0] != '\0')
		return NULL;
	memcpy(copy, text, length);
	copy[length] = '\0';
	buffer_used += length + 1;
	return copy;
}

void
js_capture_add(const char *level, const char *message)
{
	char	   *copy = line_count < JS_MOST_LINES ? keep_text(message) : NULL;

	if (copy == NULL)
	{
		dropped++;
		return;
	}
	lines[line_count].logged_at = js_clock_now();
	lines[line_count].level = level;
	lines[line_count].message = copy;
	line_count++;
}

static const char *
level_name(int elevel)
{
	return elevel >= WARNING ? "warning" : elevel == NOTICE ? "notice" :
		elevel >= INFO ? "info" : "debug";
}

/* Whether the server's log would have had it: see is_log_level_output(). */
static bool
server_log_wants(int elevel)
{
	if (elevel == LOG || elevel == LOG_SERVER_ONLY)
		return server_log_level == LOG || server_log_level <= ERROR;
	if (server_log_level == LOG)
		return elevel >= FATAL;
	return elevel >= server_log_level;
}

static void
see_message(ErrorData *edata)
{
	in_hook = true;
	if (js_my_seat != NULL && (edata->elevel >= FATAL || (edata->elevel == ERROR && !capturing)))
		js_seat_note_error(unpack_sql_state(edata->sqlerrcode),
						   edata->message ? edata->message : "");
	else if (capturing && edata->message != NULL &&
			 edata->elevel >= INFO && edata->elevel < ERROR)
		js_capture_add(level_name(edata->elevel), edata->message);
	if (!server_log_wants(edata->elevel) ||
		(secret && edata->elevel >= INFO && edata->elevel <= ERROR))
		edata->output_to_server = false;
	if (secret)
		edata->hide_ctx = true; /* it can quote statements */
	in_hook = false;
}

static void
capture_hook(ErrorData *edata)
{
	if (watching && !in_hook)
		see_message(edata);
	if (prev_emit_log_hook)
		prev_emit_log_hook(edata);
}

void
js_capture_init(void)
{
	prev_emit_log_hook = emit_log_hook;
	emit_log_hook = capture_hook;
}

/* Makes this process one whose last words are kept. */
void
js_capture_watch(void)
{
	server_log_level = log_min_messages;
	watching = true;
}

/* Once connected, with all settings in force: has the server show us more. */
void
js_capture_open(void)
{
	server_log_level = log_min_messages;
	if (!server_log_wants(INFO))
		SetConfigOption("log_min_messages", "info", PGC_SUSET, PGC_S_OVERRIDE);
}

/* A new run: what is there is forgotten.  Is it secret from the server's log? */
void
js_capture_start(bool is_secret)
{
	Size		size = (Size) js_guc_max_log_size * 1024;

	if (size != buffer_size)
	{
		if (buffer != NULL)
			pfree(buffer);
		buffer = NULL;
		buffer_size = 0;
		buffer = MemoryContextAlloc(TopMemoryContext, size);
		buffer_size = size;
	}
	buffer_used = 0;
	line_count = dropped = 0;
	capturing = true;
	secret = is_secret;
}

void
js_capture_stop(void)
{
	capturing = secret = false;
}

/* What has been kept, with a last line for what has not. */
int
js_capture_lines(JsLogLine **result)
{
	static char note[64];

	if (dropped > 0)
	{
		int			last = Min(line_count, JS_MOST_LINES - 1);

		snprintf(note, sizeof(note), "%d more messages were dropped", dropped + line_count - last);
		lines[last].logged_at = js_clock_now();
		lines[last].level = "warning";
		lines[last].message = note;
		line_count = last + 1;
		dropped = 0;
	}
	*result = lines;
	return line_count;
}

/* A copy of a text, cut if it is out of proportion; NULL stays NULL. */
char *
js_capture_text(const char *text)
{
	if (text == NULL)
		return NULL;
	return pnstrdup(text, pg_mbcliplen(text, strlen(text), MAX_MESSAGE));
}
