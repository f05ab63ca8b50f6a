/* SPDX-License-Identifier: MIT */

/*
 * Goal: requests are what RFC 6887 and RFC 6886 draw, and answers are read as they draw them.
 * Method: whole messages as bytes, written down from the RFCs' pictures; every cut of every answer;
 * every byte of the fixed fields wrong once.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "tunnel/pcp.h"

#define NONCE 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12
#define MAPPED(a, b, c, d) 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a, b, c, d
#define DB8(last) 0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last

/* Port 0x1234 inside, 0x5678 outside, 198.51.100.7, 7200 s, epoch 0x01020304. */
static const uint8_t pcp_map[] = {
	2,     0x81,
	0,     0,
	0,     0,
	0x1c,  0x20,
	1,     2,
	3,     4,
	0,     0,
	0,     0,
	0,     0,
	0,     0,
	0,     0,
	0,     0,
	NONCE, 17,
	0,     0,
	0,     0x12,
	0x34,  0x56,
	0x78,  MAPPED(198, 51, 100, 7),
};
static const uint8_t pcp_announce[] = {
	2, 0x80, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
};
static const uint8_t natpmp_address[] = { 0, 0x80, 0, 0, 1, 2, 3, 4, 198, 51, 100, 7 };
static const uint8_t natpmp_map[] = { 0,    0x81, 0,    0,    1, 2, 3,    4,
	                              0x12, 0x34, 0x56, 0x78, 0, 0, 0x1c, 0x20 };

static const uint8_t nonce[PCP_NONCE_SIZE] = { NONCE };

static struct addr at(const char *text)
{
	struct addr a;

	assert_int_equal(addr_parse(text, &a), 0);
	return a;
}

static void written(const struct pcp_request *req, const uint8_t *bytes, size_t size)
{
	uint8_t out[PCP_REQUEST_MAX];
	struct wr w = wr_init(out, sizeof(out));

	pcp_write_request(&w, req);
	assert_false(w.bad);
	assert_int_equal(wr_size(&w), size);
	assert_memory_equal(out, bytes, size);
}

static void requests_are_as_drawn(void **state)
{
	const uint8_t map4[] = {
		2,  1, 0, 0, 0,    0,    0x1c, 0x20, MAPPED(192, 168, 1, 5), NONCE,
		17, 0, 0, 0, 0x12, 0x34, 0x56, 0x78, MAPPED(0, 0, 0, 0),
	};
	const uint8_t map6[] = {
		2,
		1,
		0,
		0,
		0,
		0,
		0,
		0,
		DB8(5),
		NONCE,
		17,
		0,
		0,
		0,
		0x12,
		0x34,
		0,
		0,
		DB8(0) /* see below */,
	};
	const uint8_t again[] = {
		2,  1, 0, 0, 0,    0,    0x1c, 0x20, MAPPED(192, 168, 1, 5),  NONCE,
		17, 0, 0, 0, 0x12, 0x34, 0x56, 0x78, MAPPED(198, 51, 100, 7),
	};
	const uint8_t announce[] = { 2, 0, 0, 0, 0, 0, 0, 0, MAPPED(192, 168, 1, 5) };
	const uint8_t address[] = { 0, 0 };
	const uint8_t map0[] = { 0, 1, 0, 0, 0x12, 0x34, 0x56, 0x78, 0, 0, 0x1c, 0x20 };
	struct pcp_request req = { .kind = PCP_MAP,
		                   .client = at("192.168.1.5:1"),
		                   .nonce = { NONCE },
		                   .lifetime_s = 7200,
		                   .internal_port = 0x1234,
		                   .suggested = { .port = 0x5678 } };
	uint8_t unspecified6[sizeof(map6)];

	(void)state;
	written(&req, map4, sizeof(map4));
	req.suggested = at("198.51.100.7:22136");
	written(&req, again, sizeof(again));
	req.kind = PCP_ANNOUNCE;
	written(&req, announce, sizeof(announce));
	req.kind = NATPMP_ADDRESS;
	written(&req, address, sizeof(address));
	req.kind = NATPMP_MAP;
	written(&req, map0, sizeof(map0));
	/* "None suggested" is the unspecified address of the client's family. */
	memcpy(unspecified6, map6, sizeof(map6));
	memset(unspecified6 + 44, 0, 16);
	req = (struct pcp_request){ .kind = PCP_MAP,
		                    .client = at("[2001:db8::5]:1"),
		                    .nonce = { NONCE },
		                    .internal_port = 0x1234 };
	written(&req, unspecified6, sizeof(unspecified6));
}

static void answers_are_read(void **state)
{
	struct pcp_answer a;
	struct addr outside = at("198.51.100.7:22136");
	uint8_t bytes[sizeof(pcp_map)] = { 0 };
	const uint8_t db8[] = { DB8(9) };

	(void)state;
	assert_int_equal(pcp_read_answer(pcp_map, sizeof(pcp_map), &a), PCP_READ_DONE);
	assert_int_equal(a.kind, PCP_MAP);
	assert_int_equal(a.version, 2);
	assert_int_equal(a.result, PCP_SUCCESS);
	assert_int_equal(a.lifetime_s, 7200);
	assert_int_equal(a.epoch_s, 0x01020304);
	assert_memory_equal(a.nonce, nonce, sizeof(nonce));
	assert_int_equal(a.internal_port, 0x1234);
	assert_true(addr_equal(&a.external, &outside));

	memcpy(bytes, pcp_map, sizeof(bytes));
	memcpy(bytes + 44, db8, sizeof(db8));
	outside = at("[2001:db8::9]:22136");
	assert_int_equal(pcp_read_answer(bytes, sizeof(bytes), &a), PCP_READ_DONE);
	assert_true(addr_equal(&a.external, &outside));

	assert_int_equal(pcp_read_answer(pcp_announce, sizeof(pcp_announce), &a), PCP_READ_DONE);
	assert_int_equal(a.kind, PCP_ANNOUNCE);
	assert_int_equal(a.epoch_s, 0x01020304);

	outside = at("198.51.100.7:0");
	assert_int_equal(pcp_read_answer(natpmp_address, sizeof(natpmp_address), &a),
	                 PCP_READ_DONE);
	assert_int_equal(a.kind, NATPMP_ADDRESS);
	assert_int_equal(a.version, 0);
	assert_int_equal(a.epoch_s, 0x01020304);
	assert_true(addr_equal(&a.external, &outside));

	assert_int_equal(pcp_read_answer(natpmp_map, sizeof(natpmp_map), &a), PCP_READ_DONE);
	assert_int_equal(a.kind, NATPMP_MAP);
	assert_int_equal(a.internal_port, 0x1234);
	assert_int_equal(a.external.port, 0x5678);
	assert_int_equal(a.external.family, ADDR_NONE);
	assert_int_equal(a.lifetime_s, 7200);
}

static void refusals_are_read(void **state)
{
	const uint8_t pcp_only_natpmp[] = { 0, 0x81, 0, 1, 0, 0, 0, 9 };
	const uint8_t older[24] = { 1, 0x81, 0, 1 };
	const uint8_t older_but[24] = { 1, 0x81, 0, 0 };
	uint8_t bytes[sizeof(pcp_map)] = { 0 };
	struct pcp_answer a;

	(void)state;
	assert_int_equal(pcp_read_answer(pcp_only_natpmp, sizeof(pcp_only_natpmp), &a),
	                 PCP_READ_DONE);
	assert_int_equal(a.version, 0);
	assert_int_equal(a.result, PCP_UNSUPP_VERSION);
	assert_int_equal(pcp_read_answer(older, sizeof(older), &a), PCP_READ_DONE);
	assert_int_equal(a.version, 1);
	assert_int_equal(a.result, PCP_UNSUPP_VERSION);
	assert_int_equal(pcp_read_answer(older_but, sizeof(older_but), &a), PCP_READ_MALFORMED);

	memcpy(bytes, pcp_map, sizeof(bytes));
	bytes[3] = PCP_NOT_AUTHORIZED;
	assert_int_equal(pcp_read_answer(bytes, sizeof(bytes), &a), PCP_READ_DONE);
	assert_int_equal(a.result, PCP_NOT_AUTHORIZED);
	assert_int_equal(a.lifetime_s, 7200);
	assert_memory_equal(a.nonce, nonce, sizeof(nonce));
	assert_int_equal(a.external.family, ADDR_NONE);
}

static void every_cut_is_refused(void **state)
{
	static const struct {
		const uint8_t *bytes;
		size_t size;
	} rows[] = {
		{ pcp_map, sizeof(pcp_map) },
		{ pcp_announce, sizeof(pcp_announce) },
		{ natpmp_address, sizeof(natpmp_address) },
		{ natpmp_map, sizeof(natpmp_map) },
	};
	static uint8_t bytes[PCP_ANSWER_MAX + 1];
	struct pcp_answer a, before;

	(void)state;
	memset(&a, 0x5a, sizeof(a));
	before = a;
	for (size_t i = 0; i < CV_ARRAY_SIZE(rows); i++) {
		for (size_t size = 0; size < rows[i].size; size++) {
			assert_int_equal(pcp_read_answer(rows[i].bytes, size, &a),
			                 PCP_READ_MALFORMED);
			assert_memory_equal(&a, &before, sizeof(a));
		}
		/* What follows (PCP's options) is not looked at. */
		memcpy(bytes, rows[i].bytes, rows[i].size);
		assert_int_equal(pcp_read_answer(bytes, PCP_ANSWER_MAX, &a), PCP_READ_DONE);
		assert_int_equal(pcp_read_answer(bytes, PCP_ANSWER_MAX + 1, &a),
		                 PCP_READ_MALFORMED);
		memset(&a, 0x5a, sizeof(a));
	}
}

static void what_is_no_answer_is_refused(void **state)
{
	static const struct {
		const char *what;
		size_t offset;
		uint8_t value;
	} rows[] = {
		{ "a request", 1, 0x01 },
		{ "a PEER answer", 1, 0x82 },
		{ "the last opcode", 1, 0xff },
		{ "a mapping of TCP", 36, 6 },
		{ "a mapping of all protocols", 36, 0 },
		{ "a version of the future", 0, 3 },
	};
	uint8_t bytes[sizeof(pcp_map)];
	struct pcp_answer a;

	(void)state;
	for (size_t i = 0; i < CV_ARRAY_SIZE(rows); i++) {
		print_message("%s\n", rows[i].what);
		memcpy(bytes, pcp_map, sizeof(bytes));
		bytes[rows[i].offset] = rows[i].value;
		assert_int_equal(pcp_read_answer(bytes, sizeof(bytes), &a), PCP_READ_MALFORMED);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(requests_are_as_drawn),
		cmocka_unit_test(answers_are_read),
		cmocka_unit_test(refusals_are_read),
		cmocka_unit_test(every_cut_is_refused),
		cmocka_unit_test(what_is_no_answer_is_refused),
	};

	return cmocka_run_group_tests_name("pcp", tests, NULL, NULL);
}
