// Many calls, a few at a time: many(items, action, { at, progress, stopped }) gives
// { done, failed: [{ item, error }] }; nobody throws. progress(n) hears of each end.

export async function many(items, action, { at = 4, progress, stopped } = {}) {
	const result = { done: 0, failed: [] };
	let next = 0;
	const take = async () => {
		while (next < items.length && !stopped?.()) {
			const item = items[next++];
			try {
				await action(item);
				result.done++;
			} catch (error) {
				result.failed.push({ item, error });
			}
			progress?.(result.done + result.failed.length);
		}
	};
	await Promise.all(Array.from({ length: Math.min(at, items.length) }, take));
	return result;
}
