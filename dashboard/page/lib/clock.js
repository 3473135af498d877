// The time by the server's clock, once a second while the tab is seen. Texts that say
// "3 s ago" listen to it; nothing else is drawn anew.

import { signal } from '@preact/signals';

let offset = 0;
export const now = signal(Date.now());

const tick = () => { now.value = Date.now() + offset; };
let timer = setInterval(tick, 1000);
document.addEventListener('visibilitychange', () => {
	clearInterval(timer);
	if (!document.hidden) {
		tick();
		timer = setInterval(tick, 1000);
	}
});

// serverSays: an answer that has just come has the server's time in it. Small differences
// are the network's.
export function serverSays(at) {
	const seen = Date.parse(at) - Date.now();
	offset = Math.abs(seen) >= 2000 ? seen : 0;
}
