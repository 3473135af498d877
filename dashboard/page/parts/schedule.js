// What a schedule says, in words, and what comes of it.

import { useEffect, useState } from 'preact/hooks';
import { html } from '../lib/html.js';
import { read } from '../lib/api.js';
import { sentences } from '../lib/format.js';
import { absolute, Time } from './time.js';
import { Icon } from './icon.js';

const MOMENT = 200;
const here = Intl.DateTimeFormat().resolvedOptions().timeZone;

const capital = (text) => text.charAt(0).toUpperCase() + text.slice(1);

// Words: the first line says when; the others warn, or note something.
export function Words({ text }) {
	const [first, ...more] = text.split('\n');
	return html`<p>${first}</p>${more.map((line) => line.startsWith('Warning: ') ? html`<p class="warned"><${Icon} name="warning" /><span>${capital(line.slice(9))}</span></p>` : html`<p class="note">${capital(line.replace(/^Note: /, ''))}</p>`)}`;
}

// Slots: instants in the job's zone, and in the browser's if it is another one.
export function Slots({ slots, timezone, label }) {
	const both = absolute(slots[0], { timezone }) !== absolute(slots[0], { timezone: here });
	return html`<table class="slots" aria-label=${label}><thead><tr><th scope="col">In</th><th scope="col">${timezone}</th>${both && html`<th scope="col" class="hide">Here, ${here}</th>`}</tr></thead>
		<tbody>${slots.map((at) => html`<tr key=${at}><td><${Time} value=${at} /></td><td><time datetime=${at}>${absolute(at, { timezone })}</time></td>${both && html`<td class="note hide">${absolute(at, { timezone: here })}</td>`}</tr>`)}</tbody></table>`;
}

// usePreview: what the server says of a schedule, a moment after the last change of it.
function usePreview(schedule, timezone) {
	const [state, setState] = useState({});
	useEffect(() => {
		if (schedule.trim() === '') {
			setState({});
			return undefined;
		}
		const stop = new AbortController();
		const asked = { schedule, ...(timezone.trim() !== '' && { timezone }) };
		const timer = setTimeout(async () => {
			try {
				const [words, slots] = await Promise.all([read('explain_schedule', asked, { signal: stop.signal }), read('next_runs', { ...asked, n: 5 }, { signal: stop.signal })]);
				setState({ words, slots });
			} catch (error) {
				if (!stop.signal.aborted)
					setState({ error });
			}
		}, MOMENT);
		return () => { clearTimeout(timer); stop.abort(); };
	}, [schedule, timezone]);
	return state;
}

export function Preview({ schedule, timezone, id }) {
	const { words, slots, error } = usePreview(schedule, timezone);
	return html`<div class="preview" id=${id} role="status">${error ? html`<p class="wrong"><${Icon} name="warning" /><span>${sentences(error.message, error.details, error.hint)}</span></p>`
		: words === undefined ? html`<p class="note">${schedule.trim() === '' ? 'On demand: it runs when it is triggered.' : '…'}</p>`
			: html`<${Words} text=${words} />${slots.length > 0 ? html`<${Slots} slots=${slots} timezone=${timezone.trim() || 'UTC'} label="Next slots" />` : html`<p class="note">No slot is to come.</p>`}
			${/^\s*every/i.test(schedule) && html`<p class="note">Counted from now; a job counts from its first slot, or from when it was defined.</p>`}`}</div>`;
}
