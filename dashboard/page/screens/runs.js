import { html } from '../lib/html.js';
import { Page } from '../parts/page.js';

export const Runs = () => html`<${Page} title="Runs"></${Page}>`;
