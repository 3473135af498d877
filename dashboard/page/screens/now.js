import { html } from '../lib/html.js';
import { Page } from '../parts/page.js';

export const Now = () => html`<${Page} title="Now"></${Page}>`;
