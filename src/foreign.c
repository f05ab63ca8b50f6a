/* SPDX-License-Identifier: MIT */
#include "foreign.h"

#include <errno.h>
#include <string.h>

#include "base/alloc.h"
#include "base/log.h"

#define REFRESH_MS UINT64_C(3600000) /* a name that resolves may move */
#define RETRY_MS UINT64_C(60000)

struct host {
	struct foreign *owner;
	const struct config_host *spec;
	uint64_t lookup;     /* 0: none */
	struct addr list[2]; /* IPv4, IPv6; ADDR_NONE: not known */
	bool has_failed;
};

struct foreign {
	uv_timer_t timer;
	struct resolver *resolver;
	foreign_changed on_change;
	void *ctx;
	struct host *hosts; /* owned */
	size_t count;
	struct addr told[FOREIGN_MAX];
	unsigned told_count;
	bool is_refresh; /* what the timer does next: all names, or those that failed */
};

static void tell(struct foreign *f)
{
	struct addr list[FOREIGN_MAX];
	unsigned count = 0;

	for (size_t i = 0; i < f->count; i++) {
		for (unsigned k = 0; k < 2 && count < FOREIGN_MAX; k++) {
			if (f->hosts[i].list[k].family != ADDR_NONE)
				list[count++] = f->hosts[i].list[k];
		}
	}
	if (count == f->told_count && memcmp(list, f->told, count * sizeof(list[0])) == 0)
		return;
	memcpy(f->told, list, count * sizeof(list[0]));
	f->told_count = count;
	f->on_change(f->ctx, list, count);
}

static void on_timer(uv_timer_t *timer);

static void plan(struct foreign *f)
{
	bool has_failed = false, has_names = false;

	for (size_t i = 0; i < f->count; i++) {
		has_failed |= f->hosts[i].has_failed;
		has_names |= f->hosts[i].spec->host.kind == HOST_NAME;
	}
	f->is_refresh = !has_failed;
	if (has_names) /* never fails on a live handle */
		(void)uv_timer_start(&f->timer, on_timer, has_failed ? RETRY_MS : REFRESH_MS, 0);
}

static void set(struct host *h, const struct addr *list, unsigned count)
{
	memset(h->list, 0, sizeof(h->list));
	for (unsigned i = count; i-- > 0;) {
		struct addr a = addr_canonical(&list[i]);

		h->list[a.family == ADDR_V6] = a; /* the first of its family stays */
	}
}

static void on_lookup(void *ctx, uint64_t id, enum resolver_verdict verdict,
                      const struct addr *list, unsigned count)
{
	struct host *h = ctx;

	(void)id;
	h->lookup = 0;
	h->has_failed = verdict != RESOLVER_OK;
	if (h->has_failed)
		log_warn("%s does not resolve: %s", h->spec->text,
		         verdict == RESOLVER_NOT_FOUND ? "no such name" : "no answer");
	else
		set(h, list, count);
	plan(h->owner);
	tell(h->owner);
}

static void look_up(struct foreign *f, bool is_all)
{
	for (size_t i = 0; i < f->count; i++) {
		struct host *h = &f->hosts[i];

		if (h->spec->host.kind != HOST_NAME || h->lookup != 0 ||
		    (!is_all && !h->has_failed))
			continue;
		h->lookup = resolver_start(f->resolver, UINT64_MAX, h->spec->host.text,
		                           h->spec->host.port, on_lookup, h);
		h->has_failed = h->lookup == 0;
	}
	plan(f);
}

static void on_timer(uv_timer_t *timer)
{
	struct foreign *f = timer->data;

	look_up(f, f->is_refresh);
}

int foreign_open(uv_loop_t *loop, const struct config *config, struct resolver *resolver,
                 foreign_changed on_change, void *ctx, struct foreign **out)
{
	struct foreign *f = cv_zalloc(sizeof(*f));
	bool has_literals = false;

	if (!f)
		goto no_memory;
	*f = (struct foreign){ .resolver = resolver, .on_change = on_change, .ctx = ctx };
	f->count = config->stun_count;
	f->hosts = cv_zalloc_array(CV_MAX(f->count, 1), sizeof(f->hosts[0]));
	if (!f->hosts)
		goto no_memory;
	(void)uv_timer_init(loop, &f->timer); /* never fails */
	f->timer.data = f;
	for (size_t i = 0; i < f->count; i++) {
		struct host *h = &f->hosts[i];
		struct addr a = config->stun[i].host.addr;

		*h = (struct host){ .owner = f, .spec = &config->stun[i] };
		a.port = config->stun[i].host.port;
		if (config->stun[i].host.kind == HOST_ADDR) {
			set(h, &a, 1);
			has_literals = true;
		}
	}
	look_up(f, true);
	*out = f;
	if (has_literals)
		tell(f);
	return 0;

no_memory:
	log_error("out of memory");
	cv_free(f);
	return -ENOMEM;
}

bool foreign_rebind(struct foreign *f, const struct config *config)
{
	if (config->stun_count != f->count)
		return false;
	for (size_t i = 0; i < f->count; i++) {
		if (!hostport_equal(&config->stun[i].host, &f->hosts[i].spec->host))
			return false;
	}
	for (size_t i = 0; i < f->count; i++)
		f->hosts[i].spec = &config->stun[i];
	return true;
}

void foreign_network_changed(struct foreign *f)
{
	look_up(f, true);
}

static void on_closed(uv_handle_t *handle)
{
	struct foreign *f = handle->data;

	cv_free(f->hosts);
	cv_free(f);
}

void foreign_close(struct foreign *f)
{
	for (size_t i = 0; i < f->count; i++) {
		if (f->hosts[i].lookup != 0)
			resolver_cancel(f->resolver, f->hosts[i].lookup);
	}
	uv_close((uv_handle_t *)&f->timer, on_closed);
}
