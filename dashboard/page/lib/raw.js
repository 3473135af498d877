// JSON whose numbers stay as a person or the database has written them: what is in
// raw() goes into a request as it is, since JavaScript would round large numbers.

class Raw {
	constructor(text) {
		this.text = text;
	}
}

// raw: of text that is JSON; an error if it is not.
export function raw(text) {
	JSON.parse(text);
	return new Raw(text);
}

export const isRaw = (value) => value instanceof Raw;

// rawJson: an object as JSON text, for call().
export const rawJson = (object) => `{${Object.entries(object).filter(([, value]) => value !== undefined)
	.map(([name, value]) => `${JSON.stringify(name)}:${isRaw(value) ? value.text : JSON.stringify(value)}`).join(',')}}`;
