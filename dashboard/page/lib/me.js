// Who we are to the database, and what we may do. Buttons are shown by it; the database
// checks each call by itself.

import { signal } from '@preact/signals';
import { ApiError, read } from './api.js';

// One row of whoami(); null until it is known.
export const me = signal(null);
export const meError = signal(null);

export async function learnMe() {
	try {
		const found = await read('whoami');
		me.value = Array.isArray(found) ? found[0] : found;
		meError.value = null;
	} catch (error) {
		meError.value = error instanceof ApiError ? error : new ApiError(0, { message: String(error) });
	}
}

// may: whether jobs and runs of this owner are ours to manage here. NULL is everybody's.
export const may = (owner) => me.value !== null && !me.value.standby && (me.value.manages === null || me.value.manages.includes(owner));
