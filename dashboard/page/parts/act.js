// Actions: a button calls the API, says what became of it, and has the screen refreshed.
// What cannot be undone is asked first.

import { useEffect, useRef, useState } from 'preact/hooks';
import { signal } from '@preact/signals';
import { sentences } from '../lib/format.js';
import { html } from '../lib/html.js';
import { refreshAll } from '../lib/live.js';
import { raw } from '../lib/raw.js';
import { route } from '../lib/route.js';
import { Icon } from './icon.js';

// --- what is said ------------------------------------------------------------

const said = signal([]);
let last = 0;

// say: a line at the bottom; what is bad stays until it is closed.
export function say(text, { bad = false, link } = {}) {
	const id = ++last;
	said.value = [...said.value.slice(-3), { id, text, bad, link }];
	if (!bad)
		setTimeout(() => unsay(id), 6000);
}

const unsay = (id) => { said.value = said.value.filter((one) => one.id !== id); };

export const Said = () => html`<div class="said" role="status" aria-live="polite">${said.value.map(({ id, text, bad, link }) => html`<div key=${id} class=${bad ? 'bad' : 'good'}>
	<${Icon} name=${bad ? 'warning' : 'check'} /><span>${text}</span>${link && html`<a href=${link.href}>${link.text}</a>`}
	<button class="quiet" onClick=${() => unsay(id)}><${Icon} name="cross" label="Close" /></button></div>`)}</div>`;

// act: true if it worked. done: what to say, text or a function of the answer, which
// may give { text, link }.
export async function act(action, done) {
	try {
		const answer = await action();
		const words = typeof done === 'function' ? done(answer) : done;
		if (words)
			say(words.text ?? words, words);
		refreshAll();
		return true;
	} catch (error) {
		say(sentences(error.message, error.details, error.hint), { bad: true });
		return false;
	}
}

// --- what is asked -----------------------------------------------------------

const asked = signal(null);

// ask: a dialog with fields; the values, or null. fields: [{ name, label, type, value,
// hint, required, options }], where type is text, area, json, checkbox, select, datetime-local,
// list (texts with commas between them) or another of <input>. With run(values) the dialog
// stays open, with what was typed, until that has worked. wide: for many fields; only: there
// is no way back, as of what is shown once. JSON stays as it is written (lib/raw.js).
// One is put after the other, so that none takes the place of another under somebody's hand.
let turn = Promise.resolve();
let age = 0;
export function ask(question) {
	const mine = age;
	turn = turn.then(() => mine !== age && !question.only ? null : new Promise((resolve) => { asked.value = { fields: [], label: 'OK', ...question, resolve }; }));
	return turn;
}

// forget: what is asked belongs to a screen, and to a session: ids mean others elsewhere.
// What is under way on the same session is waited for, and what is shown once stays.
function forget(always) {
	const question = asked.peek();
	age++;
	if (question === null || question.only || (question.busy && !always))
		return;
	asked.value = null;
	question.resolve(null);
}

// askAct: a dialog whose answer is an action; true if it was done. done: as of act().
export const askAct = ({ run, done, ...question }) => ask({ ...question, run: async (values) => {
	const answer = await run(values);
	const words = typeof done === 'function' ? done(answer, values) : done;
	if (words)
		say(words.text ?? words, words);
	refreshAll();
} }).then((values) => values !== null);

export const confirm = (title, { label = title, body, danger = true } = {}) => ask({ title, label, body, danger }).then((values) => values !== null);

// What is typed belongs to the browser: a default is not put there again when we draw.
function Field({ field, id }) {
	const { name, label, type = 'text', value, hint, required, options, placeholder } = field;
	const common = { id, name, required, 'aria-describedby': hint ? `${id}-hint` : undefined, placeholder };
	if (type === 'checkbox')
		return html`<label class="check"><input type="checkbox" ...${common} defaultChecked=${value} /> ${label}</label>`;
	return html`<label for=${id}>${label}</label>
		${type === 'select' ? html`<select ...${common}>${options.map((option) => html`<option value=${option.value ?? option} selected=${(option.value ?? option) === value}>${option.label ?? option}</option>`)}</select>`
			: type === 'area' || type === 'json' ? html`<textarea ...${common} rows=${type === 'json' ? 5 : 3} spellcheck="false" class=${type === 'json' ? 'mono' : undefined}>${value ?? ''}</textarea>`
			: html`<input type=${type === 'list' ? 'text' : type} ...${common} ...${field.more} defaultValue=${Array.isArray(value) ? value.join(', ') : value ?? ''} autocomplete=${type === 'password' ? 'new-password' : 'off'} />`}
		${hint && html`<p class="hint" id="${id}-hint">${hint}</p>`}`;
}

// The values of the form; a wrong JSON is told at its field.
function values(form, fields) {
	const found = {};
	for (const { name, type } of fields) {
		const input = form.elements[name];
		if (type === 'checkbox')
			found[name] = input.checked;
		else if (type === 'list')
			found[name] = input.value.trim() === '' ? null : input.value.split(',').map((one) => one.trim()).filter((one) => one !== '');
		else if (type === 'number')
			found[name] = input.value === '' ? null : Number(input.value);
		else if (type === 'json')
			found[name] = input.value.trim() === '' ? null : raw(input.value);
		else if (type === 'datetime-local')
			found[name] = input.value === '' ? null : new Date(input.value).toISOString();
		else
			found[name] = input.value === '' ? null : input.value;
	}
	return found;
}

export function Asked() {
	const dialog = useRef();
	const [problem, setProblem] = useState('');
	const [busy, setBusy] = useState(false);
	const question = asked.value;
	const screen = route.value.path.join('/');
	useEffect(() => () => forget(), [screen]);
	useEffect(() => () => forget(true), []);
	useEffect(() => {
		setProblem('');
		if (question && !dialog.current.open)
			dialog.current.showModal();
	}, [question]);
	if (question === null)
		return null;
	const finish = (answer) => {
		if (asked.value !== question)
			return;
		dialog.current.close();
		asked.value = null;
		question.resolve(answer);
	};
	const submit = async (event) => {
		event.preventDefault();
		setProblem('');
		let found;
		try {
			found = values(event.target, question.fields);
		} catch (error) {
			setProblem(`this is not JSON: ${error.message}`);
			return;
		}
		question.busy = true;
		setBusy(true);
		try {
			await question.run?.(found);
			finish(found);
		} catch (error) {
			if (asked.value === question)
				setProblem(sentences(error.message, error.details, error.hint));
		} finally {
			question.busy = false;
			setBusy(false);
		}
	};
	return html`<dialog ref=${dialog} class=${question.wide ? 'wide' : undefined} onCancel=${(event) => { event.preventDefault(); if (!question.only) finish(null); }} aria-labelledby="asked">
		<form onSubmit=${submit}><h2 id="asked">${question.title}</h2>${question.body && html`<div class="body">${question.body}</div>`}
		<div class="fields">${question.fields.map((field) => html`<div class="field ${field.type === 'json' || field.type === 'area' ? 'whole' : ''}" key=${field.name}><${Field} field=${field} id=${`asked-${field.name}`} /></div>`)}</div>
		${problem && html`<p class="bad" role="alert">${problem}</p>`}
		<div class="actions">${!question.only && html`<button type="button" onClick=${() => finish(null)}>Back</button>`}
			<button class=${question.danger ? 'danger' : 'primary'} type="submit" disabled=${busy}>${question.label}</button></div></form></dialog>`;
}

// --- buttons -----------------------------------------------------------------

// Act: a button that cannot be pressed twice while its action is under way. It is not
// `disabled` then, as it would lose the focus, which a dialog gives back to it. Without the
// right it is not there at all, nor as long as it is not known: `when` is undefined then.
export function Act({ icon, label, run, kind = '', hint, small, ...rest }) {
	const [busy, setBusy] = useState(false);
	if ('when' in rest && !rest.when)
		return null;
	const press = async () => {
		if (busy)
			return;
		setBusy(true);
		try {
			await run();
		} finally {
			setBusy(false);
		}
	};
	return html`<button class="${kind} ${small ? 'small' : ''}" aria-disabled=${busy ? 'true' : undefined} title=${hint} onClick=${press}>${icon && html`<${Icon} name=${icon} />`}${label}</button>`;
}
