// The form of a job: which parameter is where, how it is called, what is said of it. A
// test compares it with the parameters of create_job().

// Of what makes a job one of its kind: [parameter, label, hint]. `rare` ones are folded.
export const WHAT = {
	sql: { name: 'SQL', fields: [['command', 'Command', 'SQL. It is parsed when the job is saved.'], ['mode', 'Mode', 'Whether all of it is one transaction.']] },
	function: { name: 'Function', fields: [['handler', 'Function', 'schema.function; it takes one jsonb.'],
		['share_transaction', 'May share a transaction with other runs', 'For very many short runs.']] },
	http: { name: 'HTTP request', fields: [['url', 'URL', 'It may have placeholders: {{args.id}}, {{run.id}}, {{secret.NAME}} in a header.'], ['method', 'Method'], ['headers', 'Headers', 'A JSON object. A secret: {"Authorization": "Bearer {{secret.NAME}}"}'],
		['body', 'Body, JSON', 'Without a body the run is described in it, unless the method is GET, HEAD or DELETE.']],
	rare: ['More of the request', [['body_text', 'Body, text', 'Instead of JSON.'], ['sign_with', 'Sign with', 'The name of a secret.'], ['connect_timeout', 'Time to connect', 'Default 10 s.'],
		['success_codes', 'Statuses that are success', 'Such as 200, 2xx. Default 2xx.'], ['max_redirects', 'Redirects to follow', 'Default 0.']]] },
	steps: { name: 'Steps', fields: [['steps', 'Steps', 'An array of objects. Each has a name, and a command, handler, url or job; it starts after the one above it, or as "after" says.']] },
};

export const ARGS = [['args', 'Arguments', 'A JSON object. What a trigger gives is merged over it.']];

export const WHEN = [['schedule', 'Schedule', 'Cron with five or six fields, @daily, every 90 seconds, or one time. Empty: on demand.'], ['timezone', 'Time zone', 'An IANA name.']];

export const BOUNDS = ['More of when', [['enabled', 'Enabled', 'Off: the schedule rests, a trigger still works.'], ['after', 'Comes after jobs', 'One name in a line. It runs when all of them have succeeded; instead of a schedule.'],
	['starts_at', 'First slot not before'], ['ends_at', 'Last slot not after'], ['max_runs', 'Runs of the schedule at most', '0 or empty: no limit.'],
	['jitter', 'Jitter', 'Each run starts later by up to this, at most a day.']]];

export const FOLDED = [
	['Overlap and missed slots', [['overlap', 'If a run is live when a slot comes', { skip: 'skip: the slot makes no run', queue: 'queue: its run waits', allow: 'allow: its run starts beside', replace: 'replace: live runs are cancelled' }], ['queue_limit', 'Runs that may wait', 'With queue.'],
		['misfire', 'Slots that were missed', { once: 'once: one run for all', skip: 'skip: none', all: 'all: a run for each' }], ['misfire_grace', 'Late is not missed up to', 'At most a day.'], ['pause_after_failures', 'Pause after failures in a row', 'Empty: never.']]],
	['Retries and timeouts', [['timeout', 'Timeout of an attempt', 'Empty: none; of a request 30 s.'], ['deadline', 'Deadline of a workflow run'], ['max_attempts', 'Attempts in all', 'Empty: the default, 3 for a triggered run that is one transaction, 5 for a request, else 1.'],
		['backoff', 'Wait between attempts', { exponential: 'exponential: three times as long each time', linear: 'linear: longer by the base each time', fixed: 'fixed: the base each time' }], ['backoff_base', 'Base'], ['backoff_max', 'Longest wait'], ['backoff_jitter', 'Shortened by a random share up to', 'From 0 to 1.'],
		['retry_delays', 'Or these waits', 'Such as 10 s, 1 min, 5 min. The last one is repeated.'], ['retry_on', 'Errors that are retried', 'Such as 40001, 08, timeout, lost, 5xx, all. Empty: transient ones.'], ['no_retry_on', 'But not these']]],
	['Limits', [['max_concurrency', 'Runs at the same time', 'Of this job. Empty: no limit.'], ['queue', 'Queue'], ['keys', 'Keys', 'One in a line, such as user:{{args.user_id}}. Limits can be set for them.']]],
	['Who is told', [['on_success', 'Function called after success', 'schema.function'], ['on_failure', 'Function called after failure', 'schema.function']]],
	['What is kept', [['keep', 'Runs that leave a row', { all: 'all', failures: 'failures: successes are only counted' }], ['keep_for', 'For how long', 'Such as 7 d. Empty: as the settings say.']]],
	['Owner and metadata', [['owner', 'Owner', 'The role as which it runs. Empty: you.'], ['metadata', 'Metadata', 'A JSON object, for programs and filters.']]],
];

export const HEAD = [['name', 'Name'], ['description', 'Description']];

const namesOf = (fields) => fields.map(([name]) => name);

// All parameters that the form has.
export const formNames = () => [...namesOf(HEAD), ...Object.values(WHAT).flatMap(({ fields, rare }) => [...namesOf(fields), ...namesOf(rare?.[1] ?? [])]), ...namesOf(ARGS), ...namesOf(WHEN),
	...namesOf(BOUNDS[1]), ...FOLDED.flatMap(([, fields]) => namesOf(fields))];
