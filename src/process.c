/* SPDX-License-Identifier: MIT */
#include "process.h"

#include <stdlib.h>
#include <string.h>

#include <sys/prctl.h>
#include <sys/resource.h>

#include "base/log.h"

enum {
	NOFILE_WANTED = 65536,
	NOFILE_RESERVE = 48, /* an agent at rest has some 25; listeners, look-ups, control */
	CONNS_LEAST = 8,
	UDP_SHARE = 4, /* one in so many is for UDP sockets that peers open */
	UDP_LEAST = 4,
};

void process_prepare(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < NOFILE_WANTED) {
		limit.rlim_cur = CV_MIN(limit.rlim_max, (rlim_t)NOFILE_WANTED);
		if (setrlimit(RLIMIT_NOFILE, &limit) < 0)
			log_warn("the limit of open files stays low");
	}
	limit = (struct rlimit){ 0, 0 };
	/* Keys must not end in a core file; both are a second line of defence and may be refused.
	 */
	(void)setrlimit(RLIMIT_CORE, &limit);
#ifdef __linux__
	(void)prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
#endif
	command_warn_root();
}

/* Descriptors for clients and for what peers ask; UINT32_MAX: as many as anybody wants. */
static uint32_t files_to_share(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_cur >= UINT32_MAX)
		return UINT32_MAX;
	return (uint32_t)limit.rlim_cur - CV_MIN((uint32_t)limit.rlim_cur, NOFILE_RESERVE);
}

uint32_t process_udp_sockets_max(void)
{
	return CV_MAX(files_to_share() / UDP_SHARE, (uint32_t)UDP_LEAST);
}

uint32_t process_conns_max(uint32_t wanted)
{
	uint32_t files = files_to_share(), room;

	room = files - CV_MIN(files, process_udp_sockets_max());
	return CV_MIN(wanted, CV_MAX(room, (uint32_t)CONNS_LEAST));
}

bool process_control_path(const struct command_line *line, const char *configured,
                          char out[CONFIG_PATH_MAX])
{
	const char *env = getenv("CULVERT_CONTROL");
	const char *path = line->control ? line->control : env && *env ? env : configured;

	if (strlen(path) >= CONFIG_PATH_MAX) {
		command_error("the path of the control socket is too long");
		return false;
	}
	memcpy(out, path, strlen(path) + 1);
	return true;
}
