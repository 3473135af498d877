// Charts over time, by uPlot, in the colours of the page; and small ones by hand.
//
//   <Chart title data=[xs, ys, ...] series=[{ label, tone, format, stacked, bars }] />
//
// xs are seconds since 1970. Each chart has its numbers as a table too, behind a button.

import { useEffect, useRef, useState } from 'preact/hooks';
import uPlot from 'uplot';
import { html } from '../lib/html.js';
import { theme, zone } from '../lib/prefs.js';
import { short } from '../lib/format.js';
import { absolute } from './time.js';

const HEIGHT = 190;
const dark = matchMedia('(prefers-color-scheme: dark)');

// What a CSS variable is now: a canvas does not know of variables.
function colour(name) {
	const probe = document.createElement('i');
	probe.style.color = `var(--${name})`;
	document.body.append(probe);
	const found = getComputedStyle(probe).color;
	probe.remove();
	return found;
}

function options({ series, format }, width) {
	const grid = { stroke: colour('line'), width: 1 };
	const axis = { stroke: colour('soft'), grid, ticks: { ...grid, size: 4 }, font: '11px system-ui, sans-serif' };
	return {
		width, height: HEIGHT, padding: [8, 8, 0, 0], cursor: { y: false, points: { size: 6 } }, legend: { live: true },
		tzDate: zone.value === 'UTC' ? (at) => uPlot.tzDate(new Date(at * 1000), 'Etc/UTC') : undefined,
		scales: { y: { range: (plot, low, high) => [0, high > 0 ? high * 1.08 : 1] } },
		axes: [{ ...axis }, { ...axis, size: 56, values: (plot, values) => values.map(format ?? short) }],
		series: [{ value: (plot, at) => at === null ? '–' : absolute(at * 1000, { seconds: false }) }, ...series.map((one) => ({
			label: one.label, stroke: colour(one.tone), width: one.bars ? 0 : 1.75, spanGaps: false, points: { show: false },
			fill: one.bars ? colour(one.tone) : one.fill ? colour(`${one.tone}-soft`) : undefined,
			paths: one.bars ? uPlot.paths.bars({ size: [0.8, 40], align: 1 }) : undefined,
			value: (plot, value, at, i) => value === null || value === undefined ? '–' : (one.format ?? format ?? short)(one.own ? one.own[i] ?? 0 : value),
		}))],
	};
}

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
	return { data: [xs, ...sums.reverse()], series: series.map((one, i) => ({ ...one, own: ys[i] })).reverse() };
}

export function Chart({ title, data, series, format, empty = 'Nothing in this time.' }) {
	const box = useRef();
	const [asTable, setAsTable] = useState(false);
	const none = data[0].length === 0;
	const drawn = stack(data, series);
	useEffect(() => {
		if (none || asTable)
			return undefined;
		const plot = new uPlot(options({ ...drawn, format }, box.current.clientWidth), drawn.data, box.current);
		const watch = new ResizeObserver(() => { if (box.current && box.current.clientWidth !== plot.width) plot.setSize({ width: box.current.clientWidth, height: HEIGHT }); });
		watch.observe(box.current);
		return () => { watch.disconnect(); plot.destroy(); };
	}, [none, asTable, theme.value, dark.matches, zone.value, JSON.stringify(data)]);
	return html`<figure class="chart"><figcaption>${title}${!none && html`<button class="quiet small" aria-pressed=${asTable} onClick=${() => setAsTable(!asTable)}>${asTable ? 'Chart' : 'Table'}</button>`}</figcaption>
		${none ? html`<p class="note">${empty}</p>` : asTable ? html`<${Numbers} data=${data} series=${series} format=${format} title=${title} />`
			: html`<div class="plot" ref=${box} role="img" aria-label=${`${title}: the table has the numbers`}></div>`}</figure>`;
}

const Numbers = ({ data: [xs, ...ys], series, format, title }) => html`<div class="table numbers" tabindex="0" role="region" aria-label=${title}><table><thead><tr><th scope="col">time</th>
	${series.map(({ label }) => html`<th scope="col" class="right">${label}</th>`)}</tr></thead><tbody>${xs.map((at, i) => html`<tr><td>${absolute(at * 1000, { seconds: false })}</td>
	${series.map((one, n) => html`<td class="right">${ys[n][i] === null || ys[n][i] === undefined ? '–' : (one.format ?? format ?? short)(ys[n][i])}</td>`)}</tr>`)}</tbody></table></div>`;

// Spark: a line without axes; words say what it shows.
export function Spark({ values, words, tone = 'busy' }) {
	const high = Math.max(1, ...values.map((value) => value ?? 0));
	const at = values.map((value, i) => [values.length < 2 ? 0 : i * 100 / (values.length - 1), 23 - 21 * (value ?? 0) / high]);
	const line = at.map(([x, y], i) => `${i === 0 ? 'M' : 'L'}${x.toFixed(1)} ${y.toFixed(1)}`).join('');
	return html`<svg class="spark ${tone}" viewBox="0 0 100 24" preserveAspectRatio="none" role="img" aria-label=${words}><path class="area" d="${line}L100 24L0 24Z" /><path class="line" d=${line} /></svg>`;
}

// Bar: a share, of something that has a name.
export const Bar = ({ share, words, tone = 'busy' }) => html`<span class="bar ${tone}" role="img" aria-label=${words} title=${words}><span style=${{ width: `${Math.max(0, Math.min(1, share)) * 100}%` }}></span></span>`;
