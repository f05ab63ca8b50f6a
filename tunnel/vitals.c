/* SPDX-License-Identifier: MIT */
#include "tunnel/vitals.h"

#include <string.h>

#define MARK_SPACING CV_SEC(1)
enum { MARKS = SESSION_MARKS };

static void totals(const struct session *s, uint64_t *tx, uint64_t *rx, uint32_t *open)
{
	struct streams_stats stats;

	streams_stats(s->streams, &stats);
	*tx = s->tx_stream_bytes + stats.sent_bytes;
	*rx = s->rx_stream_bytes + stats.received_bytes;
	*open = stats.open;
}

static unsigned newest_mark(const struct session *s)
{
	return (s->mark_next + MARKS - 1) % MARKS;
}

void vitals_mark(struct session *s, cv_time now)
{
	uint32_t open;
	unsigned i = s->mark_next;

	if (s->marks[newest_mark(s)].at != 0 &&
	    cv_time_since(now, s->marks[newest_mark(s)].at) < MARK_SPACING)
		return;
	s->marks[i].at = CV_MAX(now, 1);
	s->marks[i].sent = s->sent_packets;
	s->marks[i].lost = s->lost_packets;
	totals(s, &s->marks[i].tx, &s->marks[i].rx, &open);
	s->mark_next = (i + 1) % MARKS;
}

/* The core has no stdio: text is put together from pieces, cut at the end of the buffer. */
static void append(char out[ENDPOINT_WHY_MAX], const char *text)
{
	size_t used = strlen(out);
	size_t size = CV_MIN(strlen(text), ENDPOINT_WHY_MAX - 1 - used);

	memcpy(out + used, text, size);
	out[used + size] = 0;
}

static void append_seconds(char out[ENDPOINT_WHY_MAX], cv_duration d)
{
	char digits[24];
	size_t i = sizeof(digits);
	uint64_t n = (d + CV_SEC(1) - 1) / CV_SEC(1);

	digits[--i] = 0;
	do {
		digits[--i] = (char)('0' + n % 10);
		n /= 10;
	} while (n > 0 && i > 0);
	append(out, digits + i);
	append(out, " s");
}

static void why_no_session(const struct session *s, cv_time now, char out[ENDPOINT_WHY_MAX])
{
	if (s->initiator.version_seen)
		append(out, "the peer speaks another protocol version");
	else if (now < s->duplicate_until)
		append(out, "another agent uses this identity");
	else if (s->down_code == CLOSE_SHUTDOWN)
		append(out, "the peer was stopped");
	else if (s->gone_servers)
		append(out, "the server saw the peer end");
	else if (s->absent_servers)
		append(out, "the peer is not at the server, or has not configured this agent");
	else if (s->address_refusals > 2)
		append(out, "nobody listens at the peer's address");
	else if (s->attempts_failed)
		append(out, "no answer to the handshake (peer off, network, wrong key, or a "
		            "pre-shared key on one side only)");
	else
		append(out, "connecting");
	if (!s->initiator.is_running && s->attempt_at != CV_TIME_NEVER && s->attempt_at > now) {
		append(out, "; next try in ");
		append_seconds(out, s->attempt_at - now);
	}
}

/* Why the relay is reached by TCP, in front of why there is a relay at all. */
static void why_tcp(const struct path *p, char out[ENDPOINT_WHY_MAX])
{
	if (p->kind != PATH_KIND_TCP)
		return;
	append(out, "UDP to the server does not pass ");
	append(out, !p->is_tcp_there ? "here" : p->is_tcp_here ? "on either side" : "at the peer");
	append(out, "; ");
}

static void why_relayed(const struct session *s, cv_time now, char out[ENDPOINT_WHY_MAX])
{
	unsigned checking = 0, failed = 0, narrow = 0;
	cv_time retry_at = CV_TIME_NEVER;

	if (s->policy == POLICY_RELAY) {
		append(out, "the configuration says path: relay");
		return;
	}
	if (s->assoc.peer_policy == POLICY_RELAY) {
		append(out, "the peer's configuration says path: relay");
		return;
	}
	for (unsigned i = 0; i < PATHS_MAX; i++) {
		const struct path *p = &s->paths.list[i];

		if (p->state == PATH_FREE || p->to.is_relay)
			continue;
		checking += p->state == PATH_CHECKING || p->state == PATH_VALID;
		failed += p->state == PATH_FAILED;
		narrow += p->state == PATH_FAILED && p->is_narrow;
		if (p->state == PATH_FAILED)
			retry_at = cv_time_min(retry_at, p->retry_at);
	}
	if (checking > 0)
		append(out, "direct addresses are being tried");
	else if (narrow > 0)
		append(out, "a direct path passes small packets only");
	else if (failed > 0)
		append(out, "no direct address answered");
	else
		append(out, "no direct address is known yet");
	if (checking == 0 && retry_at != CV_TIME_NEVER && retry_at > now) {
		append(out, "; next try in ");
		append_seconds(out, retry_at - now);
	}
}

static void read_path(const struct session *s, struct endpoint_peer_stats *out)
{
	const struct path *p;

	out->path_kind = path_kind_name(PATH_KIND_NONE);
	if (s->paths.active == PATHS_NONE || out->state != PEER_CONNECTED)
		return;
	p = &s->paths.list[s->paths.active];
	out->path_kind = path_kind_name((enum path_kind)p->kind);
	out->path_address = p->to.addr; /* the endpoint fills in a relay's */
	out->rtt = p->probe_rtt ? p->probe_rtt : (p->rtt.has_sample ? p->rtt.smoothed : 0);
	out->mtu = p->pmtud.size;
}

void vitals_read(struct session *s, cv_time now, struct endpoint_peer_stats *out)
{
	unsigned oldest, newest;
	uint64_t tx, rx;

	vitals_mark(s, now);
	*out = (struct endpoint_peer_stats){ .state = session_state(s, now) };
	read_path(s, out);
	totals(s, &out->tx_bytes, &out->rx_bytes, &out->streams);
	if (session_policies_clash(s)) {
		append(out->why, "one side says path: direct, the other path: relay");
	} else if (out->state != PEER_CONNECTED) {
		why_no_session(s, now, out->why);
	} else if (s->paths.list[s->paths.active].to.is_relay) {
		why_tcp(&s->paths.list[s->paths.active], out->why);
		why_relayed(s, now, out->why);
	}

	oldest = s->marks[s->mark_next].at ? s->mark_next : 0;
	out->sent_10s = s->sent_packets - s->marks[oldest].sent;
	out->lost_10s = s->lost_packets - s->marks[oldest].lost;
	/* Rates over the last whole second or so: the mark before the newest when that is too
	 * young. */
	newest = newest_mark(s);
	if (cv_time_since(now, s->marks[newest].at) < MARK_SPACING / 2)
		newest = (newest + MARKS - 1) % MARKS;
	tx = out->tx_bytes - s->marks[newest].tx;
	rx = out->rx_bytes - s->marks[newest].rx;
	if (s->marks[newest].at && now > s->marks[newest].at) {
		double seconds = (double)(now - s->marks[newest].at) / 1e9;

		out->tx_bps = (double)tx * 8 / seconds;
		out->rx_bps = (double)rx * 8 / seconds;
	}
}
