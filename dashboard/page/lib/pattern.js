// Patterns of errors (error_patterns(), dead_letter_groups()), turned round: which messages
// are of a pattern. Pure functions.

const MARK = /<(?:n|hex|id|uuid|time|email|ip|text|path)>/g;

// likePattern: of PostgREST, whose * is SQL's %. A pattern has one space for any number
// of spaces and ends of lines, and ... for what it cut off. It lets more through than the
// pattern has, never less.
export function likePattern(pattern) {
	const cut = pattern.endsWith('...') ? pattern.slice(0, -3) : pattern;
	const parts = cut.split(MARK).map((part) => part.trim().split(/\s+/).filter((word) => word !== '').map((word) => word.replace(/[\\%_]/g, '\\$&')).join('*'));
	return `${parts.join('*')}*`.replace(/\*+/g, '*');
}
