// Keys. Whatever a key does there is a button for. A screen adds its own while it is
// shown: useKeys({ t: ['Trigger', trigger] }). 'g j' is one key after the other.

import { useEffect } from 'preact/hooks';
import { signal } from '@preact/signals';

const PAUSE = 1500;
const layers = [];
// What the help lists: [{ keys, name }].
export const knownKeys = signal([]);

function add(keys) {
	layers.push(keys);
	list();
	return () => {
		layers.splice(layers.indexOf(keys), 1);
		list();
	};
}

function list() {
	const all = new Map();
	for (const layer of layers)
		for (const [key, [name]] of Object.entries(layer))
			all.set(key, name);
	knownKeys.value = [...all].map(([keys, name]) => ({ keys, name }));
}

export const addKeys = add;

// useKeys: the last call that knows a key has it.
export function useKeys(keys) {
	useEffect(() => add(keys));
}

const writes = (element) => element.isContentEditable || /^(INPUT|TEXTAREA|SELECT)$/.test(element.tagName);

let first = null;
addEventListener('keydown', (event) => {
	if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented)
		return;
	// Who keeps a key down wants to go through rows, and not to trigger a job thirty times a second.
	if (event.repeat && !/^[jk]$/.test(event.key))
		return;
	const target = event.target instanceof Element ? event.target : document.body;
	if (document.querySelector('dialog[open]') || (writes(target) && event.key !== 'Escape'))
		return;
	if (writes(target)) {
		target.blur();
		return;
	}
	const now = performance.now();
	const both = first && now - first.at < PAUSE ? `${first.key} ${event.key}` : null;
	const action = find(both) ?? find(event.key);
	first = { key: event.key, at: now };
	if (!action)
		return;
	first = null;
	event.preventDefault();
	action[1](event);
});

const find = (key) => key === null ? undefined : layers.findLast((layer) => key in layer)?.[key];
