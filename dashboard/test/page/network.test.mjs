// What the page does when the API is away, slow, or refuses: it says so, keeps what it
// has, asks no more than it should, and comes back by itself. Seconds pass by the page's
// own clock, which the tests move on.

import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { answer, serveApi, servePage } from './elsewhere.mjs';
import { link, none, open, settled, show, token, until, value } from './rig.mjs';

const API = /\/api\//;
const offline = (page) => page.getByText(/^No answer from the API/);

// start: a page whose clock can be moved on.
async function start(hash) {
	const seen = await open({ at: null, hushed: true });
	await seen.page.clock.install();
	await seen.page.goto(link);
	await show(seen.page, hash);
	seen.pass = async (seconds) => {
		for (let i = 0; i < seconds; i++)
			await seen.page.clock.runFor(1000);
	};
	return seen;
}

// hide: the tab is not seen any more, or is again.
const hide = (page, hidden) => page.evaluate((value) => {
	Object.defineProperty(document, 'hidden', { configurable: true, get: () => value });
	Object.defineProperty(document, 'visibilityState', { configurable: true, get: () => value ? 'hidden' : 'visible' });
	document.dispatchEvent(new Event('visibilitychange'));
}, hidden);

test('it asks again every few seconds', async () => {
	const { page, api, pass, close } = await start('#/jobs');
	const before = api('jobs').length;
	await pass(16);
	await until(() => api('jobs').length >= before + 2, 'requests');
	assert.ok(api('jobs').length <= before + 4, `${api('jobs').length - before} requests in 16 s`);
	await close();
});

test('the API is away for a while', async () => {
	const { page, api, pass, complaints, close } = await start('#/jobs');
	const row = page.getByRole('link', { name: 'import', exact: true }).first();
	await row.waitFor();
	await page.route(API, (route) => route.abort('connectionrefused'));
	const before = api().length;
	await until(async () => { await pass(1); return offline(page).isVisible(); }, 'the banner');
	await pass(10);
	assert.ok(await row.isVisible(), 'the data stays');
	assert.ok(api().length - before <= 12, `${api().length - before} requests while it is away`);
	await page.unroute(API);
	await until(async () => { await pass(5); return !await offline(page).isVisible(); }, 'it comes back by itself');
	await settled(page);
	assert.ok(await row.isVisible());
	none(complaints);
	await close();
});

test('the banner asks at once', async () => {
	const { page, pass, close } = await start('#/jobs');
	await page.route(API, (route) => route.fulfill({ status: 503, json: { code: 'PGRST001', message: 'no connection' } }));
	await until(async () => { await pass(1); return offline(page).isVisible(); }, 'the banner');
	await page.unroute(API);
	await page.getByRole('button', { name: 'Ask now' }).click();
	await offline(page).waitFor({ state: 'hidden' });
	await close();
});

test('a slow API is not asked twice', async () => {
	const { page, api, pass, close } = await start('#/secrets');
	let open = () => {};
	const gate = new Promise((resolve) => { open = resolve; });
	await page.route(/\/api\/jobs/, async (route) => { await gate; await route.continue().catch(() => {}); });
	const before = api('jobs').length;
	await page.evaluate(() => { location.hash = '#/jobs'; });
	await page.getByText('Loading…').waitFor();
	await until(() => api('jobs').length > before, 'a request');
	await pass(30);
	assert.equal(api('jobs').length, before + 1);
	open();
	await page.getByRole('link', { name: 'import', exact: true }).first().waitFor();
	await settled(page);
	await close();
});

test('a screen that is left has its request cancelled', async () => {
	const { page, pass, complaints, close } = await start('#/secrets');
	const failed = [];
	page.on('requestfailed', (request) => failed.push(request.url()));
	await page.route(/\/api\/jobs/, () => {});
	await page.evaluate(() => { location.hash = '#/jobs'; });
	await page.getByText('Loading…').waitFor();
	await page.evaluate(() => { location.hash = '#/secrets'; });
	await until(() => failed.some((url) => /\/api\/jobs/.test(url)), 'the request is cancelled');
	await page.unroute(/\/api\/jobs/);
	await pass(1);
	assert.ok(!await offline(page).isVisible());
	none(complaints);
	await close();
});

test('a hidden tab asks nothing', async () => {
	const { page, api, pass, close } = await start('#/jobs');
	await hide(page, true);
	await pass(1);
	await settled(page);
	const before = api().length;
	await pass(90);
	assert.equal(api().length, before);
	await hide(page, false);
	await until(() => api('jobs').length > 0 && api().length > before, 'it asks when it is seen again');
	await close();
});

test('refreshing can be switched off', async () => {
	const { page, api, pass, close } = await start('#/jobs');
	await page.keyboard.press('L');
	await page.getByRole('button', { name: 'Refreshing: not live' }).waitFor();
	await settled(page);
	const before = api().length;
	await pass(60);
	assert.equal(api().length, before);
	await page.keyboard.press('.');
	await until(() => api().length > before, 'a key asks');
	await close();
});

test('an error is told, and is over when it is over', async () => {
	const { page, pass, close } = await start('#/secrets');
	await page.route(/\/api\/jobs/, (route) => route.fulfill({ status: 500, json: { code: '57014', message: 'canceling statement due to statement timeout', hint: null, details: null } }));
	await page.evaluate(() => { location.hash = '#/jobs'; });
	await page.getByText('canceling statement due to statement timeout').waitFor();
	await page.getByText(/The database took too long/).waitFor();
	await page.unroute(/\/api\/jobs/);
	await until(async () => { await pass(5); return page.getByRole('link', { name: 'import', exact: true }).first().isVisible(); }, 'the jobs');
	assert.equal(await page.getByText('canceling statement').count(), 0);
	await close();
});

test('no buttons as long as it is not known who asks', async () => {
	const { page, close } = await start('#/secrets');
	await page.route(/\/api\/rpc\/whoami/, () => {});
	await page.reload();
	await show(page, '#/now');
	await page.getByText('workers busy').waitFor();
	assert.equal(await page.getByRole('button', { name: /(Stop|Start) processing/ }).count(), 0);
	await close();
});

test('a token that is no good any more leads to the login', async () => {
	const { page, pass, close } = await start('#/jobs');
	await page.route(API, (route) => route.fulfill({ status: 401, json: { code: 'PGRST303', message: 'JWT expired' } }));
	await until(async () => { await pass(1); return page.getByRole('alert').filter({ hasText: 'JWT expired' }).isVisible(); }, 'the reason');
	await page.getByLabel('URL of PostgREST').waitFor();
	assert.equal(await page.evaluate(() => sessionStorage.getItem('jobsched.session')), null);
	await close();
});

// ----------------------------------------------------------------------------
// Links and texts that mean no good
// ----------------------------------------------------------------------------

test('a link has no other job cancelled or retried than the one that is listed', async () => {
	const { page, close } = await start('#/runs?job=import&status=queued');
	const id = await value("SELECT job_id FROM jobsched.jobs WHERE name = 'mails'");
	const buttons = page.getByRole('button', { name: /^(Cancel all|Retry all)/ });
	await buttons.first().waitFor();
	for (const hash of ['#/runs?job_id=abc&status=queued', '#/runs?job_id=0x10', `#/runs?job=import&job_id=${id}&status=queued`, `#/dead?job=import&job_id=${id}`, '#/dead?job_id=abc']) {
		await page.evaluate((target) => { location.hash = target; }, hash);
		await page.waitForFunction((target) => location.hash === target && document.querySelector('main h1'), hash);
		await until(async () => await page.locator('header.head').getByRole('button', { name: /^(Cancel all|Retry all)/ }).count() === 0, `no button: ${hash}`);
	}
	await close();
});

test('places of pages that are none are the first page', async () => {
	const { page, complaints, close } = await open({ hash: '#/jobs?page=%5Bnull%5D' });
	for (const hash of ['#/jobs?page=%7B', '#/jobs?page=%5B%22%22%2C%220)%2Cowner.eq.x%22%5D', '#/runs?page=abc', '#/runs?page=abc&source=trigger', '#/workflows?page=1e999', '#/dead?tab=all&page=x', '#/http?page=%5B1%5D']) {
		await show(page, hash);
		await page.locator('main tbody tr').first().waitFor();
	}
	none(complaints);
	await close();
});

test('texts that are names of what each object has', async () => {
	const { page, complaints, close } = await start('#/secrets');
	const group = { job_id: 1, job_name: '__proto__', owner: 'shop', sqlstate: null, count: 1, first_at: '2026-01-01T00:00:00Z', last_at: '2026-01-01T00:00:00Z', example_run_id: 1 };
	await page.route(/\/api\/rpc\/dead_letter_groups/, (route) => route.fulfill({ json: ['__proto__', 'constructor', 'toString'].map((pattern) => ({ ...group, pattern })) }));
	await show(page, '#/dead?__proto__=1&constructor=2');
	for (const pattern of ['__proto__', 'constructor', 'toString'])
		await page.locator('p.pattern').getByText(pattern, { exact: true }).waitFor();
	assert.deepEqual(await page.evaluate(() => { const found = []; for (const name in {}) found.push(name); return found; }), [], 'objects have what they had');
	none(complaints);
	await close();
});

test('what cannot be drawn takes no other screen with it', async () => {
	const { page, close } = await start('#/secrets');
	await page.route(/\/api\/jobs_by_name/, (route) => route.fulfill({ json: [{ job_id: 1, name: 'spoilt', owner: 'shop', recent: 5 }] }));
	await page.evaluate(() => { location.hash = '#/jobs'; });
	await page.getByText(/^The page cannot show what came/).waitFor();
	await page.unroute(/\/api\/jobs_by_name/);
	await show(page, '#/secrets');
	await page.getByRole('heading', { name: 'Secrets' }).waitFor();
	await show(page, '#/jobs');
	await page.getByRole('link', { name: 'import', exact: true }).first().waitFor();
	await close();
});

test('a new link in the same tab', async () => {
	const { page, close } = await start('#/jobs');
	await page.evaluate((text) => { location.hash = text; }, `#token=${token}`);
	await page.getByRole('heading', { name: 'Now', exact: true }).waitFor();
	assert.ok(!(await page.evaluate(() => location.href)).includes(token), 'the token is not in the URL');
	await close();
});

// ----------------------------------------------------------------------------
// What changes under somebody's hand
// ----------------------------------------------------------------------------

test('a question belongs to its screen', async () => {
	const { page, api, close } = await start('#/secrets');
	await show(page, '#/jobs');
	await page.getByRole('checkbox', { name: 'Select import', exact: true }).check();
	await show(page, '#/queues');
	await page.getByRole('button', { name: 'Limit a queue' }).click();
	await page.getByRole('dialog').waitFor();
	await page.goBack();
	await page.getByRole('heading', { name: 'Jobs', exact: true }).waitFor();
	await page.getByRole('dialog').waitFor({ state: 'hidden' });
	assert.equal(api('rpc/set_queue').length, 0);
	await close();
});

test('what is typed stays on its screen', async () => {
	const { page, pass, close } = await start('#/jobs');
	await page.getByLabel('Search names').fill('imp');
	await page.evaluate(() => { location.hash = '#/queues'; });
	await page.getByRole('heading', { name: 'Queues and limits' }).waitFor();
	await pass(2);
	assert.equal(await page.evaluate(() => location.hash), '#/queues');
	await close();
});

test('rows that are selected stay so while others come, not with other filters', async () => {
	const { page, api, pass, close } = await start('#/jobs');
	await page.getByRole('checkbox', { name: 'Select import', exact: true }).check();
	await page.route(/\/api\/jobs_by_name/, (route) => route.fulfill({ json: [] }));
	const before = api('jobs_by_name').length;
	await until(async () => { await pass(5); return api('jobs_by_name').length >= before + 2; }, 'another list');
	await page.getByRole('region', { name: 'Selected rows' }).getByRole('button', { name: 'Trigger' }).waitFor();
	await page.unroute(/\/api\/jobs_by_name/);
	await show(page, '#/jobs?name=mail');
	await page.getByRole('link', { name: 'mails', exact: true }).first().waitFor();
	assert.equal(await page.getByRole('link', { name: 'import', exact: true }).count(), 0);
	await close();
});

// ----------------------------------------------------------------------------
// The page on some web server, and a PostgREST somewhere else
// ----------------------------------------------------------------------------

const pages = await servePage();
const rest = await serveApi('a JWT');
after(() => { pages.close(); rest.close(); });

async function fill(page, values) {
	for (const [label, text] of Object.entries(values))
		await page.getByLabel(label, { exact: true }).fill(text);
	await page.getByRole('button', { name: 'Open' }).click();
}

test('login with a URL and a token', async () => {
	const { page, requests, complaints, close } = await open({ at: pages.url, hushed: true });
	await fill(page, { 'URL of PostgREST': `${rest.url}/`, Token: 'wrong' });
	await page.getByRole('alert').filter({ hasText: 'JWT invalid' }).waitFor();
	assert.equal(await page.getByLabel('URL of PostgREST').inputValue(), rest.url, 'the URL is kept');
	await fill(page, { 'URL of PostgREST': `${rest.url}/`, Token: 'a JWT' });
	await page.getByRole('heading', { name: 'Now', exact: true }).waitFor();
	await show(page, '#/jobs');
	await page.getByRole('link', { name: 'import', exact: true }).first().waitFor();
	await page.reload();
	await page.getByRole('heading', { name: 'Jobs', exact: true }).waitFor();
	assert.ok(!(await page.evaluate(() => JSON.stringify({ ...localStorage }))).includes('a JWT'), 'the token is kept for this tab only');
	assert.ok(!requests.some(({ url }) => /JWT/.test(url)), 'and in no URL');
	await page.getByRole('button', { name: 'Leave' }).click();
	await page.getByLabel('URL of PostgREST').waitFor();
	assert.equal(await page.evaluate(() => sessionStorage.getItem('jobsched.session')), null);
	none(complaints);
	await close();
});

test('a question ends with its session', async () => {
	const { page, requests, close } = await open({ at: pages.url, hushed: true });
	const enter = () => fill(page, { 'URL of PostgREST': rest.url, Token: 'a JWT' });
	await enter();
	await page.getByRole('heading', { name: 'Now', exact: true }).waitFor();
	await show(page, '#/queues');
	await page.getByRole('button', { name: 'Limit a queue' }).click();
	await page.getByRole('dialog').waitFor();
	await page.route(`${rest.url}/**`, (route) => route.fulfill({ status: 401, headers: { 'Access-Control-Allow-Origin': '*' }, json: { code: 'PGRST303', message: 'JWT expired' } }));
	await page.getByLabel('URL of PostgREST').waitFor();
	await page.unroute(`${rest.url}/**`);
	await enter();
	await page.getByRole('button', { name: 'Limit a queue' }).waitFor();
	assert.equal(await page.getByRole('dialog').count(), 0);
	assert.ok(!requests.some(({ url }) => url.includes('/rpc/set_queue')));
	await close();
});

test('a URL where there is nothing', async () => {
	const { page, close } = await open({ at: pages.url, hushed: true });
	await fill(page, { 'URL of PostgREST': 'http://127.0.0.1:1/', Token: 'a JWT' });
	await page.getByText(/cannot be reached/).first().waitFor();
	await page.getByRole('button', { name: 'Leave' }).click();
	await page.getByLabel('URL of PostgREST').waitFor();
	await close();
});

test('a URL that is not of PostgREST', async () => {
	const { page, close } = await open({ at: pages.url, hushed: true });
	await fill(page, { 'URL of PostgREST': pages.url, Token: 'a JWT' });
	await page.getByText(/is this the URL of PostgREST/).first().waitFor();
	await close();
});

test('login at Supabase, and a token that is renewed', async () => {
	const { page, context, close } = await open({ at: pages.url, hushed: true });
	const asked = [];
	let good = 'first';
	await context.route('https://project.supabase.co/**', async (route) => {
		const request = route.request();
		const url = new URL(request.url());
		const headers = request.headers();
		const body = request.postData() ?? undefined;
		if (!url.pathname.startsWith('/auth/') || request.method() === 'OPTIONS') {
			asked.push({ apikey: headers.apikey, method: request.method() });
			return route.fulfill(await answer({ method: request.method(), path: `${url.pathname.replace('/rest/v1', '')}${url.search}`, headers, body }, good));
		}
		const grant = url.searchParams.get('grant_type');
		const values = JSON.parse(body);
		asked.push({ apikey: headers.apikey, method: 'POST', grant, values });
		if (grant === 'password' && values.password !== 'right')
			return route.fulfill({ status: 400, headers: { 'Access-Control-Allow-Origin': '*' }, json: { error_description: 'Invalid login credentials' } });
		return route.fulfill({ headers: { 'Access-Control-Allow-Origin': '*' }, json: { access_token: good, refresh_token: `refresh ${good}` } });
	});
	await page.getByLabel('e-mail and password').check();
	const values = { 'URL of PostgREST': 'https://project.supabase.co/', 'API key': 'anon key', 'E-mail': 'me@example.com' };
	await fill(page, { ...values, Password: 'wrong' });
	await page.getByText('Invalid login credentials').waitFor();
	await fill(page, { ...values, Password: 'right' });
	await page.getByRole('heading', { name: 'Now', exact: true }).waitFor();
	await show(page, '#/jobs');
	assert.ok(asked.every(({ method, apikey }) => method === 'OPTIONS' || apikey === 'anon key'));
	good = 'second';
	await page.keyboard.press('.');
	await until(() => asked.some(({ grant, values: sent }) => grant === 'refresh_token' && sent.refresh_token === 'refresh first'), 'the token is renewed');
	await settled(page);
	await page.getByRole('link', { name: 'import', exact: true }).first().waitFor();
	assert.equal(asked.filter(({ grant }) => grant === 'refresh_token').length, 1, 'once');
	await close();
});
