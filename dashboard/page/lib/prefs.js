// What a person has chosen: kept in the browser, never sent.

import { effect, signal } from '@preact/signals';

function kept(name, values) {
	const key = `jobsched.${name}`;
	const found = localStorage.getItem(key);
	const value = signal(values.includes(found) ? found : values[0]);
	effect(() => localStorage.setItem(key, value.value));
	return Object.assign(value, { values, next() { value.value = values[(values.indexOf(value.value) + 1) % values.length]; } });
}

export const theme = kept('theme', ['auto', 'light', 'dark']);
export const zone = kept('zone', ['local', 'UTC']);
export const refreshing = kept('refreshing', ['on', 'off']);

effect(() => {
	if (theme.value === 'auto')
		delete document.documentElement.dataset.theme;
	else
		document.documentElement.dataset.theme = theme.value;
});
