import { html } from '../lib/html.js';
import { Page } from '../parts/page.js';

export const Alerts = () => html`<${Page} title="Alerts"></${Page}>`;
