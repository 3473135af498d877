// Patterns of errors (error_patterns(), dead_letter_groups()), turned round: which messages
// are of a pattern. Pure functions.

const MARK = /\/<path>|<(?:n|hex|id|uuid|time|email|ip|text)>/;

// messagesOf: a regular expression, of PostgreSQL's and of JavaScript's kind (with flag s).
// A pattern has one space for any number of spaces and ends of lines, ... for what it cut
// off, and no login in a URL. It may let more through than the pattern has, never less.
export function messagesOf(pattern) {
	const isCut = pattern.endsWith('...');
	const parts = (isCut ? pattern.slice(0, -3) : pattern).split(MARK).map((part) => part.split(/\s+/).map(literal).join('\\s+'));
	return `^\\s*${parts.join('.*')}${isCut ? '' : '\\s*$'}`;
}

const literal = (text) => text.replace(/[\\^$.*+?()[\]{}|]/g, '\\$&').replaceAll('://', '://(?:[^/\\s]*@)?');
