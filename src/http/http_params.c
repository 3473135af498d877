/*-------------------------------------------------------------------------
 *
 * http_params.c
 *		Parameters in the query of a URL.
 *
 * Portions Copyright (c) 2026, jobsched contributors
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "http/http_request.h"
#include "http/http_text.h"
#include "http/http_url.h"
#include "lib/stringinfo.h"

#define PARAMS_HINT "params is an object, such as '{\"q\": \"text\", \"id\": [1, 2]}'."

static void
append_parameter(StringInfo query, char *name, const JsonbValue *value)
{
	char	   *text = value->type == jbvBinary ? NULL : js_json_text(value);

	if (text == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("parameter \"%s\" is no text, number or boolean, and no array of these", name),
				 errhint(PARAMS_HINT)));
	if (query->len > 0)
		appendStringInfoChar(query, '&');
	appendStringInfo(query, "%s=%s", js_url_encode_value(name, "a parameter's name"),
					 js_url_encode_value(text, "a parameter"));
}

/* name=value, joined by "&"; of an array one for each element. */
static char *
query_of(Jsonb *params)
{
	StringInfoData query;
	JsonbIterator *it = JsonbIteratorInit(&params->root);
	JsonbIteratorToken token;
	JsonbValue	value;
	char	   *name = NULL;

	initStringInfo(&query);
	JsonbIteratorNext(&it, &value, false);
	while ((token = JsonbIteratorNext(&it, &value, true)) != WJB_DONE)
	{
		if (token == WJB_KEY)
			name = pnstrdup(value.val.string.val, value.val.string.len);
		else if (token == WJB_VALUE && value.type == jbvBinary &&
				 JsonContainerIsArray(value.val.binary.data))
		{
			uint32		count = JsonContainerSize(value.val.binary.data);

			for (uint32 i = 0; i < count; i++)
				append_parameter(&query, name, getIthJsonbValueFromContainer(value.val.binary.data, i));
		}
		else if (token == WJB_VALUE)
			append_parameter(&query, name, &value);
	}
	return query.data;
}

char *
js_http_url_with_params(const char *url, Jsonb *params)
{
	size_t		end = strcspn(url, "#");
	char	   *base = pnstrdup(url, end);
	char	   *query;
	char	   *mark = strchr(base, '?');

	if (!JB_ROOT_IS_OBJECT(params))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("params is no object"),
				 errhint(PARAMS_HINT)));
	query = query_of(params);
	if (*query == '\0')
		return pstrdup(url);
	return psprintf("%s%s%s%s", base,
					mark == NULL ? "?" : mark[1] == '\0' || base[end - 1] == '&' ? "" : "&",
					query, url + end);
}
