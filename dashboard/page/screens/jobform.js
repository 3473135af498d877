import { html } from '../lib/html.js';
import { Page } from '../parts/page.js';

export const JobForm = () => html`<${Page} title="JobForm"></${Page}>`;
