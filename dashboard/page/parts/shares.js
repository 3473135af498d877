// Shares: one bar of what is in which state, as of a batch's members or a step's elements.
// counts: { succeeded: 12, failed: 1 }; what is none is left out.

import { html } from '../lib/html.js';
import { number } from '../lib/format.js';
import { Icon } from './icon.js';
import { shapeOf, tone } from './status.js';

const ORDER = ['succeeded', 'failed', 'timed_out', 'lost', 'cancelled', 'skipped', 'running', 'retrying', 'queued', 'waiting'];

export const filled = (counts) => ORDER.filter((status) => Number(counts?.[status]) > 0).map((status) => [status, Number(counts[status])]);
export const inWords = (counts) => filled(counts).map(([status, n]) => `${number(n)} ${status.replace('_', ' ')}`).join(', ');

export function Shares({ counts, list }) {
	const parts = filled(counts);
	const whole = parts.reduce((sum, [, n]) => sum + n, 0);
	const words = inWords(counts) || 'nothing yet';
	return html`<div class="shares"><span class="shares-bar" role="img" aria-label=${words} title=${words}>${parts.map(([status, n]) => html`<span key=${status}
		class="${tone(status)} ${status}" style=${{ flexGrow: n / whole }}></span>`)}</span>${list && html`<ul>${parts.map(([status, n]) => html`<li class="tone ${tone(status)}">
		<${Icon} name=${shapeOf(status)} />${number(n)} ${status.replace('_', ' ')}</li>`)}</ul>`}</div>`;
}
