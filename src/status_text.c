/* SPDX-License-Identifier: MIT */
#include "status_text.h"

#include <stdbool.h>
#include <string.h>

#include "base/compiler.h"
#include "base/log.h"

enum {
	CELL_MAX = 256,
	NOTE_MAX = 1024,
	NUMBER_MAX = 352, /* a double in full has 309 digits */
	COLUMNS_MAX = 7,
	ROWS_MAX = 4096 + 1, /* as many peers as a configuration may have, and the head */
};

/* A table knows the widths of its columns before a row is printed: the rows are made twice. */
struct table {
	FILE *out; /* NULL: the first round, which measures */
	size_t widths[COLUMNS_MAX];
};

struct cells {
	char text[COLUMNS_MAX][CELL_MAX];
	size_t count;
};

static void add_text(struct cells *row, const char *text)
{
	char *cell = row->text[row->count++];

	CV_ASSERT(row->count <= COLUMNS_MAX);
	if (text && *text)
		(void)log_escape(cell, CELL_MAX, text, strlen(text));
	else
		memcpy(cell, "-", 2);
}

static void add_member(struct cells *row, const json_t *object, const char *key)
{
	add_text(row, json_string_value(json_object_get(object, key)));
}

static void add_count(struct cells *row, const json_t *object, const char *key)
{
	const json_t *value = json_object_get(object, key);
	char text[32];

	(void)snprintf(text, sizeof(text), "%" JSON_INTEGER_FORMAT, json_integer_value(value));
	add_text(row, json_is_integer(value) ? text : NULL);
}

/* "21.4 ms" */
static void add_ms(struct cells *row, const json_t *object, const char *key)
{
	const json_t *value = json_object_get(object, key);
	char text[NUMBER_MAX];

	(void)snprintf(text, sizeof(text), "%.1f ms", json_number_value(value));
	add_text(row, json_is_number(value) ? text : NULL);
}

static void add_percent(struct cells *row, const json_t *object, const char *key)
{
	const json_t *value = json_object_get(object, key);
	char text[NUMBER_MAX];

	(void)snprintf(text, sizeof(text), "%.1f %%", json_number_value(value) * 100.0);
	add_text(row, json_is_number(value) ? text : NULL);
}

/* A number with a prefix, in steps of @step: "1.2 Mbit/s", "3.4 GiB". */
static void scaled(char *out, size_t size, double v, double step, const char *const units[5])
{
	size_t i = 0;

	for (; v >= step && i < 4; i++)
		v /= step;
	(void)snprintf(out, size, i == 0 ? "%.0f %s" : "%.1f %s", v, units[i]);
}

static void add_rate(struct cells *row, const json_t *object, const char *key)
{
	static const char *const units[5] = { "bit/s", "kbit/s", "Mbit/s", "Gbit/s", "Tbit/s" };
	const json_t *value = json_object_get(object, key);
	char text[NUMBER_MAX];

	scaled(text, sizeof(text), json_number_value(value), 1000.0, units);
	add_text(row, json_is_number(value) ? text : NULL);
}

static void add_size(struct cells *row, const json_t *object, const char *key)
{
	static const char *const units[5] = { "B", "KiB", "MiB", "GiB", "TiB" };
	const json_t *value = json_object_get(object, key);
	char text[NUMBER_MAX];

	scaled(text, sizeof(text), json_number_value(value), 1024.0, units);
	add_text(row, json_is_number(value) ? text : NULL);
}

static void add_heads(struct cells *row, const char *const *heads, size_t count)
{
	for (size_t i = 0; i < count; i++)
		add_text(row, heads[i]);
}

/* Measures a row, or prints it. */
static void table_row(struct table *t, const struct cells *row)
{
	size_t size;

	for (size_t i = 0; i < row->count; i++) {
		size = strlen(row->text[i]);
		if (!t->out)
			t->widths[i] = CV_MAX(t->widths[i], size);
		else if (i + 1 < row->count)
			(void)fprintf(t->out, "%-*s  ", (int)t->widths[i], row->text[i]);
		else
			(void)fprintf(t->out, "%s\n", row->text[i]);
	}
}

/* A line of its own under a row: sentences, longer than a cell. */
static void table_note(const struct table *t, const json_t *why)
{
	char text[NOTE_MAX];
	const char *sentence = json_string_value(why);

	if (!t->out || !sentence || !*sentence)
		return;
	(void)log_escape(text, sizeof(text), sentence, strlen(sentence));
	(void)fprintf(t->out, "    %s\n", text);
}

static void server_row(struct table *t, const json_t *server)
{
	struct cells row = { .count = 0 };

	add_member(&row, server, "address");
	add_text(&row, json_is_true(json_object_get(server, "connected")) ? "connected"
	                                                                  : "not connected");
	add_ms(&row, server, "rtt_ms");
	add_member(&row, server, "transport");
	add_member(&row, server, "public_address");
	table_row(t, &row);
	table_note(t, json_object_get(server, "why"));
}

static void peer_row(struct table *t, const json_t *peer)
{
	const json_t *path = json_object_get(peer, "path");
	struct cells row = { .count = 0 };

	add_member(&row, peer, "name");
	add_member(&row, path, "kind");
	add_ms(&row, path, "rtt_ms");
	add_percent(&row, path, "loss");
	add_rate(&row, peer, "tx_bps");
	add_rate(&row, peer, "rx_bps");
	add_count(&row, peer, "streams");
	table_row(t, &row);
}

static void peer_address_row(struct table *t, const json_t *peer)
{
	const json_t *path = json_object_get(peer, "path");
	struct cells row = { .count = 0 };

	add_member(&row, peer, "name");
	add_member(&row, path, "address");
	add_count(&row, path, "mtu");
	add_size(&row, peer, "tx_bytes");
	add_size(&row, peer, "rx_bytes");
	add_member(&row, peer, "public_key");
	table_row(t, &row);
	table_note(t, json_object_get(path, "why"));
}

static void listener_row(struct table *t, const json_t *listener)
{
	struct cells row = { .count = 0 };

	add_member(&row, listener, "kind");
	add_member(&row, listener, "address");
	add_member(&row, listener, "peer");
	table_row(t, &row);
}

static void remote_row(struct table *t, const json_t *remote)
{
	struct cells row = { .count = 0 };

	add_member(&row, remote, "listen");
	add_member(&row, remote, "peer");
	add_member(&row, remote, "to");
	add_text(&row, json_is_string(json_object_get(remote, "address")) ? "open" : "not open");
	add_member(&row, remote, "address");
	table_row(t, &row);
	table_note(t, json_object_get(remote, "why"));
}

/* A table of the list @rows, with a blank line before it; nothing for an empty list. */
static void print_table(FILE *out, const json_t *rows, const char *const *heads, size_t columns,
                        void (*row)(struct table *t, const json_t *item))
{
	struct table t = { .out = NULL };
	const size_t count = CV_MIN(json_array_size(rows), (size_t)ROWS_MAX);
	struct cells head = { .count = 0 };

	if (count == 0)
		return;
	add_heads(&head, heads, columns);
	(void)fputc('\n', out);
	for (int round = 0; round < 2; round++) {
		t.out = round == 0 ? NULL : out;
		table_row(&t, &head);
		for (size_t i = 0; i < count; i++)
			row(&t, json_array_get(rows, i));
	}
}

static void print_uptime(FILE *out, const json_t *value)
{
	const double s = json_number_value(value);
	unsigned long long minutes;

	if (!json_is_number(value) || !(s >= 0 && s < 1e12))
		return;
	minutes = (unsigned long long)s / 60;
	if (minutes == 0)
		(void)fprintf(out, ", up %d s", (int)s);
	else if (minutes < 60)
		(void)fprintf(out, ", up %llu min", minutes);
	else if (minutes < 48 * 60)
		(void)fprintf(out, ", up %llu h %llu min", minutes / 60, minutes % 60);
	else
		(void)fprintf(out, ", up %llu days", minutes / (24 * 60));
}

static void print_head(const json_t *status, FILE *out)
{
	struct cells head = { .count = 0 };

	add_member(&head, status, "version");
	add_member(&head, status, "role");
	add_member(&head, status, "public_key");
	(void)fprintf(out, "culvert %s, %s %s", head.text[0], head.text[1], head.text[2]);
	print_uptime(out, json_object_get(status, "uptime_s"));
	(void)fputc('\n', out);
}

static void print_nat(const json_t *nat, FILE *out)
{
	struct cells row = { .count = 0 };

	if (!nat)
		return;
	add_member(&row, nat, "mapping");
	add_member(&row, nat, "filtering");
	add_member(&row, nat, "ports");
	(void)fprintf(out, "nat: mapping %s, filtering %s, ports %s\n", row.text[0], row.text[1],
	              row.text[2]);
}

/* What it has cost, and what it may cost yet. */
static void print_punch(const json_t *punch, FILE *out)
{
	const json_t *limits = json_object_get(punch, "limits");
	struct cells row = { .count = 0 };

	if (!punch)
		return;
	add_count(&row, punch, "attempts");
	add_count(&row, punch, "succeeded");
	add_count(&row, punch, "packets");
	add_count(&row, punch, "packets_left");
	add_count(&row, limits, "hourly");
	(void)fprintf(out,
	              "punching: attempts %s, succeeded %s, packets %s (%s left now; %s an hour)",
	              row.text[0], row.text[1], row.text[2], row.text[3], row.text[4]);
	row.count = 0;
	add_count(&row, punch, "sockets");
	add_count(&row, punch, "sockets_left");
	(void)fprintf(out, ", sockets %s (%s left now)\n", row.text[0], row.text[1]);
}

static void print_portmap(const json_t *portmap, FILE *out)
{
	struct cells row = { .count = 0 };

	if (!portmap)
		return;
	add_member(&row, portmap, "protocol");
	add_member(&row, portmap, "address");
	add_member(&row, portmap, "why");
	if (json_is_string(json_object_get(portmap, "address")))
		(void)fprintf(out, "port mapping: %s by %s", row.text[1], row.text[0]);
	else
		(void)fprintf(out, "port mapping: none");
	if (json_is_string(json_object_get(portmap, "why")))
		(void)fprintf(out, " (%s)", row.text[2]);
	(void)fputc('\n', out);
}

static void print_server(const json_t *status, FILE *out)
{
	struct cells row = { .count = 0 };
	json_t *drops = json_object_get(status, "drops");
	char name[CELL_MAX];
	const char *key;
	json_t *value;

	if (!json_object_get(status, "agents"))
		return;
	add_count(&row, status, "agents");
	add_count(&row, status, "channels");
	add_size(&row, status, "relay_rx_bytes");
	add_size(&row, status, "relay_tx_bytes");
	(void)fprintf(out, "agents %s, channels %s, relayed %s in, %s out\n", row.text[0],
	              row.text[1], row.text[2], row.text[3]);
	json_object_foreach(drops, key, value)
	{
		if (json_integer_value(value) == 0)
			continue;
		(void)log_escape(name, sizeof(name), key, strlen(key));
		(void)fprintf(out, "dropped %s: %" JSON_INTEGER_FORMAT "\n", name,
		              json_integer_value(value));
	}
}

void status_text_print(const json_t *status, FILE *out)
{
	static const char *const servers[] = { "SERVER", "STATE", "RTT", "BY", "PUBLIC ADDRESS" };
	static const char *const peers[] = { "PEER", "PATH", "RTT",    "LOSS",
		                             "SENT", "RECV", "STREAMS" };
	static const char *const addresses[] = { "PEER",       "ADDRESS",    "MTU",
		                                 "SENT BYTES", "RECV BYTES", "PUBLIC KEY" };
	static const char *const listeners[] = { "LISTENER", "ADDRESS", "PEER" };
	static const char *const remotes[] = { "REMOTE FORWARD", "PEER", "TO", "STATE", "ADDRESS" };

	print_head(status, out);
	print_nat(json_object_get(status, "nat"), out);
	print_punch(json_object_get(status, "punch"), out);
	print_portmap(json_object_get(status, "portmap"), out);
	print_server(status, out);
	print_table(out, json_object_get(status, "servers"), servers, CV_ARRAY_SIZE(servers),
	            server_row);
	print_table(out, json_object_get(status, "peers"), peers, CV_ARRAY_SIZE(peers), peer_row);
	print_table(out, json_object_get(status, "peers"), addresses, CV_ARRAY_SIZE(addresses),
	            peer_address_row);
	print_table(out, json_object_get(status, "listeners"), listeners, CV_ARRAY_SIZE(listeners),
	            listener_row);
	print_table(out, json_object_get(status, "remote_forwards"), remotes,
	            CV_ARRAY_SIZE(remotes), remote_row);
}
