// Filters are parameters of the URL. Typing waits a moment before it asks.

import { useEffect, useRef, useState } from 'preact/hooks';
import { html } from '../lib/html.js';
import { useKeys } from '../lib/keys.js';
import { route, setQuery } from '../lib/route.js';
import { Icon } from './icon.js';

const MOMENT = 250;

// Filters: of two on a screen each has its label.
export const Filters = ({ label = 'Filters', children }) => html`<form class="filters" role="search" aria-label=${label} onSubmit=${(event) => event.preventDefault()}>${children}</form>`;

// Search: a text. `clears` are parameters that a change makes void, such as the page;
// `offers` are texts to choose from.
export function Search({ name, label, clears = ['page'], slash, offers }) {
	const value = route.value.query[name] ?? '';
	const [text, setText] = useState(value);
	const input = useRef();
	const timer = useRef();
	useEffect(() => { if (document.activeElement !== input.current) setText(value); }, [value]);
	// Who leaves the screen while typing takes nothing of it to the next.
	useEffect(() => () => clearTimeout(timer.current), []);
	useKeys(slash ? { '/': ['Search', () => input.current.focus()] } : {});
	const type = (event) => {
		setText(event.target.value);
		clearTimeout(timer.current);
		timer.current = setTimeout(() => setQuery({ [name]: event.target.value.trim(), ...Object.fromEntries(clears.map((one) => [one, ''])) }, { replace: true }), MOMENT);
	};
	return html`<label class="search"><${Icon} name="search" /><input ref=${input} type="search" value=${text} placeholder=${label} aria-label=${label} onInput=${type} autocomplete="off" spellcheck="false"
		list=${offers ? `offers-${name}` : undefined} />${offers && html`<datalist id=${`offers-${name}`}>${offers.map((offer) => html`<option value=${offer} />`)}</datalist>`}</label>`;
}

// Choice: one of several, or all; `standard` is what it is without a parameter.
export function Choice({ name, label, options, clears = ['page'], all = 'any', standard = '' }) {
	const value = route.value.query[name] ?? standard;
	return html`<label class="choice"><span>${label}</span><select value=${value} onChange=${(event) => setQuery({ [name]: event.target.value === standard ? '' : event.target.value, ...Object.fromEntries(clears.map((one) => [one, ''])) })}>
		${all !== null && html`<option value="">${all}</option>`}
		${options.map((option) => html`<option value=${option.value ?? option} selected=${(option.value ?? option) === value}>${option.label ?? option}</option>`)}</select></label>`;
}

// Several: any of some values, with commas between them in the URL.
export function Several({ name, label, options, clears = ['page'] }) {
	const chosen = (route.value.query[name] ?? '').split(',').filter((one) => one !== '');
	const toggle = (value) => setQuery({ [name]: (chosen.includes(value) ? chosen.filter((one) => one !== value) : [...chosen, value]).join(','), ...Object.fromEntries(clears.map((one) => [one, ''])) });
	return html`<div class="several" role="group" aria-label=${label}>${options.map((option) => {
		const { value = option, shown = String(option).replace('_', ' ') } = option;
		return html`<button type="button" key=${value} aria-pressed=${chosen.includes(value)} onClick=${() => toggle(value)}>${shown}</button>`;
	})}</div>`;
}

// Pager: `page` in the URL, or another name, is where the next page begins; the first has none.
export const Pager = ({ first, next, name = 'page', label = 'Pages', words = ['First page', 'Next page'] }) => (first || next) && html`<nav class="pager" aria-label=${label}>
	${first && html`<button onClick=${() => setQuery({ [name]: '' })}><${Icon} name="left" />${words[0]}</button>`}
	${next && html`<button onClick=${() => setQuery({ [name]: next })}>${words[1]}<${Icon} name="right" /></button>`}</nav>`;
