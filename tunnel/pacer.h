/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * pacer - when the next train of one path may leave. A token bucket in bytes
 * whose quantum keeps GSO trains whole; switched off for a rate of 0 (paths faster than the clock:
 * minimum RTT below 1 ms). An optional cap is the rate that a relay granted (rule 5.9).
 *
 *   quantum = clamp(rate * 1 ms, 2 packets, 64 KiB)
 *   depth   = quantum + rate * 1 ms, which a loop that comes a millisecond late does not lose
 *
 * It is never less than one packet: packets are below 64 KiB.
 */

#include <stdbool.h>
#include <stdint.h>

#include "base/time.h"

enum {
	PACER_QUANTUM_MAX = 65536,
	PACER_DEBT_MAX = PACER_QUANTUM_MAX, /* one train */
};
#define PACER_RATE_MAX UINT64_C(1000000000000) /* bytes per second; keeps products in range */

struct pacer {
	uint64_t rate;  /* bytes per second after the cap; 0: unpaced */
	uint64_t asked; /* bytes per second before the cap; 0: unpaced */
	uint64_t cap;   /* bytes per second; 0: none */
	uint32_t mss;
	uint64_t quantum; /* bytes */
	uint64_t depth;   /* bytes */
	int64_t level;    /* bytes that may leave now; may go below zero by one train */
	cv_time filled_at;
};

void pacer_init(struct pacer *p, cv_time now);
/* What has been saved up under the old rate stays. 0: no cap. */
void pacer_set_cap(struct pacer *p, uint64_t bytes_per_second);
void pacer_set_rate(struct pacer *p, cv_time now, uint64_t bytes_per_second, uint32_t mss);
/* Bytes that a train may hold now: 0 while less than a quantum (or @want, if that is smaller) is
 * there. UINT64_MAX unpaced. */
uint64_t pacer_budget(struct pacer *p, cv_time now, uint64_t want);
/* Packets that do not wait for the pacer (probes) may be counted too: the debt is bounded. */
void pacer_on_sent(struct pacer *p, cv_time now, uint64_t bytes);
/* When pacer_budget(@want) will not be 0. */
cv_time pacer_ready_at(const struct pacer *p, cv_time now, uint64_t want);
bool pacer_check(const struct pacer *p);
