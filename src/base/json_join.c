/*-------------------------------------------------------------------------
 *
 * json_join.c
 *		A JSON object or array of values that are there as jsonb.
 *
 * pushJsonbValue() takes a value apart and puts it together again, with many times
 * its size in memory, and recursion where it is deep.  Here each is copied as it
 * is: what is in the object is what a jsonb has after its length, on a boundary of
 * four bytes.  So it costs the scheduler no more than the copy, whatever a user's
 * value looks like.
 *
 * The layout is that of utils/jsonb.h: the names, which are sorted by their lengths
 * first, and then the values in this order.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "base/json.h"
#include "base/sqlstate.h"

typedef struct Joining
{
	Jsonb	   *object;
	JEntry	   *entry;			/* the next one */
	int			count;			/* that there are already */
	char	   *data;			/* where the first name begins */
	Size		used;			/* from there */
} Joining;

/* With its entries, and room to bring it to a boundary. */
Size
js_json_member_size(const char *name, Size value)
{
	return 2 * sizeof(JEntry) + strlen(name) + value + sizeof(uint32);
}

Size
js_json_element_size(Size value)
{
	return sizeof(JEntry) + value + sizeof(uint32);
}

/* A jsonb has a bound of its own, far above that of what is sent. */
static void
check_size(Size size)
{
	if (size > JENTRY_OFFLENMASK)
		ereport(ERROR,
				(errcode(JS_ERRCODE_LIMIT),
				 errmsg("a JSON value has more than %d bytes", JENTRY_OFFLENMASK)));
}

static int
compare_names(const void *a, const void *b)
{
	const char *x = ((const JsJsonMember *) a)->name;
	const char *y = ((const JsJsonMember *) b)->name;
	int			difference = (int) strlen(x) - (int) strlen(y);

	return difference != 0 ? difference : strcmp(x, y);
}

/* Every so often an entry says where it ends instead of how long it is. */
static void
end_entry(Joining *joining, uint32 type, Size begin)
{
	bool		says_end = joining->count % JB_OFFSET_STRIDE == 0;

	*joining->entry++ = type |
		(says_end ? JENTRY_HAS_OFF | (uint32) joining->used : (uint32) (joining->used - begin));
	joining->count++;
}

static void
add_bytes(Joining *joining, const void *bytes, Size length)
{
	memcpy(joining->data + joining->used, bytes, length);
	joining->used += length;
}

static void
add_string(Joining *joining, const char *string, Size length)
{
	Size		begin = joining->used;

	add_bytes(joining, string, length);
	end_entry(joining, JENTRY_ISSTRING, begin);
}

/* What has to begin on a boundary. */
static void
add_aligned(Joining *joining, uint32 type, const void *bytes, Size length)
{
	Size		begin = joining->used;

	joining->used = INTALIGN(begin);
	add_bytes(joining, bytes, length);
	end_entry(joining, type, begin);
}

/* A value that is neither an array nor an object is the only element of an array. */
static void
add_scalar(Joining *joining, const JsonbValue *value)
{
	if (value->type == jbvString)
		add_string(joining, value->val.string.val, value->val.string.len);
	else if (value->type == jbvNumeric)
		add_aligned(joining, JENTRY_ISNUMERIC, value->val.numeric, VARSIZE_ANY(value->val.numeric));
	else if (value->type == jbvBool)
		end_entry(joining, value->val.boolean ? JENTRY_ISBOOL_TRUE : JENTRY_ISBOOL_FALSE, joining->used);
	else
		end_entry(joining, JENTRY_ISNULL, joining->used);
}

static void
add_value(Joining *joining, Jsonb *value)
{
	JsonbValue	scalar;

	if (JsonbExtractScalar(&value->root, &scalar))
		add_scalar(joining, &scalar);
	else
		add_aligned(joining, JENTRY_ISCONTAINER, &value->root, VARSIZE(value) - VARHDRSZ);
}

/* size: of what is in it; entries: two for each member of an object. */
static void
begin(Joining *joining, Size size, uint32 header, int entries)
{
	joining->object = palloc0(offsetof(Jsonb, root.children) + size);
	joining->object->root.header = header;
	joining->entry = joining->object->root.children;
	joining->data = (char *) (joining->entry + entries);
	joining->count = 0;
	joining->used = 0;
}

static void
begin_object(Joining *joining, const JsJsonMember *members, int count)
{
	Size		size = 0;

	for (int i = 0; i < count; i++)
		size += js_json_member_size(members[i].name, VARSIZE(members[i].value));
	check_size(size);
	begin(joining, size, count | JB_FOBJECT, 2 * count);
}

static Jsonb *
end(Joining *joining)
{
	SET_VARSIZE(joining->object, joining->data + joining->used - (char *) joining->object);
	return joining->object;
}

/* The object that has these members, whose names differ; they are sorted. */
Jsonb *
js_json_join(JsJsonMember *members, int count)
{
	Joining		joining;

	qsort(members, count, sizeof(JsJsonMember), compare_names);
	begin_object(&joining, members, count);
	for (int i = 0; i < count; i++)
		add_string(&joining, members[i].name, strlen(members[i].name));
	for (int i = 0; i < count; i++)
		add_value(&joining, members[i].value);
	return end(&joining);
}

/* The array that has these elements. */
Jsonb *
js_json_join_array(Jsonb **elements, int count)
{
	Joining		joining;
	Size		size = 0;

	for (int i = 0; i < count; i++)
		size += js_json_element_size(VARSIZE(elements[i]));
	check_size(size);
	begin(&joining, size, count | JB_FARRAY, count);
	for (int i = 0; i < count; i++)
		add_value(&joining, elements[i]);
	return end(&joining);
}

/* ------------------------------------------------------------------------
 * Objects with the same names
 * ------------------------------------------------------------------------
 */

typedef struct NamedPlace
{
	const char *name;
	int			length;
	int			place;			/* of the value, among those that are given */
} NamedPlace;

struct JsJsonNames
{
	int			count;
	Size		size;			/* of all names, and of all entries */
	NamedPlace	names[FLEXIBLE_ARRAY_MEMBER];
};

static int
compare_named_places(const void *a, const void *b)
{
	const NamedPlace *x = a;
	const NamedPlace *y = b;

	return x->length != y->length ? x->length - y->length : memcmp(x->name, y->name, x->length);
}

/* They differ, and have to stay where they are. */
JsJsonNames *
js_json_names(const char **names, int count)
{
	JsJsonNames *result = palloc(offsetof(JsJsonNames, names) + count * sizeof(NamedPlace));

	result->count = count;
	result->size = 2 * count * sizeof(JEntry);
	for (int i = 0; i < count; i++)
	{
		result->names[i].name = names[i];
		result->names[i].length = strlen(names[i]);
		result->names[i].place = i;
		result->size += result->names[i].length;
	}
	qsort(result->names, count, sizeof(NamedPlace), compare_named_places);
	return result;
}

/* A value that has been taken apart becomes one that can be copied as it is. */
static void
settle(JsonbValue *value)
{
	JsonbValue	scalar;

	if (value->type == jbvArray || value->type == jbvObject)
		JsonbToJsonbValue(JsonbValueToJsonb(value), value);
	if (value->type == jbvBinary && JsonbExtractScalar(value->val.binary.data, &scalar))
		*value = scalar;
}

static Size
size_of(const JsonbValue *value)
{
	switch (value->type)
	{
		case jbvString:
			return value->val.string.len;
		case jbvNumeric:
			return sizeof(uint32) + VARSIZE_ANY(value->val.numeric);
		case jbvBinary:
			return sizeof(uint32) + value->val.binary.len;
		default:
			return 0;
	}
}

/* The object of these names with these values, in the order in which the names were given. */
Jsonb *
js_json_object(const JsJsonNames *names, JsonbValue *values)
{
	Joining		joining;
	Size		size = names->size;

	for (int i = 0; i < names->count; i++)
	{
		settle(&values[i]);
		size += size_of(&values[i]);
	}
	check_size(size);
	begin(&joining, size, names->count | JB_FOBJECT, 2 * names->count);
	for (int i = 0; i < names->count; i++)
		add_string(&joining, names->names[i].name, names->names[i].length);
	for (int i = 0; i < names->count; i++)
	{
		const JsonbValue *value = &values[names->names[i].place];

		if (value->type == jbvBinary)
			add_aligned(&joining, JENTRY_ISCONTAINER, value->val.binary.data, value->val.binary.len);
		else
			add_scalar(&joining, value);
	}
	return end(&joining);
}
