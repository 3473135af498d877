// What a link gives: parameters of the URL are anybody's text, and nobody knows who has
// made the link. What is not as it has to be is none, so that what is done is done to what
// is shown. Pure functions.

// idOf: of a run or a job, as text.
export const idOf = (text) => /^\d{1,15}$/.test(text ?? '') ? text : undefined;

// jobOf: which job a function is told of a list's filters. Of a name and an id, which may
// be of two jobs, it is none.
export function jobOf({ job, job_id: id, owner }) {
	if (id)
		return job || idOf(id) === undefined ? undefined : { job_id: Number(id) };
	return job ? { job, ...(owner && { owner }) } : undefined;
}

// placeOf: where a page begins: JSON, an array of such values. kinds: 'number', 'string'.
export function placeOf(text, kinds) {
	let found;
	try {
		found = JSON.parse(text);
	} catch {
		return undefined;
	}
	const fits = (kind, i) => kind === 'number' ? Number.isSafeInteger(found[i]) : typeof found[i] === kind;
	return Array.isArray(found) && found.length === kinds.length && kinds.every(fits) ? found : undefined;
}

// lineOf: "2.17" is attempt and line of a log.
export const lineOf = (text) => /^\d{1,9}\.\d{1,15}$/.test(text ?? '') ? text.split('.') : undefined;
