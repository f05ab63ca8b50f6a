/* SPDX-License-Identifier: MIT */
#include "lab_packet.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/mman.h>

enum {
	SLOT_SIZE = 2048, /* struct, virtio header and LAB_PACKET_SIZE_MAX, in half a page */
	SLAB_PACKETS = 512,
	IP4_SIZE = 20,
	IP6_SIZE = 40,
	UDP_SIZE = 8,
	ICMP_SIZE = 8,
	QUOTE4_MAX = 548, /* RFC 1812, 4.3.2.3: the error fits in 576 bytes */
	QUOTE6_MAX = 1232,
};

/* 192.0.0.8 of RFC 7600: the source of ICMP errors of a router without an address. */
#define ROUTER_IP UINT32_C(0xc0000008)

_Static_assert(sizeof(struct lab_packet) + LAB_VNET_SIZE + LAB_PACKET_SIZE_MAX <= SLOT_SIZE,
               "a packet fits in its slot");

static bool grow(struct lab_pool *pool)
{
	uint8_t *slab;

	if (pool->made_count + SLAB_PACKETS > LAB_PACKETS_MAX) {
		return false;
	}
	slab = mmap(NULL, (size_t)SLAB_PACKETS * SLOT_SIZE, PROT_READ | PROT_WRITE,
	            MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (slab == MAP_FAILED) {
		return false;
	}
	for (size_t i = 0; i < SLAB_PACKETS; i++) {
		struct lab_packet *p = (void *)(slab + i * SLOT_SIZE);

		p->next = pool->free;
		pool->free = p;
	}
	pool->made_count += SLAB_PACKETS;
	return true;
}

struct lab_packet *lab_pool_take(struct lab_pool *pool)
{
	struct lab_packet *p;

	if (!pool->free && !grow(pool)) {
		return NULL;
	}
	p = pool->free;
	pool->free = p->next;
	pool->used_count++;
	*p = (struct lab_packet){ .data = (uint8_t *)(p + 1) + LAB_VNET_SIZE };
	return p;
}

void lab_pool_put(struct lab_pool *pool, struct lab_packet *p)
{
	if (p->is_borrowed) {
		return;
	}
	LAB_ASSERT(pool->used_count > 0);
	p->next = pool->free;
	pool->free = p;
	pool->used_count--;
}

/* Checksums ------------------------------------------------------------------ */

static uint64_t sum_bytes(const uint8_t *p, size_t size)
{
	uint64_t sum = 0;

	for (; size >= 4; size -= 4, p += 4) {
		sum += lab_get32(p);
	}
	if (size >= 2) {
		sum += lab_get16(p);
		size -= 2;
		p += 2;
	}
	return size ? sum + ((uint64_t)p[0] << 8) : sum;
}

static uint16_t fold(uint64_t sum)
{
	while (sum >> 16) {
		sum = (sum & 0xffff) + (sum >> 16);
	}
	return (uint16_t)sum;
}

/* RFC 1624, equation 3; a partial field is not complemented. */
static void adjust(uint8_t *field, uint32_t before, uint32_t after, bool is_partial)
{
	uint32_t sum = lab_get16(field);

	sum = is_partial ? sum : ~sum & 0xffff;
	sum += (~before >> 16 & 0xffff) + (~before & 0xffff) + (after >> 16) + (after & 0xffff);
	sum = fold(sum);
	lab_put16(field, is_partial ? sum : ~sum & 0xffff);
}

static uint64_t pseudo_sum(const struct lab_packet *p, const struct lab_flow *flow)
{
	uint64_t addresses =
		flow->version == 4 ? sum_bytes(p->data + 12, 8) : sum_bytes(p->data + 8, 32);

	return addresses + flow->protocol + (p->size - flow->l4_offset);
}

/* Where the transport keeps its checksum, or NULL when it has none. */
static uint8_t *checksum_field(const struct lab_packet *p, const struct lab_flow *flow)
{
	uint8_t *l4 = p->data + flow->l4_offset;

	if (flow->is_later_fragment) {
		return NULL;
	}
	switch (flow->protocol) {
	case IPPROTO_TCP:
		return l4 + 16;
	case IPPROTO_UDP:
		return l4 + 6;
	case IPPROTO_ICMP:
	case IPPROTO_ICMPV6:
		return l4 + 2;
	default:
		return NULL;
	}
}

static bool is_partial(const struct lab_packet *p)
{
	return p->vnet.flags & VIRTIO_NET_HDR_F_NEEDS_CSUM;
}

static void finish_checksum(struct lab_packet *p)
{
	size_t start = p->vnet.csum_start;
	uint8_t *field = p->data + start + p->vnet.csum_offset;
	uint16_t sum;

	if (!is_partial(p) || start + p->vnet.csum_offset + 2 > p->size) {
		return;
	}
	sum = (uint16_t)~fold(sum_bytes(p->data + start, p->size - start));
	lab_put16(field, sum ? sum : 0xffff);
	p->vnet.flags = 0;
}

static void finish_ip4_header(uint8_t *ip)
{
	lab_put16(ip + 10, 0);
	lab_put16(ip + 10, (uint16_t)~fold(sum_bytes(ip, (size_t)(ip[0] & 15) * 4)));
}

/* Parsing -------------------------------------------------------------------- */

static bool icmp_is_error(uint8_t type)
{
	return type == 3 || type == 11 || type == 12; /* RFC 792 */
}

static bool read_l4(const uint8_t *l4, size_t size, struct lab_flow *flow)
{
	size_t header = 0;

	if (flow->protocol == IPPROTO_TCP && size >= IP4_SIZE) {
		header = (size_t)(l4[12] >> 4) * 4;
		flow->tcp_flags = l4[13];
	} else if (flow->protocol == IPPROTO_UDP && size >= UDP_SIZE) {
		header = UDP_SIZE;
	} else if (flow->protocol == IPPROTO_ICMP || flow->protocol == IPPROTO_ICMPV6) {
		header = ICMP_SIZE;
	} else {
		flow->payload_offset = flow->l4_offset;
		return flow->protocol != IPPROTO_TCP && flow->protocol != IPPROTO_UDP;
	}
	if (header > size) {
		return false;
	}
	flow->payload_offset = (uint16_t)(flow->l4_offset + header);
	if (flow->protocol == IPPROTO_ICMP) {
		flow->is_icmp_error = icmp_is_error(l4[0]);
		flow->src_port = flow->dst_port = lab_get16(l4 + 4);
	} else if (flow->protocol == IPPROTO_ICMPV6) {
		flow->is_icmp_error = l4[0] < 128; /* RFC 4443, 2.1 */
	} else {
		flow->src_port = lab_get16(l4);
		flow->dst_port = lab_get16(l4 + 2);
	}
	return true;
}

bool lab_packet_read(const struct lab_packet *p, struct lab_flow *flow)
{
	const uint8_t *ip = p->data;

	*flow = (struct lab_flow){ .version = p->size ? (uint8_t)(ip[0] >> 4) : 0 };
	if (flow->version == 6 && p->size >= IP6_SIZE) {
		flow->protocol = ip[6];
		flow->l4_offset = flow->payload_offset = IP6_SIZE;
	} else if (flow->version == 4 && p->size >= IP4_SIZE) {
		flow->protocol = ip[9];
		flow->l4_offset = flow->payload_offset = (uint16_t)((ip[0] & 15) * 4);
		flow->is_fragment = lab_get16(ip + 6) & 0x3fff;
		flow->is_later_fragment = lab_get16(ip + 6) & 0x1fff;
		flow->id = lab_get16(ip + 4);
		flow->src = lab_get32(ip + 12);
		flow->dst = lab_get32(ip + 16);
		if (flow->l4_offset < IP4_SIZE) {
			return false;
		}
	} else {
		return false;
	}
	if (flow->l4_offset > p->size) {
		return false;
	}
	return flow->is_later_fragment ||
	       read_l4(ip + flow->l4_offset, p->size - flow->l4_offset, flow);
}

/* Segmentation --------------------------------------------------------------- */

size_t lab_packet_segment_count(const struct lab_packet *p, const struct lab_flow *flow)
{
	size_t payload = p->size - flow->payload_offset;

	if (p->vnet.gso_type == VIRTIO_NET_HDR_GSO_NONE || !p->vnet.gso_size || !payload) {
		return 1;
	}
	return (payload + p->vnet.gso_size - 1) / p->vnet.gso_size;
}

size_t lab_packet_segment_size(const struct lab_packet *p, const struct lab_flow *flow)
{
	if (lab_packet_segment_count(p, flow) == 1) {
		return p->size;
	}
	return (size_t)flow->payload_offset + p->vnet.gso_size;
}

static void segment_l4(struct lab_packet *out, const struct lab_flow *flow, size_t offset,
                       bool is_last)
{
	uint8_t *l4 = out->data + flow->l4_offset;

	if (flow->protocol == IPPROTO_TCP) {
		lab_put32(l4 + 4, lab_get32(l4 + 4) + (uint32_t)offset);
		if (!is_last) {
			l4[13] &= (uint8_t) ~(TH_FIN | TH_PUSH);
		}
		if (offset) {
			l4[13] &= 0x7f; /* CWR answers once, RFC 3168 6.1.2 */
		}
	} else {
		lab_put16(l4 + 4, out->size - flow->l4_offset);
	}
}

void lab_packet_segment(const struct lab_packet *p, const struct lab_flow *flow, size_t index,
                        struct lab_packet *out)
{
	size_t offset = index * p->vnet.gso_size;
	size_t left = p->size - flow->payload_offset - offset;
	size_t payload = left < p->vnet.gso_size ? left : p->vnet.gso_size;
	uint8_t *ip = out->data;

	LAB_ASSERT(offset < p->size && flow->payload_offset + payload <= LAB_PACKET_SIZE_MAX);
	memcpy(ip, p->data, flow->payload_offset);
	memcpy(ip + flow->payload_offset, p->data + flow->payload_offset + offset, payload);
	out->size = (uint32_t)(flow->payload_offset + payload);
	if (flow->version == 4) {
		lab_put16(ip + 2, out->size);
		lab_put16(ip + 4, lab_get16(ip + 4) + (uint32_t)index);
		finish_ip4_header(ip);
	} else {
		lab_put16(ip + 4, out->size - IP6_SIZE);
	}
	segment_l4(out, flow, offset, payload == left);
	out->vnet = (struct virtio_net_hdr){
		.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
		.csum_start = flow->l4_offset,
		.csum_offset = flow->protocol == IPPROTO_TCP ? 16 : 6,
	};
	lab_put16(ip + flow->l4_offset + out->vnet.csum_offset, fold(pseudo_sum(out, flow)));
}

void lab_packet_copy(const struct lab_packet *p, struct lab_packet *out)
{
	LAB_ASSERT(p->size <= LAB_PACKET_SIZE_MAX);
	memcpy(out->data, p->data, p->size);
	out->size = p->size;
	out->vnet = p->vnet;
}

/* Translation ---------------------------------------------------------------- */

void lab_packet_rewrite(struct lab_packet *p, struct lab_flow *flow, bool is_source, uint32_t ip,
                        uint16_t port)
{
	uint8_t *l4 = p->data + flow->l4_offset;
	uint8_t *check = checksum_field(p, flow);
	uint32_t old_ip = is_source ? flow->src : flow->dst;
	uint32_t old_port = is_source ? flow->src_port : flow->dst_port;
	bool is_udp = flow->protocol == IPPROTO_UDP;
	bool has_checksum = check && !(is_udp && !is_partial(p) && !lab_get16(check));

	lab_put32(p->data + (is_source ? 12 : 16), ip);
	adjust(p->data + 10, old_ip, ip, false);
	if (has_checksum && flow->protocol != IPPROTO_ICMP) {
		adjust(check, old_ip, ip, is_partial(p));
	}
	if (is_source) {
		flow->src = ip;
	} else {
		flow->dst = ip;
	}
	if (!check || flow->is_icmp_error) {
		return;
	}
	if (flow->protocol == IPPROTO_ICMP) {
		lab_put16(l4 + 4, port);
		flow->src_port = flow->dst_port = port;
	} else if (is_source) {
		lab_put16(l4, port);
		flow->src_port = port;
	} else {
		lab_put16(l4 + 2, port);
		flow->dst_port = port;
	}
	/* The payload is not yet in a partial sum, and for the transport ports are payload. */
	if (has_checksum && !is_partial(p)) {
		adjust(check, old_port, port, false);
		if (is_udp && !lab_get16(check)) {
			lab_put16(check, 0xffff); /* 0 would mean "none", RFC 768 */
		}
	}
}

bool lab_packet_read_quoted(const struct lab_packet *p, const struct lab_flow *flow,
                            struct lab_flow *quoted)
{
	const uint8_t *ip = p->data + flow->payload_offset;
	size_t size = p->size - flow->payload_offset;

	*quoted = (struct lab_flow){ .version = 4 };
	if (size < IP4_SIZE + 8) {
		return false;
	}
	quoted->protocol = ip[9];
	quoted->l4_offset = (uint16_t)((ip[0] & 15) * 4);
	quoted->src = lab_get32(ip + 12);
	quoted->dst = lab_get32(ip + 16);
	if (size < (size_t)quoted->l4_offset + 8) {
		return false;
	}
	ip += quoted->l4_offset;
	quoted->src_port = lab_get16(ip + (quoted->protocol == IPPROTO_ICMP ? 4 : 0));
	quoted->dst_port = lab_get16(ip + (quoted->protocol == IPPROTO_ICMP ? 4 : 2));
	return true;
}

void lab_packet_rewrite_quoted(struct lab_packet *p, const struct lab_flow *flow,
                               const struct lab_flow *quoted, bool is_source, uint32_t ip,
                               uint16_t port)
{
	uint8_t *inner = p->data + flow->payload_offset;
	uint8_t *l4 = inner + quoted->l4_offset;
	uint8_t *icmp = p->data + flow->l4_offset;

	lab_put32(inner + (is_source ? 12 : 16), ip);
	adjust(inner + 10, is_source ? quoted->src : quoted->dst, ip, false);
	if (quoted->protocol == IPPROTO_ICMP) {
		lab_put16(l4 + 4, port);
	} else {
		lab_put16(l4 + (is_source ? 0 : 2), port);
	}
	/* The quoted transport checksum is left: receivers cannot check it on a truncated quote. */
	lab_put16(icmp + 2, 0);
	lab_put16(icmp + 2, (uint16_t)~fold(sum_bytes(icmp, p->size - flow->l4_offset)));
	p->vnet.flags = 0;
}

unsigned lab_packet_ecn(const struct lab_packet *p)
{
	return p->data[0] >> 4 == 4 ? p->data[1] & 3 : p->data[1] >> 4 & 3;
}

void lab_packet_set_ecn(struct lab_packet *p, unsigned ecn)
{
	uint16_t before = lab_get16(p->data);

	if (p->data[0] >> 4 == 4) {
		p->data[1] = (uint8_t)((p->data[1] & ~3u) | ecn);
		adjust(p->data + 10, before, lab_get16(p->data), false);
	} else {
		p->data[1] = (uint8_t)((p->data[1] & ~0x30u) | ecn << 4);
	}
}

/* Damage and complaints ------------------------------------------------------ */

bool lab_packet_corrupt(struct lab_packet *p, const struct lab_flow *flow, struct lab_rng *rng,
                        bool keeps_checksum_right)
{
	uint8_t *check = checksum_field(p, flow);
	uint8_t *l4 = p->data + flow->l4_offset;
	uint8_t *end = p->data + p->size;
	uint8_t *at;
	uint8_t *word;
	uint32_t before;
	uint32_t after;

	if (p->size <= flow->payload_offset) {
		return false;
	}
	at = p->data + flow->payload_offset + lab_rng_below(rng, p->size - flow->payload_offset);
	word = at - (at - l4) % 2;
	if (!keeps_checksum_right) {
		finish_checksum(p);
	}
	before = (uint32_t)word[0] << 8 | (word + 1 < end ? word[1] : 0);
	*at ^= (uint8_t)(1u << lab_rng_below(rng, 8));
	after = (uint32_t)word[0] << 8 | (word + 1 < end ? word[1] : 0);
	if (!keeps_checksum_right || !check || is_partial(p)) {
		return true;
	}
	if (flow->protocol == IPPROTO_UDP && !lab_get16(check)) {
		return true;
	}
	adjust(check, before, after, false);
	if (flow->protocol == IPPROTO_UDP && !lab_get16(check)) {
		lab_put16(check, 0xffff);
	}
	return true;
}

static void icmp4(const struct lab_packet *p, uint8_t type, uint8_t code, uint32_t mtu,
                  struct lab_packet *out)
{
	uint32_t quote = p->size < QUOTE4_MAX ? p->size : QUOTE4_MAX;
	uint8_t *ip = out->data;

	memset(ip, 0, IP4_SIZE + ICMP_SIZE);
	memcpy(ip + IP4_SIZE + ICMP_SIZE, p->data, quote);
	out->size = IP4_SIZE + ICMP_SIZE + quote;
	out->vnet = (struct virtio_net_hdr){ 0 };
	ip[0] = 0x45;
	lab_put16(ip + 2, out->size);
	ip[8] = 64;
	ip[9] = IPPROTO_ICMP;
	lab_put32(ip + 12, ROUTER_IP);
	memcpy(ip + 16, p->data + 12, 4);
	finish_ip4_header(ip);
	ip[IP4_SIZE] = type;
	ip[IP4_SIZE + 1] = code;
	lab_put32(ip + IP4_SIZE + 4, mtu);
	lab_put16(ip + IP4_SIZE + 2,
	          (uint16_t)~fold(sum_bytes(ip + IP4_SIZE, out->size - IP4_SIZE)));
}

static void icmp6(const struct lab_packet *p, uint8_t type, uint8_t code, uint32_t mtu,
                  struct lab_packet *out)
{
	/* 2001:db8:ffff::8, documentation space of RFC 3849: a router that is nobody else */
	static const uint8_t router[16] = { 0x20, 0x01, 0x0d, 0xb8, 0xff, 0xff, [15] = 8 };
	static const struct lab_flow flow = {
		.version = 6,
		.protocol = IPPROTO_ICMPV6,
		.l4_offset = IP6_SIZE,
	};
	uint32_t quote = p->size < QUOTE6_MAX ? p->size : QUOTE6_MAX;
	uint8_t *ip = out->data;
	uint8_t *icmp = ip + IP6_SIZE;

	memset(ip, 0, IP6_SIZE + ICMP_SIZE);
	memcpy(icmp + ICMP_SIZE, p->data, quote);
	out->size = IP6_SIZE + ICMP_SIZE + quote;
	out->vnet = (struct virtio_net_hdr){ 0 };
	ip[0] = 0x60;
	lab_put16(ip + 4, ICMP_SIZE + quote);
	ip[6] = IPPROTO_ICMPV6;
	ip[7] = 64;
	memcpy(ip + 8, router, sizeof(router));
	memcpy(ip + 24, p->data + 8, 16);
	icmp[0] = type;
	icmp[1] = code;
	lab_put32(icmp + 4, mtu);
	lab_put16(icmp + 2,
	          (uint16_t)~fold(pseudo_sum(out, &flow) + sum_bytes(icmp, out->size - IP6_SIZE)));
}

void lab_packet_too_big(const struct lab_packet *p, const struct lab_flow *flow, uint32_t mtu,
                        struct lab_packet *out)
{
	if (flow->version == 6) {
		icmp6(p, 2, 0, mtu, out); /* RFC 4443, 3.2 */
	} else {
		icmp4(p, 3, 4, mtu, out); /* RFC 1191, 4 */
	}
}

void lab_packet_time_exceeded(const struct lab_packet *p, const struct lab_flow *flow,
                              struct lab_packet *out)
{
	if (flow->version == 6) {
		icmp6(p, 3, 0, 0, out); /* RFC 4443, 3.3 */
	} else {
		icmp4(p, 11, 0, 0, out); /* RFC 792 */
	}
}

void lab_packet_prohibited(const struct lab_packet *p, const struct lab_flow *flow,
                           struct lab_packet *out)
{
	if (flow->version == 6) {
		icmp6(p, 1, 1, 0, out); /* RFC 4443, 3.1 */
	} else {
		icmp4(p, 3, 13, 0, out); /* RFC 1812, 5.2.7.1 */
	}
}

/* Routers --------------------------------------------------------------------- */

bool lab_packet_age(struct lab_packet *p, unsigned hops)
{
	bool is_v4 = p->data[0] >> 4 == 4;
	uint8_t *ttl = p->data + (is_v4 ? 8 : 7);
	uint16_t before = lab_get16(p->data + 8);

	if (*ttl <= hops) {
		return false;
	}
	*ttl = (uint8_t)(*ttl - hops);
	if (is_v4) {
		adjust(p->data + 10, before, lab_get16(p->data + 8), false);
	}
	return true;
}

static uint64_t fold_ip6(const uint8_t *ip)
{
	struct lab_rng mix = { lab_get64(ip) };

	return lab_rng_next(&mix) ^ lab_get64(ip + 8);
}

void lab_packet_ends(const struct lab_packet *p, const struct lab_flow *flow, uint64_t *src,
                     uint64_t *dst)
{
	*src = flow->version == 4 ? flow->src : fold_ip6(p->data + 8);
	*dst = flow->version == 4 ? flow->dst : fold_ip6(p->data + 24);
}
