import { html } from '../lib/html.js';
import { Page } from '../parts/page.js';

export const Upcoming = () => html`<${Page} title="Upcoming"></${Page}>`;
