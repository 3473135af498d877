// Charts over time, by uPlot, in the colours of the page; and small ones by hand.
//
//   <Chart title data=[xs, ys, ...] series=[{ label, tone, format, stacked, bars }] span=[from, to] />
//
// xs are seconds since 1970, and so is `span`: what the axis shows, be there data or not.
// `log` has the axis grow by powers of ten. Each
// chart has its numbers as a table too, behind a button. New data are put into the chart
// that is there; the same data change nothing.

import { useEffect, useRef, useState } from 'preact/hooks';
import { signal } from '@preact/signals';
import uPlot from 'uplot';
import { html } from '../lib/html.js';
import { theme, zone } from '../lib/prefs.js';
import { short } from '../lib/format.js';
import { absolute } from './time.js';

const HEIGHT = 190;
const dark = matchMedia('(prefers-color-scheme: dark)');
const isDark = signal(dark.matches);
dark.addEventListener('change', () => { isDark.value = dark.matches; });

// What a CSS variable is now: a canvas does not know of variables.
function colour(name) {
	const probe = document.createElement('i');
	probe.style.color = `var(--${name})`;
	document.body.append(probe);
	const found = getComputedStyle(probe).color;
	probe.remove();
	return found;
}

const DAY = 86400;
const zoned = (parts) => new Intl.DateTimeFormat('en-GB', { ...parts, hourCycle: 'h23', ...(zone.value === 'UTC' && { timeZone: 'UTC' }) });

// What is at the axis: hours, and the day where it begins; or days.
function instants() {
	const hour = zoned({ hour: '2-digit', minute: '2-digit' });
	const day = zoned({ day: 'numeric', month: 'short' });
	return (plot, splits, axis, space, step) => splits.map((at) => {
		const time = hour.format(at * 1000);
		return step >= DAY || time === '00:00' ? day.format(at * 1000) : time;
	});
}

// A value with nothing beside it would not be seen as a line: it gets a point.
const alone = (plot, n) => {
	const values = plot.data[n];
	const none = (i) => values[i] === null || values[i] === undefined;
	return values.flatMap((value, i) => !none(i) && none(i - 1) && none(i + 1) ? [i] : []);
};

const lines = (one) => ({ points: { show: true, size: 5, fill: colour(one.tone), filter: alone }, fill: one.fill ? colour(`${one.tone}-soft`) : undefined });
const bars = (one) => ({ points: { show: false }, fill: colour(one.tone), paths: uPlot.paths.bars({ size: [0.8, 40], align: 1 }) });
const said = (one, format, value) => value === null || value === undefined ? '–' : (one.format ?? format ?? short)(value);

const upTo = (plot, low, high) => [0, high > 0 ? high * 1.08 : 1];
const powers = (plot, low, high) => low > 0 ? [10 ** Math.floor(Math.log10(low)), 10 ** Math.ceil(Math.log10(high * 1.01))] : [1, 10];

function decades(plot, axis, low, high) {
	const found = [];
	for (let at = low; at <= high * 1.01; at *= 10)
		found.push(Number(at.toPrecision(6)));
	return found;
}

// Of runs there is no half.
const WHOLE = Array.from({ length: 10 }, (unused, n) => [1, 2, 5].map((first) => first * 10 ** n)).flat();

// `now` has what changes with the data: the chart asks for it when it draws.
function options({ series, format, log, height }, now, width) {
	const grid = { stroke: colour('line'), width: 1 };
	const axis = { stroke: colour('soft'), grid, ticks: { ...grid, size: 4 }, font: '11px system-ui, sans-serif' };
	return {
		width, height, padding: [8, 18, 0, 0], cursor: { y: false, points: { size: 6 }, drag: { x: false, y: false } }, legend: { show: false }, hooks: { setCursor: [({ cursor }) => now.current.point(cursor.idx ?? null)] },
		tzDate: zone.value === 'UTC' ? (at) => uPlot.tzDate(new Date(at * 1000), 'Etc/UTC') : undefined,
		scales: { x: { range: (plot, low, high) => now.current.span ?? [low, high] }, y: log ? { distr: 3, range: powers } : { range: upTo } },
		axes: [{ ...axis, size: 28, grid: { show: false }, values: instants() },
			{ ...axis, size: 56, ...(series.some((one) => one.bars) && { incrs: WHOLE }), ...(log && { splits: decades, filter: (plot, splits) => splits }), values: (plot, values) => values.map((value) => value === null ? '' : (format ?? short)(value)) }],
		series: [{}, ...series.map((one) => ({ label: one.label, stroke: colour(one.tone), width: one.bars ? 0 : 1.75, spanGaps: false, ...(one.bars ? bars(one) : lines(one)) }))],
	};
}

// whole: what the axis shows by itself: the last bar has its place too.
const whole = (xs, series) => xs.length > 1 && series.some((one) => one.bars) ? [xs[0], 2 * xs.at(-1) - xs.at(-2)] : undefined;

// stack: bars that stand on each other are sums, the highest drawn first.
function stack(data, series) {
	if (!series.some((one) => one.stacked))
		return { data, series };
	const [xs, ...ys] = data;
	const sums = [];
	let below = xs.map(() => 0);
	ys.forEach((values) => {
		below = below.map((sum, i) => sum + (values[i] ?? 0));
		sums.push(below);
	});
	return { data: [xs, ...sums.reverse()], series: [...series].reverse() };
}

export function Chart({ title, note, data, series, format, span, log, height = HEIGHT, empty = 'Nothing in this time.' }) {
	const box = useRef();
	const plot = useRef();
	const now = useRef();
	const [asTable, setAsTable] = useState(false);
	const [at, setAt] = useState(null);
	const none = data[0].length === 0 || series.length === 0;
	const drawn = stack(data, series);
	now.current = { span: span ?? whole(data[0], series), point: setAt };
	const looks = JSON.stringify(drawn.series.map(({ label, tone, bars: isBars }) => [label, tone, isBars]));
	const content = JSON.stringify([drawn.data, span]);
	useEffect(() => {
		if (none || asTable)
			return undefined;
		const width = () => box.current.clientWidth;
		const mine = new uPlot(options({ series: drawn.series, format, log, height }, now, width()), drawn.data, box.current);
		plot.current = { mine, content };
		const watch = new ResizeObserver(() => { if (box.current && width() !== mine.width) mine.setSize({ width: width(), height }); });
		watch.observe(box.current);
		return () => { watch.disconnect(); mine.destroy(); plot.current = undefined; };
	}, [none, asTable, theme.value, isDark.value, zone.value, looks, log, height]);
	useEffect(() => {
		if (plot.current && plot.current.content !== content) {
			plot.current.content = content;
			plot.current.mine.setData(drawn.data);
		}
	}, [content]);
	return html`<figure class="chart" style=${{ minHeight: `${height + 58}px` }}><figcaption><span>${title}${note && html` <span class="note">${note}</span>`}</span>${!none && html`<button class="quiet small" aria-pressed=${asTable} aria-label=${`${title}: as a table`} onClick=${() => setAsTable(!asTable)}>Table</button>`}</figcaption>
		${none ? html`<p class="note">${empty}</p>` : asTable ? html`<${Numbers} data=${data} series=${series} format=${format} title=${title} />`
			: html`<div class="plot" ref=${box} role="img" aria-label=${`${title}: the table has the numbers`} style=${{ height: `${height}px` }}></div>
				<${Legend} data=${data} series=${series} format=${format} at=${at} />`}</figure>`;
}

// Legend: the series, and where one points at the chart the values there.
const Legend = ({ data: [xs, ...ys], series, format, at }) => html`<ul class="legend" aria-hidden="true">${series.map((one, n) => html`<li><span class="swatch" style=${{ background: `var(--${one.tone})` }}></span>${one.label}
	${at !== null && at < xs.length && html` <b>${said(one, format, ys[n][at])}</b>`}</li>`)}${at !== null && at < xs.length && html`<li class="when">${absolute(xs[at] * 1000, { seconds: false })}</li>`}</ul>`;

const Numbers = ({ data: [xs, ...ys], series, format, title }) => html`<div class="table numbers" tabindex="0" role="region" aria-label=${title}><table><thead><tr><th scope="col">time</th>
	${series.map(({ label }) => html`<th scope="col" class="right">${label}</th>`)}</tr></thead><tbody>${xs.map((at, i) => html`<tr><td>${absolute(at * 1000, { seconds: false })}</td>
	${series.map((one, n) => html`<td class="right">${said(one, format, ys[n][i])}</td>`)}</tr>`)}</tbody></table></div>`;

// Bar: a share, of something that has a name.
export const Bar = ({ share, words, tone = 'busy' }) => html`<span class="bar ${tone}" role="img" aria-label=${words} title=${words}><span style=${{ width: `${Math.max(0, Math.min(1, share)) * 100}%` }}></span></span>`;
