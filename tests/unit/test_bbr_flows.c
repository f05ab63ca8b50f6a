/* SPDX-License-Identifier: MIT */

/*
 * Goal: several flows share a link: BBR with its like, BBR with CUBIC; and losses that all of
 * them make together are not taken for those of a bad line. Method: cc_link in virtual time,
 * 100 Mbit/s, forty seconds behind the first ten, two seeds; shares in per mille of the link.
 */
#include "tests/unit/cc_link.h"

enum { SEEDS = 2 };

static void measure(struct cc_link *l, const char *what)
{
	cc_link_run(l, CV_SEC(10), NULL);
	cc_link_mark(l);
	cc_link_run(l, CV_SEC(40), NULL);
	print_message("%s: goodput %u, drops %u, Jain %u; queue p50 %u ms; shares", what,
	              cc_link_goodput(l), cc_link_drops(l), cc_link_jain(l), cc_link_queue(l, 500));
	for (unsigned i = 0; i < l->flow_count; i++)
		print_message(" %u", cc_link_share(l, &l->flows[i]));
	print_message("\n");
}

static void two_share_evenly(void **state)
{
	static const unsigned buffers[] = { 10, 50, 100, 200, 400 };

	(void)state;
	for (size_t i = 0; i < CV_ARRAY_SIZE(buffers); i++) {
		for (uint64_t seed = 1; seed <= SEEDS; seed++) {
			struct cc_link *l = cc_link_empty(100, CV_MS(50), buffers[i], seed);

			(void)cc_link_add(l, CC_BBR);
			cc_link_run(l, CV_SEC(5), NULL); /* the second comes late */
			(void)cc_link_add(l, CC_BBR);
			measure(l, "two");
			assert_true(cc_link_jain(l) >= 900);
			assert_true(cc_link_goodput(l) >= 880);
		}
	}
}

static unsigned share_of_bbr(unsigned buffer_percent, unsigned order, uint64_t seed)
{
	static const char *const orders[] = { "together", "CUBIC first", "BBR first" };
	struct cc_link *l = cc_link_empty(100, CV_MS(50), buffer_percent, seed);
	unsigned bbr = order == 1;

	(void)cc_link_add(l, bbr == 0 ? CC_BBR : CC_CUBIC);
	if (order > 0)
		cc_link_run(l, CV_SEC(5), NULL);
	(void)cc_link_add(l, bbr == 0 ? CC_CUBIC : CC_BBR);
	measure(l, orders[order]);
	assert_true(cc_link_goodput(l) >= 880);
	return cc_link_share(l, &l->flows[bbr]) * 1000 / cc_link_goodput(l);
}

/* Whoever comes first, and together: on average between @least and @most, never far from it. */
static void share_with_cubic(unsigned buffer_percent, unsigned least, unsigned most)
{
	unsigned sum = 0, share;

	for (unsigned order = 0; order < 3; order++) {
		for (uint64_t seed = 1; seed <= SEEDS; seed++) {
			share = share_of_bbr(buffer_percent, order, seed);
			assert_in_range(share, least - 50, most + 50);
			sum += share;
		}
	}
	print_message("a buffer of %u %% of the product: BBR has %u per mille\n", buffer_percent,
	              sum / 3 / SEEDS);
	assert_in_range(sum / 3 / SEEDS, least, most);
}

static void beside_cubic_in_one_product(void **state)
{
	(void)state;
	share_with_cubic(100, 300, 700);
}

static void beside_cubic_in_two_products(void **state)
{
	(void)state;
	share_with_cubic(200, 300, 700);
}

static void beside_cubic_in_four_products(void **state)
{
	(void)state;
	share_with_cubic(400, 300, 700);
}

/* No goal: CUBIC alone does not fill such a buffer either. It is not starved. */
static void beside_cubic_in_a_tenth_of_a_product(void **state)
{
	(void)state;
	share_with_cubic(10, 300, 850);
}

static void add_eight(struct cc_link *l)
{
	for (unsigned i = 0; i < 8; i++) {
		(void)cc_link_add(l, CC_BBR);
		cc_link_run(l, CV_MS(300), NULL);
	}
}

static uint32_t largest_floor(const struct cc_link *l)
{
	uint32_t ppm = 0;

	for (unsigned i = 0; i < l->flow_count; i++)
		ppm = CV_MAX(ppm, l->flows[i].cc.bbr.model.floor.ppm);
	return ppm;
}

/*
 * What all of them lose in a buffer that is always full is no bad line: were it believed, each
 * would be allowed it, send more to make up for it, and lose it again, for ever (12-13 % of all
 * that was sent, and one flow starved).
 */
static void eight_do_not_keep_their_losses_alive(void **state)
{
	static const struct {
		unsigned buffer_percent, drops;
	} rows[] = { { 10, 100 }, { 50, 30 }, { 100, 30 }, { 200, 10 } };

	(void)state;
	for (size_t i = 0; i < CV_ARRAY_SIZE(rows); i++) {
		for (uint64_t seed = 1; seed <= SEEDS; seed++) {
			struct cc_link *l =
				cc_link_empty(100, CV_MS(50), rows[i].buffer_percent, seed);

			add_eight(l);
			measure(l, "eight");
			assert_true(cc_link_drops(l) <= rows[i].drops);
			assert_true(cc_link_jain(l) >= 800);
			for (unsigned k = 0; k < l->flow_count; k++)
				assert_true(cc_link_share(l, &l->flows[k]) >= 30);
			assert_true(largest_floor(l) <= 30000);
		}
	}
}

/* The same on a line that is really bad: there the floor is the line's. */
static void two_on_a_bad_line(void **state)
{
	static const unsigned buffers[] = { 10, 100, 200 };

	(void)state;
	for (size_t i = 0; i < CV_ARRAY_SIZE(buffers); i++) {
		for (uint64_t seed = 1; seed <= SEEDS; seed++) {
			struct cc_link *l = cc_link_empty(100, CV_MS(50), buffers[i], seed);

			l->loss_ppm = 10000;
			(void)cc_link_add(l, CC_BBR);
			(void)cc_link_add(l, CC_BBR);
			measure(l, "two, 1 % loss");
			assert_true(cc_link_jain(l) >= 900);
			assert_true(cc_link_goodput(l) >= 880);
			assert_true(cc_link_drops(l) <= 20);
		}
	}
}

/* 20 and 100 ms in a buffer of the short one's product: neither starves. */
static void round_trips_may_differ(void **state)
{
	(void)state;
	for (uint64_t seed = 1; seed <= SEEDS; seed++) {
		struct cc_link *l = cc_link_empty(100, CV_MS(20), 100, seed);

		(void)cc_link_add(l, CC_BBR);
		l->rtt = CV_MS(100);
		(void)cc_link_add(l, CC_BBR);
		measure(l, "20 and 100 ms");
		assert_true(cc_link_jain(l) >= 800);
		assert_true(cc_link_goodput(l) >= 900);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(two_share_evenly),
		cmocka_unit_test(beside_cubic_in_one_product),
		cmocka_unit_test(beside_cubic_in_two_products),
		cmocka_unit_test(beside_cubic_in_four_products),
		cmocka_unit_test(beside_cubic_in_a_tenth_of_a_product),
		cmocka_unit_test(eight_do_not_keep_their_losses_alive),
		cmocka_unit_test(two_on_a_bad_line),
		cmocka_unit_test(round_trips_may_differ),
	};

	return cmocka_run_group_tests_name("bbr_flows", tests, NULL, NULL);
}
