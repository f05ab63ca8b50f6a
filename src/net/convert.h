/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * convert - struct addr and unix paths to and from the kernel's socket addresses.
 *
 * What comes from the kernel is reduced at this edge: an IPv4-mapped IPv6 address is the
 * IPv4 address, so nothing above ever sees two spellings of one sender.
 */

#include <sys/socket.h>
#include <sys/un.h>

#include "base/addr.h"
#include "base/compiler.h"
#include "base/hostport.h"

/* The size of the address written to @out; @a is ADDR_V4 or ADDR_V6. */
socklen_t convert_to_sockaddr(const struct addr *a, struct sockaddr_storage *out);
/* ADDR_NONE for any family but AF_INET and AF_INET6, or when @size is too small for it. */
struct addr convert_from_sockaddr(const struct sockaddr *sa, socklen_t size);
/**
 * convert_to_unix() - a path as a socket address
 * Return: 0 with *@size; -EINVAL for an empty path; -ENAMETOOLONG beyond HOST_UNIX_MAX bytes.
 */
CV_NODISCARD int convert_to_unix(const char *path, struct sockaddr_un *out, socklen_t *size);
/**
 * convert_hostport() - as the two above, for a HOST_ADDR or HOST_UNIX
 * Return: 0 with *@size, -EINVAL for another kind, -ENAMETOOLONG.
 */
CV_NODISCARD int convert_hostport(const struct hostport *h, struct sockaddr_storage *out,
                                  socklen_t *size);
