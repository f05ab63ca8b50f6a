/* SPDX-License-Identifier: MIT */
#include "flows/once.h"

#include <errno.h>
#include <string.h>

#include "base/alloc.h"
#include "flows/bridge.h"
#include "proxy/http.h"

enum {
	IGNORED_MAX = 65536, /* bytes behind the request; then the client is not read any more */
};

struct once {
	struct http_body body;
	uint8_t *head; /* owned: the head and what of the body came with it; NULL once written */
	size_t at, size;
	uint8_t *reserved; /* the stream's, between alloc and read */
	size_t ignored;
};

/* Nobody reads it. */
static uint8_t ignored_bytes[4096];

int once_new(struct flow *f, const struct http *h, uint8_t *early, size_t early_size)
{
	size_t cap = h->head.size + HTTP_REQUEST_EXTRA + early_size;
	struct once *o = cv_zalloc(sizeof(*o));
	size_t kept;
	struct wr w;

	CV_ASSERT(!f->once);
	if (!o)
		return -ENOMEM;
	f->once = o;
	o->body = h->body;
	o->head = cv_zalloc(cap);
	if (!o->head)
		return -ENOMEM;
	w = wr_init(o->head, cap);
	http_write_request(h, &w);
	kept = http_body_filter(&o->body, early, early_size);
	wr_copy(&w, early, kept);
	CV_ASSERT(!w.bad);
	o->size = wr_size(&w);
	return http_body_is_bad(&o->body) ? -EBADMSG : 0;
}

void once_free(struct flow *f)
{
	if (f->once)
		cv_free(f->once->head);
	cv_free(f->once);
	f->once = NULL;
}

bool once_push(struct flow *f)
{
	struct once *o = f->once;
	size_t taken;

	if (!o->head)
		return true;
	/* Until nothing is taken: that asks to be told when there is room again. */
	while (o->at < o->size) {
		taken = stream_write(f->streams, f->stream, o->head + o->at, o->size - o->at);
		if (taken == 0)
			return false;
		o->at += taken;
		flow_kick(f);
	}
	cv_free(o->head);
	o->head = NULL;
	return true;
}

uint8_t *once_alloc(struct flow *f, size_t *size)
{
	struct once *o = f->once;

	if (o->head)
		return NULL;
	if (http_body_is_done(&o->body)) {
		*size = sizeof(ignored_bytes);
		return o->ignored < IGNORED_MAX ? ignored_bytes : NULL;
	}
	*size = SIZE_MAX;
	o->reserved = stream_reserve(f->streams, f->stream, size);
	return o->reserved;
}

bool once_read(struct flow *f, size_t size)
{
	struct once *o = f->once;

	if (!o->reserved) {
		o->ignored += size;
		return true;
	}
	size = http_body_filter(&o->body, o->reserved, size);
	o->reserved = NULL;
	stream_commit(f->streams, f->stream, size);
	flow_kick(f);
	return !http_body_is_bad(&o->body);
}

bool once_is_sent(const struct flow *f)
{
	return !f->once->head && http_body_is_done(&f->once->body);
}
