// Compares jobsched.next_runs() with two cron libraries, expression by
// expression. Usage: node diff.js [cases] [seed]; psql's variables (PGHOST ...)
// name a database with the extension. Ends with 'N passed, N failed'; a case is
// an expression, a zone and an instant, with the five runs that follow.
//
// The libraries do not speak our dialect to the letter. What is compared is
// where they should agree with it; what is left out, and why:
//
// both:
// - ranges that wrap (FRI-MON): they refuse them
// - L-2, H, macros, "every": not theirs
// - months that have no such day at all: we refuse the schedule, they return
//   nothing (none of them is compared)
// croner:
// - day of month and day of week: it needs to be told whether both or either
//   must match, we go by whether one begins with "*"; so it is told
// - fixed times of day (which fire after a gap and once in an overlap): its
//   "no-wildcard" rule also asks that no field of the time, seconds included,
//   has a step, we only ask that neither minute nor hour begins with "*"; so
//   steps of minutes or hours are written with "*" or not at all, and with a
//   time that is fixed the seconds are single
// - 0-SUN, a range from Sunday to itself: all week there, one day here; no
//   range of names or numbers ends where it begins
// cron-parser, in UTC only (its rule for gaps is another):
// - a star flag in a day field: it always takes either
// - nW, LW: not its dialect
// - lists in which a value comes twice: it refuses them

import { Cron } from 'croner'
import { CronExpressionParser } from 'cron-parser'
import { spawnSync } from 'node:child_process'

const RUNS = 5
const HOUR = 3600_000
const SHOWN = 20

// Zones with changes by an hour, half an hour, at midnight, with negative
// daylight saving, with offsets in quarters of hours. Instants are chosen from
// FIRST to LAST: long enough ago that all zone data agree.
const ZONES = ['UTC', 'Europe/Berlin', 'Europe/London', 'Europe/Dublin',
	'Europe/Riga', 'Atlantic/Azores', 'America/New_York', 'America/Chicago',
	'America/Sao_Paulo', 'America/Havana', 'America/Santiago',
	'Asia/Amman', 'Asia/Beirut', 'Asia/Kolkata', 'Asia/Kathmandu',
	'Asia/Tokyo', 'Australia/Lord_Howe', 'Australia/Sydney',
	'Pacific/Chatham', 'Pacific/Kiritimati', 'America/Nuuk',
	'Pacific/Apia', 'Africa/Casablanca', 'Africa/Cairo', 'Antarctica/Troll',
	'America/Caracas', 'Asia/Pyongyang', 'Europe/Istanbul', 'Asia/Tehran',
	'America/St_Johns', 'Europe/Volgograd', 'Asia/Gaza']
const FIRST = Date.UTC(2008, 0, 1)
const LAST = Date.UTC(2020, 0, 1)
const LAST_IN = { 'Asia/Pyongyang': Date.UTC(2018, 3, 1) }

const MONTHS = ['JAN', 'FEB', 'MAR', 'APR', 'MAY', 'JUN', 'JUL', 'AUG', 'SEP',
	'OCT', 'NOV', 'DEC']
const DAYS = ['SUN', 'MON', 'TUE', 'WED', 'THU', 'FRI', 'SAT']

// Random numbers from a seed, so that a run can be repeated (mulberry32).
let state = 0

function random() {
	state = (state + 0x6d2b79f5) | 0
	let t = Math.imul(state ^ (state >>> 15), 1 | state)
	t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t
	return ((t ^ (t >>> 14)) >>> 0) / 4294967296
}

const below = n => Math.floor(random() * n)
const between = (low, high) => low + below(high - low + 1)
const pick = list => list[below(list.length)]
const chance = p => random() < p

// --- expressions ---------------------------------------------------------

function range(low, high, written) {
	const a = between(low, high - 1)
	return `${written(a)}-${written(between(a + 1, high))}`
}

function list(low, high, written, items) {
	const parts = []
	for (let i = between(2, items); i > 0; i--)
		parts.push(chance(0.3) ? range(low, high, written) : written(between(low, high)))
	return parts.join(',')
}

// A field without "*" and without a step.
function enumerated(low, high, written = String) {
	switch (below(4)) {
	case 0: return range(low, high, written)
	case 1: return list(low, high, written, 4)
	default: return written(between(low, high))
	}
}

const starred = (low, high) =>
	chance(0.4) ? '*' : `*/${between(2, high - low + 1)}`

function stepped(low, high, written = String) {
	return `${range(low, high, written)}/${between(1, high - low)}`
}

// Hours of the night get more than their share: that is when clocks change.
const fixedHour = () => chance(0.6) ? enumerated(0, 4) : enumerated(0, 23)

function timeFields() {
	const six = chance(0.25)
	if (chance(0.5)) {
		const single = chance(0.5)
		return {
			second: six ? String(between(0, 59)) : null,
			minute: single ? String(between(0, 59)) : enumerated(0, 59),
			hour: single ? String(between(0, chance(0.6) ? 4 : 23)) : fixedHour()
		}
	}
	const minuteStarred = chance(0.5)
	return {
		second: six ? pick([starred(0, 59), enumerated(0, 59), stepped(0, 59)]) : null,
		minute: minuteStarred ? starred(0, 59) : pick([enumerated(0, 59), stepped(0, 59)]),
		hour: !minuteStarred || chance(0.5) ? starred(0, 23) : pick([fixedHour(), stepped(0, 23)])
	}
}

const weekday = n => chance(0.5) ? DAYS[n % 7] : String(n)

function dayField(special) {
	if (special && chance(0.3))
		return pick(['L', 'LW', `${between(1, 31)}W`, `L,${between(1, 28)}`])
	return chance(0.3) ? stepped(1, 28) : enumerated(1, 28)
}

function weekdayField(special) {
	if (special && chance(0.3))
		return pick([`${weekday(between(0, 6))}#${between(1, 4)}`, `${weekday(between(0, 6))}#L`,
			`MON#1,${pick(['WED', 'THU'])}#3`])
	return chance(0.3) ? stepped(0, 6) : enumerated(0, 6, weekday)
}

// options.special: L, W and #; options.and: both day fields, one with a star
function expression(options) {
	const time = timeFields()
	let day = '*'
	let weekdays = '*'
	let both = false

	switch (below(5)) {
	case 0: day = dayField(options.special); break
	case 1: weekdays = weekdayField(options.special); break
	case 2:
		day = dayField(false)
		weekdays = weekdayField(false)
		if (options.and && chance(0.5)) {
			both = true
			if (chance(0.5))
				day = `*/${between(2, 10)}`
			else
				weekdays = `*/${between(2, 5)}`
		}
		break
	}
	const month = chance(0.7) ? '*' :
		chance(0.3) ? `*/${between(2, 11)}` : enumerated(1, 12, n => chance(0.5) ? MONTHS[n - 1] : String(n))
	const fields = [time.minute, time.hour, day, month, weekdays]
	if (time.second !== null)
		fields.unshift(time.second)
	return { text: fields.join(' '), both }
}

// --- zones -----------------------------------------------------------------

const formats = new Map()

function offset(zone, t) {
	if (!formats.has(zone))
		formats.set(zone, new Intl.DateTimeFormat('en-US', {
			timeZone: zone, hourCycle: 'h23', year: 'numeric', month: 'numeric',
			day: 'numeric', hour: 'numeric', minute: 'numeric', second: 'numeric' }))
	const part = {}
	for (const { type, value } of formats.get(zone).formatToParts(t))
		part[type] = Number(value)
	return Date.UTC(part.year, part.month - 1, part.day, part.hour, part.minute, part.second) - t
}

// The changes of a zone's clocks from FIRST on, to the second.
function findChanges(zone, last) {
	const changes = []
	let before = offset(zone, FIRST)
	for (let t = FIRST; t < last; t += 24 * HOUR) {
		const after = offset(zone, t + 24 * HOUR)
		if (after === before)
			continue
		let low = t
		let high = t + 24 * HOUR
		while (high - low > 1000) {
			const middle = low + Math.floor((high - low) / 2000) * 1000
			if (offset(zone, middle) === before)
				low = middle
			else
				high = middle
		}
		changes.push({ at: high, before, after })
		before = after
	}
	return changes
}

// An instant, two times in three shortly before or after a change.
function instant(changes, last) {
	if (changes.length === 0 || chance(0.33))
		return FIRST + Math.floor(random() * (last - FIRST) / 1000) * 1000
	const at = pick(changes).at
	return at + between(-36 * 60, 4 * 60) * 60_000 + (chance(0.2) ? between(0, 59) * 1000 : 0)
}

// --- the libraries ---------------------------------------------------------

function cronerRuns({ text, both }, zone, from) {
	const cron = new Cron(text, { timezone: zone, domAndDow: both, fixedTimeRule: 'no-wildcard', paused: true })
	const runs = []
	let at = new Date(from)
	while (runs.length < RUNS && (at = cron.nextRun(at)) !== null)
		runs.push(at.getTime())
	return runs
}

function cronParserRuns({ text }, zone, from) {
	const cron = CronExpressionParser.parse(text, { tz: zone, currentDate: new Date(from) })
	const runs = []
	while (runs.length < RUNS)
		runs.push(cron.next().getTime())
	return runs
}

// --- comparison --------------------------------------------------------------

const LIBRARIES = [
	{ name: 'croner', share: 0.75, zones: ZONES, options: { special: true, and: true }, runs: cronerRuns },
	{ name: 'cron-parser', share: 0.25, zones: ['UTC'], options: { special: false, and: false }, runs: cronParserRuns }
]

// An expression that the library takes and that fires, and when.
function accepted(library, zone, from) {
	for (;;) {
		const schedule = expression(library.options)
		try {
			const expected = library.runs(schedule, zone, from)
			if (expected.length === RUNS)
				return { schedule, expected }
		} catch (error) {
			if (!/duplicate/.test(error.message))
				throw error
		}
	}
}

function makeCases(count) {
	const last = zone => LAST_IN[zone] ?? LAST
	const changes = new Map(ZONES.map(zone => [zone, findChanges(zone, last(zone))]))
	const cases = []
	for (const library of LIBRARIES) {
		for (let n = Math.round(count * library.share); n > 0; n--) {
			const zone = pick(library.zones)
			const from = instant(changes.get(zone), last(zone))
			cases.push({ library: library.name, zone, from, ...accepted(library, zone, from) })
		}
	}
	return cases
}

function ask(cases) {
	const rows = cases.map((c, i) =>
		`(${i},'${c.schedule.text}','${c.zone}',to_timestamp(${c.from / 1000}),${RUNS})`)
	const sql = `SELECT i, coalesce((SELECT string_agg((extract(epoch FROM r) * 1000)::bigint::text, ',' ORDER BY r)
		FROM jobsched.next_runs(schedule, zone, since, n) AS r), '')
		FROM (VALUES ${rows.join(',\n')}) AS c (i, schedule, zone, since, n) ORDER BY i;\n`
	const psql = spawnSync('psql', ['-X', '-q', '-A', '-t', '-v', 'ON_ERROR_STOP=1'],
		{ input: sql, encoding: 'utf8', maxBuffer: 1 << 28 })
	if (psql.status !== 0)
		throw new Error(`psql failed: ${psql.stderr || psql.error}`)
	for (const line of psql.stdout.trim().split('\n')) {
		const [i, runs] = line.split('|')
		cases[i].got = runs === '' ? [] : runs.split(',').map(Number)
	}
}

const shown = times => times.map(t => new Date(t).toISOString()).join(' ')

const count = Number(process.argv[2] ?? 6000)
const seed = Number(process.argv[3] ?? 20260101)
state = seed
console.log(`seed ${seed}, ${count} cases`)
const cases = makeCases(count)
ask(cases)
const wrong = cases.filter(c => shown(c.got) !== shown(c.expected))
for (const c of wrong.slice(0, SHOWN))
	console.log(`"${c.schedule.text}" in ${c.zone} after ${shown([c.from])}\n  jobsched: ${shown(c.got)}\n  ${c.library}: ${shown(c.expected)}`)
console.log(`${cases.length - wrong.length} passed, ${wrong.length} failed`)
process.exitCode = wrong.length > 0 ? 1 : 0
