/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * bbr_model - what BBR believes of one path: bandwidth, round-trip time, aggregation, and how much
 * it takes before it loses. draft-ietf-ccwg-bbr, 5.5. It learns from ACKs and losses and
 * decides nothing; what to send is bbr.c's.
 *
 * Rates are bytes a second, volumes bytes. UINT64_MAX is "no bound".
 */

#include <stdbool.h>
#include <stdint.h>

#include "base/time.h"
#include "tunnel/loss_floor.h"

struct cc_ack;
struct cc_lost;

enum {
	BBR_MODEL_EXTRA_ROUNDS = 10, /* ExtraAckedFilterLen */
	BBR_MODEL_LOSS_PERCENT = 2,  /* LossThresh */
	BBR_MODEL_BETA_TENTHS = 7,
};

struct bbr_model {
	/* rounds, timed by packets */
	uint64_t next_round_delivered;
	uint64_t rounds;
	bool is_round_start;
	cv_duration round_rtt_min; /* of this round so far; CV_TIME_NEVER: none */
	cv_duration last_rtt_min;  /* of the round before; CV_TIME_NEVER: none */

	/* bandwidth: maxima of the last probing cycle and of this one */
	uint64_t max_bw_of[2];
	uint64_t round_bw;    /* greatest sample of this round */
	uint8_t stale_rounds; /* rounds in a row that belied the maxima */
	uint8_t calm_rounds;  /* rounds in a row without loss or queue */
	uint64_t bw_short;
	uint64_t bw_latest;

	/* volume */
	uint64_t inflight_long, inflight_short, inflight_latest;

	/* round trip */
	cv_duration min_rtt; /* CV_TIME_NEVER: none yet */
	cv_time min_rtt_at;
	cv_duration probe_min; /* candidate of the present ProbeRTT interval */
	cv_time probe_min_at;
	bool is_probe_due; /* the candidate has not been confirmed for ProbeRTTInterval */

	/* aggregation */
	cv_time extra_at;
	uint64_t extra_delivered;
	uint64_t extra_round;                   /* newest round in the filter */
	uint32_t extra[BBR_MODEL_EXTRA_ROUNDS]; /* greatest of each of the last rounds */

	/* losses */
	uint64_t loss_round_delivered;
	bool is_loss_round_start;
	bool is_loss_in_round;
	uint64_t round_lost, round_acked,
		round_ce;      /* bytes; ce: of datagrams, counted as mss each */
	uint32_t round_bursts; /* discontiguous ranges lost */
	uint64_t lost_next;    /* number that would continue the last of them */
	struct loss_floor floor;
};

void bbr_model_init(struct bbr_model *m, cv_time now);
/* The least of both bounds: what the path is believed to carry. 0: nothing is known. */
uint64_t bbr_model_bw(const struct bbr_model *m);
uint64_t bbr_model_max_bw(const struct bbr_model *m);
/* Bandwidth-delay product times @percent / 100; UINT64_MAX while there is no RTT or no rate. */
uint64_t bbr_model_bdp(const struct bbr_model *m, uint64_t bw, uint32_t percent);
uint64_t bbr_model_extra(const struct bbr_model *m, bool is_starting);
/* The last round trip stood above the least known: somebody's packets wait in a queue. */
bool bbr_model_is_queued(const struct bbr_model *m, uint32_t mss);

/* It did, by as little as can be told: what is lost now may be its doing. */
bool bbr_model_is_crowded(const struct bbr_model *m, uint32_t mss);

/* At the head of a batch: rounds, the newest rate. */
void bbr_model_on_ack(struct bbr_model *m, cv_time now, const struct cc_ack *ack, uint32_t mss);
/* A round begins behind what is in flight. */
void bbr_model_start_round(struct bbr_model *m, uint64_t delivered);
/* @is_probing: no lower bounds are drawn; @cwnd: where they begin. After bbr_model_on_ack(). */
void bbr_model_adapt_bounds(struct bbr_model *m, uint32_t mss, uint64_t cwnd, bool is_probing);
void bbr_model_update_aggregation(struct bbr_model *m, cv_time now, uint64_t acked, uint64_t cwnd);
void bbr_model_update_min_rtt(struct bbr_model *m, cv_time now, cv_duration rtt);
/* At the end of a batch. */
void bbr_model_advance(struct bbr_model *m, const struct cc_ack *ack);
void bbr_model_on_lost(struct bbr_model *m, const struct cc_lost *lost, uint32_t mss);
/* True when more of @tx_in_flight was lost than that volume excuses. */
bool bbr_model_is_too_high(const struct bbr_model *m, uint64_t lost, uint64_t tx_in_flight,
                           uint32_t mss);
/* Volume at which the losses began to be too many, in the train that @lost was in. */
uint64_t bbr_model_inflight_at(const struct bbr_model *m, const struct cc_lost *lost, uint32_t mss);
void bbr_model_forget_short(struct bbr_model *m);
void bbr_model_reset_signals(struct bbr_model *m);
/* A probing cycle is over: the maximum of the one before is forgotten. */
void bbr_model_next_cycle(struct bbr_model *m);
bool bbr_model_check(const struct bbr_model *m);
