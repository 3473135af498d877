// States as a word with a shape; the colour only repeats it.

import { html } from '../lib/html.js';
import { reason } from '../lib/format.js';
import { Icon } from './icon.js';

// status: [shape, tone]
const LOOKS = {
	__proto__: null,
	succeeded: ['check', 'good'], failed: ['cross', 'bad'], timed_out: ['clock', 'bad'], lost: ['question', 'bad'], cancelled: ['ban', 'dull'],
	skipped: ['skip', 'dull'], missed: ['dash', 'warn'], snoozed: ['clock', 'calm'], queued: ['dots', 'calm'], running: ['play', 'busy'], retrying: ['retry', 'warn'],
	waiting: ['dots', 'calm'],
	active: ['check', 'good'], paused: ['pause', 'warn'], disabled: ['ban', 'dull'], completed: ['check', 'dull'], invalid: ['warning', 'bad'], asleep: ['moon', 'warn'],
	firing: ['bell', 'bad'], ok: ['check', 'good'], warning: ['warning', 'warn'], error: ['cross', 'bad'], info: ['dots', 'calm'],
};

export const tone = (status) => LOOKS[status]?.[1] ?? 'calm';
export const shapeOf = (status) => LOOKS[status]?.[0] ?? 'dots';

// why: the reason's word; it is said in words, as text beside or as a title.
export function Status({ status, why, brief }) {
	const [shape, colour] = LOOKS[status] ?? ['dots', 'calm'];
	const words = reason(why);
	return html`<span class="status ${colour}" title=${brief ? words || undefined : undefined}><${Icon} name=${shape} />${(status ?? '').replace('_', ' ')}</span>${
		words && !brief && html` <span class="why">${words}</span>`}`;
}

const OUTCOMES = { '.': 'succeeded', F: 'failed', X: 'cancelled', T: 'timed_out', L: 'lost', S: 'skipped', M: 'missed' };
const HEIGHTS = { succeeded: 6, failed: 14, timed_out: 14, lost: 14, cancelled: 9, skipped: 3, missed: 3 };

// Strip: the last 20 outcomes of a job, newest at the right. What failed is higher.
export function Strip({ recent }) {
	const marks = [...(recent ?? '')].map((mark) => OUTCOMES[mark]);
	const counts = {};
	marks.forEach((status) => { counts[status] = (counts[status] ?? 0) + 1; });
	const words = Object.entries(counts).map(([status, n]) => `${n} ${status.replace('_', ' ')}`).join(', ');
	return html`<svg class="strip" viewBox="0 0 100 16" role="img" aria-label=${marks.length === 0 ? 'no runs yet' : `last ${marks.length}: ${words}`}>
		<title>${marks.length === 0 ? 'no runs yet' : `last ${marks.length}: ${words}`}</title>
		${marks.map((status, i) => html`<rect class=${tone(status)} x=${(20 - marks.length + i) * 5} width="4" y=${15 - HEIGHTS[status]} height=${HEIGHTS[status]} rx="1" />`)}
	</svg>`;
}
