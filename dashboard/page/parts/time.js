// An instant: relative to now, absolute when one points at it. In the zone that is chosen
// below the menu, or in that of a job.

import { html } from '../lib/html.js';
import { now } from '../lib/clock.js';
import { duration, relative } from '../lib/format.js';
import { zone } from '../lib/prefs.js';

const formats = new Map();

function format(name, seconds) {
	const key = `${name} ${seconds}`;
	if (!formats.has(key))
		formats.set(key, new Intl.DateTimeFormat('en-CA', { timeZone: name, year: 'numeric', month: '2-digit', day: '2-digit', hour: '2-digit', minute: '2-digit',
			...(seconds && { second: '2-digit' }), hourCycle: 'h23', timeZoneName: 'short' }));
	return formats.get(key);
}

const chosen = () => zone.value === 'UTC' ? 'UTC' : undefined;

// absolute: "2026-05-01 12:30:05 UTC". A zone that the browser does not know: UTC.
export function absolute(value, { timezone = chosen(), seconds = true } = {}) {
	const at = new Date(value);
	if (value === null || value === undefined)
		return '';
	if (Number.isNaN(at.getTime()))
		return String(value);
	try {
		return format(timezone, seconds).format(at).replace(',', '');
	} catch {
		return format('UTC', seconds).format(at).replace(',', '');
	}
}

// Time: value is text as the API gives it. exact: the absolute one is shown.
export function Time({ value, exact, timezone, seconds }) {
	if (value === null || value === undefined)
		return html`<span class="none">–</span>`;
	const text = absolute(value, { timezone, seconds });
	if (value === 'infinity' || value === '-infinity')
		return html`<span>${value === 'infinity' ? 'for ever' : 'always'}</span>`;
	return html`<time datetime=${value} title=${text}>${exact ? text : relative(Date.parse(value), now.value)}</time>`;
}

// Elapsed: how long something has gone on, by the second, as it is drawn so often.
export const Elapsed = ({ since }) => html`<span class="elapsed" title=${absolute(since)}>${duration(Math.max(0, Math.floor((now.value - Date.parse(since)) / 1000) * 1000)).replace('0 ms', '0 s')}</span>`;
