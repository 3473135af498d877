// A role that may only watch: it sees all, has no button that it may not use, and calls
// that are made by hand are refused.

import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { none, open, value, watcherLink } from './rig.mjs';

const ACTION = /^(Trigger|Run now|Pause|Resume|Retry|Cancel|Drop|Delete|Skip|Redrive|Mute|Unmute|Test|Rotate|Change|Edit|Enable|Disable|Stop processing|Start processing|Backfill|Limit|New (channel|alert|hook)|Set a secret|Replace|Terminate)\b/;
const { api, token } = { api: `${new URL(watcherLink).origin}/api`, token: new URL(watcherLink).hash.slice('#token='.length) };
const id = (sql) => value(`SELECT ${sql}`);
const job = await id("job_id FROM jobsched.jobs WHERE name = 'import'");
const failed = await id("max(run_id) FROM jobsched.dead_letters WHERE job_name = 'mails'");
const running = await id("max(run_id) FROM jobsched.runs WHERE job_name = 'reports' AND status = 'running'");
const waiting = await id("max(run_id) FROM jobsched.runs WHERE job_name = 'approval'");

const seen = await open({ at: watcherLink });
after(() => seen.close());

for (const screen of ['now', 'jobs', `job/${job}`, 'runs', `run/${failed}`, `run/${running}`, `run/${waiting}`, 'workflows', 'dead', 'upcoming', 'queues', 'workers', 'http', 'alerts', 'secrets'])
	test(`no buttons: ${screen.replace(/\d+/, 'N')}`, async () => {
		await seen.go(`#/${screen}`);
		const names = await seen.page.locator('main').getByRole('button').evaluateAll((all) => all.map((one) => (one.ariaLabel ?? one.textContent).trim()));
		none(names.filter((name) => ACTION.test(name)));
		assert.equal(await seen.page.locator('main tbody input[type=checkbox]').count(), 0, 'nothing to select for');
		none(seen.complaints);
	});

test('it sees what there is', async () => {
	await seen.go('#/jobs');
	await seen.page.getByRole('link', { name: 'import', exact: true }).first().waitFor();
	await seen.go(`#/run/${failed}`);
	await seen.page.getByText(/item 7 not found/).first().waitFor();
});

const calls = {
	trigger: { job_id: job }, trigger_many: { job_id: job, args: '{"{}"}' }, pause_job: { job_id: job }, resume_job: { job_id: job }, alter_job: { job_id: job, schedule: '* * * * *' }, drop_job: { job_id: job },
	cancel_run: { run_id: running }, cancel_runs: { job_id: job, status: 'queued' }, retry_run: { run_id: failed }, redrive: { job_id: job }, skip_step: { run_id: waiting, step: 'note' },
	backfill: { job_id: job, from: '2026-01-01', to: '2026-01-02' }, set_queue: { name: 'slow', owner: 'shop' }, drop_queue: { name: 'slow', owner: 'shop' }, set_limit: { key_class: 'user', owner: 'shop' },
	drop_limit: { key_class: 'user', owner: 'shop' }, set_secret: { name: 'slack', value: 'other', owner: 'shop' }, drop_secret: { name: 'slack', owner: 'shop' },
	set_channel: { name: 'ops', kind: 'notify', owner: 'shop' }, drop_channel: { name: 'ops', owner: 'shop' }, test_channel: { name: 'ops', owner: 'shop' },
	set_alert: { name: 'failures', channels: ['ops'], owner: 'shop' }, mute_alert: { name: 'failures', until: '2099-01-01', owner: 'shop' }, drop_alert: { name: 'failures', owner: 'shop' },
	rotate_hook: { name: 'approve' }, drop_hook: { name: 'github' }, create_job: { name: 'mine', command: 'SELECT 1', owner: 'shop' }, stop_processing: {}, start_processing: {},
};
const state = () => value(`SELECT md5(concat((SELECT jsonb_agg(to_jsonb(j) - '{state,next_run_at,last_status,last_run_id,last_started_at,last_finished_at,last_duration,last_duration_ms,recent,scheduled_runs}'::text[] ORDER BY job_id) FROM jobsched.jobs j),
	(SELECT jsonb_agg(q ORDER BY name) FROM (SELECT name, max_running, paused FROM jobsched.queues) q), (SELECT jsonb_agg(s ORDER BY name) FROM jobsched.secrets s),
	(SELECT jsonb_agg(c.name ORDER BY name) FROM jobsched.channels c), (SELECT jsonb_agg(a.muted_until ORDER BY name, job) FROM jobsched.alerts a), (SELECT jsonb_agg(h.updated_at ORDER BY name) FROM jobsched.hooks h),
	(SELECT jsonb_agg(r.run_id ORDER BY run_id) FROM jobsched.runs r WHERE job_name <> 'prices' AND source = 'trigger')))`);

test('calls by hand are refused', async () => {
	const before = await state();
	for (const [name, args] of Object.entries(calls)) {
		const answer = await fetch(`${api}/rpc/${name}`, { method: 'POST', headers: { Authorization: `Bearer ${token}`, 'Content-Type': 'application/json' }, body: JSON.stringify(args) });
		const { code, message } = await answer.json().catch(() => null) ?? {};
		assert.ok(answer.status >= 400 && answer.status < 500, `${name}: ${answer.status} ${message}`);
		assert.ok(['42501', '42704'].includes(code), `${name}: ${code} ${message}`);
	}
	assert.equal(await state(), before, 'nothing has changed');
});
