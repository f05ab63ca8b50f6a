/* SPDX-License-Identifier: MIT */
/*
 * buffers - LD_PRELOAD for programs that leave UDP sockets the kernel's default buffers.
 *
 * With 208 KiB a receiver loses packets to its own socket from some 200 Mbit/s on as soon as it
 * is not scheduled for 2 ms. Whoever deploys QUIC sets more, as culvert does: its comparison
 * should be with that.
 */
#include <dlfcn.h>
#include <sys/socket.h>

enum { BUFFER_SIZE = 7 << 20 }; /* as culvert's (src/net/udp_bind.c) */

int socket(int domain, int type, int protocol)
{
	int (*real)(int, int, int) = (int (*)(int, int, int))dlsym(RTLD_NEXT, "socket");
	int fd = real(domain, type, protocol), size = BUFFER_SIZE;

	if (fd < 0 || (type & 0xf) != SOCK_DGRAM)
		return fd;
	if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size)) < 0)
		(void)setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size));
	if (setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof(size)) < 0)
		(void)setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
	return fd;
}
