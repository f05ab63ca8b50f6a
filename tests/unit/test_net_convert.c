/* SPDX-License-Identifier: MIT */

/*
 * Goal: an address survives the way through the kernel's form, has one spelling, and a unix
 * path is never cut. Method: round trips, every form once, the length limit from both sides.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <netinet/in.h>
#include <string.h>

#include "net/convert.h"

static struct addr through(const struct addr *a)
{
	struct sockaddr_storage sa;
	socklen_t size = convert_to_sockaddr(a, &sa);

	return convert_from_sockaddr((struct sockaddr *)&sa, size);
}

static void addresses_survive(void **state)
{
	static const char *const rows[] = {
		"192.0.2.1:80",      "0.0.0.0:0", "255.255.255.255:65535",
		"[2001:db8::1]:443", "[::]:0",    "[::1]:1"
	};
	struct addr a, b;

	(void)state;
	for (size_t i = 0; i < CV_ARRAY_SIZE(rows); i++) {
		assert_int_equal(addr_parse(rows[i], &a), 0);
		b = through(&a);
		assert_true(addr_equal(&a, &b));
		assert_memory_equal(&a, &b, sizeof(a));
	}
}

static void only_link_local_keeps_its_scope(void **state)
{
	struct addr a = {
		.family = ADDR_V6, .scope = 7, .port = 9, .ip = { 0xfe, 0x80, [15] = 1 }
	};
	struct addr b = through(&a);

	(void)state;
	assert_int_equal(b.scope, 7);
	a.ip[0] = 0x20;
	b = through(&a);
	assert_int_equal(b.scope, 0);
}

static void mapped_is_ipv4(void **state)
{
	struct addr a = { .family = ADDR_V6,
		          .port = 53,
		          .ip = { [10] = 0xff, [11] = 0xff, [12] = 192, [14] = 2, [15] = 9 } };
	struct addr b = through(&a), want = addr_v4(192, 0, 2, 9, 53);

	(void)state;
	assert_true(addr_equal(&b, &want));
}

static void the_rest_is_none(void **state)
{
	struct sockaddr_storage sa;
	struct addr a = addr_v4(127, 0, 0, 1, 1);
	socklen_t size = convert_to_sockaddr(&a, &sa);

	(void)state;
	for (socklen_t cut = 0; cut < size; cut++)
		assert_int_equal(convert_from_sockaddr((struct sockaddr *)&sa, cut).family,
		                 ADDR_NONE);
	sa.ss_family = AF_UNIX;
	assert_int_equal(convert_from_sockaddr((struct sockaddr *)&sa, sizeof(sa)).family,
	                 ADDR_NONE);
}

static void unix_paths_are_never_cut(void **state)
{
	char path[HOST_UNIX_MAX + 2];
	struct sockaddr_un un;
	socklen_t size;

	(void)state;
	memset(path, 'x', sizeof(path));
	path[0] = '/';
	path[HOST_UNIX_MAX + 1] = 0;
	assert_int_equal(convert_to_unix(path, &un, &size), -ENAMETOOLONG);
	for (size_t length = HOST_UNIX_MAX; length >= HOST_UNIX_MAX - 1; length--) {
		path[length] = 0;
		assert_int_equal(convert_to_unix(path, &un, &size), 0);
		assert_string_equal(un.sun_path, path);
		assert_int_equal(size, offsetof(struct sockaddr_un, sun_path) + length + 1);
	}
	assert_int_equal(convert_to_unix("", &un, &size), -EINVAL);
}

static void hostports(void **state)
{
	struct hostport h = { .kind = HOST_ADDR, .addr = addr_v4(127, 0, 0, 1, 5) };
	struct sockaddr_storage sa;
	socklen_t size;

	(void)state;
	assert_int_equal(convert_hostport(&h, &sa, &size), 0);
	assert_int_equal(sa.ss_family, AF_INET);
	h = (struct hostport){ .kind = HOST_UNIX, .text = "/run/x" };
	assert_int_equal(convert_hostport(&h, &sa, &size), 0);
	assert_int_equal(sa.ss_family, AF_UNIX);
	h.kind = HOST_NAME;
	assert_int_equal(convert_hostport(&h, &sa, &size), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(addresses_survive),
		cmocka_unit_test(only_link_local_keeps_its_scope),
		cmocka_unit_test(mapped_is_ipv4),
		cmocka_unit_test(the_rest_is_none),
		cmocka_unit_test(unix_paths_are_never_cut),
		cmocka_unit_test(hostports),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
