/* SPDX-License-Identifier: MIT */
#include "tunnel/pmtud.h"

#include "base/compiler.h"

/*
 * What an Ethernet carries is asked first: most paths carry it. Only a path that does may carry
 * more, so a local interface with large frames never costs a path without them the time of
 * probes that are lost. Halving would need several round trips, and paths have the MTU of some
 * common link or tunnel rather than any number.
 *
 * A size is proved by its answer, so nothing is announced: a peer whose buffers are smaller
 * stays silent, as a narrow path does. A size that our own interface does not carry costs one
 * refused call (EMSGSIZE), and the next is tried at once.
 *
 * A lost packet says little about its size. So a hole is only believed when four bursts of large
 * packets vanished and no packet at least as large as the smallest of them arrived since; a
 * smaller one that arrived proves nothing, as a path that shrank from 1,472 to 1,400 shows.
 */

enum {
	TRIES_MAX = 3, /* RFC 8899, 5.1.2: MAX_PROBES */
	HOLES_MAX = 3,
};

#define PROBE_INTERVAL_MIN CV_SEC(1)
#define PTO_MAX CV_SEC(60)
#define RAISE_INTERVAL CV_SEC(600) /* RFC 8899, 5.1.1: PMTU_RAISE_TIMER */
#define COOL_DOWN CV_SEC(60)
#define BURST_GAP CV_MS(50)

/* Below what is usual, in the order of trial. */
static const uint32_t sizes[] = {
	1472, /* Ethernet, IPv4 */
	1452, /* Ethernet, IPv6 */
	1432, /* PPPoE or one more header */
	1412, /* WireGuard, GRE with keys */
	1392, /* mobile networks, WireGuard over IPv6 */
	1372, /* IPsec */
	1340, /* two tunnels */
	1232, /* 1,280, the least of IPv6 */
};

/* Below the ceiling and above what is usual. */
static const uint32_t large[] = {
	16336, /* the loopback of BSD and macOS, 16,384, IPv6 */
	8952,  /* jumbo frame of 9,000, IPv6 */
};

/* Candidates by index: what is usual, `sizes`, the ceiling, `large`. */
enum {
	FIRST_SMALL = 1,
	CEILING = FIRST_SMALL + CV_ARRAY_SIZE(sizes),
	FIRST_LARGE = CEILING + 1,
	CANDIDATES = FIRST_LARGE + CV_ARRAY_SIZE(large),
};

static uint32_t usual(const struct pmtud *m)
{
	return CV_MIN(m->usual, m->ceiling);
}

static uint32_t candidate_size(const struct pmtud *m)
{
	if (m->candidate < FIRST_SMALL)
		return usual(m);
	if (m->candidate < CEILING)
		return sizes[m->candidate - FIRST_SMALL];
	return m->candidate == CEILING ? m->ceiling : large[m->candidate - FIRST_LARGE];
}

static bool is_worth_trying(const struct pmtud *m)
{
	uint32_t size = candidate_size(m);
	bool is_above_usual = m->candidate >= CEILING;

	if (size <= m->size || size > m->ceiling)
		return false;
	/* More than is usual only where that much has passed. */
	if (is_above_usual && m->size < usual(m))
		return false;
	/* What is usual and the ceiling have their own turn. */
	return m->candidate == 0 || m->candidate == CEILING ||
	       size < (is_above_usual ? m->ceiling : usual(m));
}

static bool has_candidate(const struct pmtud *m)
{
	return m->candidate < CANDIDATES;
}

static uint32_t within_wire(uint32_t size)
{
	return CV_MIN(CV_MAX(size, (uint32_t)WIRE_DATAGRAM_BASE), (uint32_t)WIRE_DATAGRAM_MAX);
}

void pmtud_init(struct pmtud *m, uint32_t usual_size, uint32_t ceiling)
{
	*m = (struct pmtud){
		.state = PMTUD_BASE,
		.size = WIRE_DATAGRAM_BASE,
		.usual = within_wire(usual_size),
		.ceiling = within_wire(ceiling),
		.due_at = CV_TIME_NEVER,
	};
}

static void complete(struct pmtud *m, cv_time now)
{
	m->state = PMTUD_COMPLETE;
	m->probing = 0;
	m->tries = 0;
	m->due_at = m->size < m->ceiling ? cv_time_after(now, RAISE_INTERVAL) : CV_TIME_NEVER;
}

/* The first candidate at or after the present one that would gain something. */
static void choose(struct pmtud *m, cv_time now)
{
	while (has_candidate(m) && !is_worth_trying(m))
		m->candidate++;
	if (!has_candidate(m))
		complete(m, now);
}

static void search(struct pmtud *m, cv_time now)
{
	m->state = PMTUD_SEARCHING;
	m->candidate = 0;
	m->tries = 0;
	m->probing = 0;
	m->due_at = now;
	choose(m, now);
}

void pmtud_start(struct pmtud *m, cv_time now)
{
	search(m, now);
}

/* Back to what every usable path carries. */
static void fall_back(struct pmtud *m, cv_time now, enum pmtud_state state)
{
	m->state = (uint8_t)state;
	m->size = WIRE_DATAGRAM_BASE;
	m->probing = 0;
	m->tries = 0;
	m->holes = 0;
	m->due_at = cv_time_after(now, COOL_DOWN);
}

uint32_t pmtud_due(struct pmtud *m, cv_time now)
{
	if (now < m->due_at || m->due_at == CV_TIME_NEVER)
		return 0;
	if (m->state != PMTUD_SEARCHING) {
		search(m, now);
	} else if (m->probing) {
		m->probing = 0;
		if (m->tries >= TRIES_MAX) {
			m->candidate++;
			m->tries = 0;
			choose(m, now);
		}
	}
	return m->state == PMTUD_SEARCHING ? candidate_size(m) : 0;
}

void pmtud_on_sent(struct pmtud *m, cv_time now, uint64_t token, cv_duration pto)
{
	CV_ASSERT(m->state == PMTUD_SEARCHING);
	CV_ASSERT(m->tries < TRIES_MAX);
	m->tries++;
	m->probing = candidate_size(m);
	m->token = token;
	m->due_at = cv_time_after(now, CV_MAX(3 * CV_MIN(pto, PTO_MAX), PROBE_INTERVAL_MIN));
}

bool pmtud_on_answer(struct pmtud *m, cv_time now, uint64_t token)
{
	if (m->state != PMTUD_SEARCHING || m->probing == 0 || token != m->token)
		return false;
	CV_ASSERT(m->probing > m->size && m->probing <= m->ceiling);
	m->size = m->probing;
	m->holes = 0;
	m->probing = 0;
	m->tries = 0;
	m->due_at = now;
	/* Larger ones have failed already, but for those above what is usual. */
	choose(m, now);
	return true;
}

static uint32_t larger_below(uint32_t a, uint32_t b, uint32_t limit)
{
	return b < limit ? CV_MAX(a, b) : a;
}

void pmtud_on_refused(struct pmtud *m, cv_time now, uint32_t size)
{
	uint32_t below;

	if (size <= WIRE_DATAGRAM_BASE) {
		fall_back(m, now, PMTUD_ERROR);
		return;
	}
	if (size > m->ceiling)
		return; /* of an earlier, larger size: known */
	below = m->usual < size ? m->usual : WIRE_DATAGRAM_BASE;
	for (uint32_t i = 0; i < CV_ARRAY_SIZE(large); i++)
		below = larger_below(below, large[i], size);
	for (uint32_t i = 0; i < CV_ARRAY_SIZE(sizes); i++)
		below = larger_below(below, sizes[i], size);
	m->ceiling = below;
	if (m->size > m->ceiling)
		m->size = WIRE_DATAGRAM_BASE;
	/* The interface itself has spoken, so the next size is tried without delay. */
	if (m->state == PMTUD_SEARCHING || m->state == PMTUD_COMPLETE)
		search(m, now);
}

void pmtud_on_acked(struct pmtud *m, uint32_t size)
{
	m->sent_max = 0;
	if (m->holes > 0 && size >= m->hole_size)
		m->holes = 0;
}

bool pmtud_on_lost(struct pmtud *m, cv_time now, uint32_t size)
{
	if (size <= WIRE_DATAGRAM_BASE || m->size == WIRE_DATAGRAM_BASE)
		return false;
	if (m->holes > 0)
		m->hole_size = CV_MIN(m->hole_size, size);
	else
		m->hole_size = size;
	if (m->holes > 0 && cv_time_since(now, m->burst_at) < BURST_GAP)
		return false;
	m->burst_at = now;
	if (++m->holes <= HOLES_MAX)
		return false;
	fall_back(m, now, PMTUD_BASE);
	return true;
}

cv_time pmtud_deadline(const struct pmtud *m)
{
	return m->due_at;
}

bool pmtud_check(const struct pmtud *m)
{
	if (m->size < WIRE_DATAGRAM_BASE || m->size > m->ceiling || m->ceiling > WIRE_DATAGRAM_MAX)
		return false;
	if (m->tries > TRIES_MAX || m->holes > HOLES_MAX)
		return false;
	if (m->probing && (m->state != PMTUD_SEARCHING || m->probing != candidate_size(m)))
		return false;
	return m->state != PMTUD_SEARCHING ||
	       (has_candidate(m) && is_worth_trying(m) && m->due_at != CV_TIME_NEVER);
}
