/* SPDX-License-Identifier: MIT */
#include "tunnel/vitals.h"

#define MARK_SPACING CV_SEC(1)
enum { MARKS = SESSION_MARKS };

static void totals(const struct session *s, uint64_t *tx, uint64_t *rx, uint32_t *open)
{
	struct streams_stats stats;
	struct datagrams_stats datagrams;

	streams_stats(s->streams, &stats);
	datagrams_stats(s->datagrams, &datagrams);
	*tx = s->tx_bytes + stats.sent_bytes + datagrams.sent_bytes;
	*rx = s->rx_bytes + stats.received_bytes + datagrams.received_bytes;
	*open = stats.open;
}

void vitals_keep(struct session *s)
{
	struct datagrams_stats datagrams;
	uint32_t open;

	datagrams_stats(s->datagrams, &datagrams);
	s->dropped += datagrams.dropped;
	totals(s, &s->tx_bytes, &s->rx_bytes, &open);
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
	out->mtu = (uint32_t)path_packet_max(p) + path_overhead(p);
}

void vitals_read(struct session *s, cv_time now, enum why_servers servers,
                 struct endpoint_peer_stats *out)
{
	unsigned oldest, newest;
	uint64_t tx, rx;

	vitals_mark(s, now);
	*out = (struct endpoint_peer_stats){ .state = session_state(s, now) };
	read_path(s, out);
	totals(s, &out->tx_bytes, &out->rx_bytes, &out->streams);
	if (session_policies_clash(s)) {
		why_clash(out->why);
	} else if (out->state != PEER_CONNECTED) {
		why_no_session(s, now, servers, out->why);
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
