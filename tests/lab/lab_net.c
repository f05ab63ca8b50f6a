/* SPDX-License-Identifier: MIT */
#include "lab_net.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* What a delay is off by on a machine that has no time for us; ten times what it is when idle. */
#define LAB_LATE_NS (LAB_SECOND / 1000)

/* A link about to be crossed, or just crossed. */
struct hop {
	uint16_t node;
	uint8_t direction;
};

int lab_net_init(struct lab_net *net, uint64_t seed, bool has_offload)
{
	int r;

	memset(net, 0, sizeof(*net));
	net->seed = seed;
	net->has_offload = has_offload;
	net->node_count = 1;
	net->hops = 1;
	(void)snprintf(net->nodes[LAB_INTERNET].name, LAB_NAME_SIZE, "internet");
	r = lab_table_init(&net->routes, LAB_ROUTES_MAX);
	return r ? r : lab_queue_init(&net->queue);
}

void lab_net_deinit(struct lab_net *net)
{
	for (size_t i = 0; i < net->node_count; i++) {
		if (net->nodes[i].kind == LAB_KIND_HOST) {
			lab_host_close(&net->nodes[i].host);
		}
		lab_nat_free(net->nodes[i].nat);
	}
	lab_table_deinit(&net->routes);
	lab_queue_deinit(&net->queue);
	net->node_count = 0;
}

int lab_net_find(const struct lab_net *net, const char *name)
{
	for (size_t i = 0; i < net->node_count; i++) {
		if (strcmp(net->nodes[i].name, name) == 0) {
			return (int)i;
		}
	}
	return -ENOENT;
}

/* Routes --------------------------------------------------------------------- */

static struct lab_key route_key4(uint16_t node, uint32_t ip)
{
	return (struct lab_key){ { node, 0, UINT64_C(0xffff00000000) | ip } };
}

static struct lab_key route_key6(uint16_t node, const uint8_t *ip)
{
	return (struct lab_key){ { node, lab_get64(ip), lab_get64(ip + 8) } };
}

/* An IPv4 address is known to the parent only, an IPv6 address to all above. */
static int route_address(struct lab_net *net, uint16_t node, const struct lab_address *address,
                         bool is_added)
{
	uint16_t child = node;
	int r = 0;

	while (child != LAB_INTERNET && !r) {
		uint16_t parent = net->nodes[child].parent;
		struct lab_key key = address->is_v6 ? route_key6(parent, address->bytes)
		                                    : route_key4(parent, lab_get32(address->bytes));
		uint32_t taken;

		if (!is_added) {
			lab_table_remove(&net->routes, &key);
		} else if (lab_table_get(&net->routes, &key, &taken)) {
			r = -EADDRINUSE;
		} else {
			r = lab_table_add(&net->routes, &key, child);
		}
		child = address->is_v6 ? parent : LAB_INTERNET;
	}
	return r;
}

/* Nodes ---------------------------------------------------------------------- */

static int add_node(struct lab_net *net, const char *name, enum lab_kind kind)
{
	uint16_t index = (uint16_t)net->node_count;
	struct lab_node *node = &net->nodes[index];

	if (net->node_count == LAB_NODES_MAX) {
		return -ENOSPC;
	}
	if (lab_net_find(net, name) >= 0) {
		return -EEXIST;
	}
	if (!*name || strlen(name) >= LAB_NAME_SIZE) {
		return -EINVAL;
	}
	*node = (struct lab_node){ .kind = kind };
	(void)snprintf(node->name, sizeof(node->name), "%s", name);
	for (uint8_t d = 0; d < LAB_DIRECTIONS; d++) {
		lab_link_init(&node->links[d], index, d, net->seed);
	}
	return index;
}

int lab_net_add_host(struct lab_net *net, const struct lab_host_config *config)
{
	int index = add_node(net, config->name, LAB_KIND_HOST);
	int r;

	if (index < 0) {
		return index;
	}
	r = lab_host_open(&net->nodes[index].host, config);
	if (r) {
		return r;
	}
	net->node_count++;
	return index;
}

int lab_net_add_nat(struct lab_net *net, const char *name)
{
	int index = add_node(net, name, LAB_KIND_NAT);

	if (index < 0) {
		return index;
	}
	net->nodes[index].nat = lab_nat_new(net->seed * 31 + (uint64_t)index);
	if (!net->nodes[index].nat) {
		return -ENOMEM;
	}
	net->node_count++;
	return index;
}

static int configure_nat(struct lab_node *node)
{
	struct lab_nat_config config = node->nat->config;

	config.public_count = 0;
	memset(config.public_ip, 0, sizeof(config.public_ip));
	for (size_t i = 0; i < node->address_count; i++) {
		if (!node->addresses[i].is_v6) {
			config.public_ip[config.public_count++] =
				lab_get32(node->addresses[i].bytes);
		}
	}
	return lab_nat_configure(node->nat, &config);
}

static bool has_children(const struct lab_net *net, uint16_t node)
{
	for (size_t i = 1; i < net->node_count; i++) {
		if (net->nodes[i].parent == node && net->nodes[i].address_count) {
			return true;
		}
	}
	return false;
}

int lab_net_place(struct lab_net *net, uint16_t index, uint16_t parent,
                  const struct lab_address *addresses, size_t count)
{
	struct lab_node *node = &net->nodes[index];
	int r = 0;

	if (index == LAB_INTERNET || index == parent || count > LAB_ADDRESSES_MAX ||
	    net->nodes[parent].kind == LAB_KIND_HOST) {
		return -EINVAL;
	}
	if (node->address_count && node->parent != parent && has_children(net, index)) {
		return -EBUSY;
	}
	for (size_t i = 0; i < node->address_count; i++) {
		(void)route_address(net, index, &node->addresses[i], false);
	}
	node->parent = parent;
	node->address_count = 0;
	for (size_t i = 0; i < count; i++) {
		r = route_address(net, index, &addresses[i], true);
		if (r) {
			return r;
		}
		node->addresses[node->address_count++] = addresses[i];
	}
	if (node->kind == LAB_KIND_NAT) {
		return configure_nat(node);
	}
	return lab_host_configure(&node->host, addresses, count);
}

/* The way of a packet -------------------------------------------------------- */

static void drop(struct lab_net *net, struct lab_packet *p, uint64_t *counter)
{
	*counter += 1;
	lab_pool_put(&net->pool, p);
}

/* An ICMP error appears at the sender's end of the link as if it had just crossed it. */
static void complain(struct lab_net *net, struct lab_packet *error, struct hop at)
{
	error->node = at.node;
	error->direction = at.direction;
	lab_queue_add(&net->queue, error, net->now);
}

static void refuse_udp(struct lab_net *net, const struct lab_nat *nat, const struct lab_packet *p,
                       const struct lab_flow *flow, struct hop from)
{
	struct lab_packet *error;

	if (nat->config.wall.udp != LAB_WALL_UDP_REJECT) {
		return;
	}
	error = lab_pool_take(&net->pool);
	if (error) {
		lab_packet_prohibited(p, flow, error);
		complain(net, error, (struct hop){ from.node, LAB_IN });
	}
}

/* Too many routers on its way: it ends here, and its sender hears of it. */
static void end_of_life(struct lab_net *net, struct lab_packet *p, const struct lab_flow *flow,
                        struct hop from, uint64_t *counter)
{
	struct lab_packet *error = flow->is_icmp_error ? NULL : lab_pool_take(&net->pool);

	if (error) {
		lab_packet_time_exceeded(p, flow, error);
		complain(net, error,
		         (struct hop){ from.node, from.direction == LAB_IN ? LAB_OUT : LAB_IN });
	}
	drop(net, p, counter);
}

/* From the outside of a NAT, or from its inside to its own outside address. */
static bool nat_down(struct lab_net *net, uint16_t index, struct lab_packet *p,
                     struct lab_flow *flow, struct hop *hop)
{
	struct lab_nat *nat = net->nodes[index].nat;
	enum lab_nat_verdict verdict = lab_nat_inbound(nat, net->now, p, flow);
	struct lab_key key = route_key4(index, flow->dst);
	uint32_t child;

	nat->counters[verdict]++;
	if (verdict != LAB_NAT_FORWARD) {
		lab_pool_put(&net->pool, p);
		return false;
	}
	if (!lab_table_get(&net->routes, &key, &child)) {
		drop(net, p, &net->drop_no_route); /* the host has moved away */
		return false;
	}
	*hop = (struct hop){ (uint16_t)child, LAB_IN };
	return true;
}

static bool nat_up(struct lab_net *net, uint16_t index, struct lab_packet *p, struct lab_flow *flow,
                   struct hop *hop)
{
	struct lab_nat *nat = net->nodes[index].nat;
	bool is_hairpin = lab_nat_owns(nat, flow->dst);
	enum lab_nat_verdict verdict = LAB_NAT_NO_HAIRPIN;

	if (!is_hairpin || nat->config.hairpin) {
		verdict = lab_nat_outbound(nat, net->now, p, flow);
	}
	nat->counters[verdict]++;
	if (verdict == LAB_NAT_UDP_BLOCKED) {
		refuse_udp(net, nat, p, flow, *hop);
	}
	if (verdict != LAB_NAT_FORWARD) {
		lab_pool_put(&net->pool, p);
		return false;
	}
	if (is_hairpin) {
		return nat_down(net, index, p, flow, hop);
	}
	*hop = (struct hop){ index, LAB_OUT };
	return true;
}

/* Up through a router, either version. One that is too old goes before it is translated. */
static bool router_up(struct lab_net *net, uint16_t index, struct lab_packet *p,
                      struct lab_flow *flow, struct hop *hop)
{
	struct lab_nat *nat = net->nodes[index].nat;
	enum lab_nat_verdict verdict;

	if (!lab_packet_age(p, 1)) {
		end_of_life(net, p, flow, *hop, &nat->counters[LAB_NAT_TTL_OVER]);
		return false;
	}
	if (flow->version == 4) {
		return nat_up(net, index, p, flow, hop);
	}
	verdict = lab_nat_outbound6(nat, net->now, p, flow);
	nat->counters[verdict]++;
	if (verdict == LAB_NAT_UDP_BLOCKED) {
		refuse_udp(net, nat, p, flow, *hop);
	}
	if (verdict != LAB_NAT_FORWARD) {
		lab_pool_put(&net->pool, p);
		return false;
	}
	*hop = (struct hop){ index, LAB_OUT };
	return true;
}

static bool router_down6(struct lab_net *net, uint16_t index, struct lab_packet *p,
                         const struct lab_flow *flow, struct hop *hop)
{
	struct lab_nat *nat = net->nodes[index].nat;
	struct lab_key key = route_key6(index, p->data + 24);
	enum lab_nat_verdict verdict;
	uint32_t child;

	if (!lab_table_get(&net->routes, &key, &child)) {
		drop(net, p, &net->drop_no_route);
		return false;
	}
	verdict = lab_nat_inbound6(nat, net->now, p, flow);
	nat->counters[verdict]++;
	if (verdict != LAB_NAT_FORWARD) {
		lab_pool_put(&net->pool, p);
		return false;
	}
	*hop = (struct hop){ (uint16_t)child, LAB_IN };
	return true;
}

/* Down through a router. What it does not forward is for itself, whatever its TTL: so it looks
 * at that last, and an error quotes the packet as it came. */
static bool router_down(struct lab_net *net, struct lab_packet *p, struct lab_flow *flow,
                        struct hop *hop)
{
	struct hop from = *hop;
	struct lab_nat *nat = net->nodes[from.node].nat;
	uint32_t dst = flow->dst;
	uint16_t dst_port = flow->dst_port;
	bool is_through = flow->version == 4 ? nat_down(net, from.node, p, flow, hop)
	                                     : router_down6(net, from.node, p, flow, hop);

	if (!is_through || lab_packet_age(p, 1)) {
		return is_through;
	}
	if (flow->version == 4) {
		lab_packet_rewrite(p, flow, false, dst, dst_port);
	}
	end_of_life(net, p, flow, from, &nat->counters[LAB_NAT_TTL_OVER]);
	return false;
}

/* The packet is at the parent end of the link it climbed. */
static bool climbed(struct lab_net *net, struct lab_packet *p, struct lab_flow *flow,
                    struct hop *hop)
{
	uint16_t index = net->nodes[hop->node].parent;
	struct lab_key key =
		flow->version == 4 ? route_key4(index, flow->dst) : route_key6(index, p->data + 24);
	bool is_internet = index == LAB_INTERNET;
	uint32_t child;

	if (is_internet && !lab_packet_age(p, (unsigned)net->hops)) {
		end_of_life(net, p, flow, *hop, &net->drop_ttl);
		return false;
	}
	if (lab_table_get(&net->routes, &key, &child)) {
		*hop = (struct hop){ (uint16_t)child, LAB_IN };
		return true;
	}
	if (is_internet) {
		drop(net, p, &net->drop_no_route);
		return false;
	}
	return router_up(net, index, p, flow, hop);
}

/* The packet is at the lower end of the link it came down. */
static bool descended(struct lab_net *net, struct lab_packet *p, struct lab_flow *flow,
                      struct hop *hop)
{
	struct lab_node *node = &net->nodes[hop->node];

	if (node->kind == LAB_KIND_HOST) {
		lab_host_write(&node->host, p);
		lab_pool_put(&net->pool, p);
		return false;
	}
	return router_down(net, p, flow, hop);
}

/* True when the packet is through at once. Complains about one that is too big. */
static bool cross(struct lab_net *net, struct lab_packet *p, const struct lab_flow *flow,
                  struct hop hop)
{
	struct lab_link *link = &net->nodes[hop.node].links[hop.direction];
	struct lab_link_world world = { &net->pool, &net->queue, net->now };
	struct lab_packet *error;

	switch (lab_link_pass(link, &world, p, flow)) {
	case LAB_LINK_PASS:
		return true;
	case LAB_LINK_TAKEN:
		return false;
	case LAB_LINK_TOO_BIG:
		break;
	}
	error = flow->is_icmp_error ? NULL : lab_pool_take(&net->pool);
	if (error) {
		lab_packet_too_big(p, flow, (uint32_t)link->config.mtu_size, error);
		complain(net, error,
		         (struct hop){ hop.node, hop.direction == LAB_IN ? LAB_OUT : LAB_IN });
	}
	lab_pool_put(&net->pool, p);
	return false;
}

/* A tree has no loops: a packet climbs, turns once, descends; a hairpin turns it once more. */
static void walk(struct lab_net *net, struct lab_packet *p, struct hop hop, bool has_crossed)
{
	struct lab_flow flow;

	if (!lab_packet_read(p, &flow)) {
		drop(net, p, &net->drop_malformed);
		return;
	}
	for (;;) {
		if (!has_crossed && !cross(net, p, &flow, hop)) {
			return;
		}
		has_crossed = false;
		if (hop.direction == LAB_OUT ? !climbed(net, p, &flow, &hop)
		                             : !descended(net, p, &flow, &hop)) {
			return;
		}
	}
}

void lab_net_on_readable(struct lab_net *net, uint16_t node, uint64_t now)
{
	net->now = now;
	for (int i = 0; i < LAB_BURST_MAX; i++) {
		net->rx.data = net->rx_bytes + LAB_VNET_SIZE;
		net->rx.is_borrowed = true;
		if (!lab_host_read(&net->nodes[node].host, &net->rx)) {
			return;
		}
		walk(net, &net->rx, (struct hop){ node, LAB_OUT }, false);
	}
}

static void note_lateness(struct lab_net *net, uint64_t late_ns)
{
	net->carried++;
	net->late += late_ns >= LAB_LATE_NS;
	if (late_ns > net->late_max_ns) {
		net->late_max_ns = late_ns;
	}
}

void lab_net_on_deadline(struct lab_net *net, uint64_t now)
{
	struct lab_packet *p;

	net->now = now;
	while ((p = lab_queue_take(&net->queue, now))) {
		note_lateness(net, now - p->at);
		walk(net, p, (struct hop){ p->node, p->direction }, true);
	}
}

uint64_t lab_net_deadline(const struct lab_net *net)
{
	return lab_queue_deadline(&net->queue);
}
