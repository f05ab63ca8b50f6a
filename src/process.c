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

uint32_t process_conns_max(uint32_t wanted)
{
	struct rlimit limit;
	rlim_t room;

	if (getrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_cur == RLIM_INFINITY)
		return wanted;
	room = limit.rlim_cur - CV_MIN(limit.rlim_cur, (rlim_t)NOFILE_RESERVE);
	return (uint32_t)CV_MIN((rlim_t)wanted, CV_MAX(room, (rlim_t)CONNS_LEAST));
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
