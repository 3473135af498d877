import { html } from '../lib/html.js';
import { Page } from '../parts/page.js';

export const Workflows = () => html`<${Page} title="Workflows"></${Page}>`;
