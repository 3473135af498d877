// Data that is asked for again and again: useLive(load, inputs, seconds).
//
// - load(stop) gets an AbortSignal and returns the data. A change of inputs aborts what
//   is under way and starts anew; the old data stays until the new is there.
// - The next request starts so many seconds after the last one has ended, never beside it.
// - Nothing is asked while the tab is hidden or refreshing is off; when that is over
//   the data is asked for.
// - After an error the pause doubles, up to a minute. The data stays, marked stale. What
//   is slow is asked for less often: the pause is five times as long as the answer took.
// - refreshAll() asks for all that is on the screen now: after an action, and by key.

import { useEffect, useRef, useState } from 'preact/hooks';
import { signal } from '@preact/signals';
import { refreshing } from './prefs.js';

const LONGEST = 60;
const watchers = new Set();
// Requests that are under way.
export const loading = signal(0);

export const refreshAll = () => Promise.all([...watchers].map((watcher) => watcher.now()));

class Watcher {
	constructor(seconds, changed) {
		Object.assign(this, { seconds, changed, failures: 0, took: 0, timer: undefined, stop: undefined });
		this.seen = () => { if (document.hidden) clearTimeout(this.timer); else if (this.seconds && refreshing.peek() === 'on') this.now(); };
	}

	start(load) {
		this.load = load;
		watchers.add(this);
		document.addEventListener('visibilitychange', this.seen);
		this.unsubscribe = refreshing.subscribe((value) => { if (value === 'on') this.later(); else clearTimeout(this.timer); });
		this.now();
	}

	end() {
		watchers.delete(this);
		document.removeEventListener('visibilitychange', this.seen);
		this.unsubscribe();
		clearTimeout(this.timer);
		this.stop?.abort();
		this.stop = undefined;
	}

	later() {
		clearTimeout(this.timer);
		if (!this.seconds || refreshing.peek() !== 'on' || document.hidden || !watchers.has(this))
			return;
		this.timer = setTimeout(() => this.now(), Math.min(LONGEST, Math.max(this.took * 5, this.seconds * 2 ** this.failures)) * 1000);
	}

	async now() {
		clearTimeout(this.timer);
		this.stop?.abort();
		const stop = new AbortController();
		this.stop = stop;
		loading.value++;
		const began = performance.now();
		try {
			const data = await this.load(stop.signal);
			if (stop.signal.aborted)
				return;
			this.failures = 0;
			this.changed({ data, error: undefined, at: Date.now() });
		} catch (error) {
			if (stop.signal.aborted)
				return;
			this.failures++;
			this.changed({ error });
		} finally {
			loading.value--;
			this.took = (performance.now() - began) / 1000;
			if (this.stop === stop) {
				this.stop = undefined;
				this.later();
			}
		}
	}
}

// useLive: { data, error, stale, refresh }; data is undefined until it came first. With
// seconds 0 it is asked for once. `inputs` as of useEffect().
export function useLive(load, inputs, seconds = 5) {
	const [state, setState] = useState({});
	const watcher = useRef();

	useEffect(() => {
		setState((before) => ({ ...before, error: undefined, old: true }));
		const mine = new Watcher(seconds, (change) => setState((before) => ({ ...before, ...change, old: change.data === undefined && before.old })));
		watcher.current = mine;
		mine.start(load);
		return () => mine.end();
	}, [...inputs, seconds]);
	return { ...state, stale: state.error !== undefined && state.data !== undefined, refresh: () => watcher.current?.now() };
}
