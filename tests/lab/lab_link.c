/* SPDX-License-Identifier: MIT */
#include "lab_link.h"

#include <errno.h>
#include <netinet/in.h>

/* A queue for those who set a rate and forget this: some 20 ms at 100 Mbit/s. */
#define QUEUE_SIZE_DEFAULT (UINT64_C(256) * 1024)
#define MTU_MIN UINT64_C(68) /* RFC 791, 3.2 */

void lab_link_init(struct lab_link *link, uint16_t node, uint8_t direction, uint64_t seed)
{
	*link = (struct lab_link){
		.config = { .burst_loss_ppm = LAB_PPM, .queue_size = QUEUE_SIZE_DEFAULT },
		/* Each direction has its own dice: what one draws does not move the others. */
		.rng = { seed ^ ((uint64_t)node << 32 | direction) },
		.node = node,
		.direction = direction,
		.is_clear = true,
	};
	link->rng.state = lab_rng_next(&link->rng);
}

int lab_link_configure(struct lab_link *link, const struct lab_link_config *c)
{
	if (c->loss_ppm > LAB_PPM || c->burst_enter_ppm > LAB_PPM || c->burst_leave_ppm > LAB_PPM ||
	    c->burst_loss_ppm > LAB_PPM || c->reorder_ppm > LAB_PPM || c->duplicate_ppm > LAB_PPM ||
	    c->corrupt_ppm > LAB_PPM || c->delay_ns > 60 * LAB_SECOND ||
	    c->jitter_ns > 60 * LAB_SECOND || c->reorder_ns > 60 * LAB_SECOND ||
	    c->queue_size > UINT32_MAX || c->rate_bps > UINT32_MAX * UINT64_C(100) ||
	    c->ecn > LAB_LINK_ECN_DROP) {
		return -EINVAL;
	}
	if (c->mtu_size && (c->mtu_size < MTU_MIN || c->mtu_size > LAB_PACKET_SIZE_MAX)) {
		return -EINVAL;
	}
	if (!c->burst_enter_ppm) {
		link->is_bad = false;
	}
	link->config = *c;
	link->is_clear = !c->delay_ns && !c->jitter_ns && !c->rate_bps && !c->loss_ppm &&
	                 !c->burst_enter_ppm && !c->reorder_ppm && !c->duplicate_ppm &&
	                 !c->corrupt_ppm && c->ecn != LAB_LINK_ECN_CLEAR;
	return 0;
}

/* Drop-tail in front of the serialiser, which marks when it is long.
 * @at: when the last bit of the packet is sent. */
static bool serialise(struct lab_link *link, uint64_t now, struct lab_packet *p, uint64_t *at)
{
	const struct lab_link_config *c = &link->config;
	uint64_t backlog_ns = link->idle_at > now ? link->idle_at - now : 0;
	uint64_t backlog_size;
	size_t size = p->size;

	*at = now;
	if (!c->rate_bps) {
		return true;
	}
	/* In microseconds, which keeps the product within 64 bits. */
	backlog_size = backlog_ns / 1000 * (c->rate_bps / 8) / 1000000;
	if (backlog_size + size > c->queue_size) {
		return false;
	}
	if (c->mark_size && backlog_size > c->mark_size && lab_packet_ecn(p)) {
		lab_packet_set_ecn(p, LAB_ECN_CE);
		link->counters.marked++;
	}
	link->idle_at = now + backlog_ns + size * 8 * LAB_SECOND / c->rate_bps;
	*at = link->idle_at;
	return true;
}

static bool is_lost(struct lab_link *link)
{
	const struct lab_link_config *c = &link->config;

	if (c->burst_enter_ppm) {
		uint64_t turn = link->is_bad ? c->burst_leave_ppm : c->burst_enter_ppm;

		if (lab_rng_chance(&link->rng, turn)) {
			link->is_bad = !link->is_bad;
		}
	}
	return lab_rng_chance(&link->rng, link->is_bad ? c->burst_loss_ppm : c->loss_ppm);
}

static uint64_t arrival_of(struct lab_link *link, uint64_t sent_at)
{
	const struct lab_link_config *c = &link->config;
	uint64_t at = sent_at + c->delay_ns + lab_rng_below(&link->rng, c->jitter_ns + 1);

	if (lab_rng_chance(&link->rng, c->reorder_ppm)) {
		link->counters.reordered++;
		return at + c->reorder_ns;
	}
	if (!c->jitter_reorders && at < link->last_at) {
		at = link->last_at;
	}
	if (at > link->last_at) {
		link->last_at = at;
	}
	return at;
}

static void launch(struct lab_link *link, const struct lab_link_world *world, struct lab_packet *p,
                   uint64_t at)
{
	p->node = link->node;
	p->direction = link->direction;
	link->counters.packets++;
	link->counters.bytes += p->size;
	lab_queue_add(world->queue, p, at);
}

/* One packet of wire size; @p is taken. */
static void send_one(struct lab_link *link, const struct lab_link_world *world,
                     struct lab_packet *p, const struct lab_flow *flow)
{
	const struct lab_link_config *c = &link->config;
	struct lab_packet *twin;
	uint64_t sent_at;

	if (c->ecn == LAB_LINK_ECN_CLEAR) {
		lab_packet_set_ecn(p, LAB_ECN_NONE);
	}
	if (!serialise(link, world->now, p, &sent_at)) {
		link->counters.drop_queue++;
		lab_pool_put(world->pool, p);
		return;
	}
	if (is_lost(link)) {
		link->counters.drop_loss++;
		lab_pool_put(world->pool, p);
		return;
	}
	if (lab_rng_chance(&link->rng, c->duplicate_ppm)) {
		twin = lab_pool_take(world->pool);
		if (twin) {
			lab_packet_copy(p, twin);
			link->counters.duplicated++;
			launch(link, world, twin, arrival_of(link, sent_at));
		}
	}
	if (lab_rng_chance(&link->rng, c->corrupt_ppm) &&
	    lab_packet_corrupt(p, flow, &link->rng, !c->corrupt_checksum_wrong)) {
		link->counters.corrupted++;
	}
	launch(link, world, p, arrival_of(link, sent_at));
}

static void send_segments(struct lab_link *link, const struct lab_link_world *world,
                          const struct lab_packet *p, const struct lab_flow *flow, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		struct lab_packet *out = lab_pool_take(world->pool);

		if (!out) {
			link->counters.drop_no_buffer += count - i;
			return;
		}
		if (count > 1) {
			lab_packet_segment(p, flow, i, out);
		} else {
			lab_packet_copy(p, out);
		}
		send_one(link, world, out, flow);
	}
}

enum lab_link_verdict lab_link_pass(struct lab_link *link, const struct lab_link_world *world,
                                    struct lab_packet *p, const struct lab_flow *flow)
{
	const struct lab_link_config *c = &link->config;
	size_t count = lab_packet_segment_count(p, flow);
	size_t size = lab_packet_segment_size(p, flow);

	link->counters.udp_packets += flow->protocol == IPPROTO_UDP ? count : 0;
	if (c->is_down) {
		link->counters.drop_down += count;
		lab_pool_put(world->pool, p);
		return LAB_LINK_TAKEN;
	}
	if ((c->mtu_size && size > c->mtu_size) || size > LAB_PACKET_SIZE_MAX) {
		link->counters.drop_mtu += count;
		if (c->mtu_icmp && c->mtu_size) {
			return LAB_LINK_TOO_BIG;
		}
		lab_pool_put(world->pool, p);
		return LAB_LINK_TAKEN;
	}
	if (c->ecn == LAB_LINK_ECN_DROP && lab_packet_ecn(p)) {
		link->counters.drop_ecn += count;
		lab_pool_put(world->pool, p);
		return LAB_LINK_TAKEN;
	}
	if (link->is_clear) {
		link->counters.packets += count;
		link->counters.bytes += p->size;
		return LAB_LINK_PASS;
	}
	if (p->is_borrowed) {
		send_segments(link, world, p, flow, count);
	} else {
		send_one(link, world, p, flow);
	}
	return LAB_LINK_TAKEN;
}
