// What is done with one job by dialogs of several fields: trigger with arguments, backfill,
// redrive.

import { html } from '../lib/html.js';
import { call, read } from '../lib/api.js';
import { number, plural } from '../lib/format.js';
import { act, ask, confirm, say } from '../parts/act.js';
import { triggerJob } from '../parts/runs.js';
import { absolute } from '../parts/time.js';

const MOST = 1000;
const SHOWN = 200;

export async function triggerWith(job) {
	const values = await ask({ title: `Trigger ${job.name}`, label: 'Trigger', fields: [
		{ name: 'args', label: 'Arguments', type: 'json', hint: 'A JSON object, merged over those of the job. Empty: as the job has them.' },
		{ name: 'run_at', label: 'Not before', type: 'datetime-local', hint: 'In local time. Empty: now.' }, { name: 'priority', label: 'Priority', type: 'number', hint: 'Higher is earlier; default 0.' }] });
	if (values === null)
		return;
	const given = Object.fromEntries(Object.entries(values).filter(([, value]) => value !== null));
	await triggerJob(job, given);
}

const Slots = ({ slots, timezone }) => html`<p>${plural(slots.length, 'slot')}${slots.length > SHOWN && `; the first ${SHOWN}`}:</p><ol class="slotlist" tabindex="0">${slots.slice(0, SHOWN).map(({ slot }) => html`<li>${absolute(slot, { timezone })}</li>`)}</ol>`;

// First the slots are shown, then it is asked, then it is done.
export async function backfillJob(job) {
	const range = await ask({ title: `Backfill ${job.name}`, label: 'Show the slots', body: 'A run for each slot of the schedule in this time that is in the past, whether it had one or not.', fields: [
		{ name: 'from', label: 'From', type: 'datetime-local', required: true, hint: 'In local time, included.' }, { name: 'to', label: 'Until', type: 'datetime-local', required: true, hint: 'Not included.' },
		{ name: 'max', label: 'At most', type: 'number', value: MOST, hint: 'More slots than this are an error.' }] });
	if (range === null)
		return;
	const args = { job_id: job.job_id, from: range.from, to: range.to, max: range.max ?? MOST };
	let slots;
	if (!await act(async () => { slots = await read('backfill', { ...args, dry_run: true }); }))
		return;
	if (slots.length === 0)
		say('There is no slot in this time');
	else if (await confirm(`Backfill ${job.name}`, { label: `Queue ${plural(slots.length, 'run')}`, danger: false, body: html`<${Slots} slots=${slots} timezone=${job.timezone} />` }))
		await act(() => call('backfill', args), (rows) => `${plural(rows.filter((row) => row.run_id !== null).length, 'run')} of ${job.name} queued`);
}

export async function redriveJob(job) {
	const values = await ask({ title: `Redrive ${job.name}`, label: 'Redrive', body: 'Its dead letters are tried again, oldest first, each as a new run.', fields: [
		{ name: 'since', label: 'That ended since', type: 'datetime-local', hint: 'In local time. Empty: all.' }, { name: 'max', label: 'At most', type: 'number', value: MOST }] });
	if (values !== null)
		await act(() => call('redrive', { job_id: job.job_id, ...(values.since && { since: values.since }), max: values.max ?? MOST }), (runs) => `${number(runs.length)} dead letters of ${job.name} are tried again`);
}
