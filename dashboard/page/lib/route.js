// The state of the page is its URL, so that any view can be sent to a colleague:
//   #/runs?status=failed&job=import    path ['runs'], query { status: 'failed', job: 'import' }

import { signal } from '@preact/signals';

function parse(hash) {
	const [path, query = ''] = hash.replace(/^#\/?/, '').split(/\?(.*)/s);
	return { path: path.split('/').filter((part) => part !== '').map(decode), query: Object.fromEntries(new URLSearchParams(query)) };
}

// Somebody's link may be spoilt.
function decode(part) {
	try {
		return decodeURIComponent(part);
	} catch {
		return part;
	}
}

export const route = signal(parse(location.hash));

// guard: asked before a screen is left, where something may be lost. Gives true, or a
// promise of it, if it may; the old URL stays until then.
let guard = null;
export function guardLeaving(question) {
	guard = question;
	return () => { guard = guard === question ? null : guard; };
}

let shown = location.hash;
let asking = false;
async function follow() {
	const wanted = location.hash;
	if (guard !== null && wanted !== shown) {
		history.replaceState(null, '', shown);
		if (asking)
			return;
		asking = true;
		const free = await guard();
		asking = false;
		if (!free)
			return;
		guard = null;
		location.hash = wanted;
	}
	shown = location.hash;
	route.value = parse(shown);
}
addEventListener('hashchange', follow);

// href: the link to a screen. Values that are empty are left out.
export function href(path, query = {}) {
	const parameters = new URLSearchParams(Object.entries(query).filter(([, value]) => value !== undefined && value !== null && value !== ''));
	const parts = (Array.isArray(path) ? path : [path]).map(encodeURIComponent).join('/');
	const text = parameters.toString();
	return `#/${parts}${text === '' ? '' : `?${text}`}`;
}

export function go(path, query, { replace = false } = {}) {
	const target = href(path, query);
	if (!replace)
		location.hash = target;
	else {
		history.replaceState(null, '', target);
		shown = target;
		route.value = parse(target);
	}
}

// setQuery: changes parameters of the screen. Typing replaces the entry in history.
export function setQuery(changes, options) {
	go(route.value.path, { ...route.value.query, ...changes }, options);
}
