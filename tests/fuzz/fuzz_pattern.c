/* SPDX-License-Identifier: MIT */

/*
 * Input: one byte of choices, 18 bytes of address and port, then a text that is
 * read as a pattern, as a host with a port, and as a client's name.
 *
 * Oracles: a match equals a decision made with whole 128-bit numbers and a table
 * of ranges of its own; a refused text changes nothing; what is parsed formats to
 * a text that parses to the same.
 */
#include <string.h>

#include "base/compiler.h"
#include "base/pattern.h"

/* NOLINTBEGIN(readability-identifier-naming): libFuzzer names it */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Every address as a number; IPv4 above all IPv6, by the family in a field of its own. */
static cv_u128 number(const struct addr *a)
{
	cv_u128 v = 0;

	for (unsigned i = 0; i < (a->family == ADDR_V4 ? 4 : 16); i++)
		v = v * 256 + a->ip[i];
	return v;
}

static cv_u128 v6(uint64_t high, uint64_t low)
{
	return (cv_u128)high << 64 | low;
}

struct range {
	uint8_t family;
	cv_u128 first, last;
};

/* The special range that holds @a, by its first and last address. False: none. */
static bool special_range(const struct addr *a, struct range *out)
{
	const cv_u128 metadata = v6(UINT64_C(0xfd000ec200000000), 0x254);
	const struct range ranges[] = {
		{ ADDR_V4, 0x00000000, 0x00ffffff },
		{ ADDR_V4, 0x7f000000, 0x7fffffff },
		{ ADDR_V4, 0xa9fe0000, 0xa9feffff },
		{ ADDR_V4, 0xe0000000, 0xefffffff },
		{ ADDR_V4, 0xf0000000, 0xffffffff },
		{ ADDR_V6, 0, 0 },
		{ ADDR_V6, 1, 1 },
		{ ADDR_V6, metadata, metadata },
		{ ADDR_V6, v6(UINT64_C(0xfe80000000000000), 0),
		  v6(UINT64_C(0xfeffffffffffffff), UINT64_MAX) },
		{ ADDR_V6, v6(UINT64_C(0xff00000000000000), 0), v6(UINT64_MAX, UINT64_MAX) },
	};

	for (size_t i = 0; i < CV_ARRAY_SIZE(ranges); i++) {
		if (ranges[i].family == a->family && number(a) >= ranges[i].first &&
		    number(a) <= ranges[i].last) {
			*out = ranges[i];
			return true;
		}
	}
	return false;
}

static bool net_matches(const struct pattern *p, const struct addr *a)
{
	unsigned free_bits = (p->net.family == ADDR_V4 ? 32u : 128u) - p->bits;
	cv_u128 span = free_bits == 128 ? ~(cv_u128)0 : ((cv_u128)1 << free_bits) - 1;
	cv_u128 first = number(&p->net);
	struct range special;

	if (a->family != p->net.family || number(a) < first || number(a) - first > span)
		return false;
	if (!special_range(a, &special))
		return true;
	return first >= special.first && first + span <= special.last;
}

static bool port_matches(const struct pattern *p, uint16_t port, bool is_udp)
{
	bool is_in = p->range_count == 0;

	for (unsigned i = 0; i < p->range_count; i++)
		is_in = is_in || (port >= p->ports[i].first && port <= p->ports[i].last);
	return is_in && p->is_udp == is_udp;
}

static bool expected(const struct pattern *p, const char *name, const struct addr *a, bool is_udp)
{
	struct range special;
	bool is_plain = !special_range(a, &special);

	if (!port_matches(p, a->port, is_udp))
		return false;
	switch (p->kind) {
	case PATTERN_ANY:
		return is_plain;
	case PATTERN_NAME:
	case PATTERN_SUFFIX:
		return is_plain && name && pattern_match_name(p, name);
	case PATTERN_NET:
		return net_matches(p, a);
	case PATTERN_LOCALHOST:
		return number(a) == (a->family == ADDR_V4 ? 0x7f000001 : 1);
	case PATTERN_UNIX:
		return false;
	}
	CV_UNREACHABLE();
}

static void check_pattern(const char *text, const struct addr *dialled, bool is_udp)
{
	struct pattern p, before;
	struct addr canonical = addr_canonical(dialled), again = addr_canonical(&canonical);
	const char *why = NULL;
	bool answer;

	CV_ASSERT(addr_equal(&canonical, &again));
	memset(&p, 0xee, sizeof(p));
	before = p;
	if (pattern_parse(text, &p, &why) < 0) {
		CV_ASSERT(why);
		CV_ASSERT(memcmp(&p, &before, sizeof(p)) == 0);
		return;
	}
	answer = pattern_match_dial(&p, NULL, dialled, is_udp);
	CV_ASSERT(answer == expected(&p, NULL, &canonical, is_udp));
	CV_ASSERT(answer == pattern_match_dial(&p, NULL, &canonical, is_udp));
	if (p.kind == PATTERN_NAME) {
		CV_ASSERT(pattern_match_name(&p, p.text));
		CV_ASSERT(pattern_match_dial(&p, p.text, dialled, is_udp) ==
		          expected(&p, p.text, &canonical, is_udp));
	}
	if (p.kind == PATTERN_SUFFIX)
		CV_ASSERT(!pattern_match_name(&p, p.text));
	if (p.kind == PATTERN_UNIX)
		CV_ASSERT(pattern_match_unix(&p, p.text) == !p.is_prefix);
	/* Nothing but its own name opens what is special. */
	if (p.kind == PATTERN_NET && (p.net.family == ADDR_V4 ? p.bits < 4 : p.bits < 7)) {
		struct range special;

		CV_ASSERT(!answer || !special_range(&canonical, &special));
	}
}

static void check_round_trip(const struct hostport *h)
{
	char text[HOSTPORT_TEXT_MAX];
	struct hostport again;
	const char *why;

	CV_ASSERT(hostport_parse(hostport_format(h, text), 0, &again, &why) == 0);
	CV_ASSERT(hostport_equal(h, &again));
	if (h->kind == HOST_NAME)
		CV_ASSERT(host_name_is_valid(h->text, strlen(h->text)));
}

static void check_hostport(const char *text, size_t size, uint16_t port)
{
	struct hostport h, before;
	const char *why = NULL;

	memset(&h, 0xee, sizeof(h));
	before = h;
	if (hostport_parse(text, port, &h, &why) == 0) {
		check_round_trip(&h);
	} else {
		CV_ASSERT(why);
		/* Not a comparison of values: no byte may have been touched, padding included. */
		/* NOLINTNEXTLINE(bugprone-suspicious-memory-comparison) */
		CV_ASSERT(memcmp(&h, &before, sizeof(h)) == 0);
	}
	if (hostport_from_name(text, size, port, &h) == 0)
		check_round_trip(&h);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct addr a = { .family = ADDR_V6 };
	char text[600];

	if (size < 19 || size - 19 >= sizeof(text))
		return 0;
	a.port = cv_load16(data + 1);
	if (data[0] & 1) {
		a.family = ADDR_V4;
		memcpy(a.ip, data + 3, 4);
	} else {
		memcpy(a.ip, data + 3, 16);
	}
	memcpy(text, data + 19, size - 19);
	text[size - 19] = 0;
	check_pattern(text, &a, data[0] & 2);
	check_hostport(text, size - 19, data[0] & 4 ? a.port : 0);
	return 0;
}
/* NOLINTEND(readability-identifier-naming) */
