/* SPDX-License-Identifier: MIT */

/*
 * Goal: what is kept is not used again before the sockets have sent, whatever the sizes; all of it
 * is aligned for a struct.
 */
#include <setjmp.h>
#include <stdalign.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "flows/bridge.h"

static void what_is_kept_stays_for_its_round(void **state)
{
	static struct bridge b; /* without sockets: nothing waits for them */
	struct {
		uint8_t *at;
		size_t size;
		uint8_t mark;
	} kept[4096];
	unsigned count = 0, rounds = 0;
	uint64_t round;
	uint32_t dice = 1;

	(void)state;
	assert_true(udp_scratch_reserve(&b));
	assert_true(udp_scratch_reserve(&b)); /* once */
	round = udp_scratch_round(&b);
	while (rounds < 20) {
		size_t size;
		uint8_t *at;

		dice = dice * 1664525 + 1013904223;
		size = dice >> 28 ? dice >> 20 : UDP_SCRATCH_FRAME - (dice & 1);
		at = udp_scratch_keep(&b, size);
		assert_int_equal((uintptr_t)at % alignof(max_align_t), 0);
		if (udp_scratch_round(&b) != round) {
			round = udp_scratch_round(&b);
			rounds++;
			count = 0;
		}
		memset(at, (int)(count & 0xff), size);
		memset(udp_scratch_frame(&b), 0xee, UDP_SCRATCH_FRAME);
		assert_true(count < CV_ARRAY_SIZE(kept));
		kept[count].at = at;
		kept[count].size = size;
		kept[count].mark = (uint8_t)(count & 0xff);
		count++;
		for (unsigned i = 0; i < count; i++) {
			if (kept[i].size == 0)
				continue;
			assert_int_equal(kept[i].at[0], kept[i].mark);
			assert_int_equal(kept[i].at[kept[i].size - 1], kept[i].mark);
		}
	}
	udp_scratch_free(&b);
	assert_null(b.udp_scratch);
	udp_scratch_free(&b); /* harmless */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_kept_stays_for_its_round),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
