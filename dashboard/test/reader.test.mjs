// The languages of a query string, without a database.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { isFilter, readColumns, readFilter, readOrder, readSelect } from '../server/reader.mjs';
import { accepted, page, parameters, preferences, rowKeys, shown } from '../server/request.mjs';

const plain = (column) => ({ column, steps: [] });
const refused = (code) => (error) => error.code === code;

test('select', () => {
	assert.deepEqual(readSelect(undefined), [{ all: true }]);
	assert.deepEqual(readSelect('a,b:c,d::text,*'), [
		{ field: plain('a'), alias: undefined, cast: undefined }, { field: plain('c'), alias: 'b', cast: undefined },
		{ field: plain('d'), alias: undefined, cast: 'text' }, { all: true }]);
	assert.deepEqual(readSelect('x:a->b->>0')[0].field, { column: 'a', steps: [
		{ text: false, name: 'b', index: false }, { text: true, name: '0', index: true }] });
	assert.equal(readSelect('"a.b,(c)":"d\\"e"')[0].alias, 'a.b,(c)');
	assert.equal(readSelect('"a.b,(c)":"d\\"e"')[0].field.column, 'd"e');
	assert.equal(readSelect('a->"0"')[0].field.steps[0].index, false);
	for (const text of ['a,', ',', 'a b)', 'a::', 'a->', '"a', 'a;b)'])
		assert.throws(() => readSelect(text), refused('PGRST100'), text);
	for (const text of ['b(c)', '...b(c)', 'b!x(c)', 'x:b(*)'])
		assert.throws(() => readSelect(text), refused('DASH501'), text);
	for (const text of ['count()', 'a.sum()', 'n:a.max()', 'a::text.min()'])
		assert.throws(() => readSelect(text), refused('PGRST123'), text);
	assert.throws(() => readSelect(Array(300).fill('a').join()), refused('DASH400'));
});

test('order', () => {
	assert.deepEqual(readOrder('a.desc.nullslast,b->>c.asc,d'), [
		{ field: plain('a'), direction: 'DESC', nulls: 'NULLS LAST' },
		{ field: { column: 'b', steps: [{ text: true, name: 'c', index: false }] }, direction: 'ASC', nulls: '' },
		{ field: plain('d'), direction: '', nulls: '' }]);
	for (const text of ['a.up', 'a.desc.asc', 'a.nullsfirst.desc', 'a.desc; drop', 'a.desc,', '.desc'])
		assert.throws(() => readOrder(text), refused('PGRST100'), text);
});

test('filters', () => {
	assert.deepEqual(readFilter('a', 'not.eq.x,y)'), { negated: true, operator: 'eq', value: 'x,y)', field: plain('a') });
	assert.equal(readFilter('a', 'like.*x*').value, '%x%');
	assert.deepEqual(readFilter('a', 'in.(1,"b,\\"c",d e)').value, ['1', 'b,"c', 'd e']);
	assert.deepEqual(readFilter('a', 'in.()').value, []);
	assert.equal(readFilter('a', 'is.NULL').value, 'NULL');
	assert.equal(readFilter('a->b.c->>d', 'eq.1').field.steps[0].name, 'b.c');
	for (const text of ['x', 'eq', 'eqq.1', 'is.1; --', 'in.1', 'in.(1', 'in.(1)x', '', 'not.not.eq.1'])
		assert.throws(() => readFilter('a', text), refused('PGRST100'), text);
	for (const text of ['fts.x', 'sl.(1,2)', 'eq(any).{1}', 'not.adj.x'])
		assert.throws(() => readFilter('a', text), refused('DASH501'), text);
	assert.throws(() => readFilter('other.a', 'eq.1'), refused('DASH501'));
	assert.deepEqual(['eq.1', 'not.in.(1)', 'like(all).{a}', 'fts.x'].map(isFilter), [true, true, true, true]);
	assert.deepEqual(['1', '', 'eq', 'x.eq.1', 'constructor.x', '__proto__.x'].map(isFilter), Array(6).fill(false));
});

test('logic trees', () => {
	const tree = readFilter('not.or', '(a.eq.1,not.and(b.is.null,"c.d".cs.{x,"y)"}),e.in.(1,2),f.eq."g,)")');
	assert.equal(tree.logic, 'OR');
	assert.equal(tree.negated, true);
	assert.deepEqual(tree.children.map((child) => child.value ?? child.logic), ['1', 'AND', ['1', '2'], 'g,)']);
	assert.equal(tree.children[1].negated, true);
	assert.deepEqual(tree.children[1].children[1], { negated: false, operator: 'cs', value: '{x,"y)"}', field: plain('c.d') });
	for (const text of ['(', '()', '(a.eq.1', '(a.eq.1))', '(a.eq.1)b', 'a.eq.1', '(a.eq.1,,b.eq.2)', '(or)'])
		assert.throws(() => readFilter('and', text), refused('PGRST100'), text);
	assert.throws(() => readFilter('and', `${'(and'.repeat(1000)}(`), refused('DASH400'));
	assert.throws(() => readFilter('or', `(${Array(201).fill('a.eq.1').join()})`), refused('DASH400'));
	assert.throws(() => readFilter('a', `in.(${Array(10001).fill('1').join()})`), refused('DASH400'));
});

test('columns and parameters', () => {
	assert.deepEqual(readColumns('"a","b,c",d'), ['a', 'b,c', 'd']);
	assert.deepEqual(parameters('a=b+c%2B&d&=e&a=%C3%A9'), [['a', 'b c+'], ['d', ''], ['', 'e'], ['a', 'é']]);
	for (const text of ['a=%', 'a=%zz', 'a=%ff', '%c3=1'])
		assert.throws(() => parameters(text), refused('DASH400'), text);
	assert.throws(() => parameters('a=b&'.repeat(201)), refused('DASH400'));
});

test('pages', () => {
	const of = (pairs, range) => page({ last: new Map(Object.entries(pairs)), range, maxRows: 100 });
	assert.deepEqual(of({}), { offset: 0, limit: 100 });
	assert.deepEqual(of({ limit: '5', offset: '7' }), { offset: 7, limit: 5 });
	assert.deepEqual(of({ limit: 'x', offset: '-' }), { offset: 0, limit: 100 });
	assert.deepEqual(of({}, '3-6'), { offset: 3, limit: 4 });
	assert.deepEqual(of({ limit: '5' }, '3-'), { offset: 3, limit: 2 });
	assert.deepEqual(of({ limit: '5' }, '30-40'), { offset: 30, limit: 0 });
	assert.deepEqual(of({ limit: '9'.repeat(400) }, 'bytes=0-1'), { offset: 0, limit: 100 });
	for (const [pairs, range] of [[{ limit: '-1' }], [{ offset: '-1' }], [{}, '6-3']])
		assert.throws(() => of(pairs, range), refused('PGRST103'));
	assert.deepEqual(shown({ offset: 0, rows: 3, total: null }), { status: 200, range: '0-2/*' });
	assert.deepEqual(shown({ offset: 2, rows: 3, total: 9 }), { status: 206, range: '2-4/9' });
	assert.deepEqual(shown({ offset: 0, rows: 0, total: 0 }), { status: 200, range: '*/0' });
	assert.throws(() => shown({ offset: 4, rows: 0, total: 3 }), refused('PGRST103'));
});

test('headers and bodies', () => {
	assert.equal(accepted('text/html, application/json;q=0.5').type, 'application/json');
	assert.equal(accepted('text/csv;q=0.1, application/vnd.pgrst.object+json').body, 'object');
	assert.equal(accepted('application/json;q=0, text/csv').body, 'csv');
	assert.equal(accepted('text/*', 'text/x-report').body, 'document');
	assert.equal(accepted('text/csv ; charset=utf-8 ;\tq=0.5').body, 'csv');
	const start = performance.now();
	assert.throws(() => accepted(`a${' '.repeat(60000)}b`), refused('PGRST107'));
	assert.ok(performance.now() - start < 1000, 'in a time that does not grow with its square');
	assert.throws(() => accepted('image/png'), refused('PGRST107'));
	assert.throws(() => accepted('application/vnd.pgrst.object+json;nulls=stripped'), refused('DASH501'));
	assert.equal(preferences('count=exact, timezone=UTC').zone, 'UTC');
	assert.equal(preferences('count=__proto__').count, undefined);
	assert.throws(() => preferences('handling=strict'), refused('DASH501'));
	assert.deepEqual(rowKeys('[{"a": 1, "__proto__": 2}, {"__proto__": 1, "a": 3}]'), ['a', '__proto__']);
	assert.throws(() => rowKeys('[{"a": 1}, {"__proto__": 1}]'), refused('PGRST102'));
	assert.equal(Object.prototype.a, undefined);
});

test('packages', () => {
	const { packages } = JSON.parse(readFileSync(new URL('../package-lock.json', import.meta.url), 'utf8'));
	const others = Object.entries(packages).filter(([path]) => path !== '');
	assert.deepEqual(others.filter(([, one]) => !/^sha512-[A-Za-z0-9+/]{86}==$/.test(one.integrity)), [], 'each is known by its hash');
	// esbuild's would; the tests install with --ignore-scripts, and it works without.
	assert.deepEqual(others.filter(([, one]) => one.hasInstallScript).map(([path]) => path), ['node_modules/esbuild'], 'what runs anything when it is installed');
	assert.deepEqual(others.filter(([, one]) => !one.dev).map(([path]) => path.replace('node_modules/', '')), ['pg', 'pg-cloudflare', 'pg-connection-string', 'pg-int8',
		'pg-pool', 'pg-protocol', 'pg-types', 'pgpass', 'postgres-array', 'postgres-bytea', 'postgres-date', 'postgres-interval', 'split2', 'xtend'], 'only the driver');
});
