/* SPDX-License-Identifier: MIT */
#include "metrics_text.h"

#include <stdlib.h>
#include <string.h>

#include "base/hostport.h"
#include "status_text.h"

/* ---- Prometheus ---- */

static void describe(FILE *out, const char *name, const char *type, const char *help)
{
	(void)fprintf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, type);
}

/* A label's value; a comma before it if it is not the first. */
static void put_label(FILE *out, bool is_first, const char *label, const char *value)
{
	(void)fprintf(out, "%s%s=\"", is_first ? "" : ",", label);
	for (const char *at = value ? value : ""; *at; at++) {
		if (*at == '"' || *at == '\\')
			(void)fputc('\\', out);
		if (*at == '\n')
			(void)fputs("\\n", out);
		else
			(void)fputc(*at, out);
	}
	(void)fputc('"', out);
}

static const char *text_of(const json_t *object, const char *key)
{
	return json_string_value(json_object_get(object, key));
}

/* A value that is a number or a boolean; null and anything else is none. */
static bool read_value(const json_t *v, double *out)
{
	if (json_is_boolean(v))
		*out = json_is_true(v) ? 1 : 0;
	else if (json_is_number(v))
		*out = json_number_value(v);
	else
		return false;
	return true;
}

/* One row of a table of families: a member of an object, scaled. */
struct family {
	const char *name, *type, *help;
	const char *inner; /* member that holds the next one; NULL: none */
	const char *key;
	double scale;
};

static void put_family(FILE *out, const struct family *f, const json_t *list, const char *label,
                       const char *label_key)
{
	describe(out, f->name, f->type, f->help);
	for (size_t i = 0; i < json_array_size(list); i++) {
		const json_t *item = json_array_get(list, i);
		const json_t *holder = f->inner ? json_object_get(item, f->inner) : item;
		double value;

		if (!read_value(json_object_get(holder, f->key), &value))
			continue;
		(void)fprintf(out, "%s{", f->name);
		put_label(out, true, label, text_of(item, label_key));
		(void)fprintf(out, "} %.15g\n", value * f->scale);
	}
}

static void put_peers(FILE *out, const json_t *peers)
{
	static const struct family table[] = {
		{ "culvert_peer_connected", "gauge", "1 while there is a session and a path.", NULL,
		  "connected", 1 },
		{ "culvert_peer_rtt_seconds", "gauge", "Round trip on the path in use.", "path",
		  "rtt_ms", 1e-3 },
		{ "culvert_peer_mtu_bytes", "gauge", "Largest UDP payload on that path.", "path",
		  "mtu", 1 },
		{ "culvert_peer_loss_ratio", "gauge", "Packets lost, of those sent in 10 s.",
		  "path", "loss", 1 },
		{ "culvert_peer_streams", "gauge", "Open streams.", NULL, "streams", 1 },
		{ "culvert_peer_transmit_bytes_total", "counter", "Payload sent to the peer.", NULL,
		  "tx_bytes", 1 },
		{ "culvert_peer_receive_bytes_total", "counter", "Payload that came from it.", NULL,
		  "rx_bytes", 1 },
	};

	for (size_t i = 0; i < CV_ARRAY_SIZE(table); i++)
		put_family(out, &table[i], peers, "peer", "name");
	describe(out, "culvert_peer_path_info", "gauge", "How packets reach the peer now.");
	for (size_t i = 0; i < json_array_size(peers); i++) {
		const json_t *peer = json_array_get(peers, i);
		const json_t *path = json_object_get(peer, "path");

		(void)fputs("culvert_peer_path_info{", out);
		put_label(out, true, "peer", text_of(peer, "name"));
		put_label(out, false, "kind", text_of(path, "kind"));
		(void)fputs("} 1\n", out);
	}
}

static void put_servers(FILE *out, const json_t *servers)
{
	static const struct family table[] = {
		{ "culvert_server_connected", "gauge", "1 while registered there.", NULL,
		  "connected", 1 },
		{ "culvert_server_rtt_seconds", "gauge", "Round trip to the server.", NULL,
		  "rtt_ms", 1e-3 },
	};

	for (size_t i = 0; i < CV_ARRAY_SIZE(table); i++)
		put_family(out, &table[i], servers, "server", "address");
}

static void put_listeners(FILE *out, const json_t *listeners)
{
	describe(out, "culvert_listener_info", "gauge", "A place where clients connect.");
	for (size_t i = 0; i < json_array_size(listeners); i++) {
		const json_t *l = json_array_get(listeners, i);

		(void)fputs("culvert_listener_info{", out);
		put_label(out, true, "kind", text_of(l, "kind"));
		put_label(out, false, "address", text_of(l, "address"));
		put_label(out, false, "peer", text_of(l, "peer"));
		(void)fputs("} 1\n", out);
	}
}

static void put_single(FILE *out, const struct family *f, const json_t *status)
{
	const json_t *holder = f->inner ? json_object_get(status, f->inner) : status;
	double value;

	if (!read_value(json_object_get(holder, f->key), &value))
		return;
	describe(out, f->name, f->type, f->help);
	(void)fprintf(out, "%s %.15g\n", f->name, value * f->scale);
}

static void put_drops(FILE *out, const json_t *status)
{
	json_t *drops = json_object_get(status, "drops");
	json_t *value;
	const char *reason;

	if (!drops)
		return;
	describe(out, "culvert_drops_total", "counter", "Datagrams dropped, by reason.");
	json_object_foreach(drops, reason, value)
	{
		(void)fputs("culvert_drops_total{", out);
		put_label(out, true, "reason", reason);
		(void)fprintf(out, "} %lld\n", (long long)json_integer_value(value));
	}
}

void metrics_text_write(const json_t *status, FILE *out)
{
	static const struct family table[] = {
		{ "culvert_uptime_seconds", "gauge", "Since the start.", NULL, "uptime_s", 1 },
		{ "culvert_punch_attempts_total", "counter", "Attempts beyond plain probes.",
		  "punch", "attempts", 1 },
		{ "culvert_punch_succeeded_total", "counter", "Those that found a way.", "punch",
		  "succeeded", 1 },
		{ "culvert_punch_packets_total", "counter", "What they sent.", "punch", "packets",
		  1 },
		{ "culvert_punch_packets_left", "gauge", "What they may send now.", "punch",
		  "packets_left", 1 },
		{ "culvert_punch_sockets_total", "counter", "Sockets that they opened.", "punch",
		  "sockets", 1 },
		{ "culvert_punch_sockets_left", "gauge", "Sockets that they may open now.", "punch",
		  "sockets_left", 1 },
		{ "culvert_agents", "gauge", "Registered agents.", NULL, "agents", 1 },
		{ "culvert_channels", "gauge", "Relay channels.", NULL, "channels", 1 },
		{ "culvert_relay_receive_bytes_total", "counter", "Relayed, as it came.", NULL,
		  "relay_rx_bytes", 1 },
		{ "culvert_relay_transmit_bytes_total", "counter", "Relayed, as it left.", NULL,
		  "relay_tx_bytes", 1 },
	};

	describe(out, "culvert_info", "gauge", "The program.");
	(void)fputs("culvert_info{", out);
	put_label(out, true, "version", text_of(status, "version"));
	put_label(out, false, "role", text_of(status, "role"));
	put_label(out, false, "public_key", text_of(status, "public_key"));
	(void)fputs("} 1\n", out);
	for (size_t i = 0; i < CV_ARRAY_SIZE(table); i++)
		put_single(out, &table[i], status);
	if (json_object_get(status, "servers"))
		put_servers(out, json_object_get(status, "servers"));
	if (json_object_get(status, "peers"))
		put_peers(out, json_object_get(status, "peers"));
	put_listeners(out, json_object_get(status, "listeners"));
	put_drops(out, status);
}

/* ---- people ---- */

static void put_escaped(FILE *out, const char *text)
{
	for (; *text; text++) {
		if (*text == '<')
			(void)fputs("&lt;", out);
		else if (*text == '&')
			(void)fputs("&amp;", out);
		else
			(void)fputc(*text, out);
	}
}

void metrics_text_write_page(const json_t *status, bool has_pac, FILE *out)
{
	char *text = NULL;
	size_t size;
	FILE *words = open_memstream(&text, &size);

	if (words) {
		status_text_print(status, words);
		(void)fclose(words); /* without memory the text is short */
	}
	(void)fputs("<!DOCTYPE html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n"
	            "<title>culvert</title>\n<h1>culvert</h1>\n<pre>\n",
	            out);
	if (text)
		put_escaped(out, text);
	free(text);
	(void)fprintf(out, "</pre>\n<p><a href=\"metrics\">metrics</a>%s</p>\n</html>\n",
	              has_pac ? " <a href=\"proxy.pac\">proxy.pac</a>" : "");
}

/* ---- who is asked ---- */

bool metrics_text_is_our_host(const char *host)
{
	struct hostport h;
	const char *why;

	/* A bare number is a port to hostport_parse(), and nobody's address here. */
	if (!host || strspn(host, "0123456789") == strlen(host))
		return false;
	if (hostport_parse(host, 80, &h, &why) < 0)
		return false;
	return h.kind == HOST_ADDR || (h.kind == HOST_NAME && strcmp(h.text, "localhost") == 0);
}
