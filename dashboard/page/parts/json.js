// JSON as text, a value in a line, with a button to copy it.

import { html } from '../lib/html.js';
import { prettyJson } from '../lib/format.js';
import { Code } from './page.js';

// Ask the API for the text (select=args::text): JavaScript rounds large numbers.
export const Json = ({ text, label }) => text === null || text === undefined ? html`<span class="none">–</span>` : html`<${Code} text=${prettyJson(text)} copy label=${label} />`;
