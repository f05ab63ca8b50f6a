/* SPDX-License-Identifier: MIT */

/*
 * An association's story as a client, a resolver and strangers may write it: each byte is a step.
 *
 * Oracles besides the sanitizers: udp_exit_check() after every step; nothing is sent but to an
 * address that the policy allows at that moment; whoever is heard was sent to before.
 */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/rd.h"
#include "proxy/udp_exit.h"

enum { HOSTS = 16 };

struct story {
	struct rd in;
	cv_time now;
	struct acl acl;
	bool was_sent_to[HOSTS];
	unsigned asked[UDP_EXIT_LOOKUPS_MAX];
	unsigned asked_count;
};

static struct udp_exit exit_;
static struct pattern rule;

static struct addr numbered(uint8_t n, uint16_t port)
{
	/* Odd ones are allowed. */
	return addr_v4(n & 1 ? 192 : 198, 0, 2, n % HOSTS, port);
}

static void note_sent(struct story *s, const struct addr *to)
{
	CV_ASSERT(acl_check_dial(&s->acl, NULL, to, true) == ACL_ALLOW);
	s->was_sent_to[to->ip[3] % HOSTS] = true;
}

static void client_sends(struct story *s)
{
	static uint8_t bytes[UDP_EXIT_KEPT_SIZE_MAX + 255];
	uint8_t who = rd_u8(&s->in);
	struct hostport host = { .kind = HOST_ADDR, .port = 53 };
	struct udp_exit_bytes data = { bytes, (size_t)rd_u8(&s->in) * 7 };
	struct addr to;

	host.addr = numbered(who, 53);
	if (who & 0x80) {
		host.kind = HOST_NAME;
		memcpy(host.text, "a0.example", 11);
		host.text[0] = (char)('a' + (who & 0x7f) % 26);
		host.text[1] = (char)('0' + (who & 0x7f) / 26);
	}
	if (udp_exit_on_datagram(&exit_, s->now, &s->acl, &host, &data, &to) != UDP_EXIT_SEND)
		return;
	note_sent(s, &to);
	if (rd_u8(&s->in) & 1 && udp_exit_on_unreachable(&exit_, s->now, &s->acl, &to))
		note_sent(s, &to);
}

static void resolver_answers(struct story *s)
{
	struct addr list[UDP_EXIT_ADDRESSES_MAX + 2];
	unsigned which, index;
	size_t count = rd_u8(&s->in) % CV_ARRAY_SIZE(list);

	if (s->asked_count == 0)
		return;
	which = rd_u8(&s->in) % s->asked_count;
	index = s->asked[which];
	s->asked[which] = s->asked[--s->asked_count];
	for (size_t i = 0; i < count; i++)
		list[i] = numbered(rd_u8(&s->in), 0);
	if (count % 4 == 3)
		udp_exit_on_resolve_failed(&exit_, s->now, index, DIAL_RESOLVE_TIMEOUT);
	else
		udp_exit_on_resolved(&exit_, s->now, index, list, count);
}

static void act(struct story *s)
{
	struct udp_exit_action action;

	while (udp_exit_next_action(&exit_, s->now, &s->acl, &action)) {
		CV_ASSERT(udp_exit_check(&exit_));
		switch (action.kind) {
		case UDP_EXIT_DO_RESOLVE:
			CV_ASSERT(s->asked_count < UDP_EXIT_LOOKUPS_MAX);
			s->asked[s->asked_count++] = action.index;
			break;
		case UDP_EXIT_DO_SEND:
			note_sent(s, &action.to);
			break;
		case UDP_EXIT_DO_DROP:
			CV_ASSERT(action.why == UDP_EXIT_DENIED ||
			          action.why == UDP_EXIT_UNRESOLVED);
			break;
		case UDP_EXIT_DO_NOTHING:
			CV_UNREACHABLE();
		}
	}
}

/* NOLINTBEGIN(readability-identifier-naming): libFuzzer names it */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char text[] = "192.0.2.0/24:53/udp";
	struct story s = { .now = CV_SEC(1) };
	struct addr from;
	const char *why;

	if (size == 0)
		return 0;
	s.in = rd_init(data, size);
	if (pattern_parse(text, &rule, &why) < 0)
		CV_UNREACHABLE();
	s.acl = (struct acl){ .allow = &rule, .allow_count = 1 };
	udp_exit_init(&exit_, rd_u8(&s.in));
	while (rd_left(&s.in) > 0) {
		switch (rd_u8(&s.in) % 4) {
		case 0:
			client_sends(&s);
			break;
		case 1:
			resolver_answers(&s);
			break;
		case 2:
			from = numbered(rd_u8(&s.in), rd_u8(&s.in));
			CV_ASSERT(!udp_exit_on_arrival(&exit_, s.now, &from) ||
			          s.was_sent_to[from.ip[3] % HOSTS]);
			break;
		default:
			s.now = cv_time_after(s.now, (cv_duration)rd_u8(&s.in) * CV_SEC(2));
		}
		CV_ASSERT(udp_exit_check(&exit_));
		act(&s);
	}
	return 0;
}
/* NOLINTEND(readability-identifier-naming) */
