// The time of a run: a bar of what it did when, and its moments as a list.

import { html } from '../lib/html.js';
import { now } from '../lib/clock.js';
import { duration, reason } from '../lib/format.js';
import { instant, runSpans, shares } from '../lib/timeline.js';
import { tone } from './status.js';
import { absolute } from './time.js';

// What each span is called, of a run that has the reason.
function called({ what, attempt, status }, run, several, last) {
	if (what === 'attempt' && status === 'running' && run.reason === 'waiting_for_children')
		return 'executed, waits for its children';
	if (what === 'attempt')
		return `${several ? `attempt ${attempt}` : 'executed'}${several || status === 'running' ? `, ${status.replace('_', ' ')}` : ''}`;
	// The reason of a run that waits is what it waits for; of one that is to be tried again it may be why it failed.
	const waits = last && run.finished_at === null && (run.status === 'queued' || (run.status === 'retrying' && /^waiting_/.test(run.reason ?? '')));
	return (waits && reason(run.reason)) || { due: 'its time had not come', wait: 'waited', pause: last && run.status === 'retrying' ? 'waits for the next attempt' : 'waited for the next attempt', children: 'waited for its children' }[what];
}

// took: of attempts the server knows it better than our clock's milliseconds do.
const took = (span, attempts, run) => duration((span.what === 'attempt' && (attempts.find(({ attempt }) => attempt === span.attempt)?.duration_ms ?? (span.attempt === run.attempt ? run.duration_ms : undefined))) || span.to - span.from);

const toneOf = (span) => span.what === 'attempt' ? tone(span.status) : 'rest';

function moments(run, spans, several) {
	const found = [['queued', run.queued_at]];
	if (spans[0]?.what === 'due')
		found.push(['due', run.run_at]);
	for (const span of spans.filter(({ what }) => what === 'attempt'))
		found.push([several ? `attempt ${span.attempt} started` : 'started', span.from]);
	if (run.finished_at !== null)
		found.push([run.status.replace('_', ' '), run.finished_at]);
	else if (run.status === 'retrying' && !/^waiting_/.test(run.reason ?? ''))
		found.push(['next attempt', run.run_at]);
	else if (spans.length === 1 && spans[0].what === 'due')
		found.at(-1)[0] = 'due';
	return found.filter(([, at]) => Number.isFinite(typeof at === 'number' ? at : instant(at)));
}

const MOMENTS = 12;
export function RunLine({ run, attempts, live }) {
	const spans = runSpans(run, attempts, live ? now.value : Math.max(...[run.finished_at, run.started_at, run.queued_at].map((at) => instant(at) ?? 0)));
	const several = spans.filter(({ what }) => what === 'attempt').length > 1;
	const widths = shares(spans, 1.2);
	const points = moments(run, spans, several);
	const dropped = points.length - MOMENTS;
	return html`<div class="line"><div class="line-bar" aria-hidden="true">${spans.map((span, i) => html`<span key=${i} class="${span.what} ${toneOf(span)}" style=${{ width: `${widths[i]}%` }}
			title=${`${called(span, run, several, i === spans.length - 1)}: ${took(span, attempts, run)}`}></span>`)}</div>
		<ul class="line-words" aria-label="Where the time went">${spans.slice(0, MOMENTS).map((span, i) => html`<li key=${i}><i class="${span.what} ${toneOf(span)}" aria-hidden="true"></i>${called(span, run, several, i === spans.length - 1)} <b>${took(span, attempts, run)}</b></li>`)}</ul>
		<dl class="moments">${points.slice(0, MOMENTS).map(([what, at], i) => html`<div key=${i}><dt>${what}</dt><dd>${absolute(at)}</dd></div>`)}${dropped > 0 && html`<div><dt>and</dt><dd>${dropped} more</dd></div>`}</dl></div>`;
}
