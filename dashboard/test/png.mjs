// Makes a PNG of a browser smaller: with a palette of 256 colours at most. Near colours
// become one; of a page's picture nobody sees that.

import { deflateSync, inflateSync } from 'node:zlib';

const SIGNATURE = Buffer.from([137, 80, 78, 71, 13, 10, 26, 10]);

const table = Uint32Array.from({ length: 256 }, (unused, n) => {
	for (let k = 0; k < 8; k++)
		n = n & 1 ? 0xedb88320 ^ (n >>> 1) : n >>> 1;
	return n >>> 0;
});
function crc32(bytes) {
	let crc = 0xffffffff;
	for (const byte of bytes)
		crc = table[(crc ^ byte) & 255] ^ (crc >>> 8);
	return (crc ^ 0xffffffff) >>> 0;
}

function* chunksOf(png) {
	for (let at = 8; at < png.length;) {
		const size = png.readUInt32BE(at);
		yield { type: png.toString('latin1', at + 4, at + 8), data: png.subarray(at + 8, at + 8 + size) };
		at += size + 12;
	}
}

function chunk(type, data) {
	const out = Buffer.alloc(data.length + 12);
	out.writeUInt32BE(data.length);
	out.write(type, 4, 'latin1');
	data.copy(out, 8);
	out.writeUInt32BE(crc32(out.subarray(4, data.length + 8)), data.length + 8);
	return out;
}

// pixels: of 8 bits for each of three or four channels, not interlaced.
function pixels(png) {
	const parts = [...chunksOf(png)];
	const head = parts[0].data;
	const width = head.readUInt32BE(0);
	const height = head.readUInt32BE(4);
	if (head[8] !== 8 || (head[9] !== 2 && head[9] !== 6) || head[12] !== 0)
		throw new Error('not a PNG that a browser makes');
	const size = head[9] === 6 ? 4 : 3;
	const raw = inflateSync(Buffer.concat(parts.filter(({ type }) => type === 'IDAT').map(({ data }) => data)));
	const line = width * size;
	const out = new Uint8Array(height * line);
	for (let y = 0; y < height; y++) {
		const filter = raw[y * (line + 1)];
		for (let x = 0; x < line; x++) {
			const left = x < size ? 0 : out[y * line + x - size];
			const up = y === 0 ? 0 : out[(y - 1) * line + x];
			const corner = y === 0 || x < size ? 0 : out[(y - 1) * line + x - size];
			out[y * line + x] = raw[y * (line + 1) + 1 + x] + [0, left, up, (left + up) >> 1, paeth(left, up, corner)][filter];
		}
	}
	return { width, height, size, out };
}

function paeth(a, b, c) {
	const [da, db, dc] = [Math.abs(b - c), Math.abs(a - c), Math.abs(a + b - 2 * c)];
	return da <= db && da <= dc ? a : db <= dc ? b : c;
}

// palette: the most frequent colours, rounded so that there are enough places.
function palette(found) {
	for (let bits = 0; ; bits++) {
		const counts = new Map();
		for (const [colour, n] of found) {
			const key = round(colour, bits);
			counts.set(key, (counts.get(key) ?? 0) + n);
		}
		if (counts.size <= 256 || bits === 5)
			return { bits, colours: [...counts].sort((a, b) => b[1] - a[1]).slice(0, 256).map(([key]) => key) };
	}
}

// White and what is nearly white stay apart: a page is made of these.
const round = (colour, bits) => {
	const one = (value) => value >= 240 ? value : Math.min(239, (value >> bits << bits) + (bits > 0 ? 1 << (bits - 1) : 0));
	return one(colour >> 16) << 16 | one(colour >> 8 & 255) << 8 | one(colour & 255);
};

export function smaller(png) {
	const { width, height, size, out } = pixels(png);
	const all = new Map();
	const at = (i) => out[i * size] << 16 | out[i * size + 1] << 8 | out[i * size + 2];
	for (let i = 0; i < width * height; i++)
		all.set(at(i), (all.get(at(i)) ?? 0) + 1);
	const { bits, colours } = palette(all);
	const places = new Map(colours.map((colour, i) => [colour, i]));
	const nearest = (colour) => {
		let best = 0;
		let least = Infinity;
		colours.forEach((other, i) => {
			const distance = Math.abs((other >> 16) - (colour >> 16)) + Math.abs((other >> 8 & 255) - (colour >> 8 & 255)) + Math.abs((other & 255) - (colour & 255));
			if (distance < least)
				[best, least] = [i, distance];
		});
		return best;
	};
	const known = new Map();
	const raw = Buffer.alloc(height * (width + 1));
	for (let i = 0; i < width * height; i++) {
		const colour = at(i);
		if (!known.has(colour))
			known.set(colour, places.get(round(colour, bits)) ?? nearest(colour));
		raw[Math.floor(i / width) * (width + 1) + 1 + i % width] = known.get(colour);
	}
	const head = Buffer.alloc(13);
	head.writeUInt32BE(width, 0);
	head.writeUInt32BE(height, 4);
	head.set([8, 3, 0, 0, 0], 8);
	return Buffer.concat([SIGNATURE, chunk('IHDR', head), chunk('PLTE', Buffer.from(colours.flatMap((colour) => [colour >> 16, colour >> 8 & 255, colour & 255]))),
		chunk('IDAT', deflateSync(raw, { level: 9, memLevel: 9 })), chunk('IEND', Buffer.alloc(0))]);
}
