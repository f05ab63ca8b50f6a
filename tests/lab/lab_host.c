/* SPDX-License-Identifier: MIT */
#include "lab_host.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <net/route.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef TUN_F_USO4 /* Linux 6.2; older headers, newer kernel */
#define TUN_F_USO4 0x20
#define TUN_F_USO6 0x40
#endif

enum {
	FDS = 3,
	/* Room for bursts while labnet is busy; the default of 500 loses what no link lost. */
	TX_QUEUE_LENGTH = 2000,
	SWEEPS_MAX = 20, /* a process that forks faster than we kill is not ours to beat */
};

struct hello {
	int status; /* 0 or negative errno */
	uint64_t namespace_id;
};

/* linux/ipv6.h has it, but does not go together with netinet/in.h. */
struct in6_ifreq {
	struct in6_addr address;
	uint32_t prefix;
	int interface;
};

static void write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);

	if (fd >= 0) {
		/* Best effort: a container may have /proc/sys read-only, and IPv6 may be absent. */
		if (write(fd, text, strlen(text)) < 0) {
			errno = 0;
		}
		close(fd);
	}
}

static void set_name(struct ifreq *request, const char *name)
{
	(void)snprintf(request->ifr_name, sizeof(request->ifr_name), "%s", name);
}

static int set_up(int fd, const char *name, bool is_up)
{
	struct ifreq request = { 0 };

	set_name(&request, name);
	if (ioctl(fd, SIOCGIFFLAGS, &request) < 0) {
		return -errno;
	}
	request.ifr_flags =
		(short)(is_up ? request.ifr_flags | IFF_UP : request.ifr_flags & ~IFF_UP);
	return ioctl(fd, SIOCSIFFLAGS, &request) < 0 ? -errno : 0;
}

static int open_tun(const struct lab_host_config *config, const char *device, int *out)
{
	struct ifreq request = { .ifr_flags = IFF_TUN | IFF_NO_PI | IFF_VNET_HDR };
	unsigned long offload = TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6;
	int header_size = LAB_VNET_SIZE;
	int fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);

	if (fd < 0) {
		return -errno;
	}
	set_name(&request, device);
	if (ioctl(fd, TUNSETIFF, &request) < 0 || ioctl(fd, TUNSETVNETHDRSZ, &header_size) < 0) {
		int r = -errno;

		close(fd);
		return r;
	}
	/* Falling back costs speed only: packets then arrive cut and summed. */
	if (config->has_offload &&
	    ioctl(fd, TUNSETOFFLOAD, offload | TUN_F_USO4 | TUN_F_USO6) < 0) {
		(void)ioctl(fd, TUNSETOFFLOAD, offload);
	}
	*out = fd;
	return 0;
}

/* By netlink, because the ioctl asks for the real root also in a user namespace. */
static int set_queue_length(const char *device)
{
	struct {
		struct nlmsghdr header;
		struct ifinfomsg link;
		struct nlattr name_header;
		char name[LAB_DEVICE_SIZE];
		struct nlattr length_header;
		uint32_t length;
	} request = {
		.header = { sizeof(request), RTM_SETLINK, NLM_F_REQUEST | NLM_F_ACK, 1, 0 },
		.name_header = { sizeof(struct nlattr) + LAB_DEVICE_SIZE, IFLA_IFNAME },
		.length_header = { sizeof(struct nlattr) + sizeof(uint32_t), IFLA_TXQLEN },
		.length = TX_QUEUE_LENGTH,
	};
	struct {
		struct nlmsghdr header;
		struct nlmsgerr error;
	} answer = { .error = { .error = -EIO } };
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);

	if (fd < 0) {
		return -errno;
	}
	(void)snprintf(request.name, sizeof(request.name), "%s", device);
	if (send(fd, &request, sizeof(request), 0) < 0 ||
	    recv(fd, &answer, sizeof(answer), MSG_TRUNC) < 0) {
		answer.error.error = -errno;
	}
	close(fd);
	return answer.error.error;
}

static int configure_device(int fd, const struct lab_host_config *config, const char *device)
{
	struct ifreq request = { .ifr_mtu = (int)config->mtu_size };
	char path[64];
	int r;

	(void)snprintf(path, sizeof(path), "/proc/sys/net/ipv6/conf/%s/addr_gen_mode", device);
	write_file(path, "1"); /* no link-local chatter */
	/* What comes in by one interface may be answered by another. */
	(void)snprintf(path, sizeof(path), "/proc/sys/net/ipv4/conf/%s/rp_filter", device);
	write_file(path, "0");
	write_file("/proc/sys/net/ipv4/conf/all/rp_filter", "0");
	/* Echo sockets for everyone; in a user namespace only group 0 exists. */
	write_file("/proc/sys/net/ipv4/ping_group_range", "0 0");
	write_file("/proc/sys/net/ipv4/ping_group_range", "0 2147483647");
	set_name(&request, device);
	if (ioctl(fd, SIOCSIFMTU, &request) < 0) {
		return -errno;
	}
	r = set_queue_length(device);
	return r ? r : set_up(fd, "lo", true);
}

static int bind_file(const char *from, const char *to)
{
	if (!from || mount(from, to, NULL, MS_BIND, NULL) == 0) {
		return 0;
	}
	return errno == ENOENT ? 0 : -errno; /* a system without the file needs no other one */
}

static int make_namespaces(const struct lab_host_config *config)
{
	int r;

	if (unshare(CLONE_NEWNET | CLONE_NEWNS | CLONE_NEWUTS) < 0 ||
	    mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
	    sethostname(config->name, strlen(config->name)) < 0) {
		return -errno;
	}
	r = bind_file(config->hosts_path, "/etc/hosts");
	return r ? r : bind_file(config->resolv_path, "/etc/resolv.conf");
}

static int join_namespace(pid_t holder)
{
	char path[64];
	int fd;

	(void)snprintf(path, sizeof(path), "/proc/%d/ns/net", (int)holder);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	return fd < 0 || setns(fd, CLONE_NEWNET) < 0 ? -errno : 0;
}

static int send_hello(int socket_fd, const struct hello *hello, const int *fds, size_t count)
{
	union {
		struct cmsghdr header;
		char bytes[CMSG_SPACE(FDS * sizeof(int))];
	} control = { .bytes = { 0 } };
	struct iovec part = { (void *)(uintptr_t)hello, sizeof(*hello) };
	struct msghdr message = { .msg_iov = &part, .msg_iovlen = 1 };

	if (count) {
		message.msg_control = &control;
		message.msg_controllen = CMSG_SPACE(count * sizeof(int));
		control.header.cmsg_level = SOL_SOCKET;
		control.header.cmsg_type = SCM_RIGHTS;
		control.header.cmsg_len = CMSG_LEN(count * sizeof(int));
		memcpy(CMSG_DATA(&control.header), fds, count * sizeof(int));
	}
	return sendmsg(socket_fd, &message, MSG_NOSIGNAL) < 0 ? -errno : 0;
}

/* The holder's whole life. It keeps no descriptor of labnet or of other hosts. One that only adds
 * an interface to somebody else's host has done its work with that. */
static _Noreturn void hold(int socket_fd, const struct lab_host_config *config, const char *device)
{
	struct hello hello = { 0 };
	struct stat st = { 0 };
	int fds[FDS] = { -1, -1, -1 };
	size_t count = 2;
	char byte;

	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	(void)signal(SIGINT, SIG_IGN); /* ^C at the test is not meant for us */
	socket_fd = dup2(socket_fd, 3);
	(void)close_range(4, ~0u, 0);
	(void)close(STDIN_FILENO); /* the control socket */
	hello.status = config->joined ? join_namespace(config->joined) : make_namespaces(config);
	if (!hello.status) {
		hello.status = open_tun(config, device, &fds[0]);
	}
	if (!hello.status) {
		fds[1] = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
		fds[2] = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);
		count = fds[2] >= 0 ? FDS : 2;
		hello.status = configure_device(fds[1], config, device);
	}
	if (!config->joined && stat("/proc/self/ns/net", &st) == 0) {
		hello.namespace_id = st.st_ino;
	}
	if (send_hello(socket_fd, &hello, fds, hello.status ? 0 : count) == 0 && !hello.status &&
	    !config->joined) {
		(void)close_range(4, ~0u, 0);
		while (read(socket_fd, &byte, 1) < 0 && errno == EINTR) {
		}
	}
	_exit(0);
}

static int receive_hello(struct lab_host *host)
{
	union {
		struct cmsghdr header;
		char bytes[CMSG_SPACE(FDS * sizeof(int))];
	} control;
	struct hello hello = { .status = -EIO };
	struct iovec part = { &hello, sizeof(hello) };
	struct msghdr message = {
		.msg_iov = &part,
		.msg_iovlen = 1,
		.msg_control = &control,
		.msg_controllen = sizeof(control),
	};
	int fds[FDS] = { -1, -1, -1 };

	if (recvmsg(host->holder_fd, &message, MSG_CMSG_CLOEXEC) != (ssize_t)sizeof(hello)) {
		return -EIO;
	}
	if (hello.status) {
		return hello.status;
	}
	if (message.msg_controllen < CMSG_LEN(2 * sizeof(int))) {
		return -EIO;
	}
	memcpy(fds, CMSG_DATA(&control.header), control.header.cmsg_len - CMSG_LEN(0));
	host->tun_fd = fds[0];
	host->ioctl4_fd = fds[1];
	host->ioctl6_fd = fds[2];
	host->namespace_id = hello.namespace_id;
	return 0;
}

static void close_fd(int *fd)
{
	if (*fd >= 0) {
		close(*fd);
	}
	*fd = -1;
}

int lab_host_open(struct lab_host *host, const struct lab_host_config *config)
{
	int pair[2];
	int r;

	LAB_ASSERT(config->interface < LAB_INTERFACES_MAX);
	*host = (struct lab_host){
		.tun_fd = -1,
		.ioctl4_fd = -1,
		.ioctl6_fd = -1,
		.holder_fd = -1,
		.metric = config->metric,
	};
	(void)snprintf(host->device, sizeof(host->device), "eth%u",
	               (unsigned)config->interface % LAB_INTERFACES_MAX);
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0) {
		return -errno;
	}
	host->holder = fork();
	if (host->holder == 0) {
		hold(pair[1], config, host->device);
	}
	close(pair[1]);
	host->holder_fd = pair[0];
	r = host->holder < 0 ? -errno : receive_hello(host);
	if (r) {
		lab_host_close(host);
	} else if (config->joined) {
		close_fd(&host->holder_fd);
		(void)waitpid(host->holder, NULL, 0);
		host->holder = 0;
	}
	return r;
}

static size_t kill_inside(uint64_t namespace_id, pid_t spared)
{
	size_t count = 0;
	struct dirent *entry;
	struct stat st;
	char path[64];
	DIR *proc = opendir("/proc");

	if (!proc) {
		return 0;
	}
	while ((entry = readdir(proc))) {
		pid_t pid = (pid_t)strtol(entry->d_name, NULL, 10);

		if (pid <= 0 || pid == spared) {
			continue;
		}
		(void)snprintf(path, sizeof(path), "/proc/%d/ns/net", (int)pid);
		if (stat(path, &st) == 0 && st.st_ino == namespace_id) {
			(void)kill(pid, SIGKILL);
			count++;
		}
	}
	closedir(proc);
	return count;
}

void lab_host_close(struct lab_host *host)
{
	for (int i = 0; host->namespace_id && i < SWEEPS_MAX; i++) {
		if (!kill_inside(host->namespace_id, host->holder)) {
			break;
		}
		sched_yield();
	}
	host->namespace_id = 0;
	close_fd(&host->tun_fd);
	close_fd(&host->ioctl4_fd);
	close_fd(&host->ioctl6_fd);
	close_fd(&host->holder_fd);
	if (host->holder > 0) {
		(void)waitpid(host->holder, NULL, 0);
	}
	host->holder = 0;
}

/* Addresses ------------------------------------------------------------------ */

static void set_sockaddr(struct sockaddr *out, const uint8_t *ip)
{
	struct sockaddr_in in = { .sin_family = AF_INET };

	if (ip) {
		memcpy(&in.sin_addr, ip, 4);
	}
	memcpy(out, &in, sizeof(in));
}

/* The first address is that of eth0, further ones are aliases eth0:1 and up. */
static int set_ip4(const struct lab_host *host, size_t index, const uint8_t *ip, unsigned prefix)
{
	int fd = host->ioctl4_fd;
	struct ifreq request = { 0 };
	uint8_t mask[4];

	if (index) {
		(void)snprintf(request.ifr_name, sizeof(request.ifr_name), "%s:%u", host->device,
		               (unsigned)index % LAB_ADDRESSES_MAX);
	} else {
		set_name(&request, host->device);
	}
	set_sockaddr(&request.ifr_addr, ip); /* without one: 0.0.0.0, which removes */
	if (ioctl(fd, SIOCSIFADDR, &request) < 0) {
		return -errno;
	}
	if (!ip) {
		return 0;
	}
	lab_put32(mask, prefix ? ~UINT32_C(0) << (32 - prefix) : 0);
	set_sockaddr(&request.ifr_netmask, mask);
	return ioctl(fd, SIOCSIFNETMASK, &request) < 0 ? -errno : 0;
}

static int set_ip6(struct lab_host *host, const struct lab_address *address, bool is_added)
{
	struct in6_ifreq request = { .prefix = address->prefix };
	struct ifreq name = { 0 };

	if (host->ioctl6_fd < 0) {
		return -EAFNOSUPPORT;
	}
	set_name(&name, host->device);
	if (ioctl(host->ioctl6_fd, SIOCGIFINDEX, &name) < 0) {
		return -errno;
	}
	request.interface = name.ifr_ifindex;
	memcpy(&request.address, address->bytes, sizeof(request.address));
	if (ioctl(host->ioctl6_fd, is_added ? SIOCSIFADDR : SIOCDIFADDR, &request) < 0) {
		return errno == EEXIST ? 0 : -errno;
	}
	return 0;
}

static int add_default_route4(struct lab_host *host)
{
	struct rtentry route = {
		.rt_flags = RTF_UP,
		.rt_dev = host->device,
		.rt_metric = (short)(host->metric + 1), /* the kernel takes one off */
	};

	set_sockaddr(&route.rt_dst, NULL);
	set_sockaddr(&route.rt_genmask, NULL);
	return ioctl(host->ioctl4_fd, SIOCADDRT, &route) < 0 && errno != EEXIST ? -errno : 0;
}

static int add_default_route6(const struct lab_host *host)
{
	struct in6_rtmsg route = { .rtmsg_flags = RTF_UP, .rtmsg_metric = host->metric + 1 };
	struct ifreq name = { 0 };

	set_name(&name, host->device);
	if (ioctl(host->ioctl6_fd, SIOCGIFINDEX, &name) < 0) {
		return -errno;
	}
	route.rtmsg_ifindex = name.ifr_ifindex;
	return ioctl(host->ioctl6_fd, SIOCADDRT, &route) < 0 && errno != EEXIST ? -errno : 0;
}

static void clear_addresses(struct lab_host *host)
{
	size_t count4 = 0;

	for (size_t i = 0; i < host->address_count; i++) {
		if (host->addresses[i].is_v6) {
			(void)set_ip6(host, &host->addresses[i], false);
		} else {
			count4++;
		}
	}
	/* Failing means that the address went with its primary: as wanted. */
	while (count4-- > 0) {
		(void)set_ip4(host, count4, NULL, 0);
	}
	host->address_count = 0;
}

int lab_host_configure(struct lab_host *host, const struct lab_address *addresses, size_t count)
{
	size_t count4 = 0;
	bool has_v6 = false;
	int r;

	LAB_ASSERT(count <= LAB_ADDRESSES_MAX);
	clear_addresses(host);
	r = set_up(host->ioctl4_fd, host->device, true);
	for (size_t i = 0; !r && i < count; i++) {
		host->addresses[host->address_count++] = addresses[i];
		if (addresses[i].is_v6) {
			has_v6 = true;
			r = set_ip6(host, &addresses[i], true);
		} else {
			r = set_ip4(host, count4++, addresses[i].bytes, addresses[i].prefix);
		}
	}
	if (!r && count4) {
		r = add_default_route4(host);
	}
	return r || !has_v6 ? r : add_default_route6(host);
}

int lab_host_unplug(struct lab_host *host)
{
	return set_up(host->ioctl4_fd, host->device, false);
}

/* Packets -------------------------------------------------------------------- */

bool lab_host_read(struct lab_host *host, struct lab_packet *p)
{
	ssize_t size =
		read(host->tun_fd, p->data - LAB_VNET_SIZE, LAB_VNET_SIZE + LAB_SUPER_SIZE_MAX);

	if (size <= LAB_VNET_SIZE) {
		return false;
	}
	p->size = (uint32_t)(size - LAB_VNET_SIZE);
	memcpy(&p->vnet, p->data - LAB_VNET_SIZE, sizeof(p->vnet));
	return true;
}

void lab_host_write(struct lab_host *host, struct lab_packet *p)
{
	uint8_t *start = p->data - LAB_VNET_SIZE;

	memset(start, 0, LAB_VNET_SIZE);
	memcpy(start, &p->vnet, sizeof(p->vnet));
	if (write(host->tun_fd, start, LAB_VNET_SIZE + p->size) < 0) {
		host->write_failed++;
	}
}

/* Commands ------------------------------------------------------------------- */

int lab_host_enter(pid_t holder, const char *directory, bool dies_with_parent, char *const *command)
{
	static const struct {
		const char *name;
		int kind;
	} spaces[] = { { "uts", CLONE_NEWUTS }, { "net", CLONE_NEWNET }, { "mnt", CLONE_NEWNS } };
	enum {
		SPACES = sizeof(spaces) / sizeof(spaces[0]),
	};
	char path[64];
	int fds[SPACES];

	for (size_t i = 0; i < SPACES; i++) {
		(void)snprintf(path, sizeof(path), "/proc/%d/ns/%s", (int)holder, spaces[i].name);
		fds[i] = open(path, O_RDONLY | O_CLOEXEC);
		if (fds[i] < 0) {
			return -errno;
		}
	}
	for (size_t i = 0; i < SPACES; i++) {
		if (setns(fds[i], spaces[i].kind) < 0) {
			return -errno;
		}
	}
	if (chdir(directory) < 0 || (dies_with_parent && prctl(PR_SET_PDEATHSIG, SIGKILL) < 0)) {
		return -errno;
	}
	(void)execvp(command[0], command);
	return -errno;
}
