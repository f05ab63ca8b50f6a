/* SPDX-License-Identifier: MIT */
#include "base/trace.h"

#include "base/compiler.h"

static const struct {
	const char *name;
	const char *field[3];
} events[] = {
#define TRACE_ROW(name, a, b, c) [TRACE_##name] = { #name, { a, b, c } },
	TRACE_EVENTS(TRACE_ROW)
#undef TRACE_ROW
};

const char *trace_name(enum trace_event event)
{
	CV_ASSERT(event < TRACE_EVENT_COUNT);
	return events[event].name;
}

const char *trace_field(enum trace_event event, unsigned index)
{
	CV_ASSERT(event < TRACE_EVENT_COUNT);
	CV_ASSERT(index < CV_ARRAY_SIZE(events[event].field));
	return events[event].field[index];
}
