#pragma once
/* SPDX-License-Identifier: MIT */

/*
 * lab_host - a host: network, mount and name namespaces, and the TUN in them;
 * or a further interface, with a TUN of its own, of a host that is there.
 *
 * A holder process makes the namespaces, hands the descriptors over and then
 * only keeps them alive. They have no names in the file system, so nothing is
 * left behind: when labnet dies, the kernel kills the holders and the rest goes
 * with them.
 */

#include <sys/types.h>

#include "lab_packet.h"

enum {
	LAB_ADDRESSES_MAX = 8,
	LAB_HOST_MTU_MIN = 576,
	LAB_INTERFACES_MAX = 8, /* of one host */
	LAB_DEVICE_SIZE = 8,
};

struct lab_address {
	uint8_t bytes[16]; /* IPv4 in the first four */
	uint8_t prefix;
	bool is_v6;
};

struct lab_host {
	int tun_fd;
	int ioctl4_fd; /* sockets of the host's namespace, for its interface */
	int ioctl6_fd; /* -1 on a kernel without IPv6 */
	int holder_fd; /* closing it ends the holder */
	pid_t holder;  /* 0: another one's namespaces */
	uint64_t namespace_id;
	uint64_t write_failed;
	char device[LAB_DEVICE_SIZE];
	uint32_t metric;
	struct lab_address addresses[LAB_ADDRESSES_MAX];
	size_t address_count;
};

struct lab_host_config {
	const char *name;
	const char *hosts_path;  /* bound over /etc/hosts; NULL: not */
	const char *resolv_path; /* bound over /etc/resolv.conf; NULL: not */
	uint32_t mtu_size;
	pid_t joined;       /* holder of the host that gets one more interface; 0: a new host */
	uint32_t interface; /* number of eth0, eth1, ...: below LAB_INTERFACES_MAX */
	uint32_t metric;    /* of its default route: the smallest is taken */
	bool has_offload;   /* let the kernel hand over super-packets */
};

/** lab_host_open() - make the namespaces and the TUN. Return: 0 or negative errno. */
LAB_NODISCARD int lab_host_open(struct lab_host *host, const struct lab_host_config *config);

/** lab_host_close() - kill what still runs in the host, then let the namespaces go. */
void lab_host_close(struct lab_host *host);

/** lab_host_configure() - replace all addresses, bring the link up with a default route. */
LAB_NODISCARD int lab_host_configure(struct lab_host *host, const struct lab_address *addresses,
                                     size_t count);

/** lab_host_unplug() - take the interface down, as a pulled cable does: its routes go. */
LAB_NODISCARD int lab_host_unplug(struct lab_host *host);

/** lab_host_read() - one packet the host sent. Return: true, or false when there is none. */
LAB_NODISCARD bool lab_host_read(struct lab_host *host, struct lab_packet *p);

/** lab_host_write() - one packet for the host; a full or closed device is a drop, counted. */
void lab_host_write(struct lab_host *host, struct lab_packet *p);

/**
 * lab_host_enter() - run a command inside the host that @holder holds
 * @directory: working directory, as seen in the host
 * @dies_with_parent: the kernel kills the command when the calling process ends
 *
 * Return: only on failure, negative errno.
 */
LAB_NODISCARD int lab_host_enter(pid_t holder, const char *directory, bool dies_with_parent,
                                 char *const *command);
