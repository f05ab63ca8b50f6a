/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * config - the configuration file as a tree of values.
 *
 * A struct config is immutable after config_load(): a reload builds another one.
 * All that it points to belongs to it and dies with config_free(). Lists keep the
 * order of the file. The keys, their ranges and their defaults are in schema.c;
 * what a value means is in the user's manual.
 *
 * Knows no sockets and resolves no names: names stay names.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "base/addr.h"
#include "base/base64.h"
#include "base/compiler.h"
#include "base/hostport.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/pattern.h"
#include "config/arena.h"
#include "config/report.h"

enum {
	CONFIG_DEFAULT_PORT = 28583, /* of an `address` without one, and of a server */
	CONFIG_STUN_PORT = 3478,     /* of a foreign STUN server without one (RFC 8489, 18.6) */
	CONFIG_LISTEN_ADDRS_MAX = 2, /* `localhost` and a bare port are one of each family */
	CONFIG_PATH_MAX = 1024,      /* bytes with the NUL */
};

/* Who reads: decides which keys are required and whether key files are looked at. */
enum config_role {
	CONFIG_ROLE_AGENT,  /* `culvert run` */
	CONFIG_ROLE_SERVER, /* `culvert server`: needs `server.access` */
	CONFIG_ROLE_CHECK,  /* a server where the file has `server`, else an agent */
	CONFIG_ROLE_CLIENT, /* commands that only want `control`: nothing is required */
};

enum config_path_policy { CONFIG_PATH_AUTO, CONFIG_PATH_DIRECT, CONFIG_PATH_RELAY };
enum config_protocol { CONFIG_TCP, CONFIG_UDP };
enum config_log_format { CONFIG_LOG_TEXT, CONFIG_LOG_JSON };
enum config_sandbox { CONFIG_SANDBOX_REQUIRED, CONFIG_SANDBOX_BEST_EFFORT, CONFIG_SANDBOX_OFF };
enum config_congestion { CONFIG_CUBIC, CONFIG_BBR };
enum config_stun { CONFIG_STUN_OFF, CONFIG_STUN_PADDED, CONFIG_STUN_ANY };

/* In the structs below `mark` is where the file says it: for log lines such as
 * "culvert.yaml:31: cannot bind". Its line is 0 for a default. */

/* Where to listen: a unix path, or one or two addresses. */
struct config_listen {
	struct report_mark mark;
	const char *text;      /* as configured */
	const char *unix_path; /* NULL: TCP or UDP */
	struct addr addrs[CONFIG_LISTEN_ADDRS_MAX];
	uint8_t addr_count; /* 0: a unix path, or nothing configured */
};

/* A host to connect to. kind HOST_NONE: not configured. */
struct config_host {
	struct report_mark mark;
	const char *text; /* as configured */
	struct hostport host;
};

/* A reference to config.peers by name. */
struct config_peer_ref {
	struct report_mark mark;
	const char *name; /* NULL: not configured */
	uint32_t index;   /* valid when name is set */
};

struct config_key {
	struct report_mark mark;
	uint8_t key[KEY_SIZE]; /* public */
	bool is_set;
	bool is_anyone; /* the word `anyone`, in server.access only */
};

/* A key file: keyfile_read() takes .path as it is. */
struct config_keyfile {
	struct report_mark mark;
	const char *path; /* resolved, or "credential:NAME"; NULL: not configured */
};

struct config_pattern {
	struct report_mark mark;
	const char *text; /* as configured */
	struct pattern pattern;
};

struct config_server_ref {
	struct report_mark mark;
	struct config_host address; /* required; port filled in */
	struct config_key key;      /* required */
	uint32_t tcp_port;          /* 0: not set */
};

struct config_peer {
	struct report_mark mark;
	const char *name; /* a DNS label */
	struct config_key key;
	struct config_keyfile psk;
	struct config_host address; /* HOST_ADDR, HOST_NAME or HOST_NONE; port filled in */
	enum config_path_policy path;
	struct config_pattern *allow;
	size_t allow_count;
	struct config_pattern *allow_listen;
	size_t allow_listen_count;
};

/* Secret: never logged. 1..255 bytes each, as RFC 1929 carries them. */
struct config_user {
	struct report_mark mark;
	const char *name;
	const char *password;
};

struct config_route {
	struct report_mark mark;
	struct config_pattern to;
	struct config_peer_ref peer;
};

struct config_proxy {
	struct report_mark mark;
	struct config_listen listen;
	struct config_peer_ref peer; /* default; name NULL: only what routes name */
	struct config_user *users;   /* none: no authentication */
	size_t user_count;
	struct config_route *routes; /* first match wins */
	size_t route_count;
	bool is_open; /* may listen beyond loopback without users */
	bool is_optimistic;
};

/* Also a remote forward. */
struct config_forward {
	struct report_mark mark;
	struct config_listen listen;
	struct config_peer_ref peer;
	struct config_host to; /* any kind of host */
	enum config_protocol protocol;
};

struct config_service {
	struct report_mark mark;
	const char *name; /* a DNS label */
	struct config_host to;
	enum config_protocol protocol;
	struct config_peer_ref *allow;
	size_t allow_count;
};

struct config_log {
	enum log_level level;
	enum config_log_format format;
};

struct config_tunnel {
	enum config_congestion congestion;
	uint32_t streams_max; /* per session, and frontend connections in all */
	uint64_t memory_size; /* bytes: the process budget for buffers */
};

struct config_punch {
	uint32_t sockets_max;
	uint32_t packets_max;
	uint32_t rate;   /* packets per second */
	uint32_t hourly; /* packets of all attempts of an hour */
};

struct config_relay {
	bool is_enabled;
	uint64_t rate; /* bits per second and agent */
};

/* The `server` section; is_set is false when the file has none. */
struct config_server {
	struct report_mark mark;
	bool is_set;
	struct config_listen *listen; /* UDP */
	size_t listen_count;
	struct config_listen *tcp;
	size_t tcp_count;          /* whose first mark has line 0: not set, so as `listen` */
	struct config_key *access; /* empty with access_anyone */
	size_t access_count;
	bool access_anyone;
	struct config_relay relay;
	enum config_stun stun;
	uint32_t agents_max;
	uint32_t agents_per_address_max;
	uint32_t connections_max; /* TCP */
	uint32_t connections_per_address_max;
	const char *control;          /* own or inherited, never NULL after config_load() */
	struct config_listen metrics; /* own or inherited */
	struct config_log log;        /* own or inherited, key by key */
};

struct config {
	const char *file; /* as given to config_load() */
	struct config_keyfile identity;
	struct config_listen *listen; /* UDP; by default any free port of both families */
	size_t listen_count;
	bool has_portmap;
	struct config_host *stun;
	size_t stun_count;
	struct config_server_ref *servers;
	size_t server_count;
	struct config_peer *peers;
	size_t peer_count;
	struct config_proxy *proxies;
	size_t proxy_count;
	struct config_forward *forwards;
	size_t forward_count;
	struct config_forward *remote_forwards;
	size_t remote_forward_count;
	struct config_service *services;
	size_t service_count;
	const char *control; /* the agent's socket; never NULL after config_load() */
	struct config_listen metrics;
	struct config_log log;
	const char *state; /* directory; never NULL after config_load() */
	enum config_sandbox sandbox;
	struct config_tunnel tunnel;
	struct config_punch punch;
	struct config_server server;
	struct arena arena; /* what all of this is made of */
};

/**
 * config_load() - read, check and complete a configuration file
 * @path:   the file; relative paths in it are relative to its directory
 * @role:   who reads
 * @report: initialised by the caller with the name to print; receives all errors
 *          of the file, and warnings also on success
 * @out:    receives the tree; the caller owns it and calls config_free()
 *
 * For every role but CONFIG_ROLE_CLIENT the key files are read once and wiped,
 * so that a missing or exposed key is an error with a place.
 *
 * Memory: a tree at most about 50 times the file's size.
 *
 * Return: 0; -EINVAL when the file has errors; a negative errno when it cannot be
 *         read (-ENOENT: there is none). The report says why in each case.
 */
CV_NODISCARD int config_load(const char *path, enum config_role role, struct report *report,
                             struct config **out);

/* As config_load() for a text that is said to come from @path; opens no file, so key files are
 * not looked at. @text is borrowed for the call. */
CV_NODISCARD int config_parse(const char *path, const char *text, size_t size,
                              enum config_role role, struct report *report, struct config **out);

/* Wipes and frees. NULL is allowed. */
void config_free(struct config *c);

/* The peer called @name, or NULL. */
const struct config_peer *config_find_peer(const struct config *c, const char *name);

/**
 * config_default_path() - where the configuration is when no -c FILE is given
 *
 * $CULVERT_CONFIG; else the first that exists of $XDG_CONFIG_HOME/culvert/culvert.yaml
 * (~/.config without it) and /etc/culvert/culvert.yaml; else the first of those.
 *
 * Return: 0, or -ENAMETOOLONG.
 */
CV_NODISCARD int config_default_path(char out[CONFIG_PATH_MAX]);

/* $XDG_RUNTIME_DIR/culvert.sock, else /run/culvert/culvert.sock; a server's: culvert-server.sock
 * there. For CONFIG_ROLE_SERVER the server's, else the agent's. 0 or -ENAMETOOLONG. */
CV_NODISCARD int config_default_control(enum config_role role, char out[CONFIG_PATH_MAX]);

/* What `culvert check` says: listeners, peers, policies, limits, in plain lines. No secrets. */
void config_describe(const struct config *c, enum config_role role, FILE *out);
