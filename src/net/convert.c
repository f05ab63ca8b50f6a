/* SPDX-License-Identifier: MIT */
#include "net/convert.h"

#include <errno.h>
#include <netinet/in.h>
#include <stddef.h>
#include <string.h>

/* sockaddr_storage is copied to and from, never cast: no alignment and no aliasing to think of. */

socklen_t convert_to_sockaddr(const struct addr *a, struct sockaddr_storage *out)
{
	struct sockaddr_in v4 = { .sin_family = AF_INET };
	struct sockaddr_in6 v6 = { .sin6_family = AF_INET6 };

	CV_ASSERT(a->family == ADDR_V4 || a->family == ADDR_V6);
	memset(out, 0, sizeof(*out));
	if (a->family == ADDR_V4) {
		v4.sin_port = htons(a->port);
		memcpy(&v4.sin_addr, a->ip, 4);
		memcpy(out, &v4, sizeof(v4));
		return sizeof(v4);
	}
	v6.sin6_port = htons(a->port);
	v6.sin6_scope_id = a->scope;
	memcpy(&v6.sin6_addr, a->ip, 16);
	memcpy(out, &v6, sizeof(v6));
	return sizeof(v6);
}

static struct addr from_v6(const struct sockaddr_in6 *v6)
{
	static const uint8_t mapped[12] = { 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff };
	struct addr a = { .family = ADDR_V6, .port = ntohs(v6->sin6_port) };
	const uint8_t *ip = v6->sin6_addr.s6_addr;

	if (memcmp(ip, mapped, sizeof(mapped)) == 0)
		return addr_v4(ip[12], ip[13], ip[14], ip[15], a.port);
	memcpy(a.ip, ip, 16);
	/* Only link-local addresses mean something other on each link. */
	if (ip[0] == 0xfe && (ip[1] & 0xc0) == 0x80)
		a.scope = v6->sin6_scope_id;
	return a;
}

struct addr convert_from_sockaddr(const struct sockaddr *sa, socklen_t size)
{
	struct addr none = { .family = ADDR_NONE };
	struct sockaddr_in6 v6;
	struct sockaddr_in v4;
	sa_family_t family;

	if (size < offsetof(struct sockaddr, sa_family) + sizeof(family))
		return none;
	memcpy(&family, (const char *)sa + offsetof(struct sockaddr, sa_family), sizeof(family));
	if (family == AF_INET && size >= sizeof(v4)) {
		const uint8_t *ip = (const uint8_t *)&v4.sin_addr;

		memcpy(&v4, sa, sizeof(v4));
		return addr_v4(ip[0], ip[1], ip[2], ip[3], ntohs(v4.sin_port));
	}
	if (family == AF_INET6 && size >= sizeof(v6)) {
		memcpy(&v6, sa, sizeof(v6));
		return from_v6(&v6);
	}
	return none;
}

int convert_to_unix(const char *path, struct sockaddr_un *out, socklen_t *size)
{
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	size_t length = strlen(path);

	_Static_assert(HOST_UNIX_MAX < sizeof(un.sun_path), "a path and its NUL fit");
	if (length == 0)
		return -EINVAL; /* would be an autobind address */
	if (length > HOST_UNIX_MAX)
		return -ENAMETOOLONG;
	memcpy(un.sun_path, path, length);
	*out = un;
	*size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length + 1);
	return 0;
}

int convert_hostport(const struct hostport *h, struct sockaddr_storage *out, socklen_t *size)
{
	struct sockaddr_un un;
	int r;

	switch (h->kind) {
	case HOST_ADDR:
		*size = convert_to_sockaddr(&h->addr, out);
		return 0;
	case HOST_UNIX:
		r = convert_to_unix(h->text, &un, size);
		if (r < 0)
			return r;
		memset(out, 0, sizeof(*out));
		memcpy(out, &un, sizeof(un));
		return 0;
	case HOST_NONE:
	case HOST_NAME:
	case HOST_SERVICE:
		return -EINVAL;
	}
	CV_UNREACHABLE();
	return -EINVAL;
}
