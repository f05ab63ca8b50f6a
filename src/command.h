/* SPDX-License-Identifier: MIT */
#pragma once

/*
 * command - what every command of the binary has in common: its options, its help,
 * its exit codes, and how it says what went wrong.
 */

#include <stdbool.h>

#include "base/compiler.h"
#include "config/config.h"

/* The user's contract; scripts rely on them. */
enum exit_code {
	EXIT_DONE = 0,
	EXIT_FAILED = 1,      /* failed while running */
	EXIT_USAGE = 2,       /* wrong usage or configuration */
	EXIT_UNREACHABLE = 3, /* the peer or server cannot be reached */
	EXIT_REFUSED = 4,     /* the far side refused or failed */
};

enum { COMMAND_ARGS_MAX = 4 };

/* What a command line said. Strings are borrowed from argv. */
struct command_line {
	const char *config;  /* -c FILE, or NULL */
	const char *control; /* --control PATH, or NULL */
	const char *args[COMMAND_ARGS_MAX];
	int arg_count;
	bool json, watch, server, psk, udp, list;
	const char *remove; /* --remove WHERE, or NULL */
	long count;         /* -n N; 0: endless */
};

struct command {
	const char *name;
	const char *usage; /* after "culvert " */
	const char *help;  /* a paragraph and the options */
	const char *flags; /* options beyond -c and --control: letters of the table in command.c */
	int args_min, args_max;
	int (*run)(const struct command_line *line);
};

/* Exit code of the whole program. */
int command_main(int argc, char **argv);
/* "culvert: ..." on standard error. */
void command_error(const char *fmt, ...) CV_PRINTF(1, 2);

/* The configuration named by -c, or the default one; NULL after its errors were printed. */
struct config *command_load_config(const struct command_line *line, enum config_role role);
/* False, and a line in @out: it wants what this build is without. */
bool command_can_serve(const struct config *config, FILE *out);
/* Path of the running process's control socket: --control, $CULVERT_CONTROL, the configuration, the
 * default. False: too long. */
bool command_control_path(const struct command_line *line, char out[CONFIG_PATH_MAX]);
/* Warns once when run as root. */
void command_warn_root(void);

int cmd_keygen(const struct command_line *line);
int cmd_pubkey(const struct command_line *line);
int cmd_check(const struct command_line *line);
int cmd_run(const struct command_line *line);
int cmd_server(const struct command_line *line);
int cmd_status(const struct command_line *line);
int cmd_ping(const struct command_line *line);
int cmd_netcheck(const struct command_line *line);
int cmd_nc(const struct command_line *line);
int cmd_forward(const struct command_line *line);
int cmd_reload(const struct command_line *line);
int cmd_stop(const struct command_line *line);
