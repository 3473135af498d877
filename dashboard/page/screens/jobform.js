// New and edit: one form for create_job() and alter_job().
//   #/job/new, #/job/new?from=ID (a copy of that one), #/job/ID/edit

import { useEffect, useRef, useState } from 'preact/hooks';
import { html } from '../lib/html.js';
import { call, one } from '../lib/api.js';
import { alterCalls, applies, blankForm, createArgs, fieldOf, formOf, isSame, KINDS, PARAMETERS, SELECT } from '../lib/definition.js';
import { sentences } from '../lib/format.js';
import { ARGS, BOUNDS, FOLDED, HEAD, WHAT, WHEN } from '../lib/jobfields.js';
import { useLive } from '../lib/live.js';
import { may, me } from '../lib/me.js';
import { zone } from '../lib/prefs.js';
import { go, guardLeaving, href, route } from '../lib/route.js';
import { confirm, say } from '../parts/act.js';
import { Empty, Loaded, Page, Section } from '../parts/page.js';
import { Icon } from '../parts/icon.js';
import { Preview } from '../parts/schedule.js';

const AREAS = { command: 6, steps: 16, args: 3, metadata: 3, headers: 3, body: 4, body_text: 3, keys: 2, after: 2 };
const MONO = ['command', 'handler', 'url', 'steps', 'args', 'metadata', 'headers', 'body', 'body_text', 'schedule', 'keys', 'on_success', 'on_failure', 'retry_on', 'no_retry_on', 'success_codes'];
const SHORT = ['whole', 'number', 'span', 'instant', 'choice', 'words'];
const LISTS = { timezone: 'zones', owner: 'owners' };
const PLACEHOLDERS = { timezone: 'as the server says', schedule: 'on demand', handler: 'schema.function' };

// --- one field -----------------------------------------------------------------

function Input({ name, common, value, set }) {
	const { type, options } = PARAMETERS[name];
	const given = { ...common, name, value, onInput: (event) => set(name, event.target.value), autocomplete: 'off', spellcheck: false, class: MONO.includes(name) ? 'mono' : undefined, placeholder: PLACEHOLDERS[name] };
	if (type === 'choice')
		return html`<select ...${given} onInput=${undefined} onChange=${given.onInput}>${options.map((option) => html`<option value=${option} selected=${option === value}>${common.words?.[option] ?? option}</option>`)}</select>`;
	if (AREAS[name])
		return html`<textarea ...${given} rows=${Math.min(30, Math.max(AREAS[name], value.split('\n').length))}></textarea>`;
	return html`<input ...${given} list=${LISTS[name]} type=${type === 'instant' ? 'datetime-local' : 'text'} inputmode=${type === 'whole' ? 'numeric' : undefined} step=${type === 'instant' ? 1 : undefined} />`;
}

function Field({ of: [name, label, hint], form }) {
	const { values, set, problem, utc, editing } = form;
	const { type, required } = PARAMETERS[name];
	const id = `field-${name}`;
	const wrong = problem?.field === name ? problem : undefined;
	const words = typeof hint === 'object' ? hint : undefined;
	const says = [wrong && `${id}-wrong`, hint && !words && `${id}-hint`, name === 'schedule' && 'preview'].filter(Boolean).join(' ') || undefined;
	const common = { id, 'aria-describedby': says, 'aria-invalid': wrong ? 'true' : undefined, required: required === true || (required === 'edit' && editing) || undefined };
	const error = wrong && html`<p class="wrong" id="${id}-wrong" role="alert"><${Icon} name="warning" /><span>${wrong.message}${wrong.more && html`<br />${wrong.more}`}</span></p>`;
	const note = hint && !words && html`<p class="hint" id="${id}-hint">${hint}</p>`;
	if (type === 'flag')
		return html`<div class="field flag"><label class="check"><input type="checkbox" ...${common} name=${name} checked=${values[name]} onChange=${(event) => set(name, event.target.checked)} />${label}</label>${note}${error}</div>`;
	return html`<div class="field ${SHORT.includes(type) ? 'short' : ''}"><label for=${id}>${label}${type === 'instant' && html` <span class="note">${utc ? 'UTC' : 'local time'}</span>`}</label>
		<${Input} name=${name} common=${{ ...common, words }} value=${values[name]} set=${set} />${error}${note}</div>`;
}

const Fields = ({ of, form }) => html`<div class="fields">${of.filter(([name]) => applies(name, form.values.kind)).map((field) => html`<${Field} key=${field[0]} of=${field} form=${form} />`)}</div>`;

// Folded: what is rarely used. It is open if something in it is not as by default, or wrong.
function Folded({ title, fields, form }) {
	const shown = fields.filter(([name]) => applies(name, form.values.kind));
	const blank = form.blank;
	const set = shown.filter(([name]) => form.values[name] !== blank[name] && !(name === 'owner' && form.editing));
	const [open, setOpen] = useState(set.length > 0);
	const wrong = shown.some(([name]) => name === form.problem?.field);
	useEffect(() => { if (wrong) setOpen(true); }, [form.problem]);
	if (shown.length === 0)
		return null;
	return html`<details class="card folded" open=${open} onToggle=${(event) => setOpen(event.currentTarget.open)}><summary><h2>${title}</h2>
		<span class="note">${set.length === 0 ? 'as by default' : set.map(([name]) => name.replaceAll('_', ' ')).join(', ')}</span></summary><${Fields} of=${shown} form=${form} /></details>`;
}

// Kinds: tabs, as radio buttons, so that the arrow keys choose.
const Kinds = ({ form }) => html`<fieldset class="kinds"><legend>What it does</legend>${KINDS.map((kind) => html`<label key=${kind} class=${form.values.kind === kind ? 'chosen' : undefined}>
	<input type="radio" name="kind" value=${kind} checked=${form.values.kind === kind} onChange=${() => form.set('kind', kind)} />${WHAT[kind].name}</label>`)}</fieldset>`;

const zones = Intl.supportedValuesOf?.('timeZone') ?? [];
const Lists = () => html`<datalist id="zones"><option value="UTC" />${zones.map((name) => html`<option value=${name} />`)}</datalist>
	<datalist id="owners">${(me.value?.manages ?? []).map((name) => html`<option value=${name} />`)}</datalist>`;

// --- the form --------------------------------------------------------------------

async function save({ editing, jobId, before, values, utc }) {
	const calls = editing ? alterCalls(jobId, before, values, utc) : [['create_job', createArgs(values, utc)]];
	let answer;
	for (const [name, args] of calls)
		answer = await call(name, args);
	return editing ? jobId : answer;
}

// Its own state, so that what the screen is told meanwhile changes nothing that is typed.
function Form({ given, editing, jobId, utc, start }) {
	const [before] = useState(given);
	const [values, setValues] = useState(start ?? given);
	const [problem, setProblem] = useState();
	const [busy, setBusy] = useState(false);
	const element = useRef();
	const free = useRef();
	const changed = !isSame(values, before);
	const blank = useRef(blankForm()).current;

	useEffect(() => {
		if (!changed)
			return undefined;
		const warn = (event) => event.preventDefault();
		addEventListener('beforeunload', warn);
		free.current = guardLeaving(() => confirm('Leave without saving', { label: 'Leave', body: 'What you have changed is lost.' }));
		return () => { removeEventListener('beforeunload', warn); free.current(); };
	}, [changed]);
	// The field that is wrong, once it is there to be seen.
	useEffect(() => {
		const field = problem?.field && element.current.elements[problem.field];
		if (field)
			requestAnimationFrame(() => { field.focus(); field.scrollIntoView({ block: 'center' }); });
	}, [problem]);

	const set = (name, value) => {
		setValues((now) => ({ ...now, [name]: value }));
		if (problem?.field === name)
			setProblem(undefined);
	};
	const submit = async (event) => {
		event.preventDefault();
		setBusy(true);
		setProblem(undefined);
		try {
			const id = await save({ editing, jobId, before, values, utc });
			free.current?.();
			say(editing ? `${values.name} is changed` : `${values.name} is created`);
			go(['job', id]);
		} catch (error) {
			setProblem({ field: fieldOf(error, values), message: error.message, more: sentences(error.details, error.hint) });
		} finally {
			setBusy(false);
		}
	};
	const back = editing ? href(['job', jobId]) : href('jobs');
	const form = { values, set, problem, utc, editing, blank };
	const { fields, rare } = WHAT[values.kind];
	return html`<form class="jobform" ref=${element} onSubmit=${submit} noValidate aria-label=${editing ? 'Job' : 'New job'}>
		<${Section}><${Fields} of=${HEAD} form=${form} /></${Section}>
		<${Section}><${Kinds} form=${form} /><${Fields} key=${values.kind} of=${[...fields, ...ARGS]} form=${form} />
			${rare && html`<${Inner} title=${rare[0]} fields=${rare[1]} form=${form} />`}</${Section}>
		<${Section} title="When"><div class="whenrow"><${Fields} of=${WHEN} form=${form} /><${Preview} id="preview" schedule=${values.schedule} timezone=${values.timezone} /></div>
			<${Inner} title=${BOUNDS[0]} fields=${BOUNDS[1]} form=${form} /></${Section}>
		${FOLDED.map(([title, some]) => html`<${Folded} key=${title} title=${title} fields=${some} form=${form} />`)}
		<div class="savebar">${problem && !problem.field && html`<p class="wrong" role="alert"><${Icon} name="warning" /><span>${problem.message}${problem.more && html`<br />${problem.more}`}</span></p>`}
			${problem?.field && html`<p class="wrong"><${Icon} name="warning" /><button type="button" class="quiet" onClick=${() => setProblem({ ...problem })}>${problem.message.startsWith(problem.field) ? '' : `${problem.field.replaceAll('_', ' ')}: `}${problem.message}</button></p>`}
			<div class="actions"><button class="primary" type="submit" disabled=${busy || (editing && !changed)}>${busy ? 'Saving…' : editing ? 'Save' : 'Create job'}</button><a class="button" href=${back}>Back</a>
			<span class="note" role="status">${editing && (changed ? 'Not saved yet.' : 'Nothing is changed.')}</span></div></div></form>`;
}

// Folded within a section.
const Inner = (of) => html`<div class="inner"><${Folded} ...${of} /></div>`;

const HEADINGS = { edit: (job) => `Edit ${job.name}`, copy: (job) => `New job like ${job.name}` };

export function JobForm({ path }) {
	const editing = path[1] !== 'new';
	const from = editing ? path[1] : route.value.query.from;
	const [utc] = useState(zone.value === 'UTC');
	const live = useLive((stop) => from === undefined ? null : !/^\d+$/.test(from) ? 'none' : one('jobs', { select: SELECT, job_id: `eq.${from}` }, { signal: stop }).then((row) => row ?? 'none'), [from], 0);
	const job = live.data;
	const title = !job || job === 'none' ? editing ? 'Edit' : 'New job' : HEADINGS[editing ? 'edit' : 'copy'](job);
	return html`<${Page} title=${title}><${Lists} />${from === undefined ? html`<${Form} given=${blankForm()} utc=${utc} />` : html`<${Loaded} live=${live}>${() => {
		if (job === 'none')
			return html`<${Empty}>There is no such job, or you may not see it. <a href=${href('jobs')}>To the jobs</a></${Empty}>`;
		if (editing && me.value !== null && !may(job.owner))
			return html`<${Empty}>${job.name} belongs to ${job.owner}; it is not yours to manage. <a href=${href(['job', job.job_id])}>To the job</a></${Empty}>`;
		const given = formOf(job, utc);
		return editing ? html`<${Form} key=${job.job_id} given=${given} editing jobId=${job.job_id} utc=${utc} />`
			: html`<${Form} key=${`copy ${job.job_id}`} given=${blankForm()} start=${{ ...given, name: `${job.name}-copy`, owner: '' }} utc=${utc} />`;
	}}</${Loaded}>`}</${Page}>`;
}
