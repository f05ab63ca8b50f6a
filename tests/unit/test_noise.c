/* SPDX-License-Identifier: MIT */

/*
 * Goal: the handshake is Noise, byte for byte, and a message that is not what the other side sent
 * changes nothing. Method: the vectors of an independent implementation, both roles, with the
 * transport messages sealed by the ciphers that packets use; then every byte flipped, and the
 * points that make a shared secret known to everybody.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>
#include <sodium.h>

#include "tunnel/aead.h"
#include "tunnel/noise.h"

#define DEBIAN_VECTORS "/usr/share/gocode/src/github.com/flynn/noise/vectors.txt"

enum { MESSAGES = 4, BYTES_MAX = 512 };

struct bytes {
	size_t size;
	uint8_t at[BYTES_MAX];
};

struct vector {
	char name[64];
	uint8_t init_sk[32], resp_sk[32], init_e_sk[32], resp_e_sk[32], psk[32];
	struct bytes prologue;
	struct bytes payload[MESSAGES], sealed[MESSAGES];
};

/* An rng that yields one given key: how a vector chooses the ephemeral. */
static void fill_given(void *ctx, uint8_t *out, size_t size)
{
	assert_int_equal(size, 32);
	memcpy(out, ctx, size);
}

static struct rng given(uint8_t *sk)
{
	return (struct rng){ .fill = fill_given, .ctx = sk };
}

static void from_hex(const char *text, struct bytes *out)
{
	const char *end;

	assert_int_equal(sodium_hex2bin(out->at, sizeof(out->at), text, strlen(text), NULL,
	                                &out->size, &end),
	                 0);
	assert_int_equal(*end, 0);
}

static void key_from_hex(const char *text, uint8_t out[32])
{
	struct bytes b;

	from_hex(text, &b);
	assert_int_equal(b.size, 32);
	memcpy(out, b.at, 32);
}

/* One "key=value" of the file. */
static void take_line(struct vector *v, const char *key, const char *value)
{
	const unsigned i = strncmp(key, "msg_", 4) == 0 ? (unsigned)(key[4] - '0') : 0;

	assert_true(i < MESSAGES);
	if (strcmp(key, "handshake") == 0)
		(void)snprintf(v->name, sizeof(v->name), "%s", value);
	else if (strcmp(key, "init_static") == 0)
		key_from_hex(value, v->init_sk);
	else if (strcmp(key, "resp_static") == 0)
		key_from_hex(value, v->resp_sk);
	else if (strcmp(key, "gen_init_ephemeral") == 0)
		key_from_hex(value, v->init_e_sk);
	else if (strcmp(key, "gen_resp_ephemeral") == 0)
		key_from_hex(value, v->resp_e_sk);
	else if (strcmp(key, "preshared_key") == 0)
		key_from_hex(value, v->psk);
	else if (strcmp(key, "prologue") == 0)
		from_hex(value, &v->prologue);
	else if (strstr(key, "_payload"))
		from_hex(value, &v->payload[i]);
	else if (strstr(key, "_ciphertext"))
		from_hex(value, &v->sealed[i]);
	else
		fail_msg("unknown key %s", key);
}

struct pair {
	struct noise init, resp;
	uint8_t init_pk[32], resp_pk[32];
	struct noise_static init_keys, resp_keys;
};

static void begin(struct pair *p, const struct vector *v)
{
	const bool has_psk = strstr(v->name, "psk2");
	const enum noise_pattern pattern = has_psk ? NOISE_IKPSK2 : NOISE_IK;

	assert_int_equal(crypto_scalarmult_base(p->init_pk, v->init_sk), 0);
	assert_int_equal(crypto_scalarmult_base(p->resp_pk, v->resp_sk), 0);
	p->init_keys = (struct noise_static){ .sk = v->init_sk, .pk = p->init_pk };
	p->resp_keys = (struct noise_static){ .sk = v->resp_sk, .pk = p->resp_pk };
	if (has_psk) {
		p->init_keys.psk = v->psk;
		p->resp_keys.psk = v->psk;
	}
	noise_init(&p->init, pattern, true, p->resp_pk, v->prologue.at, v->prologue.size);
	noise_init(&p->resp, pattern, false, p->resp_pk, v->prologue.at, v->prologue.size);
}

static void expect(const struct bytes *expected, const uint8_t *got, size_t size)
{
	assert_int_equal(size, expected->size);
	if (size)
		assert_memory_equal(got, expected->at, size);
}

static void run_handshake(struct pair *p, struct vector *v)
{
	const struct rng init_rng = given(v->init_e_sk), resp_rng = given(v->resp_e_sk);
	uint8_t message[BYTES_MAX + NOISE_FIRST_OVERHEAD], plain[BYTES_MAX], key[32];
	size_t size;

	begin(p, v);
	size = v->payload[0].size + NOISE_FIRST_OVERHEAD;
	assert_true(noise_write_first(&p->init, &p->init_keys, &init_rng, v->payload[0].at,
	                              v->payload[0].size, message));
	expect(&v->sealed[0], message, size);
	assert_true(noise_read_first_key(&p->resp, &p->resp_keys, message, key));
	assert_memory_equal(key, p->init_pk, 32);
	assert_true(noise_read_first_payload(&p->resp, &p->resp_keys, message, size, plain));
	expect(&v->payload[0], plain, v->payload[0].size);

	size = v->payload[1].size + NOISE_SECOND_OVERHEAD;
	assert_true(noise_write_second(&p->resp, &p->resp_keys, &resp_rng, v->payload[1].at,
	                               v->payload[1].size, message));
	expect(&v->sealed[1], message, size);
	assert_true(noise_read_second(&p->init, &p->init_keys, message, size, plain));
	expect(&v->payload[1], plain, v->payload[1].size);
}

static void run_vector(struct vector *v)
{
	const struct aead_ops *cipher = aead_ops(AEAD_CHACHA20_POLY1305);
	struct pair p;
	uint8_t keys[2][2][32];
	uint8_t text[BYTES_MAX + NOISE_TAG_SIZE];

	run_handshake(&p, v);
	noise_split(&p.init, keys[0][0], keys[0][1]);
	noise_split(&p.resp, keys[1][0], keys[1][1]);
	assert_memory_equal(keys[0], keys[1], sizeof(keys[0]));
	assert_true(sodium_is_zero((const uint8_t *)&p.init, sizeof(p.init)));
	assert_true(sodium_is_zero((const uint8_t *)&p.resp, sizeof(p.resp)));

	for (unsigned i = 2; i < MESSAGES; i++) {
		memcpy(text, v->payload[i].at, v->payload[i].size);
		cipher->seal(keys[0][i - 2], 0, NULL, 0, text, v->payload[i].size);
		expect(&v->sealed[i], text, v->payload[i].size + NOISE_TAG_SIZE);
		assert_true(cipher->open(keys[1][i - 2], 0, NULL, 0, text,
		                         v->payload[i].size + NOISE_TAG_SIZE));
		expect(&v->payload[i], text, v->payload[i].size);
	}
}

static bool is_ours(const struct vector *v)
{
	return strcmp(v->name, "Noise_IK_25519_ChaChaPoly_BLAKE2b") == 0 ||
	       strcmp(v->name, "Noise_IKpsk2_25519_ChaChaPoly_BLAKE2b") == 0;
}

/* Vectors are separated by empty lines; keys of other suites are not even parsed. */
static unsigned run_file(FILE *file)
{
	static char line[2048];
	static struct vector v;
	unsigned count = 0;
	char *value;

	memset(&v, 0, sizeof(v));
	while (fgets(line, sizeof(line), file)) {
		line[strcspn(line, "\r\n")] = 0;
		if (line[0] == '#')
			continue;
		value = strchr(line, '=');
		if (value) {
			*value++ = 0;
			if (strcmp(line, "handshake") == 0 || is_ours(&v))
				take_line(&v, line, value);
			continue;
		}
		count += is_ours(&v);
		if (is_ours(&v))
			run_vector(&v);
		memset(&v, 0, sizeof(v));
	}
	if (is_ours(&v)) {
		run_vector(&v);
		count++;
	}
	return count;
}

static void own_vectors(void **state)
{
	FILE *file = fopen(TEST_SOURCE_DIR "/vectors/noise_ik.txt", "re");
	unsigned count;

	(void)state;
	assert_non_null(file);
	count = run_file(file);
	(void)fclose(file);
	print_message("vectors of the tree: %u\n", count);
	assert_int_equal(count, 8);
}

static void debian_vectors(void **state)
{
	FILE *file = fopen(DEBIAN_VECTORS, "re");
	unsigned count;

	(void)state;
	if (!file) {
		print_message("skipped: golang-github-flynn-noise-dev is not installed\n");
		skip();
		return;
	}
	count = run_file(file);
	(void)fclose(file);
	print_message("vectors of golang-github-flynn-noise-dev: %u\n", count);
	assert_true(count >= 8);
}

/* A vector of our own making, for what follows. */
static void make_vector(struct vector *v, bool has_psk)
{
	memset(v, 0, sizeof(*v));
	(void)snprintf(v->name, sizeof(v->name), "%s", has_psk ? "IKpsk2" : "IK");
	memset(v->init_sk, 1, 32);
	memset(v->resp_sk, 2, 32);
	memset(v->init_e_sk, 3, 32);
	memset(v->resp_e_sk, 4, 32);
	memset(v->psk, 5, 32);
}

struct messages {
	uint8_t first[NOISE_FIRST_OVERHEAD + 4];
	uint8_t second[NOISE_SECOND_OVERHEAD + 4];
};

/* The pair stands before reading: the initiator SECOND, the responder FIRST. */
static void make_messages(struct pair *p, struct vector *v, struct messages *m)
{
	const struct rng init_rng = given(v->init_e_sk), resp_rng = given(v->resp_e_sk);
	const uint8_t payload[4] = { 'c', 'v', 1, 2 };
	struct noise resp;
	uint8_t plain[4], key[32];

	begin(p, v);
	assert_true(noise_write_first(&p->init, &p->init_keys, &init_rng, payload, 4, m->first));
	resp = p->resp;
	assert_true(noise_read_first_key(&resp, &p->resp_keys, m->first, key));
	assert_true(
		noise_read_first_payload(&resp, &p->resp_keys, m->first, sizeof(m->first), plain));
	assert_memory_equal(plain, payload, 4);
	assert_true(noise_write_second(&resp, &p->resp_keys, &resp_rng, payload, 4, m->second));
}

static void check_flips_of_first(const struct pair *p, const struct messages *m)
{
	uint8_t bytes[sizeof(m->first)], plain[4], key[32];

	for (size_t bit = 0; bit < 8 * sizeof(bytes); bit++) {
		struct noise n = p->resp, before;
		bool is_read;

		memcpy(bytes, m->first, sizeof(bytes));
		bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
		before = n;
		is_read = noise_read_first_key(&n, &p->resp_keys, bytes, key);
		/* Behind the head, the key is right and the payload is not. */
		assert_int_equal(is_read, bit / 8 >= NOISE_FIRST_HEAD);
		if (is_read) {
			before = n;
			assert_false(noise_read_first_payload(&n, &p->resp_keys, bytes,
			                                      sizeof(bytes), plain));
		}
		assert_memory_equal(&n, &before, sizeof(n));
	}
}

static void check_flips_of_second(const struct pair *p, const struct messages *m)
{
	uint8_t bytes[sizeof(m->second)], plain[4];

	for (size_t bit = 0; bit < 8 * sizeof(bytes); bit++) {
		struct noise n = p->init;

		memcpy(bytes, m->second, sizeof(bytes));
		bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
		assert_false(noise_read_second(&n, &p->init_keys, bytes, sizeof(bytes), plain));
		assert_memory_equal(&n, &p->init, sizeof(n));
	}
}

static void every_bit_counts(void **state)
{
	struct vector v;
	struct pair p;
	struct messages m;

	(void)state;
	for (unsigned has_psk = 0; has_psk < 2; has_psk++) {
		make_vector(&v, has_psk);
		make_messages(&p, &v, &m);
		check_flips_of_first(&p, &m);
		check_flips_of_second(&p, &m);
	}
}

static void short_messages_are_refused(void **state)
{
	struct vector v;
	struct pair p;
	struct messages m;
	struct noise resp;
	uint8_t plain[4], key[32];

	(void)state;
	make_vector(&v, true);
	make_messages(&p, &v, &m);
	resp = p.resp;
	assert_true(noise_read_first_key(&resp, &p.resp_keys, m.first, key));
	for (size_t size = 0; size < sizeof(m.first); size++)
		assert_false(noise_read_first_payload(&resp, &p.resp_keys, m.first, size, plain));
	for (size_t size = 0; size < sizeof(m.second); size++)
		assert_false(noise_read_second(&p.init, &p.init_keys, m.second, size, plain));
	assert_true(noise_read_second(&p.init, &p.init_keys, m.second, sizeof(m.second), plain));
}

/* The DH of two long-term keys is computed once per peer; the transcript cannot tell. */
static void a_lent_ss_gives_the_same_messages(void **state)
{
	struct vector v;
	struct pair p;
	struct messages plain, lent;
	uint8_t ss[32];

	(void)state;
	make_vector(&v, true);
	make_messages(&p, &v, &plain);
	assert_int_equal(crypto_scalarmult(ss, v.init_sk, p.resp_pk), 0);
	begin(&p, &v);
	p.init_keys.ss_secret = ss;
	p.resp_keys.ss_secret = ss;
	{
		const struct rng init_rng = given(v.init_e_sk), resp_rng = given(v.resp_e_sk);
		uint8_t payload[4] = { 'c', 'v', 1, 2 }, got[4], key[32];

		assert_true(noise_write_first(&p.init, &p.init_keys, &init_rng, payload, 4,
		                              lent.first));
		assert_true(noise_read_first_key(&p.resp, &p.resp_keys, lent.first, key));
		assert_true(noise_read_first_payload(&p.resp, &p.resp_keys, lent.first,
		                                     sizeof(lent.first), got));
		assert_true(noise_write_second(&p.resp, &p.resp_keys, &resp_rng, payload, 4,
		                               lent.second));
	}
	assert_memory_equal(&plain, &lent, sizeof(plain));
}

static void low_order_points_end_it(void **state)
{
	static const uint8_t zero[32];
	static const uint8_t one[32] = { 1 };
	const uint8_t *points[] = { zero, one };
	struct vector v;
	struct pair p;
	struct messages m;
	uint8_t out[NOISE_FIRST_OVERHEAD], key[32];

	(void)state;
	make_vector(&v, true);
	for (unsigned i = 0; i < 2; i++) {
		const struct rng rng = given(v.init_e_sk);
		struct noise before;

		make_messages(&p, &v, &m);
		before = p.resp;
		memcpy(m.first, points[i], 32);
		assert_false(noise_read_first_key(&p.resp, &p.resp_keys, m.first, key));
		assert_memory_equal(&p.resp, &before, sizeof(before));

		noise_init(&p.init, NOISE_IKPSK2, true, points[i], NULL, 0);
		assert_false(noise_write_first(&p.init, &p.init_keys, &rng, NULL, 0, out));
		assert_true(sodium_is_zero((const uint8_t *)&p.init, sizeof(p.init)));
	}
}

/* HMAC-BLAKE2b by hand: outputs chain, and the first does not depend on how many are wanted. */
static void hkdf_outputs_chain(void **state)
{
	uint8_t key[64], one[64], first[64], second[64];

	(void)state;
	memset(key, 7, sizeof(key));
	noise_hkdf(key, sizeof(key), (const uint8_t *)"label", 5, one, NULL);
	noise_hkdf(key, sizeof(key), (const uint8_t *)"label", 5, first, second);
	assert_memory_equal(one, first, sizeof(one));
	assert_memory_not_equal(first, second, sizeof(first));
	noise_hkdf(key, sizeof(key), (const uint8_t *)"label", 5, key, NULL); /* in place */
	assert_memory_equal(one, key, sizeof(one));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(own_vectors),
		cmocka_unit_test(debian_vectors),
		cmocka_unit_test(every_bit_counts),
		cmocka_unit_test(short_messages_are_refused),
		cmocka_unit_test(a_lent_ss_gives_the_same_messages),
		cmocka_unit_test(low_order_points_end_it),
		cmocka_unit_test(hkdf_outputs_chain),
	};

	if (sodium_init() < 0)
		return 1;
	return cmocka_run_group_tests_name("noise", tests, NULL, NULL);
}
