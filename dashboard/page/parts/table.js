// A table of rows that are links. It is what lists are made of.
//
//   columns   [{ name, title, cell(row), right, narrow: 'hide' }]
//   rows, keyOf(row), link(row): where a row leads to; named(row): what the link is called
//   selected  a Map of keys to rows with setSelected(), if rows can be selected (useSelected())
//
// While the focus is in a row, or rows are selected, no row moves: new ones wait behind a
// button. Keys: j, k, x; Enter is the link's own.

import { useEffect, useRef, useState } from 'preact/hooks';
import { html } from '../lib/html.js';
import { useKeys } from '../lib/keys.js';
import { plural } from '../lib/format.js';

// held: the rows as they were, with what is new in them, while they are in use.
function useHeld(rows, keyOf, inUse) {
	const before = useRef(rows);
	const byKey = new Map(rows.map((row) => [keyOf(row), row]));
	const shown = inUse() ? before.current.map((row) => byKey.get(keyOf(row)) ?? row) : rows;
	const known = new Set(shown.map(keyOf));
	before.current = shown;
	return { shown, fresh: rows.filter((row) => !known.has(keyOf(row))).length };
}

export function Table({ label, columns, rows, keyOf, link, named, selected, setSelected, empty, order, onOrder }) {
	const body = useRef();
	const [released, setReleased] = useState(0);
	const release = useRef(0);
	const inUse = () => release.current === released && body.current !== undefined && body.current !== null
		&& (body.current.contains(document.activeElement) || (selected?.size ?? 0) > 0);
	const { shown, fresh } = useHeld(rows, keyOf, inUse);
	release.current = released;

	const move = (step) => {
		// Of several tables the one that one is in.
		const links = [...(document.activeElement.closest('.table tbody') ?? body.current).querySelectorAll('a.row')];
		const at = links.indexOf(document.activeElement.closest('tr')?.querySelector('a.row'));
		links[at === -1 ? 0 : Math.min(links.length - 1, Math.max(0, at + step))]?.focus();
	};
	const toggle = (row) => {
		const next = new Map(selected);
		if (!next.delete(keyOf(row)))
			next.set(keyOf(row), row);
		setSelected(next);
	};
	useKeys(shown.length === 0 ? {} : {
		j: ['Next row', () => move(1)], k: ['Row before', () => move(-1)],
		...(selected && { x: ['Select the row', () => {
			const at = document.activeElement.closest('tr')?.dataset.at;
			if (at !== undefined && shown[at] && body.current.contains(document.activeElement))
				toggle(shown[at]);
		}] }),
	});
	if (shown.length === 0)
		return empty ?? null;
	const all = selected && shown.every((row) => selected.has(keyOf(row)));
	// One that is wider than the screen can be scrolled by keyboard: by its links, or itself.
	const region = link ? { tabindex: -1 } : { tabindex: 0, role: 'region', 'aria-label': label };
	return html`<div class="table" ...${region}>${fresh > 0 && html`<button class="fresh" onClick=${() => { document.activeElement.blur(); setSelected?.(new Map()); setReleased(released + 1); }}>${fresh} new</button>`}
	<table aria-label=${label}><thead><tr>${selected && html`<th scope="col" class="mark"><input type="checkbox" aria-label="Select all rows" checked=${all}
			onChange=${() => setSelected(new Map(all ? [] : shown.map((row) => [keyOf(row), row])))} /></th>`}
		${columns.map((column) => html`<th scope="col" class="${column.right ? 'right' : ''} ${column.narrow ?? ''}" aria-sort=${order?.name === column.name ? order.down ? 'descending' : 'ascending' : undefined}>
			${column.order && onOrder ? html`<button class="sort" onClick=${() => onOrder(column.name)}>${column.title}</button>` : column.title}</th>`)}</tr></thead>
	<tbody ref=${body}>${shown.map((row, at) => {
		const key = keyOf(row);
		return html`<tr key=${key} data-at=${at} class=${selected?.has(key) ? 'selected' : undefined}>
			${selected && html`<td class="mark"><input type="checkbox" aria-label=${`Select ${named ? named(row) : key}`} checked=${selected.has(key)} onChange=${() => toggle(row)} /></td>`}
			${columns.map((column, i) => html`<td class="${column.right ? 'right' : ''} ${column.narrow ?? ''} ${column.kind ?? ''}">${i === 0 && link ? html`<a class="row" href=${link(row)}>${column.cell(row)}</a>` : column.cell(row)}</td>`)}</tr>`;
	})}</tbody></table></div>`;
}

// useSelected: { selected, setSelected, those }: those are the selected rows, as they are now
// or as they were seen last: newer ones may have pushed them off the page. Another `list`
// (filters, a page) begins anew.
export function useSelected(rows, keyOf, list) {
	const [selected, setSelected] = useState(new Map());
	useEffect(() => { setSelected(new Map()); }, [list]);
	const now = new Map(rows.map((row) => [keyOf(row), row]));
	return { selected, setSelected, those: [...selected].map(([key, row]) => now.get(key) ?? row) };
}

// Selection: what can be done with the selected rows.
export const Selection = ({ selected, setSelected, children }) => selected.size === 0 ? null
	: html`<div class="selection" role="region" aria-label="Selected rows"><span>${plural(selected.size, 'row')} selected</span>${children}<button class="quiet" onClick=${() => setSelected(new Map())}>Clear</button></div>`;
