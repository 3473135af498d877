// The server that the tests ask: its link is in the environment.

import http from 'node:http';

const link = new URL(process.env.DASHBOARD_LINK);

export const port = Number(link.port);
export const api = `${link.origin}/api`;
export const token = link.hash.slice('#token='.length);

// ask: a request as it is written here, with no client that would mend it.
export function ask(method, path, { headers = {}, body } = {}) {
	return new Promise((resolve, reject) => {
		const request = http.request({ host: '127.0.0.1', port, method, path: `/api${path}`, agent: false,
			headers: { Authorization: `Bearer ${token}`, ...(body === undefined ? {} : { 'Content-Type': 'application/json' }), ...headers } }, (answer) => {
			const chunks = [];
			answer.on('data', (chunk) => chunks.push(chunk));
			answer.on('error', reject);
			answer.on('end', () => resolve({ status: answer.statusCode, headers: answer.headers,
				range: answer.headers['content-range'], body: Buffer.concat(chunks).toString() }));
		});
		request.on('error', reject);
		request.end(body);
	});
}

export const json = (answer) => answer.body === '' ? undefined : JSON.parse(answer.body);
