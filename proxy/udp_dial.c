/* SPDX-License-Identifier: MIT */
#include "proxy/udp_dial.h"

#include <string.h>

static enum udp_dial_verdict fail(struct udp_dial *d, enum target_code code)
{
	d->code = dial_more_telling(d->code, code);
	return UDP_DIAL_FAIL;
}

/* The next address that the policy lets through. */
static enum udp_dial_verdict next(struct udp_dial *d, const struct acl *acl)
{
	const char *name = d->to.kind == HOST_NAME ? d->to.text : NULL;

	while (d->next < d->count) {
		const struct addr *a = &d->list[d->next++];

		if (acl_check_dial(acl, name, a, true) != ACL_ALLOW) {
			d->code = dial_more_telling(d->code, TARGET_POLICY);
			continue;
		}
		d->addr = *a;
		return UDP_DIAL_CONNECT;
	}
	return UDP_DIAL_FAIL;
}

static void add(struct udp_dial *d, const struct addr *addr)
{
	struct addr a = dial_form(addr);

	a.port = d->to.port;
	for (unsigned i = 0; i < d->count; i++) {
		if (addr_equal(&d->list[i], &a))
			return;
	}
	if (d->count < UDP_DIAL_ADDRESSES_MAX)
		d->list[d->count++] = a;
}

enum udp_dial_verdict udp_dial_begin(struct udp_dial *d, const struct acl *acl,
                                     const struct hostport *to)
{
	static const struct addr loopback[] = {
		{ .family = ADDR_V4, .ip = { 127, 0, 0, 1 } },
		{ .family = ADDR_V6, .ip = { [15] = 1 } },
	};

	CV_ASSERT(to->kind == HOST_ADDR || to->kind == HOST_NAME);
	memset(d, 0, sizeof(*d));
	d->to = *to;
	if (acl_check_name(acl, to, true) != ACL_ALLOW)
		return fail(d, TARGET_POLICY);
	if (to->kind == HOST_NAME && !dial_is_localhost(to->text))
		return UDP_DIAL_RESOLVE;
	if (to->kind == HOST_ADDR) {
		add(d, &to->addr);
	} else {
		for (size_t i = 0; i < CV_ARRAY_SIZE(loopback); i++)
			add(d, &loopback[i]);
	}
	return next(d, acl);
}

enum udp_dial_verdict udp_dial_on_resolved(struct udp_dial *d, const struct acl *acl,
                                           const struct addr *list, size_t count)
{
	if (count == 0)
		return fail(d, TARGET_NAME_NOT_RESOLVED);
	for (size_t i = 0; i < count; i++)
		add(d, &list[i]);
	return next(d, acl);
}

enum udp_dial_verdict udp_dial_on_resolve_failed(struct udp_dial *d, enum dial_resolve_error why)
{
	switch (why) {
	case DIAL_RESOLVE_NOT_FOUND:
		return fail(d, TARGET_NAME_NOT_RESOLVED);
	case DIAL_RESOLVE_TIMEOUT:
		return fail(d, TARGET_RESOLVER_TIMEOUT);
	case DIAL_RESOLVE_LIMIT:
		return fail(d, TARGET_LIMIT);
	}
	CV_UNREACHABLE();
}

enum udp_dial_verdict udp_dial_on_failed(struct udp_dial *d, const struct acl *acl, int error)
{
	d->code = dial_more_telling(d->code, target_code_from_errno(error));
	return next(d, acl);
}

bool udp_dial_has_next(const struct udp_dial *d)
{
	return d->next < d->count;
}
