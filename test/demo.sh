#!/bin/bash
#
# Shows jobsched at work: builds it, starts a server of its own in a temporary
# directory, installs the examples and lets their jobs run. See --help.

set -euo pipefail

tree=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source=test/lib/common.sh
. "$tree/test/lib/common.sh"
# shellcheck source=test/lib/server.sh
. "$tree/test/lib/server.sh"
# shellcheck source=test/lib/stage.sh
. "$tree/test/lib/stage.sh"

usage() {
	cat <<'END'
usage: test/demo.sh [--once]
       test/demo.sh --stop DIRECTORY

Builds jobsched, starts a PostgreSQL server in a temporary directory with it,
installs examples/*.sql there, runs their jobs and shows what is to be seen;
prints the link to the dashboard, which is served on 127.0.0.1.
Runs as root or as a user with sudo, on Debian; Debian packages that are
missing are installed. Apart from these, everything is in that directory.

  --once            stop the servers and remove the directory at the end;
                    without it they stay for you to look around
  --stop DIRECTORY  stop the servers of an earlier demo and remove it
  --help            this text

Environment:
  PG_CONFIG         pg_config of the PostgreSQL to use; default: the newest
                    that is installed with its server-dev package, else the
                    newest that apt has
END
}

jobs=(ingest-clicks calculate-baseline run-detection wishlist-sale-check wishlist-stock-check)
once=
work=
ready=
receiver=

# --- the server ------------------------------------------------------------

# remove_server DIRECTORY: stops it if it runs, and removes the directory.
remove_server() {
	local dir
	dir=$(cd "$1" 2>/dev/null && pwd) || die "no such directory: $1"
	[[ $dir == */jobsched-demo.* ]] || die "not a directory of this demo: $dir"
	[ -r "$dir/bindir" ] || die "not a directory of this demo, or of another user: $dir"
	stop_page "$dir"
	stop_server fast "$dir"
	cd / && rm -rf "$dir"
}

# Runs at every exit. What has failed leaves nothing behind but its message.
finish() {
	local status=$?
	trap - EXIT
	[ -n "$work" ] || exit "$status"
	[ -z "$receiver" ] || kill "$receiver" 2>/dev/null || :
	if [ -z "$ready" ]; then
		warn "stopped with status $status"
		tail -n 30 "$work/log" >&2 2>/dev/null || :
	fi
	if [ -z "$ready" ] || [ -n "$once" ]; then remove_server "$work"; fi
	exit "$status"
}

server_settings() {
	say "shared_preload_libraries = 'jobsched'"
	say 'max_worker_processes = 16'
	say "jobsched.http_allow = '127.0.0.1'"
}

# --- the dashboard ---------------------------------------------------------

# serve_page: starts its server, as the role that has the jobs. Without it all else works.
serve_page() {
	heading "the dashboard"
	install_page || { warn "there is no dashboard: it needs Node.js, and a package from npm" && return 0; }
	# shellcheck disable=SC2016 # that shell's
	as_server sh -c 'cd "$1/dashboard" && echo $$ >"$1/page.pid" &&
		PGHOST=$1 PGUSER=demo PGDATABASE=demo exec setsid node serve.mjs >"$1/link" 2>"$1/page.log"' sh "$work" </dev/null &
	local deadline=$((SECONDS + 30))
	until [ -s "$work/link" ]; do
		[ "$SECONDS" -lt "$deadline" ] || die "the dashboard does not start: $(cat "$work/page.log")"
		sleep 0.1
	done
	say "open it:      $(cat "$work/link")"
}

# install_page: what its server needs, from npm; without network what the tree has of it.
install_page() {
	if ! have node || ! have npm; then install_packages nodejs npm || return 1; fi
	mkdir "$work/dashboard"
	cp -r "$tree"/dashboard/{serve.mjs,server,dist,package.json,package-lock.json} "$work/dashboard"
	env npm_config_cache="$work/npm" npm_config_fetch_retry_mintimeout=1000 npm --prefix "$work/dashboard" ci --omit=dev --ignore-scripts --no-audit --no-fund \
		</dev/null >"$work/npm.log" 2>&1 || cp -r "$tree/dashboard/node_modules" "$work/dashboard" 2>/dev/null || return 1
	[ "$(id -u)" != 0 ] || chown -R "$server_user" "$work/dashboard"
}

# stop_page DIRECTORY: if it runs there, and is no other process that got its number.
stop_page() {
	local pid
	pid=$(cat "$1/page.pid" 2>/dev/null) || return 0
	[ "$(readlink "/proc/$pid/cwd")" = "$1/dashboard" ] || return 0
	as_server kill "$pid" 2>/dev/null || :
}

# Something goes on there: a job of every few seconds, which fails now and then.
keep_busy() {
	query "
		SELECT jobsched.set_queue('reports', max_running => 1);
		SELECT jobsched.alter_job('slow-report', schedule => 'every 1 minute', queue => 'reports');
		SELECT jobsched.create_job('check-prices', '*/5 * * * * *', description => 'Fails now and then, to be looked at',
			command => 'SELECT CASE WHEN random() < 0.1 THEN 1 / 0 ELSE 1 END, pg_sleep(random())')" >/dev/null
}

# --- asking it -------------------------------------------------------------

psql_as() {
	local user=$1
	shift
	"$bindir/psql" -X -q -v ON_ERROR_STOP=1 -P pager=off -h "$work" -U "$user" -d demo "$@"
}

query() { psql_as demo -At -c "$1"; }
show() { psql_as demo -P null='-' -P footer=off -c "$1"; }

# wait_until SECONDS WHAT CONDITION
wait_until() {
	local deadline=$((SECONDS + $1))
	until [ "$(query "SELECT $3")" = t ]; do
		[ "$SECONDS" -lt "$deadline" ] || die "waited $1 seconds for: $2"
		sleep 0.2
	done
}

# trigger_and_wait JOB [ARGS]: prints the run's id.
trigger_and_wait() {
	local run_id
	run_id=$(query "SELECT jobsched.trigger('$1', nullif('${2:-}', '')::jsonb)")
	query "CALL jobsched.wait_run($run_id, '30 s')" >/dev/null
	say "$run_id"
}

# --- the demonstration -----------------------------------------------------

# The examples belong to a role without any privilege but the schema's usage.
install_examples() {
	psql_as postgres -d postgres -c 'CREATE ROLE demo LOGIN' -c 'CREATE DATABASE demo OWNER demo'
	psql_as postgres -c 'CREATE EXTENSION jobsched' -c 'GRANT USAGE ON SCHEMA jobsched TO demo' \
		-c 'GRANT EXECUTE ON FUNCTION jobsched.http_request, jobsched.http_webhook TO demo'
	run_examples
	show "
		CREATE SCHEMA demo;
		CREATE FUNCTION demo.slow_report(args jsonb) RETURNS jsonb LANGUAGE plpgsql AS \$\$
		BEGIN
			FOR step IN 1 .. 30 LOOP
				PERFORM jobsched.progress(step, 30, format('page %s', step));
				PERFORM pg_sleep(0.2);
			END LOOP;
			RETURN '{\"pages\": 30}';
		END \$\$;
		DO \$\$ BEGIN
			PERFORM jobsched.create_job('slow-report', handler => 'demo.slow_report');
			PERFORM jobsched.create_job('broken-job', command => 'SELECT 100 / (SELECT count(*) FROM click_guard.clicks WHERE false)');
		END \$\$"
}

run_examples() {
	local example
	for example in "$tree"/examples/*.sql; do
		PGOPTIONS='-c client_min_messages=warning' psql_as demo -f "$example" -o /dev/null
	done
}

show_jobs() {
	heading "jobs (view jobsched.jobs)"
	show "SELECT name, coalesce(handler, left(command, 16) || '...') AS runs, schedule, timezone, state, next_run_at
		FROM jobsched.jobs ORDER BY job_id"
	heading "when they run next (view jobsched.upcoming)"
	show "SELECT job_name, timezone,
			(SELECT string_agg(to_char(n AT TIME ZONE timezone, 'DD Mon HH24:MI'), ', ' ORDER BY n) FROM unnest(next_runs) n) AS next_runs
		FROM jobsched.upcoming ORDER BY run_at, job_name"
}

# Sooner than the examples' own schedules would.
run_on_schedule() {
	local job
	heading "the same jobs, every two seconds"
	for job in "${jobs[@]}"; do
		query "SELECT jobsched.alter_job('$job', schedule => '*/2 * * * * *')" >/dev/null
	done
	for job in "${jobs[@]}"; do
		wait_until 30 "$job to succeed on its schedule" "EXISTS (SELECT FROM jobsched.runs
			WHERE job_name = '$job' AND source = 'schedule' AND status = 'succeeded')"
	done
	show "SELECT DISTINCT ON (job_name) job_name, scheduled_for, started_at - scheduled_for AS started_after, duration
		FROM jobsched.runs WHERE source = 'schedule' AND status = 'succeeded' ORDER BY job_name, run_id DESC"
}

# With their own schedules again, so that the history does not fill up.
restore_schedules() { run_examples; }

show_running() {
	heading "running, with progress (view jobsched.running)"
	query "SELECT jobsched.trigger('slow-report')" >/dev/null
	wait_until 30 "slow-report to be half done" \
		"EXISTS (SELECT FROM jobsched.running WHERE job_name = 'slow-report' AND progress_done >= 10)"
	show "SELECT run_id, job_name, elapsed, progress_done AS done, progress_total AS total, progress_message AS message, worker_pid
		FROM jobsched.running WHERE job_name = 'slow-report'"
}

show_trigger() {
	local run_id
	heading "triggered by hand, with another argument: jobsched.trigger('run-detection', '{\"hours\": 6}')"
	run_id=$(trigger_and_wait run-detection '{"hours": 6}')
	show "SELECT run_id, job_name, source, status, jsonb_pretty(result) AS result FROM jobsched.runs WHERE run_id = $run_id"
}

show_failure() {
	local run_id
	heading "a job that fails"
	run_id=$(trigger_and_wait broken-job)
	show "SELECT run_id, job_name, status, sqlstate, error FROM jobsched.runs WHERE run_id = $run_id"
}

# The steps of a workflow as a tree: each to the right of those that it comes after.
show_workflow() {
	local run_id
	heading "a job made of steps (view jobsched.workflows, function jobsched.workflow_graph)"
	query "SELECT jobsched.create_job('nightly', steps => '[
		{\"name\": \"clicks\", \"command\": \"SELECT count(*) AS clicks FROM click_guard.clicks\"},
		{\"name\": \"wishes\", \"command\": \"SELECT count(*) AS told FROM wishlist.notifications\", \"after\": []},
		{\"name\": \"report\", \"command\": \"SELECT jobsched.step_result(''clicks'') AS clicks, jobsched.step_result(''wishes'') AS wishes\",
		 \"after\": [\"clicks\", \"wishes\"]},
		{\"name\": \"mail\", \"command\": \"SELECT 1 / 0\", \"optional\": true},
		{\"name\": \"complain\", \"command\": \"SELECT ''nobody has been told'' AS complaint\", \"when\": \"failure\"},
		{\"name\": \"archive\", \"command\": \"SELECT jobsched.step_result(''report'') AS archived\", \"after\": [\"report\"]}]')" >/dev/null
	run_id=$(trigger_and_wait nightly)
	show "SELECT run_id, workflow, status, total, succeeded, failed, skipped, duration FROM jobsched.workflows WHERE run_id = $run_id"
	show "
		WITH RECURSIVE workflow AS MATERIALIZED (
			SELECT jobsched.workflow_graph($run_id) AS graph
		), node AS (
			SELECT n.* FROM workflow, jsonb_to_recordset(graph -> 'nodes')
				AS n (id text, step_no int, run_id bigint, status text, started_at timestamptz)
		), edge AS (
			SELECT e.* FROM workflow, jsonb_to_recordset(graph -> 'edges') AS e (\"from\" text, \"to\" text, \"when\" text)
		), level AS (
			SELECT id, 0 AS level FROM node
			UNION
			SELECT e.\"to\", l.level + 1 FROM level l JOIN edge e ON e.\"from\" = l.id
		)
		SELECT repeat('   ', max(l.level)) || n.id AS step, n.status,
			(SELECT string_agg(format('%s of %s', e.\"when\", e.\"from\"), ', ') FROM edge e WHERE e.\"to\" = n.id) AS after,
			s.result
		FROM node n JOIN level l USING (id) LEFT JOIN jobsched.steps s USING (run_id)
		GROUP BY n.id, n.step_no, n.status, s.result ORDER BY n.step_no"
}

# A server on this machine takes the place of somebody else's.
start_receiver() {
	perl "$tree/test/lib/receiver.pl" "$work/port" "$work/requests" &
	receiver=$!
	local deadline=$((SECONDS + 10))
	until [ -s "$work/port" ]; do
		[ "$SECONDS" -lt "$deadline" ] || die "the receiver of webhooks does not start"
		sleep 0.1
	done
}

show_webhook() {
	local url
	heading "a webhook: each new row of demo.orders is posted to a server, signed"
	start_receiver
	url="http://127.0.0.1:$(cat "$work/port")/orders"
	query "
		SELECT jobsched.set_secret('orders', 'whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD');
		SELECT jobsched.create_job('order-hook', url => '$url', body => '\"{{args}}\"', sign_with => 'orders');
		CREATE TABLE demo.orders (id int PRIMARY KEY, item text);
		CREATE TRIGGER hook AFTER INSERT ON demo.orders FOR EACH ROW EXECUTE FUNCTION jobsched.http_webhook('order-hook');
		INSERT INTO demo.orders VALUES (1, 'a chair')" >/dev/null
	wait_until 30 "the webhook to arrive" "EXISTS (SELECT FROM jobsched.http_responses WHERE job_name = 'order-hook')"
	say "what arrived:"
	sed 's/^/  /' "$work/requests"
	show "SELECT run_id, job_name, status, http_version, body, total FROM jobsched.http_responses"
}

# The same server is Slack.
show_alert() {
	heading "an alert: Slack is told that a job fails (view jobsched.alerts)"
	query "
		SELECT jobsched.set_channel('ops', 'slack', 'http://127.0.0.1:$(cat "$work/port")/slack');
		SELECT jobsched.set_alert('failures', '{ops}', '{broken-*}', group_for => '0 s')" >/dev/null
	trigger_and_wait broken-job >/dev/null
	wait_until 30 "Slack to be told" "EXISTS (SELECT FROM jobsched.runs WHERE job_name = 'channel:ops' AND status = 'succeeded')"
	show "SELECT name, job, condition, state, count, error, last_sent FROM jobsched.alerts"
	say "what Slack was told:"
	sed -n '/slack/,$s/^/  /p' "$work/requests"
}

show_history() {
	wait_until 30 "slow-report to end" \
		"EXISTS (SELECT FROM jobsched.runs WHERE job_name = 'slow-report' AND status = 'succeeded')"
	heading "history, newest first (view jobsched.runs)"
	show "SELECT run_id, job_name, source, status, duration, left(coalesce(result - 'from' - 'to', to_jsonb(error))::text, 80) AS outcome
		FROM jobsched.runs ORDER BY run_id DESC LIMIT 12"
	heading "outcome of each job (view jobsched.jobs)"
	show "SELECT name, last_status, last_duration, consecutive_failures AS failures, recent FROM jobsched.jobs ORDER BY job_id"
	heading "messages (view jobsched.run_logs)"
	show "SELECT run_id, job_name, level, message FROM jobsched.run_logs ORDER BY run_id, seq LIMIT 10"
}

show_results() {
	heading "what the jobs found: anomalies"
	show "SELECT source_key, hour_start, kind, clicks, round(expected, 1) AS expected, score
		FROM click_guard.anomalies ORDER BY abs(score) DESC"
	heading "what the jobs wrote: notifications"
	show "SELECT kind, count(*), min(message) AS for_example FROM wishlist.notifications GROUP BY kind ORDER BY kind"
}

show_health() {
	heading "health (function jobsched.health)"
	show 'SELECT * FROM jobsched.health()'
}

say_goodbye() {
	heading "the servers are yours"
	cat <<END
dashboard:    $(cat "$work/link" 2>/dev/null || say none)
look around:  $bindir/psql -h $work -U demo demo
its log:      $work/log
stop it:      $tree/test/demo.sh --stop $work
END
}

demonstrate() {
	install_examples
	show_jobs
	run_on_schedule
	show_running
	show_trigger
	show_failure
	restore_schedules
	show_webhook
	show_alert
	show_workflow
	show_history
	show_results
	show_health
	serve_page
}

main() {
	case "${1:-} $#" in
	' 0') ;;
	'--once 1') once=1 ;;
	'--stop 2') choose_server_user && remove_server "$2" && exit ;;
	'--help 1' | '-h 1') usage && exit ;;
	*) usage >&2 && exit 2 ;;
	esac
	clean_environment
	trap finish EXIT
	trap 'exit 130' INT TERM
	open_stage "${TMPDIR:-/tmp}/jobsched-demo.XXXXXX"
	heading "building for $("$PG_CONFIG" --version)"
	build_stage
	heading "starting a server in $work"
	server_settings | init_server --no-sync
	start_server
	demonstrate
	ready=1
	[ -n "$once" ] || { keep_busy && say_goodbye; }
}

main "$@"
