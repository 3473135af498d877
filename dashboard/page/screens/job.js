import { html } from '../lib/html.js';
import { Page } from '../parts/page.js';

export const Job = () => html`<${Page} title="Job"></${Page}>`;
