/*-------------------------------------------------------------------------
 *
 * http_mail.c
 *		Runs that are e-mails: what is sent, and what its end means.
 *
 * A run of a channel of kind email has the request
 * {"channel": "email", "to": ADDRESS}, and its args are the message: subject, text
 * and id.  The process that sends HTTP requests sends it as it sends those:
 *
 *	A	the message and the settings become a request of one JsMuxMail
 *	B	the relay gets it (mux_mail.c)
 *	C	the relay's last answer is recorded, as a response: its code is the
 *		status, its text the body
 *
 * The run's timeout is that of all of it; there is none for the connection alone,
 * for the mail may wait for one of the few, and relays may be slow to greet, to make
 * those go away who do not wait.
 *
 * The relay is what settings say, with sender, user and password; a user says to
 * whom and what.  So no rule of jobsched.http_allow or http_deny is asked.  The
 * password is read for each mail, from a file that only the settings name, and is
 * kept nowhere; a relay that repeats it has it replaced.
 *
 * A mail has succeeded if the relay has taken it over (2xx).  A code of 4xx is one
 * that passes, and the run is tried again as its policy says; with 5xx it is not
 * (retry.c).  If this process dies between the relay's answer and the record, the
 * mail is sent again, with the same Message-ID.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/sqlstate.h"
#include "compat.h"
#include "guc.h"
#include "http/http_text.h"
#include "http/mail.h"
#include "mb/pg_wchar.h"
#include "run/retry.h"
#include "shmem/clock.h"
#include "storage/fd.h"
#include "worker/http_worker.h"

#define MAX_PASSWORD 1024

/* What an error shows of a relay's answer. */
#define SHOWN_ANSWER 500

/* ------------------------------------------------------------------------
 * The request
 * ------------------------------------------------------------------------
 */

static bool
is_given(const char *setting)
{
	return setting != NULL && setting[0] != '\0';
}

static void
check_settings(void)
{
	const char *missing = !is_given(js_guc_smtp_url) ? "jobsched.smtp_url" :
		!is_given(js_guc_smtp_from) ? "jobsched.smtp_from" : NULL;

	if (missing != NULL)
		ereport(ERROR,
				(errcode(JS_ERRCODE_STATE),
				 errmsg("no e-mail can be sent: %s is not set", missing),
				 errhint("A superuser sets it with ALTER SYSTEM.")));
}

static char *
recipient_of(Jsonb *definition)
{
	char	   *address = js_http_text(definition, JS_CHANNEL_TO);
	const char *problem = address != NULL ? js_mail_address_problem(address) : NULL;

	if (address == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("the e-mail has no address to go to"),
				 errhint("A message that was queued for a channel of another kind has none.")));
	if (problem != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("address \"%s\" %s", address, problem)));
	return address;
}

/* The owner of the run sees the error, the server's log where the file is. */
pg_noreturn static void
refuse_password(const char *problem)
{
	ereport(LOG,
			(errmsg("jobsched.smtp_password_file \"%s\" %s", js_guc_smtp_password_file, problem)));
	ereport(ERROR,
			(errcode(JS_ERRCODE_STATE),
			 errmsg("the password for the mail relay cannot be read"),
			 errhint("The server's log has the reason.")));
}

/* A pipe would keep us waiting; what waits there is not waited for. */
static ssize_t
read_password_file(char *password, size_t size)
{
	int			fd = OpenTransientFile(js_guc_smtp_password_file, O_RDONLY | O_NONBLOCK | PG_BINARY);
	struct stat status;
	ssize_t		count;

	if (fd < 0)
		refuse_password(psprintf("cannot be opened: %s", strerror(errno)));
	if (fstat(fd, &status) != 0 || !S_ISREG(status.st_mode))
		refuse_password("is no file");
	count = read(fd, password, size);
	if (count < 0)
		refuse_password(psprintf("cannot be read: %s", strerror(errno)));
	CloseTransientFile(fd);
	return count;
}

/* A control character would not be found where a relay repeats it. */
static bool
is_text(const char *password, ssize_t size)
{
	for (ssize_t i = 0; i < size; i++)
		if ((unsigned char) password[i] < ' ' || password[i] == 0x7f)
			return false;
	return true;
}

/* The first line of the file, which has no other. */
static char *
read_password(void)
{
	char		password[MAX_PASSWORD + 1];
	ssize_t		count;

	if (!is_given(js_guc_smtp_password_file))
		ereport(ERROR,
				(errcode(JS_ERRCODE_STATE),
				 errmsg("jobsched.smtp_user is set and jobsched.smtp_password_file is not")));
	count = read_password_file(password, sizeof(password));
	if (count > MAX_PASSWORD)
		refuse_password("has more than " CppAsString2(MAX_PASSWORD) " bytes");
	while (count > 0 && (password[count - 1] == '\n' || password[count - 1] == '\r'))
		count--;
	if (count == 0)
		refuse_password("is empty");
	if (!is_text(password, count))
		refuse_password("has more than a line of text");
	return pnstrdup(password, count);
}

static bool
is_over_tls(void)
{
	return js_guc_smtp_tls == JS_SMTP_TLS_REQUIRE ||
		strncmp(js_guc_smtp_url, "smtps:", strlen("smtps:")) == 0;
}

/* As a relay that repeats what it was told could show it. */
static List *
forms_of_password(const char *user, const char *password)
{
	char	   *plain = psprintf("%c%s%c%s", '\0', user, '\0', password);

	return list_make3((void *) password, js_base64(password, strlen(password)),
					  js_base64(plain, strlen(user) + strlen(password) + 2));
}

static void
set_login(JsTransfer *transfer, JsMuxMail *mail)
{
	if (!is_given(js_guc_smtp_user))
		return;
	if (!is_over_tls())
		ereport(ERROR,
				(errcode(JS_ERRCODE_STATE),
				 errmsg("no e-mail can be sent: jobsched.smtp_user is set and jobsched.smtp_tls is \"none\""),
				 errdetail("A password is not sent without TLS.")));
	mail->user = pstrdup(js_guc_smtp_user);
	mail->password = read_password();
	transfer->request.secrets = forms_of_password(mail->user, mail->password);
}

/* A text of the message; what is missing, or no text, is an empty one. */
static char *
text_of(Jsonb *args, const char *name)
{
	char	   *text = args != NULL && JB_ROOT_IS_OBJECT(args) ? js_http_text(args, name) : NULL;

	return text != NULL ? text : pstrdup("");
}

/* Of the message, not of the attempt: what comes late at some address can be told by it. */
static TimestampTz
date_of(const JsRun *run)
{
	TimestampTz now = js_clock_now();

	return TIMESTAMP_NOT_FINITE(run->queued_at) || run->queued_at > now ? now : run->queued_at;
}

static char *
render_message(const JsRun *run, const JsMuxMail *mail, const pg_uuid_t *token)
{
	JsMailMessage message = {0};

	message.sender = mail->sender;
	message.recipient = mail->recipient;
	message.token = token;
	message.date = date_of(run);
	message.subject = text_of(run->args, "subject");
	message.text = text_of(run->args, "text");
	message.id = text_of(run->args, "id");
	if (message.id[0] == '\0')
		message.id = psprintf("run " INT64_FORMAT, run->run_id);
	return js_mail_render(&message);
}

/* args are those of the run, with the job's, as js_channel_args() has made them. */
void
js_http_render_mail(JsTransfer *transfer, const JsRun *run, Jsonb *definition, const pg_uuid_t *token)
{
	JsHttpRequest *request = &transfer->request;
	JsMuxMail  *mail = palloc0(sizeof(JsMuxMail));

	mail->recipient = recipient_of(definition);
	check_settings();
	mail->sender = pstrdup(js_guc_smtp_from);
	mail->tls = is_over_tls();
	set_login(transfer, mail);
	request->body = render_message(run, mail, token);
	request->body_size = strlen(request->body);
	request->url = pstrdup(js_guc_smtp_url);
	request->shown_url = psprintf("mailto:%s", mail->recipient);
	request->method = pstrdup("MAIL");
	transfer->mail_to_send = mail;
}

/* ------------------------------------------------------------------------
 * The outcome
 * ------------------------------------------------------------------------
 */

/* What the relay says, which may be anything. */
static char *
answer_of(const JsTransfer *transfer)
{
	const JsMuxResponse *response = transfer->response;
	size_t		size = response->body_size;
	const char *text = js_http_redact(transfer->request.secrets, response->body, &size);

	if (size > SHOWN_ANSWER)
		size = pg_encoding_mbcliplen(PG_UTF8, text, size, SHOWN_ANSWER);
	return js_http_header_text(transfer->request.secrets, text, size);
}

void
js_http_outcome_of_mail(const JsTransfer *transfer, JsOutcome *outcome)
{
	int			status = transfer->response->status;

	if (status >= 200 && status <= 299)
	{
		outcome->status = JS_SUCCEEDED;
		return;
	}
	outcome->status = JS_FAILED;
	outcome->reason = JS_SMTP_STATUS;
	outcome->sqlstate = psprintf(JS_SQLSTATE_STATUS "%03d", status % 1000);
	outcome->error = psprintf("the mail relay answered with %d: %s", status, answer_of(transfer));
}
