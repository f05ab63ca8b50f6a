/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * nat - what the routers in front of this host do, in the terms of RFC 4787, concluded from what
 * servers saw. Knows no packets and no time: whoever asks hands in what was answered.
 *
 * One address cannot tell an address-dependent mapping from an endpoint-independent one (RFC 5780,
 * 4.3): two ports of one server only rule out that the port counts. A port that is preserved proves
 * nothing either: what is compared is what several destinations see of the same socket.
 */

#include <stdbool.h>
#include <stdint.h>

#include "base/addr.h"
#include "base/compiler.h"

/* A rule of mapping or of filtering. */
enum nat_rule {
	NAT_UNKNOWN,
	NAT_NONE, /* nobody translates */
	NAT_ENDPOINT_INDEPENDENT,
	NAT_ADDRESS_DEPENDENT,
	NAT_ADDRESS_AND_PORT_DEPENDENT,
	NAT_RULES,
};

/* How the ports of new mappings follow each other (RFC 4787, 4.2). */
enum nat_ports {
	NAT_PORTS_UNKNOWN,
	NAT_PORTS_PRESERVED, /* the inside port */
	NAT_PORTS_REGULAR,   /* the last one plus a step */
	NAT_PORTS_RANDOM,    /* within a range, perhaps a carrier's block */
	NAT_PORTS_KINDS,
};

enum {
	NAT_SEEN_MAX = 16,
	NAT_SAMPLES_MAX = 16,
	NAT_SAMPLES_MIN = 4, /* fewer say nothing about the order of ports */
	NAT_STEP_MAX = 64,   /* what lies further apart has no order */
	NAT_PORT_MIN = 1024, /* routers give no lower ones */
};

/* What one destination saw of one socket. */
struct nat_seen {
	struct addr to; /* the destination */
	struct addr as; /* our address as seen there */
};

/* Of one socket and one family, newest of each destination. */
struct nat_view {
	struct addr local; /* of the socket; ADDR_NONE: not known */
	struct nat_seen list[NAT_SEEN_MAX];
	unsigned count;
};

void nat_view_init(struct nat_view *v, const struct addr *local);
/* Remembers it; the oldest is forgotten when there are too many. */
void nat_view_add(struct nat_view *v, const struct addr *to, const struct addr *as);
/* True when @local (of an interface, with the socket's port) is what was seen. */
bool nat_view_is_open(const struct nat_view *v, const struct addr *local);
/**
 * nat_mapping() - the rule of mapping, from what was seen
 *
 * Return: NAT_NONE when every destination saw .local; NAT_UNKNOWN until two addresses have
 * answered, unless two ports of one have and saw different things.
 */
enum nat_rule nat_mapping(const struct nat_view *v);
/* Two ports of one address have answered: without it NAT_ADDRESS_DEPENDENT says the least. */
bool nat_has_compared_ports(const struct nat_view *v);
/* Ports of two destinations at least were compared, and they made no difference. */
bool nat_is_stable(const struct nat_view *v);

/* Ports that new mappings got, in the order in which they were asked for. */
struct nat_samples {
	struct {
		uint16_t local, seen;
	} list[NAT_SAMPLES_MAX];
	unsigned count;
};

/* What one side of a punch has to know of the other's routers. */
struct nat_profile {
	uint8_t mapping;   /* enum nat_rule */
	uint8_t filtering; /* enum nat_rule; NAT_ENDPOINT_INDEPENDENT stands for "the port does not
	                      count, perhaps the address does" */
	uint8_t ports;     /* enum nat_ports */
	bool is_suspect;   /* plain probes fail: the mapping may depend on the address after all */
	bool has_mapped; /* a port was opened by PCP, NAT-PMP or UPnP: the mapping is no obstacle */
	int16_t step;    /* NAT_PORTS_REGULAR */
	uint16_t port_low, port_high; /* NAT_PORTS_RANDOM: new ports lie in [low, high] */
	struct addr address;          /* as a server sees the main socket; ADDR_NONE: not known */
};

/* Sets .ports, .step, .port_low and .port_high. */
void nat_read_samples(const struct nat_samples *s, struct nat_profile *out);
/* True when a new destination sees another port than those before it. */
bool nat_is_hard(const struct nat_profile *p);
bool nat_profile_is_equal(const struct nat_profile *a, const struct nat_profile *b);

/* RFC 4787's words: "endpoint-independent"; "none", "unknown". */
const char *nat_rule_name(enum nat_rule rule);
const char *nat_ports_name(enum nat_ports ports);
