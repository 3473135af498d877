// What servers answered to a run's requests, with what the time went into. Bodies are
// asked for when they are opened, as they may be large.

import { useState } from 'preact/hooks';
import { html } from '../lib/html.js';
import { get, one } from '../lib/api.js';
import { duration, number } from '../lib/format.js';
import { useLive } from '../lib/live.js';
import { phases, shares } from '../lib/timeline.js';
import { Icon } from './icon.js';
import { Code, Facts, Problem, Section } from './page.js';
import { Time } from './time.js';

const SELECT = 'attempt,status,responded_at,method,url,headers::text,body_size,truncated,http_version,remote_address,remote_port,resolved_ms,connected_ms,secured_ms,first_byte_ms,total_ms';
const TONES = { 'no answer': 'bad', DNS: 'dull', connect: 'calm', TLS: 'warn', 'first byte': 'busy', rest: 'good' };

function Phases({ response }) {
	const found = phases(response).map((phase) => response.status === null && phase.what === 'rest' ? { ...phase, what: 'no answer' } : phase);
	const widths = shares(found, 1.5);
	return found.length === 0 ? null : html`<div class="line"><div class="line-bar" aria-hidden="true">${found.map(({ what, from, to }, i) => html`<span class=${`attempt ${TONES[what]}`} style=${{ width: `${widths[i]}%` }} title=${`${what}: ${duration(to - from)}`}></span>`)}</div>
		<ul class="line-words" aria-label="Phases">${found.map(({ what, from, to }) => html`<li><i class=${`attempt ${TONES[what]}`} aria-hidden="true"></i>${what} <b>${duration(to - from)}</b></li>`)}<li>in all <b>${duration(response.total_ms)}</b></li></ul></div>`;
}

function Body({ run, response }) {
	const [body, setBody] = useState();
	const open = async (event) => {
		if (event.target.open && body?.text === undefined)
			setBody(await one('http_responses', { select: 'body,body_bytes', run_id: `eq.${run.run_id}`, attempt: `eq.${response.attempt}` }).then((row) => ({ text: row?.body ?? row?.body_bytes ?? '' }), (error) => ({ error })));
	};
	return html`<details onToggle=${open}><summary>Body <span class="note">${number(response.body_size)} bytes${response.truncated ? ', cut off' : ''}</span></summary>
		${body?.error ? html`<${Problem} error=${body.error} />` : body === undefined ? html`<p class="note">Loading…</p>` : html`<${Code} text=${body.text} copy label="Body" />`}</details>`;
}

// Headers are [[name, value], ...], as text.
function headers(text) {
	try {
		return JSON.parse(text).map(([name, value]) => `${name}: ${value}`).join('\n');
	} catch {
		return text;
	}
}

const well = ({ status }) => status >= 200 && status < 300;

const Response = ({ run, response, several }) => html`<div class="response"><p>${several && html`<b>attempt ${response.attempt}</b> `}<b class="tone ${well(response) ? 'good' : 'bad'}"><${Icon} name=${well(response) ? 'check' : 'cross'} /> ${response.status ?? 'no answer'}</b> <code class="keep">${response.method} ${response.url}</code></p>
	<${Phases} response=${response} />
	<${Facts} of=${[[response.status === null ? 'Ended' : 'Answered', html`<${Time} value=${response.responded_at} exact />`], ['From', response.remote_address && `${response.remote_address}:${response.remote_port}`], ['HTTP', response.http_version]]} />
	${response.headers && html`<details><summary>Headers</summary><${Code} text=${headers(response.headers)} copy label="Headers" /></details>`}
	${response.body_size > 0 && html`<${Body} run=${run} response=${response} />`}</div>`;

export function Responses({ run, of }) {
	const live = useLive((stop) => get('http_responses', { select: SELECT, run_id: `eq.${run.run_id}`, order: 'attempt.desc', limit: 20 }, { signal: stop }), [run.run_id, of], 0);
	return !live.data?.length ? null : html`<${Section} title="HTTP">${live.data.map((response) => html`<${Response} key=${response.attempt} run=${run} response=${response} several=${live.data.length > 1} />`)}</${Section}>`;
}
