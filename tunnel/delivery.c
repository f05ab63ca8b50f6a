/* SPDX-License-Identifier: MIT */
#include "tunnel/delivery.h"

/*
 * Why the longer of the two intervals: ACKs that were held up somewhere arrive together and look as
 * if the path had been faster than it was ever sent to; and what is sent in a burst says nothing
 * about the rate at which it comes out at the other end.
 *
 * A flow is application-limited when the window *and* the pacer would have let more go and there
 * was nothing. The pause is only known when the next train leaves: a proxy that empties its buffer
 * into every train and fills it again within the same turn of its loop has never paused.
 */

void delivery_init(struct delivery *d, cv_time now)
{
	*d = (struct delivery){
		.delivered_at = now,
		.first_sent_at = now,
		.dry_at = CV_TIME_NEVER,
	};
}

void delivery_limit(struct delivery *d, uint64_t inflight)
{
	d->app_limited = CV_MAX(d->delivered + inflight, 1);
}

void delivery_on_dry(struct delivery *d, cv_time at)
{
	d->dry_at = cv_time_min(d->dry_at, at);
}

void delivery_on_train(struct delivery *d, cv_time now, uint64_t inflight, cv_duration slack,
                       struct delivery_mark *out)
{
	if (d->dry_at < now && now - d->dry_at > slack)
		delivery_limit(d, inflight);
	d->dry_at = CV_TIME_NEVER;
	/* Nothing is under way: what is measured from here on begins here. */
	if (inflight == 0) {
		d->first_sent_at = now;
		d->delivered_at = now;
	}
	*out = (struct delivery_mark){
		.delivered = d->delivered,
		.lost = d->lost,
		.delivered_at = d->delivered_at,
		.first_sent_at = d->first_sent_at,
		.is_app_limited = d->app_limited != 0,
	};
}

/* draft-ietf-ccwg-bbr, 4.1.2.3: UpdateRateSample(). */
void delivery_on_acked(struct delivery *d, cv_time now, const struct delivery_acked *packet,
                       struct delivery_sample *sample)
{
	const struct delivery_mark *m = packet->mark;

	d->delivered += packet->size;
	d->delivered_at = now;
	sample->acked_in[m->phase % DELIVERY_PHASES] += packet->size;
	if (sample->has_data &&
	    (packet->sent_at < sample->newest_sent_at ||
	     (packet->sent_at == sample->newest_sent_at && packet->number < sample->newest_number)))
		return;
	sample->has_data = true;
	sample->newest_sent_at = packet->sent_at;
	sample->newest_number = packet->number;
	sample->prior_delivered = m->delivered;
	sample->prior_lost = m->lost;
	sample->tx_in_flight = m->tx_in_flight;
	sample->is_app_limited = m->is_app_limited;
	sample->send_elapsed = cv_time_since(packet->sent_at, m->first_sent_at);
	sample->ack_elapsed = cv_time_since(now, m->delivered_at);
	d->first_sent_at = packet->sent_at;
}

void delivery_on_lost(struct delivery *d, uint64_t size)
{
	d->lost += size;
}

void delivery_on_late(struct delivery *d, cv_time now, uint64_t size)
{
	d->delivered += size;
	d->delivered_at = now;
	d->lost -= CV_MIN(d->lost, size);
}

void delivery_finish(struct delivery *d, cv_duration min_rtt, struct delivery_sample *sample)
{
	cv_duration interval = CV_MAX(sample->send_elapsed, sample->ack_elapsed);
	cv_u128 rate;

	if (d->app_limited && d->delivered > d->app_limited)
		d->app_limited = 0; /* the bubble has left the pipe */
	if (!sample->has_data)
		return;
	sample->delivered = d->delivered - sample->prior_delivered;
	/* A packet that came late may have taken back what was lost before. */
	sample->lost = d->lost - CV_MIN(d->lost, sample->prior_lost);
	if (interval == 0 || interval < min_rtt)
		return;
	rate = (cv_u128)sample->delivered * CV_SEC(1) / interval;
	sample->rate = rate > UINT64_MAX ? UINT64_MAX : (uint64_t)CV_MAX(rate, 1);
}
