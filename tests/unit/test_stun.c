/* SPDX-License-Identifier: MIT */

/*
 * Goal: the bytes of RFC 5769 mean what that document says, and nothing that a stranger sends
 * makes an answer larger than the question, or is obeyed behind the message's integrity. Method:
 * published vectors; each of their truncations; messages put together attribute by attribute.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "base/addr.h"
#include "tunnel/stun.h"
#include "tunnel/wire.h"

/* RFC 5769, 2.1 to 2.4. */
static const uint8_t vector_request[] = {
	0x00, 0x01, 0x00, 0x58, 0x21, 0x12, 0xa4, 0x42, 0xb7, 0xe7, 0xa7, 0x01, 0xbc, 0x34,
	0xd6, 0x86, 0xfa, 0x87, 0xdf, 0xae, 0x80, 0x22, 0x00, 0x10, 0x53, 0x54, 0x55, 0x4e,
	0x20, 0x74, 0x65, 0x73, 0x74, 0x20, 0x63, 0x6c, 0x69, 0x65, 0x6e, 0x74, 0x00, 0x24,
	0x00, 0x04, 0x6e, 0x00, 0x01, 0xff, 0x80, 0x29, 0x00, 0x08, 0x93, 0x2f, 0xf9, 0xb1,
	0x51, 0x26, 0x3b, 0x36, 0x00, 0x06, 0x00, 0x09, 0x65, 0x76, 0x74, 0x6a, 0x3a, 0x68,
	0x36, 0x76, 0x59, 0x20, 0x20, 0x20, 0x00, 0x08, 0x00, 0x14, 0x9a, 0xea, 0xa7, 0x0c,
	0xbf, 0xd8, 0xcb, 0x56, 0x78, 0x1e, 0xf2, 0xb5, 0xb2, 0xd3, 0xf2, 0x49, 0xc1, 0xb5,
	0x71, 0xa2, 0x80, 0x28, 0x00, 0x04, 0xe5, 0x7a, 0x3b, 0xcf,
};
static const uint8_t vector_v4[] = {
	0x01, 0x01, 0x00, 0x3c, 0x21, 0x12, 0xa4, 0x42, 0xb7, 0xe7, 0xa7, 0x01, 0xbc, 0x34,
	0xd6, 0x86, 0xfa, 0x87, 0xdf, 0xae, 0x80, 0x22, 0x00, 0x0b, 0x74, 0x65, 0x73, 0x74,
	0x20, 0x76, 0x65, 0x63, 0x74, 0x6f, 0x72, 0x20, 0x00, 0x20, 0x00, 0x08, 0x00, 0x01,
	0xa1, 0x47, 0xe1, 0x12, 0xa6, 0x43, 0x00, 0x08, 0x00, 0x14, 0x2b, 0x91, 0xf5, 0x99,
	0xfd, 0x9e, 0x90, 0xc3, 0x8c, 0x74, 0x89, 0xf9, 0x2a, 0xf9, 0xba, 0x53, 0xf0, 0x6b,
	0xe7, 0xd7, 0x80, 0x28, 0x00, 0x04, 0xc0, 0x7d, 0x4c, 0x96,
};
static const uint8_t vector_v6[] = {
	0x01, 0x01, 0x00, 0x48, 0x21, 0x12, 0xa4, 0x42, 0xb7, 0xe7, 0xa7, 0x01, 0xbc, 0x34,
	0xd6, 0x86, 0xfa, 0x87, 0xdf, 0xae, 0x80, 0x22, 0x00, 0x0b, 0x74, 0x65, 0x73, 0x74,
	0x20, 0x76, 0x65, 0x63, 0x74, 0x6f, 0x72, 0x20, 0x00, 0x20, 0x00, 0x14, 0x00, 0x02,
	0xa1, 0x47, 0x01, 0x13, 0xa9, 0xfa, 0xa5, 0xd3, 0xf1, 0x79, 0xbc, 0x25, 0xf4, 0xb5,
	0xbe, 0xd2, 0xb9, 0xd9, 0x00, 0x08, 0x00, 0x14, 0xa3, 0x82, 0x95, 0x4e, 0x4b, 0xe6,
	0x7b, 0xf1, 0x17, 0x84, 0xc9, 0x7c, 0x82, 0x92, 0xc2, 0x75, 0xbf, 0xe3, 0xed, 0x41,
	0x80, 0x28, 0x00, 0x04, 0xc8, 0xfb, 0x0b, 0x4c,
};
static const uint8_t vector_long_term[] = {
	0x00, 0x01, 0x00, 0x60, 0x21, 0x12, 0xa4, 0x42, 0x78, 0xad, 0x34, 0x33, 0xc6, 0xad, 0x72,
	0xc0, 0x29, 0xda, 0x41, 0x2e, 0x00, 0x06, 0x00, 0x12, 0xe3, 0x83, 0x9e, 0xe3, 0x83, 0x88,
	0xe3, 0x83, 0xaa, 0xe3, 0x83, 0x83, 0xe3, 0x82, 0xaf, 0xe3, 0x82, 0xb9, 0x00, 0x00, 0x00,
	0x15, 0x00, 0x1c, 0x66, 0x2f, 0x2f, 0x34, 0x39, 0x39, 0x6b, 0x39, 0x35, 0x34, 0x64, 0x36,
	0x4f, 0x4c, 0x33, 0x34, 0x6f, 0x4c, 0x39, 0x46, 0x53, 0x54, 0x76, 0x79, 0x36, 0x34, 0x73,
	0x41, 0x00, 0x14, 0x00, 0x0b, 0x65, 0x78, 0x61, 0x6d, 0x70, 0x6c, 0x65, 0x2e, 0x6f, 0x72,
	0x67, 0x00, 0x00, 0x08, 0x00, 0x14, 0xf6, 0x70, 0x24, 0x65, 0x6d, 0xd6, 0x4a, 0x3e, 0x02,
	0xb8, 0xe0, 0x71, 0x2e, 0x85, 0xc9, 0xa2, 0x8c, 0xa8, 0x96, 0x66,
};
static const uint8_t vector_id[STUN_ID_SIZE] = { 0xb7, 0xe7, 0xa7, 0x01, 0xbc, 0x34,
	                                         0xd6, 0x86, 0xfa, 0x87, 0xdf, 0xae };

static const struct {
	const uint8_t *bytes;
	size_t size;
} vectors[] = {
	{ vector_request, sizeof(vector_request) },
	{ vector_v4, sizeof(vector_v4) },
	{ vector_v6, sizeof(vector_v6) },
	{ vector_long_term, sizeof(vector_long_term) },
};

static struct addr address(const char *text)
{
	struct addr a;

	assert_int_equal(addr_parse(text, &a), 0);
	return a;
}

static void assert_addr(const struct addr *a, const char *text)
{
	char out[ADDR_TEXT_MAX];

	assert_string_equal(addr_format(a, out), text);
}

/* ---- a message put together by hand ---- */

struct made {
	uint8_t bytes[512];
	size_t size;
};

static struct made make(uint16_t type, bool is_classic)
{
	struct made m = { .size = STUN_HEADER };

	cv_store16(m.bytes, type);
	cv_store32(m.bytes + 4, is_classic ? 0x01020304 : 0x2112a442);
	memcpy(m.bytes + 8, vector_id, sizeof(vector_id));
	return m;
}

static void add(struct made *m, uint16_t type, const void *value, size_t size)
{
	assert_true(m->size + 4 + size + 3 <= sizeof(m->bytes));
	cv_store16(m->bytes + m->size, type);
	cv_store16(m->bytes + m->size + 2, (uint16_t)size);
	memcpy(m->bytes + m->size + 4, value, size);
	m->size += 4 + ((size + 3) & ~(size_t)3);
	cv_store16(m->bytes + 2, (uint16_t)(m->size - STUN_HEADER));
}

static bool read_made(const struct made *m, struct stun_message *out)
{
	return stun_read(m->bytes, m->size, out);
}

/* ---- tests ---- */

static void test_vectors(void **state)
{
	struct stun_message m;

	(void)state;
	assert_true(stun_read(vector_request, sizeof(vector_request), &m));
	assert_int_equal(m.type, STUN_REQUEST);
	assert_false(m.is_classic);
	assert_memory_equal(m.id + 4, vector_id, STUN_ID_SIZE);
	/* PRIORITY is ICE's, and has to be understood. */
	assert_int_equal(m.unknown_count, 1);
	assert_int_equal(m.unknown[0], 0x0024);
	assert_int_equal(m.mapped.family, ADDR_NONE);
	assert_false(stun_is_answer(&m, vector_id));

	assert_true(stun_read(vector_v4, sizeof(vector_v4), &m));
	assert_int_equal(m.type, STUN_SUCCESS);
	assert_addr(&m.mapped, "192.0.2.1:32853");
	assert_int_equal(m.unknown_count, 0);
	assert_true(stun_is_answer(&m, vector_id));

	assert_true(stun_read(vector_v6, sizeof(vector_v6), &m));
	assert_addr(&m.mapped, "[2001:db8:1234:5678:11:2233:4455:6677]:32853");
	assert_int_equal(m.other.family, ADDR_NONE);

	assert_true(stun_read(vector_long_term, sizeof(vector_long_term), &m));
	assert_int_equal(m.type, STUN_REQUEST);
	assert_int_equal(m.unknown_count, 0);
	assert_false(stun_is_answer(&m, vector_id));
}

/* Also with the length of what is left in the header, where only the end of an attribute reads. */
static void test_truncations(void **state)
{
	uint8_t cut[256];
	struct stun_message m;

	(void)state;
	for (size_t i = 0; i < sizeof(vectors) / sizeof(vectors[0]); i++) {
		unsigned read_count = 0;

		for (size_t size = 0; size < vectors[i].size; size++) {
			memcpy(cut, vectors[i].bytes, vectors[i].size);
			assert_false(stun_read(cut, size, &m));
			if (size < STUN_HEADER)
				continue;
			cv_store16(cut + 2, (uint16_t)(size - STUN_HEADER));
			read_count += stun_read(cut, size, &m);
		}
		/* One for each whole attribute that is left. */
		assert_int_equal(read_count, i == 0 ? 6 : 4);
	}
}

static void test_other_messages(void **state)
{
	static const uint16_t refused[] = {
		0x0011, 0x0003, 0x0101 | 0x4000, 0x0000, 0x0002, 0x3fff
	};
	struct stun_message m, before;
	struct made made;

	(void)state;
	memset(&m, 0xa5, sizeof(m));
	memcpy(&before, &m, sizeof(m));
	for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
		made = make(refused[i], false);
		assert_false(read_made(&made, &m));
	}
	made = make(0x0001, false);
	cv_store16(made.bytes + 2, 4); /* more than there is */
	assert_false(read_made(&made, &m));
	assert_memory_equal(&m, &before, sizeof(m));
	made = make(0x0001, false);
	assert_true(read_made(&made, &m));
}

static void test_requests(void **state)
{
	static const unsigned changes[] = { 0, STUN_CHANGE_PORT, STUN_CHANGE_IP,
		                            STUN_CHANGE_IP | STUN_CHANGE_PORT };
	uint8_t bytes[STUN_REQUEST_MAX];
	struct stun_message m;

	(void)state;
	for (size_t i = 0; i < sizeof(changes) / sizeof(changes[0]); i++) {
		size_t plain = changes[i] != 0 ? 28 : 20;

		assert_int_equal(stun_write_request(bytes, sizeof(bytes), vector_id, changes[i], 0),
		                 plain);
		assert_true(stun_read(bytes, plain, &m));
		assert_int_equal(m.type, STUN_REQUEST);
		assert_int_equal(m.change, changes[i]);
		assert_memory_equal(m.id + 4, vector_id, STUN_ID_SIZE);
		assert_true(wire_is_stun(bytes[0]));

		assert_int_equal(stun_write_request(bytes, sizeof(bytes), vector_id, changes[i],
		                                    STUN_PADDED_SIZE),
		                 STUN_PADDED_SIZE);
		assert_true(stun_read(bytes, STUN_PADDED_SIZE, &m));
		assert_int_equal(m.change, changes[i]);
		assert_int_equal(m.unknown_count, 0);
		assert_int_equal(stun_write_request(bytes, STUN_PADDED_SIZE - 1, vector_id,
		                                    changes[i], STUN_PADDED_SIZE),
		                 0);
	}
	/* A size that is there already asks for nothing more. */
	assert_int_equal(stun_write_request(bytes, sizeof(bytes), vector_id, 0, 20), 20);
	assert_int_equal(stun_write_request(bytes, sizeof(bytes), vector_id, 0, 24), 24);
}

static void check_answer(const char *mapped, const char *origin, const char *other, bool is_classic)
{
	struct made request = make(0x0001, is_classic);
	struct stun_told told = { .mapped = address(mapped),
		                  .origin = address(origin),
		                  .other = address(other) };
	uint8_t bytes[STUN_ANSWER_MAX];
	struct stun_message asked, m;
	size_t size, least;

	assert_true(read_made(&request, &asked));
	assert_int_equal(asked.is_classic, is_classic);
	size = stun_write_answer(bytes, sizeof(bytes), &asked, &told);
	assert_true(stun_read(bytes, size, &m));
	assert_int_equal(m.type, STUN_SUCCESS);
	assert_int_equal(m.is_classic, is_classic);
	assert_memory_equal(m.id, asked.id, sizeof(m.id));
	assert_addr(&m.mapped, mapped);
	assert_addr(&m.origin, origin);
	assert_addr(&m.other, other);
	assert_int_equal(m.unknown_count, 0);
	/* With less room, less is said; the address that was asked for, or nothing. */
	least = told.mapped.family == ADDR_V4 ? 32 : 44;
	for (size_t cap = 0; cap <= size; cap++) {
		size_t written = stun_write_answer(bytes, cap, &asked, &told);

		assert_true(written <= cap);
		assert_int_equal(written > 0, cap >= least);
		if (written == 0)
			continue;
		assert_true(stun_read(bytes, written, &m));
		assert_addr(&m.mapped, mapped);
	}
}

static void test_answers(void **state)
{
	(void)state;
	check_answer("192.0.2.1:32853", "198.51.100.1:28583", "198.51.100.1:28584", false);
	check_answer("192.0.2.1:32853", "198.51.100.1:28583", "198.51.100.1:28584", true);
	check_answer("[2001:db8::1]:1", "[2001:db8::2]:65535", "[2001:db8::3]:3", false);
	check_answer("[2001:db8::1]:1", "[2001:db8::2]:65535", "[2001:db8::3]:3", true);
}

/* Where the address of RFC 8489 stands beside the plain one, a rewritten plain one is not believed;
 * on the wire the XORed one is that of the vector. */
static void test_xored_address(void **state)
{
	static const uint8_t plain[] = { 0, 1, 0x12, 0x34, 10, 0, 0, 1 };
	struct stun_told told = { .mapped = address("192.0.2.1:32853") };
	struct made m = make(0x0101, false);
	uint8_t bytes[STUN_ANSWER_MAX];
	struct stun_message out;
	struct made request = make(0x0001, false);

	(void)state;
	add(&m, 0x0001, plain, sizeof(plain));
	assert_true(read_made(&m, &out));
	assert_addr(&out.mapped, "10.0.0.1:4660");
	add(&m, 0x0020, vector_v4 + 40, 8);
	add(&m, 0x0020, plain, sizeof(plain)); /* the first counts */
	assert_true(read_made(&m, &out));
	assert_addr(&out.mapped, "192.0.2.1:32853");

	assert_true(read_made(&request, &out));
	assert_true(stun_write_answer(bytes, sizeof(bytes), &out, &told) > 0);
	assert_memory_equal(bytes + 20, vector_v4 + 36, 12);
}

static void test_old_names(void **state)
{
	static const uint8_t a[] = { 0, 1, 0, 1, 10, 0, 0, 1 }, b[] = { 0, 1, 0, 2, 10, 0, 0, 2 };
	struct made m = make(0x0101, true);
	struct stun_message out;

	(void)state;
	add(&m, 0x0004, a, sizeof(a));
	add(&m, 0x0005, b, sizeof(b));
	add(&m, 0x0001, b, sizeof(b));
	assert_true(read_made(&m, &out));
	assert_true(out.is_classic);
	assert_addr(&out.origin, "10.0.0.1:1");
	assert_addr(&out.other, "10.0.0.2:2");
	assert_false(stun_is_answer(&out, vector_id)); /* we never ask in the old way */
}

static void test_malformed_attributes(void **state)
{
	static const struct {
		uint16_t type;
		size_t size;
		uint8_t value[24];
	} bad[] = {
		{ 0x0001, 0, { 0 } },          { 0x0001, 7, { 0, 1 } },
		{ 0x0001, 12, { 0, 1 } },      { 0x0001, 8, { 0, 2 } },
		{ 0x0001, 8, { 0, 3 } },       { 0x0001, 8, { 0, 0 } },
		{ 0x0020, 8, { 0, 2 } },       { 0x0020, 24, { 0, 2 } },
		{ 0x802c, 4, { 0, 1 } },       { 0x802b, 4, { 0, 1 } },
		{ 0x0003, 3, { 0 } },          { 0x0003, 8, { 0 } },
		{ 0x0009, 3, { 0, 0, 4 } },    { 0x0009, 4, { 0, 0, 2, 0 } },
		{ 0x0009, 4, { 0, 0, 7, 0 } }, { 0x0009, 4, { 0, 0, 4, 100 } },
	};
	struct stun_message out;

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct made m = make(0x0101, false);

		add(&m, bad[i].type, bad[i].value, bad[i].size);
		assert_false(read_made(&m, &out));
	}
}

/* What an attacker appends is not covered by the integrity of the message. */
static void test_nothing_behind_integrity(void **state)
{
	static const uint8_t change[] = { 0, 0, 0, 6 }, digest[32] = { 0 };
	static const uint16_t seals[] = { 0x0008, 0x001c, 0x8028 };
	struct stun_message out;

	(void)state;
	for (size_t i = 0; i < sizeof(seals) / sizeof(seals[0]); i++) {
		struct made m = make(0x0001, false);

		add(&m, seals[i], digest, seals[i] == 0x0008 ? 20 : seals[i] == 0x001c ? 32 : 4);
		add(&m, 0x0003, change, sizeof(change));
		add(&m, 0x7777, change, sizeof(change));
		add(&m, 0x0020, change, sizeof(change)); /* malformed, but nobody's */
		assert_true(read_made(&m, &out));
		assert_int_equal(out.change, 0);
		assert_int_equal(out.unknown_count, 0);
		assert_int_equal(out.mapped.family, ADDR_NONE);
	}
}

static void test_response_port(void **state)
{
	static const size_t sizes[] = { 2, 4, 1, 5 };
	uint8_t bytes[STUN_ANSWER_MAX];
	struct stun_message out;

	(void)state;
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		struct made m = make(0x0001, false);

		add(&m, 0x0027, (const uint8_t[8]){ 0x12, 0x34 }, sizes[i]);
		assert_int_equal(read_made(&m, &out), i < 2);
		if (i < 2)
			assert_int_equal(out.port, 0x1234);
	}
	out = (struct stun_message){ .type = STUN_REQUEST };
	stun_refuse_port(&out);
	assert_int_equal(stun_write_unknown(bytes, sizeof(bytes), &out), 36);
	assert_int_equal(cv_load16(bytes + 32), 0x0027);
}

static void test_unknown_attributes(void **state)
{
	static const uint8_t change[] = { 0, 0, 0, 2 }, word[4] = { 0 };
	uint8_t bytes[STUN_ANSWER_MAX];
	struct made m = make(0x0001, false);
	struct stun_message in, out;
	size_t size;

	(void)state;
	add(&m, 0x0003, change, sizeof(change));
	add(&m, 0xc001, word, 4); /* optional */
	assert_true(read_made(&m, &in));
	assert_int_equal(in.change, STUN_CHANGE_PORT);
	assert_int_equal(in.unknown_count, 0);
	stun_refuse_change(&in);
	size = stun_write_unknown(bytes, sizeof(bytes), &in);
	assert_int_equal(size, 20 + 8 + 4 + 4);
	assert_true(stun_read(bytes, size, &out));
	assert_int_equal(out.type, STUN_ERROR);
	assert_int_equal(out.error, 420);
	assert_int_equal(cv_load16(bytes + 32), 0x0003);
	assert_int_equal(cv_load16(bytes + 34), 0x0003);
	assert_true(stun_is_answer(&out, vector_id));

	for (uint16_t i = 0; i < STUN_UNKNOWN_MAX + 4; i++) {
		add(&m, 0x0002, word, 4); /* RESPONSE-ADDRESS, once in the list */
		add(&m, (uint16_t)(0x7000 + i), word, 4);
	}
	assert_true(read_made(&m, &in));
	assert_int_equal(in.unknown_count, STUN_UNKNOWN_MAX);
	assert_int_equal(in.unknown[0], 0x0002);
	assert_int_equal(in.unknown[1], 0x7000);
	size = stun_write_unknown(bytes, sizeof(bytes), &in);
	assert_int_equal(size, 20 + 8 + 4 + 2 * STUN_UNKNOWN_MAX);
	for (size_t cap = 0; cap < size; cap++)
		assert_int_equal(stun_write_unknown(bytes, cap, &in), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_vectors),
		cmocka_unit_test(test_truncations),
		cmocka_unit_test(test_other_messages),
		cmocka_unit_test(test_requests),
		cmocka_unit_test(test_answers),
		cmocka_unit_test(test_xored_address),
		cmocka_unit_test(test_old_names),
		cmocka_unit_test(test_malformed_attributes),
		cmocka_unit_test(test_nothing_behind_integrity),
		cmocka_unit_test(test_response_port),
		cmocka_unit_test(test_unknown_attributes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
