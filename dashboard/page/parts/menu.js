// More: actions that are rarely wanted, behind a button. It closes when one is chosen, by
// Escape, by a click beside it, and when the focus goes elsewhere.

import { useEffect, useRef } from 'preact/hooks';
import { html } from '../lib/html.js';
import { Icon } from './icon.js';

export function More({ label = 'More', children }) {
	const box = useRef();
	const close = () => { box.current.open = false; };
	useEffect(() => {
		const beside = (event) => { if (!box.current.contains(event.target)) close(); };
		document.addEventListener('pointerdown', beside);
		return () => document.removeEventListener('pointerdown', beside);
	}, []);
	const key = (event) => {
		if (event.key !== 'Escape' || !box.current.open)
			return;
		event.stopPropagation();
		close();
		box.current.querySelector('summary').focus();
	};
	return html`<details class="moreacts" ref=${box} onKeyDown=${key} onFocusOut=${(event) => { if (event.relatedTarget && !box.current.contains(event.relatedTarget)) close(); }}>
		<summary class="button">${label}<${Icon} name="down" /></summary><div class="list" onClick=${close}>${children}</div></details>`;
}
