/*-------------------------------------------------------------------------
 *
 * item.c
 *		Elements of steps with for_each: what their arguments say of them.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "compat.h"
#include "run/item.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/numeric.h"

/*
 * Which element a run is; -1: it is none, or somebody has spoilt its row.  The run of a
 * job that a step runs may have any such argument.
 */
int32
js_item_index(const JsRun *run)
{
	JsonbValue	index;
	double		number;

	if (run->source != JS_SOURCE_ITEM || run->args == NULL || !JB_ROOT_IS_OBJECT(run->args) ||
		getKeyJsonValueFromContainer(&run->args->root, JS_ITEM_INDEX, strlen(JS_ITEM_INDEX), &index) == NULL ||
		index.type != jbvNumeric)
		return -1;
	number = DatumGetFloat8(DirectFunctionCall1(numeric_float8_no_overflow, NumericGetDatum(index.val.numeric)));
	return number >= 0 && number < JS_MAX_CHILDREN ? (int32) number : -1;
}
