import { html } from '../lib/html.js';
import { Page } from '../parts/page.js';

export const Workers = () => html`<${Page} title="Workers"></${Page}>`;
