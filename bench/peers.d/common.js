// What the measurements of peers share. The server is found by PGHOST and the
// like, which bench/peers sets.
import pg from "pg";
import { fork } from "node:child_process";
import { once } from "node:events";

export const settings = { host: process.env.PGHOST, user: "postgres", database: "bench" };

export async function connect() {
	const client = new pg.Client(settings);
	await client.connect();
	return client;
}

// Connections that end with the server are no news.
export function pool(max) {
	const made = new pg.Pool({ ...settings, max });
	made.on("error", () => {});
	made.on("connect", (client) => client.on("error", () => {}));
	return made;
}

export const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

// Milliseconds since the epoch, by the clock that the server uses too, with
// fractions: Date.now() has none, and performance.now() drifts from it.
let offset = 0;

export function setClock() {
	const before = Date.now();
	let now = before;
	while (now === before) now = Date.now();
	offset = now - performance.now();
}

export const clock = () => offset + performance.now();

export function median(values) {
	const sorted = [...values].sort((a, b) => a - b);
	return sorted[Math.ceil(sorted.length / 2) - 1];
}

function percentile(values, p) {
	const sorted = [...values].sort((a, b) => a - b);
	const at = p * (sorted.length - 1);
	const low = Math.floor(at);
	return sorted[low] + (at - low) * ((sorted[low + 1] ?? sorted[low]) - sorted[low]);
}

export function percentiles(values) {
	const ms = (value) => value.toFixed(2);
	return `n=${values.length} p50_ms=${ms(percentile(values, 0.5))} p99_ms=${ms(percentile(values, 0.99))} max_ms=${ms(Math.max(...values))}`;
}

export function figure(name, ...rest) {
	console.log([name.padEnd(22), ...rest].join(" "));
}

// A program of this directory as a process of its own, when it says that it is
// ready.
export async function start(file, ...args) {
	const child = fork(new URL(file, import.meta.url), args.map(String), { stdio: ["ignore", "ignore", "inherit", "ipc"] });
	await once(child, "message");
	return child;
}

export async function stop(child) {
	child.kill("SIGKILL");
	await once(child, "exit");
}
