// A map of outcomes: a column for each day, a row for each hour. The part of a cell that is
// filled strongly, from its foot, is what failed, so that the colour is not all that says it.

import { useState } from 'preact/hooks';
import { html } from '../lib/html.js';
import { ended, failures } from '../lib/buckets.js';
import { number, plural } from '../lib/format.js';
import { absolute } from './time.js';

const W = 20;
const H = 9;
const GAP = 1.5;

const words = (row) => row === undefined ? 'nothing' : [[ended(row) - failures(row) - (row.cancelled ?? 0), 'succeeded'], [failures(row), 'failed'], [row.cancelled, 'cancelled'], [row.skipped, 'skipped'], [row.missed, 'missed']]
	.filter(([n]) => n > 0).map(([n, word]) => `${number(n)} ${word}`).join(', ') || 'nothing';

const instant = (at, utc) => absolute(at, { seconds: false, ...(utc && { timezone: 'UTC' }) });

function Cell({ at, row, later, x, y, utc }) {
	if (later)
		return null;
	const all = ended(row);
	const share = all === 0 ? 0 : failures(row) / all;
	const height = H - GAP;
	const filled = share === 0 ? 0 : Math.max(2, height * share);
	const tone = row === undefined ? 'nothing' : all > 0 ? share === 1 ? 'allbad' : 'fine' : 'rest';
	return html`<g><title>${instant(at, utc)}: ${words(row)}</title><rect class=${`cell ${tone}`} x=${x} y=${y} width=${W - GAP} height=${height} rx="1" />
		${filled > 0 && html`<rect class="bad" x=${x} y=${y + height - filled} width=${W - GAP} height=${filled} rx="1" />`}</g>`;
}

const sumOf = (hours, of) => hours.reduce((sum, { row }) => sum + of(row), 0);

const Days = ({ days, utc }) => html`<div class="table numbers" tabindex="0" role="region" aria-label="Outcomes by day"><table><thead><tr><th scope="col">Day</th><th scope="col" class="right">Ended</th><th scope="col" class="right">Failed</th>
	<th scope="col">Hours with failures</th></tr></thead><tbody>${days.map(({ day, hours }) => html`<tr key=${day}><td>${instant(day, utc).slice(0, 10)}</td><td class="right">${number(sumOf(hours, ended))}</td>
	<td class="right">${number(sumOf(hours, failures))}</td><td>${hours.map(({ row }, hour) => failures(row) > 0 ? `${String(hour).padStart(2, '0')}: ${failures(row)}` : '').filter(Boolean).join(', ')}</td></tr>`).reverse()}</tbody></table></div>`;

export function Heat({ days, utc, title }) {
	const [asTable, setAsTable] = useState(false);
	const all = days.flatMap(({ hours }) => hours);
	const bad = sumOf(all, failures);
	if (all.every(({ row }) => row === undefined))
		return html`<figure class="chart"><figcaption>${title}</figcaption><p class="note">Nothing has ended in this time.</p></figure>`;
	const said = `${title}: ${plural(sumOf(all, ended), 'run')}, ${number(bad)} failed, in ${plural(all.filter(({ row }) => failures(row) > 0).length, 'hour')}`;
	return html`<figure class="chart heat"><figcaption>${title}<button class="quiet small" aria-pressed=${asTable} onClick=${() => setAsTable(!asTable)}>${asTable ? 'Map' : 'Table'}</button></figcaption>
		${asTable ? html`<${Days} days=${days} utc=${utc} />` : html`<div class="map"><div class="hours" aria-hidden="true">${['00', '06', '12', '18'].map((hour) => html`<span>${hour}</span>`)}</div>
		<svg viewBox=${`0 0 ${days.length * W} ${24 * H}`} preserveAspectRatio="none" role="img" aria-label=${said}>${days.map(({ hours }, i) => hours.map((hour, j) => html`<${Cell} key=${hour.at} ...${hour} x=${i * W} y=${j * H} utc=${utc} />`))}</svg>
		<div class="dates" aria-hidden="true">${[0, 10, 20, days.length - 1].map((i) => html`<span>${instant(days[i].day, utc).slice(5, 10)}</span>`)}</div></div>
		<p class="maplegend note"><span class="key fine"></span>succeeded<span class="key allbad"></span>failed, by its share<span class="key rest"></span>only skipped or missed<span class="key nothing"></span>nothing</p>`}</figure>`;
}
