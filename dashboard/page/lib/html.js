// htm with Preact: html`<b>...</b>`, and no compiler. What is put into a template is
// text or an attribute's value, never markup, so nothing of a job's can become a tag.

import { h } from 'preact';
import htm from 'htm';

export const html = htm.bind(h);
