// The page begins here: session, then the screen that the URL names.

import { render } from 'preact';
import { useEffect, useErrorBoundary } from 'preact/hooks';
import { html } from './lib/html.js';
import { learnMe, me, meError } from './lib/me.js';
import { href, route } from './lib/route.js';
import { session, startSession } from './lib/session.js';
import { Empty, Page, Problem } from './parts/page.js';
import { Shell } from './parts/shell.js';
import { screens } from './screens/index.js';
import { Login } from './screens/login.js';

// Screen: what cannot be drawn takes no more than its screen with it.
function Screen({ path }) {
	const [error, again] = useErrorBoundary();
	const Found = screens(path);
	if (error)
		return html`<${Page} title="Not shown"><${Problem} error=${{ message: `The page cannot show what came: ${error.message}` }} retry=${again} /></${Page}>`;
	if (!Found)
		return html`<${Page} title="No such screen"><${Empty}>The link leads nowhere. <a href=${href('now')}>To the start</a></${Empty}></${Page}>`;
	return html`<${Found} path=${path} />`;
}

function App() {
	const open = session.value !== null;
	const { path } = route.value;
	useEffect(() => {
		me.value = null;
		meError.value = null;
		if (open)
			learnMe();
	}, [session.value?.url, session.value?.token]);
	if (!open)
		return html`<${Login} />`;
	// Another run, or another job, is another screen: nothing of the last one stays.
	return html`<${Shell}>${me.value === null && meError.value ? html`<${Page} title="Not connected"><${Problem} error=${meError.value} retry=${learnMe} /></${Page}>` : html`<${Screen} key=${path.join('/')} path=${path} />`}</${Shell}>`;
}

startSession();
render(html`<${App} />`, document.getElementById('app'));
