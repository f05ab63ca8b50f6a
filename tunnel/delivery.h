/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * delivery - how fast one path delivers: a sample of its rate with every batch of ACKs, from what
 * was noted when the train that they acknowledge left. draft-ietf-ccwg-bbr, 4.1.
 *
 *	          first_sent_at      sent_at
 *	sending   |------- send_elapsed -----|
 *	ACKs          |------- ack_elapsed -----|
 *	              delivered_at (then)       now
 *
 *	rate = bytes delivered since the train left / the longer of the two
 *
 * Knows bytes and instants of one path; knows no windows and takes no decisions.
 */

#include <stdbool.h>
#include <stdint.h>

#include "base/compiler.h"
#include "base/time.h"

struct delivery {
	uint64_t delivered; /* bytes acknowledged so far */
	uint64_t lost;      /* bytes declared lost and not arrived since */
	cv_time delivered_at;
	cv_time first_sent_at; /* when the newest packet left that was delivered */
	uint64_t
		app_limited; /* until so many are delivered, samples may say too little; 0: never */
	cv_time dry_at;      /* from when on more could have been sent; CV_TIME_NEVER: it was */
};

/* Noted once for a train, when its first packet leaves. */
struct delivery_mark {
	uint64_t delivered, lost; /* as they stood */
	uint64_t tx_in_flight;    /* bytes in flight behind its newest packet */
	cv_time delivered_at, first_sent_at;
	bool is_app_limited;
	uint8_t phase; /* of congestion control (struct cc) */
};

enum { DELIVERY_PHASES = 4 };

/* One batch of ACKs; zeroed at its beginning. */
struct delivery_sample {
	uint64_t rate;            /* bytes a second; 0: no sample */
	uint64_t delivered;       /* bytes between the train's sending and its ACK */
	uint64_t prior_delivered; /* bytes that had been delivered when it was sent */
	uint64_t lost;            /* bytes declared lost between the two */
	uint64_t tx_in_flight;
	bool is_app_limited;
	bool has_data;
	/* work in progress */
	cv_time newest_sent_at;
	uint64_t newest_number;
	cv_duration send_elapsed, ack_elapsed;
	uint64_t prior_lost;
	/* bytes acknowledged by the phase in which they were sent */
	uint64_t acked_in[DELIVERY_PHASES];
};

void delivery_init(struct delivery *d, cv_time now);
/**
 * delivery_on_train() - a train begins to leave
 * @inflight: bytes in flight before it
 * @slack:    a pause that is shorter does not make a flow application-limited
 */
void delivery_on_train(struct delivery *d, cv_time now, uint64_t inflight, cv_duration slack,
                       struct delivery_mark *out);
/* Nothing more waits to be sent; pacing would let it go @at. Call while the window has room. */
void delivery_on_dry(struct delivery *d, cv_time at);
/* Samples of the next round trip are not the path's doing. */
void delivery_limit(struct delivery *d, uint64_t inflight);
/* A packet that was acknowledged. */
struct delivery_acked {
	const struct delivery_mark *mark; /* of its train */
	cv_time sent_at;
	uint64_t number;
	uint64_t size; /* bytes */
};
void delivery_on_acked(struct delivery *d, cv_time now, const struct delivery_acked *packet,
                       struct delivery_sample *sample);
void delivery_on_lost(struct delivery *d, uint64_t size);
/* A packet that was called lost has arrived. */
void delivery_on_late(struct delivery *d, cv_time now, uint64_t size);
/* After the batch and its losses. @min_rtt: shorter intervals are no sample. */
void delivery_finish(struct delivery *d, cv_duration min_rtt, struct delivery_sample *sample);
