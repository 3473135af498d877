// Who may come in. The server listens on loopback, but any page in the user's browser
// can make requests there, and any user of the machine can connect. So:
// - Host has to be a name of loopback with our port: a name that an attacker makes
//   resolve to 127.0.0.1 (DNS rebinding) is another one.
// - Origin, where a browser sends it, has to be our own, and the browser must not call
//   the request one of another site: no other page reads or writes (CSRF).
// - A request to the API needs the token. It comes in a header that browsers add to
//   nothing by themselves; there is no cookie, which would go to each other port too.

import { createHash, randomBytes, timingSafeEqual } from 'node:crypto';
import { RestError } from './errors.mjs';

const digest = (text) => createHash('sha256').update(text).digest();

export class Gate {
	constructor() {
		this.token = randomBytes(32).toString('base64url');
		this.expected = digest(this.token);
		this.hosts = new Set();
	}

	// Once the port is known.
	open(port) {
		for (const name of ['127.0.0.1', 'localhost']) {
			this.hosts.add(`${name}:${port}`);
			if (port === 80)
				this.hosts.add(name);
		}
	}

	checkOrigin(request) {
		const { headers, rawHeaders } = request;
		const named = rawHeaders.filter((name, i) => i % 2 === 0 && name.toLowerCase() === 'host').length;
		if (named !== 1 || !this.hosts.has(headers.host.toLowerCase()))
			throw new RestError(403, 'DASH403', 'unknown host', { hint: 'Use the link that the server printed.' });
		if (headers.origin !== undefined && headers.origin !== `http://${headers.host.toLowerCase()}`)
			throw new RestError(403, 'DASH403', 'requests of other pages are refused');
	}

	checkToken({ headers }) {
		const site = headers['sec-fetch-site'];
		if (site !== undefined && site !== 'same-origin' && site !== 'none')
			throw new RestError(403, 'DASH403', 'requests of other pages are refused');
		if (headers.authorization === undefined)
			throw unauthorized('PGRST302', 'Anonymous access is disabled', 'Open the link that the server printed.');
		const given = /^Bearer +([A-Za-z0-9_-]{1,200})$/i.exec(headers.authorization)?.[1] ?? '';
		if (!timingSafeEqual(digest(given), this.expected))
			throw unauthorized('PGRST301', 'wrong token', 'Each start of the server makes another token: open the link that it printed.');
	}
}

function unauthorized(code, message, hint) {
	return new RestError(401, code, message, { hint, headers: { 'WWW-Authenticate': 'Bearer' } });
}
