import { html } from '../lib/html.js';
import { Page } from '../parts/page.js';

export const Secrets = () => html`<${Page} title="Secrets"></${Page}>`;
