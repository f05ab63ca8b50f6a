/* SPDX-License-Identifier: MIT */

/*
 * Text, tree, values, checks: each step sees what the one before let through, and
 * all but the first go on after an error so that the user hears of every one.
 */
#include "config/config.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "config/binder.h"
#include "config/config_validate.h"
#include "config/keyfile.h"
#include "config/value.h"
#include "config/yaml_reader.h"

static const struct report_mark whole_file = { 0 };

static void close_stream(FILE **f)
{
	if (*f)
		(void)fclose(*f); /* opened for reading: nothing to lose */
}

/* A file's text: it may hold passwords. */
struct text {
	char *bytes; /* owned */
	size_t cap;
};

static void drop_text(struct text *t)
{
	if (t->bytes)
		keyfile_wipe(t->bytes, t->cap);
	cv_free(t->bytes);
}

static void drop_config(struct config **c)
{
	config_free(*c);
}

void config_free(struct config *c)
{
	if (!c)
		return;
	arena_deinit(&c->arena);
	cv_free(c);
}

const struct config_peer *config_find_peer(const struct config *c, const char *name)
{
	for (size_t i = 0; i < c->peer_count; i++) {
		if (strcmp(c->peers[i].name, name) == 0)
			return &c->peers[i];
	}
	return NULL;
}

CV_PRINTF(2, 3)
static int format_path(char out[CONFIG_PATH_MAX], const char *fmt, ...)
{
	va_list ap;
	int size;

	va_start(ap, fmt);
	size = vsnprintf(out, CONFIG_PATH_MAX, fmt, ap);
	va_end(ap);
	return size < 0 || size >= CONFIG_PATH_MAX ? -ENAMETOOLONG : 0;
}

/* The variable's value when it is set and not empty, else NULL. */
static const char *from_environment(const char *name)
{
	const char *value = getenv(name);

	return value && value[0] != '\0' ? value : NULL;
}

static bool can_open(const char *path)
{
	CV_CLEANUP(close_stream) FILE *file = fopen(path, "re");

	return file != NULL || errno != ENOENT;
}

int config_default_path(char out[CONFIG_PATH_MAX])
{
	static const char system_path[] = "/etc/culvert/culvert.yaml";
	const char *chosen = from_environment("CULVERT_CONFIG");
	const char *xdg = from_environment("XDG_CONFIG_HOME");
	const char *home = from_environment("HOME");
	int r;

	if (chosen)
		return format_path(out, "%s", chosen);
	if (xdg && xdg[0] == '/') /* the XDG specification: others are to be ignored */
		r = format_path(out, "%s/culvert/culvert.yaml", xdg);
	else if (home)
		r = format_path(out, "%s/.config/culvert/culvert.yaml", home);
	else
		return format_path(out, "%s", system_path);
	if (r < 0 || can_open(out) || !can_open(system_path))
		return r;
	return format_path(out, "%s", system_path);
}

int config_default_control(enum config_role role, char out[CONFIG_PATH_MAX])
{
	const char *name = role == CONFIG_ROLE_SERVER ? "culvert-server.sock" : "culvert.sock";
	const char *runtime = from_environment("XDG_RUNTIME_DIR");

	if (runtime && runtime[0] == '/')
		return format_path(out, "%s/%s", runtime, name);
	return format_path(out, "/run/culvert/%s", name);
}

static int default_state(char out[CONFIG_PATH_MAX])
{
	const char *xdg = from_environment("XDG_STATE_HOME");
	const char *home = from_environment("HOME");

	if (xdg && xdg[0] == '/')
		return format_path(out, "%s/culvert", xdg);
	if (home)
		return format_path(out, "%s/.local/state/culvert", home);
	return format_path(out, "/var/lib/culvert");
}

/* Copies @path, made by a function that returned @r, to *@out. */
static int keep_default(struct config *c, int r, const char *path, const char **out)
{
	if (r < 0)
		return r;
	*out = arena_copy(&c->arena, path, strlen(path));
	return *out ? 0 : -ENOMEM;
}

/* The defaults that depend on the environment. A server's socket is the one of the section, else
 * what the file says for both, else its own place. */
static int complete(struct config *c)
{
	char path[CONFIG_PATH_MAX];
	int r;

	if (!c->server.metrics.unix_path && c->server.metrics.addr_count == 0)
		c->server.metrics = c->metrics;
	if (!c->server.control)
		c->server.control = c->control;
	if (!c->server.control) {
		r = config_default_control(CONFIG_ROLE_SERVER, path);
		r = keep_default(c, r, path, &c->server.control);
		if (r < 0)
			return r;
	}
	if (!c->control) {
		r = config_default_control(CONFIG_ROLE_AGENT, path);
		r = keep_default(c, r, path, &c->control);
		if (r < 0)
			return r;
	}
	if (c->state)
		return 0;
	r = default_state(path);
	return keep_default(c, r, path, &c->state);
}

/* A text on its way to values. */
struct source {
	const char *path;
	const char *text; /* borrowed */
	size_t size;
	enum config_role role;
	bool has_keyfiles; /* may open them */
};

/* Text to values: parsed, bound, completed and checked. */
static int read_values(struct config *c, const struct source *s, struct report *report)
{
	const char *text = s->text;
	size_t size = s->size;
	struct yaml_tree tree;
	int r;

	if (size >= 3 && memcmp(text, "\xEF\xBB\xBF", 3) == 0) {
		text += 3; /* the mark that some editors put before UTF-8 */
		size -= 3;
	}
	report_attach(report, text, size);
	r = yaml_reader_parse(text, size, report, &tree);
	if (r == 0)
		r = binder_run(&tree, c, report);
	if (r == 0)
		r = complete(c);
	if (r == 0)
		config_validate(c, s->role, report);
	if (r == 0 && s->has_keyfiles)
		config_validate_keyfiles(c, report);
	report_attach(report, NULL, 0);
	yaml_reader_deinit(&tree);
	return r;
}

static int new_config(const char *path, struct config **out)
{
	struct config *c = cv_zalloc(sizeof(*c));

	if (!c)
		return -ENOMEM;
	c->file = arena_copy(&c->arena, path, strlen(path));
	if (!c->file) {
		cv_free(c);
		return -ENOMEM;
	}
	*out = c;
	return 0;
}

static int parse(const struct source *s, struct report *report, struct config **out)
{
	CV_CLEANUP(drop_config) struct config *c = NULL;
	int r;

	if (s->size > CONFIG_FILE_MAX) {
		report_add(report, REPORT_ERROR, whole_file, "a configuration has at most %d KiB",
		           CONFIG_FILE_MAX / 1024);
		return -EINVAL;
	}
	r = new_config(s->path, &c);
	if (r == 0)
		r = read_values(c, s, report);
	if (r < 0 && report_errors(report) == 0)
		report_add(report, REPORT_ERROR, whole_file, "%s", strerror(-r));
	if (r == 0 && report_errors(report) > 0)
		r = -EINVAL;
	if (r < 0)
		return r;
	*out = c; /* ownership moves to the caller ... */
	c = NULL; /* ... so the cleanup must not see it */
	return 0;
}

int config_parse(const char *path, const char *text, size_t size, enum config_role role,
                 struct report *report, struct config **out)
{
	const struct source source = { .path = path, .text = text, .size = size, .role = role };

	return parse(&source, report, out);
}

/* Reads all of @file, or one byte more than is allowed of a longer one. */
static int read_file(FILE *file, struct text *t, size_t *size)
{
	t->cap = CONFIG_FILE_MAX + 1;
	t->bytes = cv_zalloc(t->cap);
	if (!t->bytes)
		return -ENOMEM;
	/* Unbuffered: a buffer of stdio's would keep passwords. */
	(void)setvbuf(file, NULL, _IONBF, 0);
	errno = 0;
	*size = fread(t->bytes, 1, t->cap, file);
	if (ferror(file))
		return errno > 0 ? -errno : -EIO;
	return 0;
}

static void check_exposure(const struct config *c, FILE *file, struct report *report)
{
	size_t user_count = 0;

	for (size_t i = 0; i < c->proxy_count; i++)
		user_count += c->proxies[i].user_count;
	if (user_count > 0 && keyfile_others_can_read(fileno(file)))
		report_add(report, REPORT_WARNING, whole_file,
		           "the file holds passwords ('users') and everybody can read it");
}

int config_load(const char *path, enum config_role role, struct report *report, struct config **out)
{
	CV_CLEANUP(close_stream) FILE *file = NULL;
	CV_CLEANUP(drop_text) struct text text = { 0 };
	struct source source = {
		.path = path,
		.role = role,
		.has_keyfiles = role != CONFIG_ROLE_CLIENT,
	};
	int r;

	file = fopen(path, "re");
	if (!file) {
		r = -errno;
		report_add(report, REPORT_ERROR, whole_file, "cannot open: %s", strerror(-r));
		return r;
	}
	r = read_file(file, &text, &source.size);
	if (r < 0) {
		report_add(report, REPORT_ERROR, whole_file, "cannot read: %s", strerror(-r));
		return r;
	}
	source.text = text.bytes;
	r = parse(&source, report, out);
	if (r == 0)
		check_exposure(*out, file, report);
	return r;
}
