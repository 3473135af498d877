/*-------------------------------------------------------------------------
 *
 * store_stat.c
 *		Rows of stat, stat_mark and stat_reset.
 *
 * A row of stat is a chunk of what is kept of a job (stat.c): spans of time that follow
 * one another, until it is large or a month long; then the next hour begins another
 * row.  So a job that runs once a day has a row a month, and one that runs each second
 * one for every few hours.  Chunks of a job do not overlap: a span belongs into the one
 * with the greatest first instant that is not later.
 *
 * Only the scheduler writes stat and stat_mark.  What somebody else holds, it leaves for
 * another time.  Rows of stat_reset are written by sessions that hold the job, and
 * deleted by the scheduler when they are of no use any more.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/table.h"
#include "access/xact.h"
#include "base/sqlstate.h"
#include "catalog/indexing.h"
#include "miscadmin.h"
#include "store/store_stat.h"
#include "store/table.h"
#include "utils/builtins.h"
#include "utils/fmgroids.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

enum StatColumn
{
	STAT_JOB_ID = 1, STAT_FIRST, STAT_DATA
};

enum MarkColumn
{
	MARK_ID = 1, MARK_COUNTED_BEFORE
};

enum ResetColumn
{
	RESET_JOB_ID = 1, RESET_RESET_AT, RESET_SERVED
};

/* A new hour begins another row if the last one has so many bytes, or is so long. */
#define LARGE_CHUNK 700
#define LONG_CHUNK (31 * USECS_PER_DAY)

/* Rows of stat_reset that are looked at, to be forgotten. */
#define MOST_FORGOTTEN 5000

/* ------------------------------------------------------------------------
 * Rows of stat
 * ------------------------------------------------------------------------
 */

typedef struct StatTable
{
	Relation	rel;
	Relation	index;
	SysScanDesc scan;
} StatTable;

static void
open_stat(StatTable *table, LOCKMODE lockmode)
{
	table->rel = js_table_open("stat", lockmode);
	table->index = index_open(js_table_oid("stat_pkey"), AccessShareLock);
	table->scan = NULL;
}

static void
end_scan(StatTable *table)
{
	if (table->scan != NULL)
		systable_endscan_ordered(table->scan);
	table->scan = NULL;
}

static void
close_stat(StatTable *table)
{
	end_scan(table);
	index_close(table->index, AccessShareLock);
	table_close(table->rel, NoLock);
}

static void
begin_scan(StatTable *table, ScanKey keys, int nkeys)
{
	end_scan(table);
	table->scan = systable_beginscan_ordered(table->rel, table->index, NULL, nkeys, keys);
}

static void
key_of_first(ScanKey key, StrategyNumber op, TimestampTz first)
{
	ScanKeyInit(key, STAT_FIRST, op, op == BTGreaterEqualStrategyNumber ? F_TIMESTAMPTZ_GE : F_TIMESTAMPTZ_LE,
				TimestampTzGetDatum(first));
}

static int64
job_of(const JsRow *row)
{
	return DatumGetInt64(row->values[STAT_JOB_ID - 1]);
}

static TimestampTz
first_of(const JsRow *row)
{
	return DatumGetTimestampTz(row->values[STAT_FIRST - 1]);
}

/* In the current memory context.  Returns how many bytes there are. */
static int
chunk_from_row(const JsRow *row, JsStatChunk *chunk)
{
	bytea	   *data = DatumGetByteaPP(row->values[STAT_DATA - 1]);
	int			size = VARSIZE_ANY_EXHDR(data);

	js_stat_chunk_read(chunk, first_of(row), (uint8 *) VARDATA_ANY(data), size);
	return size;
}

static Datum
chunk_to_datum(JsStatChunk *chunk)
{
	StringInfoData out;

	initStringInfo(&out);
	appendStringInfoSpaces(&out, VARHDRSZ);
	js_stat_chunk_write(&out, chunk);
	SET_VARSIZE(out.data, out.len);
	return PointerGetDatum(out.data);
}

static void
update_chunk(StatTable *table, HeapTuple old, JsStatChunk *chunk)
{
	JsRow		row;

	js_row_init(&row);
	js_row_set(&row, STAT_DATA, chunk_to_datum(chunk));
	js_table_update(table->rel, old, &row);
}

static void
insert_chunk(StatTable *table, int64 job_id, JsStatChunk *chunk)
{
	JsRow		row;

	js_row_init(&row);
	js_row_set(&row, STAT_JOB_ID, Int64GetDatum(job_id));
	js_row_set_timestamp(&row, STAT_FIRST, chunk->first);
	js_row_set(&row, STAT_DATA, chunk_to_datum(chunk));
	js_table_insert(table->rel, &row);
}

/* The chunk into which an hour belongs; NULL: there is none so far. */
static HeapTuple
find_chunk(StatTable *table, int64 job_id, TimestampTz hour)
{
	ScanKeyData keys[2];

	js_scan_int64(&keys[0], STAT_JOB_ID, BTEqualStrategyNumber, job_id);
	key_of_first(&keys[1], BTLessEqualStrategyNumber, hour);
	begin_scan(table, keys, 2);
	return systable_getnext_ordered(table->scan, BackwardScanDirection);
}

/* Whether an hour that is later than all in a chunk is to begin another. */
static bool
is_full(const JsStatChunk *chunk, int size, TimestampTz hour)
{
	return (chunk->count == 0 || chunk->entries[chunk->count - 1].start < hour) &&
		(size >= LARGE_CHUNK || hour - chunk->first >= LONG_CHUNK);
}

static bool
write_entry(StatTable *table, int64 job_id, const JsStatEntry *entry, const JsStatClock *clock)
{
	TimestampTz hour = js_stat_begin_of(entry->start, JS_STAT_HOUR);
	HeapTuple	old = find_chunk(table, job_id, hour);
	JsStatChunk chunk = {.first = hour};

	if (HeapTupleIsValid(old))
	{
		JsRow		row;
		int			size;

		if (js_tuple_is_busy(old))
			return false;
		js_row_get(&row, old, table->rel);
		size = chunk_from_row(&row, &chunk);
		if (is_full(&chunk, size, hour))
		{
			chunk = (JsStatChunk)
			{
				.first = hour
			};
			old = NULL;
		}
	}
	js_stat_chunk_add(&chunk, entry);
	js_stat_chunk_coarsen(&chunk, clock->mark, clock->now);
	if (HeapTupleIsValid(old))
		update_chunk(table, old, &chunk);
	else
		insert_chunk(table, job_id, &chunk);
	return true;
}

/*
 * Adds what has ended in a span, of which only minutes can be taken back.  False: somebody
 * holds the row.
 */
bool
js_stat_write(int64 job_id, TimestampTz start, JsStatWidth width, const JsStat *stat,
			  const JsStatClock *clock)
{
	JsStatEntry entry = {.start = start,.width = width};
	StringInfoData bytes;
	StatTable	table;
	bool		written;

	initStringInfo(&bytes);
	js_stat_encode(&bytes, stat);
	entry.bytes = (uint8 *) bytes.data;
	entry.size = bytes.len;
	open_stat(&table, RowExclusiveLock);
	written = write_entry(&table, job_id, &entry, clock);
	close_stat(&table);
	CommandCounterIncrement();
	return written;
}

static bool
drop_minutes(JsStatChunk *chunk, TimestampTz mark, JsStat *taken)
{
	int			left = 0;

	for (int i = 0; i < chunk->count; i++)
	{
		const JsStatEntry *entry = &chunk->entries[i];

		if (entry->width == JS_STAT_MINUTE && entry->start >= mark)
			js_stat_add_encoded(taken, entry->bytes, entry->size);
		else
			chunk->entries[left++] = *entry;
	}
	if (left == chunk->count)
		return false;
	chunk->count = left;
	return true;
}

/*
 * Forgets the minutes of a job from an instant on, which are to be recounted, and says
 * what was in them.  False: somebody holds a row, and no other has minutes of these.
 */
bool
js_stat_discard(int64 job_id, TimestampTz mark, JsStat *taken)
{
	StatTable	table;
	ScanKeyData key;
	HeapTuple	old;
	bool		free = true;

	memset(taken, 0, sizeof(JsStat));
	open_stat(&table, RowExclusiveLock);
	js_scan_int64(&key, STAT_JOB_ID, BTEqualStrategyNumber, job_id);
	begin_scan(&table, &key, 1);
	while (free && HeapTupleIsValid(old = systable_getnext_ordered(table.scan, BackwardScanDirection)))
	{
		JsStatChunk chunk;
		JsRow		row;

		js_row_get(&row, old, table.rel);
		(void) chunk_from_row(&row, &chunk);
		free = !js_tuple_is_busy(old);
		if (free && drop_minutes(&chunk, mark, taken))
			update_chunk(&table, old, &chunk);
		if (chunk.first <= mark)
			break;
	}
	close_stat(&table);
	CommandCounterIncrement();
	return free;
}

/* Deletes what is kept of a job, but for what somebody holds. */
void
js_stat_forget(int64 job_id)
{
	StatTable	table;
	ScanKeyData key;
	HeapTuple	old;

	open_stat(&table, RowExclusiveLock);
	js_scan_int64(&key, STAT_JOB_ID, BTEqualStrategyNumber, job_id);
	begin_scan(&table, &key, 1);
	while (HeapTupleIsValid(old = systable_getnext_ordered(table.scan, ForwardScanDirection)))
		if (!js_tuple_is_busy(old))
			CatalogTupleDelete(table.rel, &old->t_self);
	close_stat(&table);
	CommandCounterIncrement();
}

/* ------------------------------------------------------------------------
 * Tidying
 * ------------------------------------------------------------------------
 */

typedef struct Tidy
{
	StatTable  *table;
	const JsStatClock *clock;
	TimestampTz expired;
	JsStatJudge judge;
	int64		job_id;			/* of the last row */
	JsStatFate	fate;
	HeapTuple	last;			/* the row before, which others may join;
								 * NULL: none */
	JsStatChunk chunk;
	int			size;
} Tidy;

static JsStatFate
fate_of(Tidy *tidy, int64 job_id)
{
	if (tidy->job_id != job_id)
	{
		tidy->fate = tidy->judge(job_id);
		tidy->last = NULL;
	}
	tidy->job_id = job_id;
	return tidy->fate;
}

static bool
is_over(const JsStatChunk *chunk, TimestampTz expired)
{
	for (int i = 0; i < chunk->count; i++)
		if (chunk->entries[i].start >= expired)
			return false;
	return true;
}

/* Small rows of times that are long over become one. */
static bool
joins(const Tidy *tidy, const JsStatChunk *chunk, int size)
{
	TimestampTz end = chunk->entries[chunk->count - 1].start;

	return tidy->last != NULL && tidy->size + size <= LARGE_CHUNK &&
		end - tidy->chunk.first < LONG_CHUNK &&
		chunk->entries[chunk->count - 1].width >= JS_STAT_HOUR;
}

static void
join(Tidy *tidy, HeapTuple old, const JsStatChunk *chunk)
{
	ItemPointerData moved = tidy->last->t_self;
	Datum		data;
	JsRow		row;

	for (int i = 0; i < chunk->count; i++)
		js_stat_chunk_add(&tidy->chunk, &chunk->entries[i]);
	js_stat_chunk_coarsen(&tidy->chunk, tidy->clock->mark, tidy->clock->now);
	data = chunk_to_datum(&tidy->chunk);
	js_row_init(&row);
	js_row_set(&row, STAT_DATA, data);
	CommandCounterIncrement();	/* the row may be one that was just written */
	tidy->last = heap_modify_tuple(tidy->last, RelationGetDescr(tidy->table->rel), row.values, row.nulls, row.changed);
	CatalogTupleUpdate(tidy->table->rel, &moved, tidy->last);
	CatalogTupleDelete(tidy->table->rel, &old->t_self);
	tidy->size = VARSIZE(DatumGetPointer(data)) - VARHDRSZ;
	js_stat_chunk_read(&tidy->chunk, tidy->chunk.first, (uint8 *) VARDATA(DatumGetPointer(data)), tidy->size);
}

static bool
is_same(const JsRow *row, Datum data)
{
	bytea	   *was = DatumGetByteaPP(row->values[STAT_DATA - 1]);
	Size		size = VARSIZE(DatumGetPointer(data)) - VARHDRSZ;

	return VARSIZE_ANY_EXHDR(was) == size &&
		memcmp(VARDATA_ANY(was), VARDATA(DatumGetPointer(data)), size) == 0;
}

static void
tidy_row(Tidy *tidy, HeapTuple old)
{
	JsStatChunk chunk;
	Datum		data;
	JsRow		row;

	js_row_get(&row, old, tidy->table->rel);
	if (fate_of(tidy, job_of(&row)) == JS_STAT_LEAVE || js_tuple_is_busy(old))
	{
		tidy->last = NULL;
		return;
	}
	(void) chunk_from_row(&row, &chunk);
	if (tidy->fate == JS_STAT_DELETE || is_over(&chunk, tidy->expired))
	{
		CatalogTupleDelete(tidy->table->rel, &old->t_self);
		return;
	}
	js_stat_chunk_coarsen(&chunk, tidy->clock->mark, tidy->clock->now);
	data = chunk_to_datum(&chunk);
	if (joins(tidy, &chunk, VARSIZE(DatumGetPointer(data)) - VARHDRSZ))
	{
		join(tidy, old, &chunk);
		return;
	}
	old = heap_copytuple(old);
	if (!is_same(&row, data))
	{
		ItemPointerData place = old->t_self;

		js_row_init(&row);
		js_row_set(&row, STAT_DATA, data);
		old = heap_modify_tuple(old, RelationGetDescr(tidy->table->rel), row.values, row.nulls, row.changed);
		CatalogTupleUpdate(tidy->table->rel, &place, old);
	}
	tidy->last = old;
	tidy->size = VARSIZE(DatumGetPointer(data)) - VARHDRSZ;
	js_stat_chunk_read(&tidy->chunk, chunk.first, (uint8 *) VARDATA(DatumGetPointer(data)), tidy->size);
}

/*
 * Goes on through all rows: what is old becomes wider spans and fewer rows, what has
 * expired and what is of no job goes.  The caller's memory context is reset soon.  The
 * last row of a portion is the first of the next, so there are two at least.
 */
void
js_stat_tidy_some(JsStatPosition *position, int most, const JsStatClock *clock, TimestampTz expired,
				  JsStatJudge judge)
{
	StatTable	table;
	Tidy		tidy = {.table = &table,.clock = clock,.expired = expired,.judge = judge};
	ScanKeyData key;
	HeapTuple	old = NULL;
	JsRow		row;

	open_stat(&table, RowExclusiveLock);
	js_scan_int64(&key, STAT_JOB_ID, BTGreaterEqualStrategyNumber, position->job_id);
	begin_scan(&table, &key, 1);
	while (most > 0 && HeapTupleIsValid(old = systable_getnext_ordered(table.scan, ForwardScanDirection)))
	{
		js_row_get(&row, old, table.rel);
		if (job_of(&row) == position->job_id && first_of(&row) <= position->first)
			continue;
		position->job_id = job_of(&row);
		position->first = first_of(&row) - 1;	/* others may join the last
												 * one */
		tidy_row(&tidy, old);
		most--;
	}
	if (!HeapTupleIsValid(old))
		position->job_id = 0;
	close_stat(&table);
	CommandCounterIncrement();
}

/* ------------------------------------------------------------------------
 * Until when is counted
 * ------------------------------------------------------------------------
 */

bool
js_stat_mark_read(TimestampTz *mark)
{
	Relation	rel = js_table_open("stat_mark", AccessShareLock);
	SysScanDesc scan = js_table_scan_key(rel, NULL, NULL, 0);
	HeapTuple	tuple = systable_getnext(scan);
	JsRow		row;

	if (HeapTupleIsValid(tuple))
	{
		js_row_get(&row, tuple, rel);
		*mark = js_stat_begin_of(js_row_timestamp(&row, MARK_COUNTED_BEFORE), JS_STAT_MINUTE);
	}
	systable_endscan(scan);
	table_close(rel, NoLock);
	return HeapTupleIsValid(tuple);
}

/* False: somebody holds the row, and it says what it has said. */
bool
js_stat_mark_write(TimestampTz mark)
{
	Relation	rel = js_table_open("stat_mark", RowExclusiveLock);
	SysScanDesc scan = js_table_scan_key(rel, NULL, NULL, 0);
	HeapTuple	old = systable_getnext(scan);
	bool		free = !HeapTupleIsValid(old) || !js_tuple_is_busy(old);
	JsRow		row;

	js_row_init(&row);
	js_row_set(&row, MARK_ID, Int16GetDatum(1));
	js_row_set_timestamp(&row, MARK_COUNTED_BEFORE, mark);
	if (!HeapTupleIsValid(old))
		js_table_insert(rel, &row);
	else if (free)
		js_table_update(rel, old, &row);
	systable_endscan(scan);
	table_close(rel, NoLock);
	CommandCounterIncrement();
	return free;
}

/* ------------------------------------------------------------------------
 * Resets
 * ------------------------------------------------------------------------
 */

static SysScanDesc
scan_reset(Relation rel, int64 job_id)
{
	ScanKeyData key;

	js_scan_int64(&key, RESET_JOB_ID, BTEqualStrategyNumber, job_id);
	return js_table_scan_key(rel, "stat_reset_pkey", &key, 1);
}

/*
 * By a session that holds the job.  The scheduler may be about to mark or to delete the
 * row of an earlier one, which it does in a moment.
 */
void
js_stat_reset_ask(int64 job_id, TimestampTz at)
{
	Relation	rel = js_table_open("stat_reset", RowExclusiveLock);
	SysScanDesc scan;
	HeapTuple	old;
	JsRow		row;

	js_table_lock_key("stat_reset", 0);
	scan = scan_reset(rel, job_id);
	old = systable_getnext(scan);
	js_row_init(&row);
	js_row_set(&row, RESET_JOB_ID, Int64GetDatum(job_id));
	js_row_set_timestamp(&row, RESET_RESET_AT, at);
	js_row_set(&row, RESET_SERVED, BoolGetDatum(false));
	if (!HeapTupleIsValid(old))
		js_table_insert(rel, &row);
	else if (js_tuple_is_busy(old))
		ereport(ERROR,
				(errcode(JS_ERRCODE_STATE),
				 errmsg("the statistics of this job are just being reset"),
				 errhint("Try again.")));
	else
		js_table_update(rel, old, &row);
	systable_endscan(scan);
	js_table_unlock_key("stat_reset", 0);
	table_close(rel, NoLock);
	CommandCounterIncrement();
}

static void
add_reset(Relation rel, HeapTuple tuple, void *arg)
{
	JsStatResets *resets = arg;
	JsStatReset *reset;
	JsRow		row;

	js_row_get(&row, tuple, rel);
	reset = &resets->resets[resets->count++];
	reset->job_id = DatumGetInt64(row.values[RESET_JOB_ID - 1]);
	reset->reset_at = js_row_timestamp(&row, RESET_RESET_AT);
	reset->served = DatumGetBool(row.values[RESET_SERVED - 1]);
}

/*
 * Adds resets to an array that has room for as many more, by job, from one on.  Returns
 * the job to go on with; 0: there are no more.
 */
int64
js_stat_resets_read(int64 from, int most, JsStatResets *resets)
{
	return js_table_visit_some("stat_reset", "stat_reset_pkey", from, false, most, add_reset, resets);
}

/* Deletes the rows of the job, and marks the reset.  False: a session is at it. */
static bool
serve_reset(Relation rel, int64 job_id)
{
	SysScanDesc scan = scan_reset(rel, job_id);
	HeapTuple	old = systable_getnext(scan);
	bool		free = HeapTupleIsValid(old) && !js_tuple_is_busy(old);
	JsRow		row;

	if (free)
	{
		js_row_init(&row);
		js_row_set(&row, RESET_SERVED, BoolGetDatum(true));
		js_table_update(rel, old, &row);
		js_stat_forget(job_id);
	}
	systable_endscan(scan);
	CommandCounterIncrement();
	return free;
}

bool
js_stat_reset_serve(int64 job_id)
{
	Relation	rel = js_table_open("stat_reset", RowExclusiveLock);
	bool		served = false;

	if (js_table_try_lock_key("stat_reset", 0))
	{
		served = serve_reset(rel, job_id);
		js_table_unlock_key("stat_reset", 0);
	}
	table_close(rel, NoLock);
	return served;
}

/* Of what has ended before an instant nothing is recounted: those from before it go, some at a time. */
static void
forget_resets(Relation rel, TimestampTz before, int most)
{
	SysScanDesc scan = js_table_scan_key(rel, NULL, NULL, 0);
	HeapTuple	old;
	JsRow		row;

	while (most-- > 0 && HeapTupleIsValid(old = systable_getnext(scan)))
	{
		js_row_get(&row, old, rel);
		if (DatumGetBool(row.values[RESET_SERVED - 1]) &&
			js_row_timestamp(&row, RESET_RESET_AT) < before && !js_tuple_is_busy(old))
			CatalogTupleDelete(rel, &old->t_self);
	}
	systable_endscan(scan);
}

void
js_stat_resets_forget(TimestampTz before)
{
	Relation	rel = js_table_open("stat_reset", RowExclusiveLock);

	if (js_table_try_lock_key("stat_reset", 0))
	{
		forget_resets(rel, before, MOST_FORGOTTEN);
		js_table_unlock_key("stat_reset", 0);
	}
	table_close(rel, NoLock);
	CommandCounterIncrement();
}

/* ------------------------------------------------------------------------
 * Reading
 * ------------------------------------------------------------------------
 */

void
js_stat_reader_open(JsStatReader *reader)
{
	reader->rel = js_table_open("stat", AccessShareLock);
	reader->index = index_open(js_table_oid("stat_pkey"), AccessShareLock);
	reader->context = AllocSetContextCreate(CurrentMemoryContext, "jobsched statistics", ALLOCSET_DEFAULT_SIZES);
}

void
js_stat_reader_close(JsStatReader *reader)
{
	MemoryContextDelete(reader->context);
	index_close(reader->index, AccessShareLock);
	table_close(reader->rel, AccessShareLock);
}

/* A span counts as a whole if the instant from is in it. */
static void
visit_row(const JsRow *row, TimestampTz from, TimestampTz to, JsStatVisitor visit, void *arg)
{
	JsStatChunk chunk;

	(void) chunk_from_row(row, &chunk);
	for (int i = 0; i < chunk.count; i++)
	{
		const JsStatEntry *entry = &chunk.entries[i];

		if (entry->start < to &&
			(TIMESTAMP_NOT_FINITE(from) || entry->start >= js_stat_begin_of(from, entry->width)))
			visit(entry, arg);
	}
}

/* Where the chunk begins that has the first span to be visited. */
static TimestampTz
first_chunk(JsStatReader *reader, int64 job_id, TimestampTz from)
{
	TimestampTz day = js_stat_begin_of(from, JS_STAT_DAY);
	ScanKeyData keys[2];
	SysScanDesc scan;
	HeapTuple	tuple;
	JsRow		row;

	js_scan_int64(&keys[0], STAT_JOB_ID, BTEqualStrategyNumber, job_id);
	key_of_first(&keys[1], BTLessEqualStrategyNumber, day);
	scan = systable_beginscan_ordered(reader->rel, reader->index, NULL, 2, keys);
	tuple = systable_getnext_ordered(scan, BackwardScanDirection);
	if (HeapTupleIsValid(tuple))
	{
		js_row_get(&row, tuple, reader->rel);
		day = first_of(&row);
	}
	systable_endscan_ordered(scan);
	return day;
}

/* The next total of a role; 0: there are no more. */
int64
js_stat_next_total(JsStatReader *reader, int64 after)
{
	ScanKeyData keys[2];
	SysScanDesc scan;
	HeapTuple	tuple;
	int64		next = 0;
	JsRow		row;

	js_scan_int64(&keys[0], STAT_JOB_ID, BTGreaterEqualStrategyNumber, after + 1);
	js_scan_int64(&keys[1], STAT_JOB_ID, BTLessEqualStrategyNumber, -1);
	scan = systable_beginscan_ordered(reader->rel, reader->index, NULL, 2, keys);
	tuple = systable_getnext_ordered(scan, ForwardScanDirection);
	if (HeapTupleIsValid(tuple))
	{
		js_row_get(&row, tuple, reader->rel);
		next = job_of(&row);
	}
	systable_endscan_ordered(scan);
	return next;
}

/* Visits what is kept of a job from an instant on, before another, by time. */
void
js_stat_visit(JsStatReader *reader, int64 job_id, TimestampTz from, TimestampTz to,
			  JsStatVisitor visit, void *arg)
{
	bool		is_bounded = !TIMESTAMP_NOT_FINITE(from);
	MemoryContext outer = CurrentMemoryContext;
	ScanKeyData keys[3];
	SysScanDesc scan;
	HeapTuple	tuple;
	JsRow		row;

	js_scan_int64(&keys[0], STAT_JOB_ID, BTEqualStrategyNumber, job_id);
	key_of_first(&keys[1], BTLessEqualStrategyNumber, to);
	if (is_bounded)
		key_of_first(&keys[2], BTGreaterEqualStrategyNumber, first_chunk(reader, job_id, from));
	scan = systable_beginscan_ordered(reader->rel, reader->index, NULL, is_bounded ? 3 : 2, keys);
	while (HeapTupleIsValid(tuple = systable_getnext_ordered(scan, ForwardScanDirection)))
	{
		MemoryContextSwitchTo(reader->context);
		js_row_get(&row, tuple, reader->rel);
		visit_row(&row, from, to, visit, arg);
		MemoryContextSwitchTo(outer);
		MemoryContextReset(reader->context);
		CHECK_FOR_INTERRUPTS();
	}
	systable_endscan_ordered(scan);
}
