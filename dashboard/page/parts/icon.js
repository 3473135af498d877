// Small drawings, 16 by 16, in the colour of the text. They say nothing by themselves:
// a word is always beside them, or a label on the button.

import { html } from '../lib/html.js';

const PATHS = {
	check: 'M3 8.5l3.2 3.2L13 4.8',
	cross: 'M4 4l8 8M12 4l-8 8',
	clock: 'M8 2.5a5.5 5.5 0 1 0 0 11a5.5 5.5 0 1 0 0-11M8 5v3.2l2.2 1.4',
	question: 'M5.6 6a2.4 2.4 0 1 1 3.4 2.2c-.7.3-1 .7-1 1.5M8 12.2v.1',
	ban: 'M8 2.5a5.5 5.5 0 1 0 0 11a5.5 5.5 0 1 0 0-11M4.2 4.2l7.6 7.6',
	skip: 'M4 4l5 4-5 4zM11.5 4v8',
	dash: 'M4 8h8',
	dots: 'M4 8v.1M8 8v.1M12 8v.1',
	play: 'M5 3.5l7 4.5-7 4.5z',
	pause: 'M5.5 4v8M10.5 4v8',
	retry: 'M12.5 6.5A5 5 0 1 0 13 9M13 3.5v3h-3',
	plus: 'M8 3.5v9M3.5 8h9',
	search: 'M7 3a4 4 0 1 0 0 8a4 4 0 1 0 0-8M10 10l3.2 3.2',
	edit: 'M3.5 12.5l.6-2.6L10.6 3.4l2 2-6.5 6.5z',
	trash: 'M3.5 5h9M6.5 5V3.5h3V5M4.8 5l.5 7.5h5.4l.5-7.5',
	sun: 'M8 5.5a2.5 2.5 0 1 0 0 5a2.5 2.5 0 1 0 0-5M8 2v1M8 13v1M2 8h1M13 8h1M3.8 3.8l.7.7M11.5 11.5l.7.7M12.2 3.8l-.7.7M4.5 11.5l-.7.7',
	moon: 'M12.5 9.5A5 5 0 0 1 6.5 3.5a5 5 0 1 0 6 6z',
	menu: 'M3 4.5h10M3 8h10M3 11.5h10',
	left: 'M10 3.5L5.5 8l4.5 4.5',
	right: 'M6 3.5L10.5 8L6 12.5',
	down: 'M3.5 6L8 10.5L12.5 6',
	copy: 'M6 6h6.5v6.5H6zM3.5 10V3.5H10',
	warning: 'M8 2.8l5.8 10.4H2.2zM8 6.5v3M8 11.2v.1',
	lock: 'M4.5 7.5h7v5h-7zM6 7.5V5.5a2 2 0 0 1 4 0v2',
	bell: 'M4 11V7.5a4 4 0 0 1 8 0V11l1 1H3zM7 13.5h2',
	exit: 'M9 3.5H4v9h5M7.5 8H13.5M11 5.5L13.5 8L11 10.5',
};

export const Icon = ({ name, label }) => html`<svg class="icon" viewBox="0 0 16 16" aria-hidden=${label ? undefined : 'true'} role=${label ? 'img' : undefined}
	aria-label=${label}><path d=${PATHS[name]} /></svg>`;
