import { html } from '../lib/html.js';
import { Page } from '../parts/page.js';

export const Http = () => html`<${Page} title="Http"></${Page}>`;
