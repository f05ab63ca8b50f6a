/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * mapper_gateway - a gateway of a few lines in virtual time, for the tests of tunnel/mapper: speaks
 * PCP, NAT-PMP, both or neither, and can be told to lie.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/rd.h"
#include "tunnel/mapper.h"

enum { REQUESTS_MAX = 64, PORT = 4660, OUTSIDE_PORT = 40001 };

/* One of our requests, as the gateway reads it. */
struct request {
	cv_time at;
	uint8_t version, opcode;
	uint32_t lifetime_s;
	uint16_t internal_port, suggested_port;
	uint8_t nonce[PCP_NONCE_SIZE];
};

static struct mapper m;
static struct rng_seeded seeded;
static struct rng rng;
static cv_time now;
static struct request requests[REQUESTS_MAX];
static unsigned request_count, look_count; /* looks are counted apart, and not kept */

static struct gateway {
	bool has_pcp, has_natpmp; /* neither: silent */
	bool is_refusing_version; /* says so when it has no PCP; else it drops that */
	uint8_t result;
	uint32_t lifetime_s; /* granted at most; 0: as asked */
	uint32_t refusal_s;  /* how long a refusal holds; 0: 30 s */
	struct addr at, outside;
	cv_time restarted_at;
	unsigned mappings; /* made */
	bool has_mapping;
	/* harm */
	bool is_wrong_nonce, is_wrong_port;
} gw;

static inline struct addr addr_of(const char *text)
{
	struct addr a;

	assert_int_equal(addr_parse(text, &a), 0);
	return a;
}

static inline uint32_t epoch(void)
{
	return (uint32_t)((now - gw.restarted_at) / CV_SEC(1));
}

static inline void deliver_from(const struct addr *from, const struct wr *w)
{
	assert_false(w->bad);
	mapper_on_datagram(&m, now, from, w->start, wr_size(w));
	assert_true(mapper_check(&m));
}

static inline void wr_ip(struct wr *w, const struct addr *a)
{
	if (a->family == ADDR_V4) {
		wr_zero(w, 10);
		wr_u16(w, 0xffff);
	}
	wr_copy(w, a->ip, a->family == ADDR_V4 ? 4 : 16);
}

static inline void write_pcp_answer(struct wr *w, const struct request *req, uint8_t result)
{
	uint32_t life = req->lifetime_s;

	if (gw.lifetime_s)
		life = CV_MIN(life, gw.lifetime_s);
	wr_u8(w, 2);
	wr_u8(w, 0x81);
	wr_u8(w, 0);
	wr_u8(w, result);
	wr_u32(w, result ? (gw.refusal_s ? gw.refusal_s : 30) : life);
	wr_u32(w, epoch());
	wr_zero(w, 12);
	wr_copy(w, req->nonce, PCP_NONCE_SIZE - 1);
	wr_u8(w, (uint8_t)(req->nonce[PCP_NONCE_SIZE - 1] ^ gw.is_wrong_nonce));
	wr_u8(w, 17);
	wr_zero(w, 3);
	wr_u16(w, (uint16_t)(req->internal_port + gw.is_wrong_port));
	wr_u16(w, gw.outside.port);
	wr_ip(w, &gw.outside);
}

static inline void answer_natpmp(const struct request *req)
{
	uint8_t bytes[64];
	struct wr w = wr_init(bytes, sizeof(bytes));

	wr_u8(&w, 0);
	wr_u8(&w, (uint8_t)(0x80 | req->opcode));
	wr_u16(&w, gw.result);
	wr_u32(&w, epoch());
	if (gw.result == 0 && req->opcode == 0) {
		wr_copy(&w, gw.outside.ip, 4);
	} else if (gw.result == 0) {
		wr_u16(&w, (uint16_t)(req->internal_port + gw.is_wrong_port));
		wr_u16(&w, req->lifetime_s ? gw.outside.port : 0);
		wr_u32(&w, req->lifetime_s);
		gw.has_mapping = req->lifetime_s > 0;
		gw.mappings += req->lifetime_s > 0;
	}
	deliver_from(&gw.at, &w);
}

static inline void answer_pcp(const struct request *req)
{
	uint8_t bytes[64];
	struct wr w = wr_init(bytes, sizeof(bytes));

	if (gw.has_pcp) {
		write_pcp_answer(&w, req, gw.result);
		if (gw.result == 0) {
			gw.has_mapping = req->lifetime_s > 0;
			gw.mappings += req->lifetime_s > 0;
		}
	} else if (gw.is_refusing_version) {
		wr_u8(&w, 0);
		wr_u8(&w, 0x81);
		wr_u16(&w, PCP_UNSUPP_VERSION);
		wr_u32(&w, epoch());
	} else {
		return;
	}
	deliver_from(&gw.at, &w);
}

static inline void answer_look(void)
{
	uint8_t bytes[24];
	struct wr w = wr_init(bytes, sizeof(bytes));

	wr_u16(&w, 0x0280);
	wr_zero(&w, 6);
	wr_u32(&w, epoch());
	wr_zero(&w, 12);
	deliver_from(&gw.at, &w);
}

static inline void on_request(const uint8_t *bytes, size_t size)
{
	struct rd r = rd_init(bytes, size);
	struct request *req = &requests[request_count++];

	assert_in_range(request_count, 1, REQUESTS_MAX);
	*req = (struct request){ .at = now };
	req->version = rd_u8(&r);
	req->opcode = rd_u8(&r);
	if (req->version == 2 && req->opcode == 0) {
		assert_int_equal(size, 24);
		request_count--;
		look_count++;
		if (gw.has_pcp)
			answer_look();
		return;
	}
	if (req->version == 2) {
		assert_int_equal(size, 60);
		(void)rd_u16(&r);
		req->lifetime_s = rd_u32(&r);
		(void)rd_take(&r, 16);
		rd_copy(&r, req->nonce, PCP_NONCE_SIZE);
		assert_int_equal(rd_u32(&r) >> 24, 17);
		req->internal_port = rd_u16(&r);
		req->suggested_port = rd_u16(&r);
		answer_pcp(req);
		return;
	}
	assert_int_equal(req->version, 0);
	if (req->opcode == 1) {
		(void)rd_u16(&r);
		req->internal_port = rd_u16(&r);
		req->suggested_port = rd_u16(&r);
		req->lifetime_s = rd_u32(&r);
		assert_false(r.bad);
	}
	if (req->opcode == 0 && m.state == MAPPER_MAPPED) {
		request_count--;
		look_count++;
	}
	if (gw.has_natpmp)
		answer_natpmp(req);
}

static inline void pump(void)
{
	uint8_t bytes[PCP_REQUEST_MAX];

	mapper_on_deadline(&m, now);
	assert_true(mapper_check(&m));
	for (;;) {
		struct wr w = wr_init(bytes, sizeof(bytes));

		if (!mapper_write(&m, now, &w))
			break;
		on_request(bytes, wr_size(&w));
	}
	assert_true(mapper_check(&m));
}

/* What happens until then. */
static inline void run(cv_duration d)
{
	const cv_time until = now + d;

	pump();
	while (mapper_deadline(&m) <= until) {
		now = CV_MAX(now, mapper_deadline(&m));
		pump();
	}
	now = until;
}

static inline const struct mapper_target *target(void)
{
	static struct mapper_target t;

	t.gateway = addr_of("192.168.1.1:0");
	t.client = addr_of("192.168.1.5:4660");
	return &t;
}

static inline void begin(bool has_pcp, bool has_natpmp)
{
	now = CV_SEC(5000);
	rng_seeded_init(&seeded, 7);
	rng = rng_from_seeded(&seeded);
	request_count = look_count = 0;
	gw = (struct gateway){ .has_pcp = has_pcp, .has_natpmp = has_natpmp };
	gw.at = addr_of("192.168.1.1:5351");
	gw.outside = addr_of("198.51.100.7:40001");
	mapper_init(&m, &rng, NULL);
	assert_true(mapper_check(&m));
	assert_int_equal(mapper_deadline(&m), CV_TIME_NEVER);
	mapper_start(&m, now, target());
}

static inline void assert_mapped(enum mapper_protocol protocol)
{
	assert_int_equal(m.state, MAPPER_MAPPED);
	assert_int_equal(m.protocol, protocol);
	assert_true(addr_equal(&m.external, &gw.outside));
	assert_null(m.why);
	assert_true(gw.has_mapping);
}
