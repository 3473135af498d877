// Where the steps of a workflow are drawn. Pure functions.
//
//   layout(nodes, edges)   nodes [{ id }], edges [{ from, to }] ->
//                          { width, height, places: Map id -> { x, y, layer }, lines: [path of each edge] }
//
// Layers go from left to right, each node as far right as the longest path to it. An
// edge over several layers has a point in each between, so that it goes around what is
// there. In a layer nodes are ordered by the mean place of those that they are tied to
// (barycentre), some times forth and back, and the order with the fewest crossings wins.

export const NODE = { width: 172, height: 46 };
const GAP = { x: 56, y: 14, point: 10 };
const MARGIN = 8;
const SWEEPS = 8;
// With more points between, edges go straight: the picture is beyond reading anyway.
const MOST_POINTS = 3000;

// edgesBetween: those of known nodes, each once; what leads back into a circle is left
// out, as our server makes none.
export function edgesBetween(nodes, edges) {
	const known = new Set(nodes.map((node) => node.id));
	const seen = new Set();
	return edges.filter(({ from, to }) => {
		const key = JSON.stringify([from, to]);
		if (from === to || !known.has(from) || !known.has(to) || seen.has(key))
			return false;
		seen.add(key);
		return true;
	});
}

// layers: Map id -> layer, from 0. Nodes in a circle stay where they were first.
export function layers(nodes, edges) {
	const layer = new Map(nodes.map((node) => [node.id, 0]));
	const open = new Map(nodes.map((node) => [node.id, 0]));
	const after = new Map(nodes.map((node) => [node.id, []]));
	for (const { from, to } of edges) {
		after.get(from).push(to);
		open.set(to, open.get(to) + 1);
	}
	const ready = nodes.filter((node) => open.get(node.id) === 0).map((node) => node.id);
	for (let i = 0; i < ready.length; i++)
		for (const to of after.get(ready[i])) {
			layer.set(to, Math.max(layer.get(to), layer.get(ready[i]) + 1));
			open.set(to, open.get(to) - 1);
			if (open.get(to) === 0)
				ready.push(to);
		}
	return layer;
}

// rows: the layers as lists of vertices, where long edges have points in between.
function rows(nodes, edges, layer) {
	const count = nodes.length === 0 ? 0 : Math.max(...layer.values()) + 1;
	const lists = Array.from({ length: count }, () => []);
	const vertex = new Map(nodes.map((node) => [node.id, { id: node.id, layer: layer.get(node.id), before: [], after: [], at: 0 }]));
	for (const one of vertex.values())
		lists[one.layer].push(one);
	const long = edges.reduce((sum, { from, to }) => sum + Math.max(0, layer.get(to) - layer.get(from) - 1), 0);
	const chains = edges.map(({ from, to }) => {
		const chain = [vertex.get(from)];
		if (long <= MOST_POINTS)
			for (let n = layer.get(from) + 1; n < layer.get(to); n++) {
				const point = { layer: n, before: [], after: [], at: 0 };
				lists[n].push(point);
				chain.push(point);
			}
		chain.push(vertex.get(to));
		for (let i = 1; i < chain.length; i++) {
			chain[i - 1].after.push(chain[i]);
			chain[i].before.push(chain[i - 1]);
		}
		return chain;
	});
	lists.forEach(number);
	return { lists, chains };
}

const number = (list) => list.forEach((one, at) => { one.at = at; });

function mean(list, of) {
	let sum = 0;
	for (const one of list)
		sum += of(one);
	return sum / list.length;
}

// crossings: pairs of edges between two layers that cross, counted as inversions with a
// tree of sums. The lists are in order.
export function crossings(lists) {
	let found = 0;
	for (let n = 1; n < lists.length; n++) {
		const tree = new Int32Array(lists[n].length + 1);
		let before = 0;
		for (const one of lists[n - 1]) {
			// edges without points may lead further
			const after = one.after.filter((to) => to.layer === n);
			for (const to of after)
				found += before - sum(tree, to.at);
			for (const to of after)
				count(tree, to.at);
			before += after.length;
		}
	}
	return found;
}

function sum(tree, at) {
	let found = 0;
	for (let i = at + 1; i > 0; i -= i & -i)
		found += tree[i];
	return found;
}

function count(tree, at) {
	for (let i = at + 1; i < tree.length; i += i & -i)
		tree[i]++;
}

const atOf = (one) => one.at;

function sort(list, side) {
	for (const one of list)
		one.weight = one[side].length === 0 ? one.at : mean(one[side], atOf);
	list.sort((a, b) => a.weight - b.weight || a.at - b.at);
	number(list);
}

function untangle(lists) {
	let best = { crossings: crossings(lists), lists: lists.map((list) => [...list]) };
	for (let sweep = 0, idle = 0; sweep < SWEEPS && idle < 2 && best.crossings > 0; sweep++, idle++) {
		if (sweep % 2 === 0)
			for (let n = 1; n < lists.length; n++)
				sort(lists[n], 'before');
		else
			for (let n = lists.length - 2; n >= 0; n--)
				sort(lists[n], 'after');
		const now = crossings(lists);
		if (now < best.crossings) {
			best = { crossings: now, lists: lists.map((list) => [...list]) };
			idle = 0;
		}
	}
	best.lists.forEach(number);
	return best.lists;
}

const room = (one) => one.id === undefined ? GAP.point : NODE.height;

// stack: vertices of a layer one below the other, each as near to where it wants to be
// as the others let it: neighbours that push each other share what they lack.
function stack(list, wanted) {
	const blocks = [];
	list.forEach((one, at) => {
		let block = { first: at, size: room(one), sum: wanted(one), count: 1 };
		for (let last = blocks.at(-1); last && place(last) + last.size + GAP.y > place(block); last = blocks.at(-1)) {
			blocks.pop();
			const shift = last.size + GAP.y;
			block = { first: last.first, size: shift + block.size, sum: last.sum + block.sum - block.count * shift, count: last.count + block.count };
		}
		blocks.push(block);
	});
	for (const block of blocks)
		pile(list, block.first, block.count, place(block));
}

function pile(list, first, count, y) {
	for (let i = first; i < first + count; i++) {
		list[i].y = y;
		y += room(list[i]) + GAP.y;
	}
}

const place = (block) => block.sum / block.count;
const middle = (one) => one.y + room(one) / 2;

function setHeights(lists) {
	for (const list of lists)
		pile(list, 0, list.length, 0);
	for (let sweep = 0; sweep < 4; sweep++) {
		const side = sweep % 2 === 0 ? 'before' : 'after';
		for (const list of side === 'before' ? lists : [...lists].reverse())
			stack(list, (one) => one[side].length === 0 ? one.y : mean(one[side], middle) - room(one) / 2);
	}
	const top = lists.reduce((least, list) => list.reduce((so, one) => Math.min(so, one.y), least), Infinity);
	for (const list of lists)
		for (const one of list)
			one.y = Math.round(one.y - top + MARGIN);
}

const left = (one) => MARGIN + one.layer * (NODE.width + GAP.x);

// line: through the points of a chain, level where it leaves and arrives.
function line(chain) {
	const ends = [];
	chain.forEach((one, i) => {
		if (i > 0)
			ends.push([left(one), middle(one)]);
		if (i < chain.length - 1)
			ends.push([left(one) + NODE.width, middle(one)]);
	});
	return ends.map(([x, y], i) => {
		if (i === 0)
			return `M${x} ${y}`;
		const [from, at] = ends[i - 1];
		const half = (x - from) / 2;
		return i % 2 === 0 ? `L${x} ${y}` : `C${from + half} ${at} ${x - half} ${y} ${x} ${y}`;
	}).join('');
}

export function layout(nodes, edges) {
	const { lists, chains } = rows(nodes, edges, layers(nodes, edges));
	const ordered = untangle(lists);
	setHeights(ordered);
	const all = ordered.flat();
	return {
		width: MARGIN * 2 + ordered.length * (NODE.width + GAP.x) - (ordered.length > 0 ? GAP.x : 0),
		height: all.reduce((most, one) => Math.max(most, one.y + room(one)), 0) + MARGIN,
		places: new Map(all.filter((one) => one.id !== undefined).map((one) => [one.id, { x: left(one), y: one.y, layer: one.layer }])),
		lines: chains.map(line),
		crossings: crossings(ordered),
	};
}
