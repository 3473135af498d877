import { html } from '../lib/html.js';
import { Page } from '../parts/page.js';

export const Queues = () => html`<${Page} title="Queues"></${Page}>`;
