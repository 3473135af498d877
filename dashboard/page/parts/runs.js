// What lists of runs have in common: their states, their columns, and what can be done
// with one, with many, and with all that match.

import { signal } from '@preact/signals';
import { html } from '../lib/html.js';
import { call } from '../lib/api.js';
import { now } from '../lib/clock.js';
import { duration, firstLine, plural } from '../lib/format.js';
import { refreshAll } from '../lib/live.js';
import { many } from '../lib/many.js';
import { href } from '../lib/route.js';
import { session } from '../lib/session.js';
import { act, confirm, say } from './act.js';

export const LIVE = ['queued', 'running', 'retrying'];
export const DEAD = ['failed', 'timed_out', 'lost'];
export const ENDED = ['succeeded', ...DEAD, 'cancelled', 'skipped', 'missed'];
export const STATUSES = [...LIVE, ...ENDED];

export const isLive = (run) => LIVE.includes(run.status);
// A step and an element are retried with their workflow run, and so is a batch by its members.
export const mayRetry = (run) => !isLive(run) && run.status !== 'succeeded' && !['step', 'item', 'batch'].includes(run.source);

const SOURCES = { __proto__: null, schedule: 'by its schedule', startup: 'at the start of the server', trigger: 'triggered', backfill: 'by a backfill', retry: 'a retry', callback: 'a callback',
	batch: 'a batch', step: 'a step', item: 'an element of a step', after: 'after another job' };
export const sourceInWords = (source) => SOURCES[source] ?? source;

// why: the reason, if it says more than the status does.
export const why = ({ status, reason }) => reason === 'error' || reason === status ? undefined : reason;

// --- what is shown -----------------------------------------------------------

const BRIEF = 200;
export function Brief({ text }) {
	const line = firstLine(text);
	return line === '' ? null : html`<bdi class="brief" title=${line.length > 60 ? line.slice(0, 1000) : undefined}>${line.length > BRIEF ? `${line.slice(0, BRIEF)}…` : line}</bdi>`;
}

// Took: how long it took, or has taken until now.
export const Took = ({ run }) => run.duration_ms !== null ? html`${duration(run.duration_ms)}`
	: run.started_at !== null && run.finished_at === null ? html`<span class="note">${duration(Math.max(0, Math.floor((now.value - Date.parse(run.started_at)) / 1000) * 1000))}</span>` : null;

export const JobLink = ({ run }) => run.job_id === null ? html`<span class="none">–</span>` : html`<a href=${href(['job', run.job_id])}><bdi>${run.job_name ?? `job ${run.job_id}`}</bdi></a>`;

// --- one ---------------------------------------------------------------------

const runLink = (run) => ({ href: href(['run', run]), text: `run ${run}` });

export async function cancelRun(run, force = false) {
	const title = `${force ? 'Terminate' : 'Cancel'} run ${run.run_id}`;
	const what = force ? 'Its worker is terminated at once.' : run.status === 'running' ? 'It is interrupted; what it has not committed is lost.' : 'It does not start.';
	const body = `${run.job_name === null ? '' : `It is a run of ${run.job_name}. `}${what}`;
	if (await confirm(title, { body }))
		await act(() => call('cancel_run', { run_id: run.run_id, force }), (done) => done ? `run ${run.run_id} is being cancelled` : `run ${run.run_id} had ended already`);
}

export const retryRun = (run, more = {}) => act(() => call('retry_run', { run_id: run.run_id, ...more }), (fresh) => ({ text: `run ${run.run_id} is retried`, link: runLink(fresh) }));

// triggerJob: more: args, run_at, priority.
export const triggerJob = ({ job_id: id, name }, more = {}) => act(() => call('trigger', { job_id: id, ...more }), (fresh) => ({ text: `${name} is triggered`, link: runLink(fresh) }));

// --- many --------------------------------------------------------------------

// What is under way: { words, done, of, stop }; null if nothing.
export const working = signal(null);

// eachRun: says what became of them, and why some did not.
async function eachRun(runs, words, action) {
	let stopped = false;
	const { url } = session.value;
	const stop = () => { stopped = true; };
	// Of two the later is shown. What is left when the session ends is not done in the next.
	const isShown = () => working.value?.stop === stop;
	working.value = { words, done: 0, of: runs.length, stop };
	const { done, failed } = await many(runs, action, { progress: (n) => { if (isShown()) working.value = { ...working.value, done: n }; }, stopped: () => stopped || session.value?.url !== url });
	if (isShown())
		working.value = null;
	say(`${words} ${plural(done, 'run')}${stopped ? `, then stopped; ${plural(runs.length - done - failed.length, 'run')} left` : ''}`);
	if (failed.length > 0)
		say(`${plural(failed.length, 'run')} not: ${[...new Set(failed.map(({ error }) => error.message))].slice(0, 3).join('; ')}`, { bad: true });
	refreshAll();
	return done;
}

export const Working = () => working.value === null ? null : html`<div class="working" role="status"><span>${working.value.words} ${working.value.done} of ${plural(working.value.of, 'run')}</span>
	<progress value=${working.value.done} max=${working.value.of} aria-label="progress"></progress><button class="small" onClick=${working.value.stop}>Stop</button></div>`;

export async function cancelMany(runs) {
	if (await confirm(`Cancel ${plural(runs.length, 'run')}`, { body: 'Waiting ones do not start; running ones are interrupted.' }))
		await eachRun(runs, 'cancelled', (run) => call('cancel_run', { run_id: run.run_id }));
}

export async function retryMany(runs, { ask = true } = {}) {
	if (!ask || await confirm(`Retry ${plural(runs.length, 'run')}`, { body: 'Each gets a new run with the same arguments.', danger: false }))
		return eachRun(runs, 'retried', (run) => call('retry_run', { run_id: run.run_id }));
	return 0;
}

// --- all that match ----------------------------------------------------------

// cancelMatching: filter { job, job_id, owner }, and statuses, each of which is a call.
export async function cancelMatching(filter, statuses, words) {
	if (await confirm(`Cancel all ${words}`, { label: 'Cancel them', body: 'All that there are, not only those on this page. Waiting ones do not start; running ones are interrupted.' }))
		await act(async () => {
			let sum = 0;
			for (const status of statuses.length === 0 ? [undefined] : statuses)
				sum += Number(await call('cancel_runs', { ...filter, status }));
			return sum;
		}, (sum) => `${plural(sum, 'run')} cancelled`);
}

const AT_ONCE = 1000;
// redriveJob: of: how many there are, if that is known. One that fails anew is a dead
// letter again, so without a number it is one call.
export async function redriveJob(filter, name, of) {
	if (!await confirm(of ? `Retry ${plural(of, 'dead letter')} of ${name}` : `Retry all dead letters of ${name}`, { danger: false,
		body: of ? 'Each gets a new run with the same arguments, the oldest first.' : `Each gets a new run with the same arguments, the oldest first; ${AT_ONCE.toLocaleString('en-US')} at a time.` }))
		return;
	await act(async () => {
		let sum = 0;
		do {
			const fresh = await call('redrive', { ...filter, max: Math.min(AT_ONCE, (of ?? AT_ONCE) - sum) });
			sum += fresh.length;
			if (fresh.length === 0)
				break;
		} while (of !== undefined && sum < of);
		return sum;
	}, (sum) => sum === 0 ? `${name} has no dead letters that can be retried` : `${plural(sum, 'run')} of ${name} retried${of === undefined && sum === AT_ONCE ? '; there may be more' : ''}`);
}
