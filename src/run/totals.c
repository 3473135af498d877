/*-------------------------------------------------------------------------
 *
 * totals.c
 *		How many runs have ended as what, as a result.
 *
 * A batch has it of its members, and a step with for_each of its elements.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "base/json.h"
#include "run/totals.h"
#include "store/store_names.h"

/* Every status is there, so that nobody takes NULL for none. */
Jsonb *
js_totals_json(const JsTotals *totals)
{
	static const JsStatus shown[] = {JS_SUCCEEDED, JS_FAILED, JS_TIMED_OUT, JS_LOST, JS_CANCELLED, JS_SKIPPED};
	JsonbParseState *state = NULL;

	(void) pushJsonbValue(&state, WJB_BEGIN_OBJECT, NULL);
	js_json_push_number(&state, "total", totals->total);
	for (int i = 0; i < lengthof(shown); i++)
		js_json_push_number(&state, js_status_name(shown[i]), totals->ended_as[shown[i]]);
	return JsonbValueToJsonb(pushJsonbValue(&state, WJB_END_OBJECT, NULL));
}
