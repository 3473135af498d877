// What alerts, channels and secrets say, in words. Pure functions.

import { interval } from './format.js';

const or = (words) => words.length < 2 ? words.join('') : `${words.slice(0, -1).join(', ')} or ${words.at(-1)}`;

// conditions: of an alert, one text for each: "fails 3 times within 1 h".
export function conditions(alert) {
	const found = [];
	const ends = or((alert.on_status ?? []).map((status) => status.replace('_', ' ')));
	if (ends !== '')
		found.push(alert.every_failure ? `each end as ${ends}` : `ends as ${ends}${alert.threshold > 1 ? `, ${alert.threshold} times` : ''}${alert.within ? ` within ${interval(alert.within)}` : ''}`);
	for (const [name, words] of [['no_success_for', 'no success for'], ['runs_longer_than', 'runs longer than'], ['waits_longer_than', 'waits longer than'], ['late', 'starts later than']])
		if (alert[name])
			found.push(`${words} ${interval(alert[name])}`);
	return found;
}

const FIRES = { __proto__: null, failures: 'fails', no_success: 'has no success', late: 'is late', waits_longer: 'waits too long', runs_longer: 'runs too long' };
export const fires = (condition) => FIRES[condition] ?? condition;

// definitions: view alerts has a row for each job that fires; this is one for each alert,
// with how many of its rows fire.
export function definitions(rows) {
	const found = new Map();
	for (const row of rows) {
		const key = JSON.stringify([row.owner, row.name]);
		const firing = (found.get(key)?.firing ?? 0) + (row.state === 'firing' ? 1 : 0);
		found.set(key, { ...row, firing });
	}
	return [...found.values()];
}

// target: where a channel's messages go.
export const target = ({ kind, url, to_address: to, handler, name }) => kind === 'email' ? (to ?? []).join(', ') : kind === 'handler' ? handler : kind === 'notify' ? `NOTIFY ${name}` : url;

// secretsIn: the names of secrets in a text: {{secret.NAME}}.
export const secretsIn = (text) => [...new Set([...(text ?? '').matchAll(/\{\{\s*secret\.([\w.-]+?)\s*\}\}/g)].map(([, name]) => name))];

// users: which of these name the secret. things: [{ what, name, owner, text, secret }], where
// `secret` is one that is named by itself. Secrets belong to a role.
export const users = (things, { name, owner }) => things.filter((thing) => thing.owner === owner && (thing.secret === name || secretsIn(thing.text).includes(name)));
