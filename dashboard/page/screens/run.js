import { html } from '../lib/html.js';
import { Page } from '../parts/page.js';

export const Run = () => html`<${Page} title="Run"></${Page}>`;
