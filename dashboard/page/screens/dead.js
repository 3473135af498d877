import { html } from '../lib/html.js';
import { Page } from '../parts/page.js';

export const DeadLetters = () => html`<${Page} title="DeadLetters"></${Page}>`;
