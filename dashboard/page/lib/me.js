// Who we are to the database, and what we may do. Buttons are shown by it; the database
// checks each call by itself.

import { signal } from '@preact/signals';
import { ApiError, onlyRow, read } from './api.js';
import { session } from './session.js';

// One row of whoami(); null until it is known.
export const me = signal(null);
export const meError = signal(null);

// learnMe: of the session of now; an answer to one of before says nothing.
export async function learnMe() {
	const asked = session.value;
	try {
		const found = onlyRow(await read('whoami'));
		if (session.value !== asked)
			return;
		me.value = found;
		meError.value = null;
	} catch (error) {
		if (session.value === asked)
			meError.value = error instanceof ApiError ? error : new ApiError(0, { message: String(error) });
	}
}

// may: whether jobs and runs of this owner are ours to manage here. NULL is everybody's.
export const may = (owner) => me.value !== null && !me.value.standby && (me.value.manages === null || me.value.manages.includes(owner));

// mayAny: whether there is anything that is ours to manage, or to make.
export const mayAny = () => me.value !== null && !me.value.standby && (me.value.manages === null || me.value.manages.length > 0);
