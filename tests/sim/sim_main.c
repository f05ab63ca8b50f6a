/* SPDX-License-Identifier: MIT */

/*
 * culvert-sim - runs seeds and scenarios; README.md says how to read what it prints.
 */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/sim/sim.h"
#include "tunnel/aead.h"

enum { HOURS_DEFAULT = 24 };

struct arguments {
	uint64_t seed, count, hours;
	const char *scenario, *regressions, *group;
	const struct sim_kind *kind; /* NULL: each that a case asks for */
	struct matrix_options matrix;
	bool is_traced, verifies, lists, all, prints_measures, is_matrix;
};

static const struct {
	const char *name;
	const struct sim_case *list;
	bool has_kinds; /* is run with each congestion control */
} groups[] = {
	{ "models", CASES_MODELS, false },   { "links", CASES_LINKS, false },
	{ "start", CASES_START, false },     { "paths", CASES_PATHS, false },
	{ "punch", CASES_PUNCH, false },     { "nats", CASES_NATS, false },
	{ "outages", CASES_OUTAGES, false }, { "returns", CASES_RETURNS, false },
	{ "attacks", CASES_ATTACKS, false }, { "malice", CASES_MALICE, false },
	{ "streams", CASES_STREAMS, false }, { "lives", CASES_LIVES, false },
	{ "tcp", CASES_TCP, false },         { "idle", CASES_IDLE, false },
	{ "bulk", CASES_BULK, true },        { "changes", CASES_CHANGES, true },
	{ "rivals", CASES_RIVALS, true },    { "datagrams", CASES_DATAGRAMS, true },
};

/* What runs now, for the last words of an assertion. */
static uint64_t running_seed;
static const char *running_scenario;
static const struct sim_kind *running_kind = SIM_KINDS;

static void on_abort(int number)
{
	char text[200];
	int size = snprintf(text, sizeof(text),
	                    "\nAN ASSERTION FAILED\n  culvert-sim --scenario %s --congestion %s "
	                    "--seed %llu --trace\n",
	                    running_scenario, running_kind->name, (unsigned long long)running_seed);

	(void)number;
	if (size > 0 && write(STDOUT_FILENO, text, (size_t)size) < 0)
		_exit(2);
	_exit(1);
}

static const struct sim_case *find(const char *name)
{
	static const struct sim_case swarms[] = {
		{ "swarm", swarm_run, "a world drawn from the seed", 0 },
		{ "gusts", swarm_gusts, "and with links that change", 0 },
		{ "soak", soak_run, "a day", 0 },
		{ "churn", churn_run, "a day of streams", 0 },
	};

	for (size_t i = 0; i < CV_ARRAY_SIZE(swarms); i++) {
		if (strcmp(name, swarms[i].name) == 0)
			return &swarms[i];
	}
	for (size_t t = 0; t < CV_ARRAY_SIZE(groups); t++) {
		for (const struct sim_case *c = groups[t].list; c->name; c++) {
			if (strcmp(name, c->name) == 0)
				return c;
		}
	}
	return NULL;
}

/* One story; its hash in @hash. */
static bool tell(const struct sim_case *c, uint64_t seed, const struct arguments *a, uint64_t *hash)
{
	static struct sim sim;
	bool is_good;

	running_seed = seed;
	running_scenario = c->name;
	sim_init(&sim, seed, c->name, a->is_traced);
	sim.congestion = running_kind->kind;
	sim.prints_measures = a->prints_measures;
	sim.hours = (unsigned)a->hours;
	c->run(&sim);
	if (sim.has_failed)
		simapp_print(&sim, stdout);
	is_good = sim_deinit(&sim);
	*hash = sim.hash;
	if (!is_good)
		printf("FAILED %s, seed %llu, at %llu ms: %s\n"
		       "  culvert-sim --scenario %s --congestion %s --seed %llu --trace\n",
		       c->name, (unsigned long long)seed,
		       (unsigned long long)((sim.now - SIM_START) / CV_MS(1)), sim.why, c->name,
		       running_kind->name, (unsigned long long)seed);
	(void)fflush(stdout);
	return is_good;
}

static bool run(const struct sim_case *c, uint64_t seed, const struct arguments *a)
{
	uint64_t first, second;
	struct arguments quiet = *a;
	bool is_good = tell(c, seed, a, &first);

	if (!a->verifies)
		return is_good;
	quiet.is_traced = quiet.prints_measures = false;
	is_good &= tell(c, seed, &quiet, &second);
	if (first != second) {
		printf("FAILED %s, seed %llu: P10: two runs tell two stories\n", c->name,
		       (unsigned long long)seed);
		return false;
	}
	return is_good;
}

static bool read_number(const char *text, uint64_t *out)
{
	char *end;

	if (!text)
		return false;
	errno = 0;
	*out = strtoull(text, &end, 10);
	return errno == 0 && end != text && *end == '\0';
}

static const struct sim_kind *kind_named(const char *name)
{
	for (const struct sim_kind *k = SIM_KINDS; name && k->name; k++) {
		if (strcmp(name, k->name) == 0)
			return k;
	}
	return NULL;
}

static bool read_arguments(int argc, char **argv, struct arguments *a)
{
	*a = (struct arguments){ .seed = 1, .count = 1, .scenario = "swarm" };
	bool is_churn = false;

	a->matrix = (struct matrix_options){ .cells = "all" };
	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "--trace") == 0)
			a->is_traced = true;
		else if (strcmp(argv[i], "--verify") == 0)
			a->verifies = true;
		else if (strcmp(argv[i], "--list") == 0)
			a->lists = true;
		else if (strcmp(argv[i], "--matrix") == 0)
			a->is_matrix = true;
		else if (strcmp(argv[i], "--cells") == 0 && argv[i + 1])
			a->matrix.cells = argv[++i];
		else if (strcmp(argv[i], "--csv") == 0 && argv[i + 1])
			a->matrix.csv = argv[++i];
		else if (strcmp(argv[i], "--compare") == 0 && argv[i + 1])
			a->matrix.compare = argv[++i];
		else if (strcmp(argv[i], "--measures") == 0)
			a->prints_measures = true;
		else if (strcmp(argv[i], "--congestion") == 0 &&
		         (a->kind = kind_named(argv[i + 1])))
			i++;
		else if (strcmp(argv[i], "--soak") == 0)
			a->scenario = "soak";
		else if (strcmp(argv[i], "--churn") == 0)
			is_churn = true;
		else if (strcmp(argv[i], "--hours") == 0 && read_number(argv[i + 1], &a->hours))
			i++;
		else if (strcmp(argv[i], "--all") == 0)
			a->all = true;
		else if (strcmp(argv[i], "--seed") == 0 && read_number(argv[i + 1], &a->seed))
			i++;
		else if (strcmp(argv[i], "--count") == 0 && read_number(argv[i + 1], &a->count))
			i++;
		else if (strcmp(argv[i], "--scenario") == 0 && argv[i + 1])
			a->scenario = argv[++i];
		else if (strcmp(argv[i], "--group") == 0 && argv[i + 1])
			a->group = argv[++i];
		else if (strcmp(argv[i], "--regressions") == 0 && argv[i + 1])
			a->regressions = argv[++i];
		else
			return false;
	}
	if (is_churn) {
		a->scenario = "churn";
		a->hours = a->hours ? a->hours : HOURS_DEFAULT;
	}
	return true;
}

/* Lines "scenario seed  # what it was". */
static bool run_regressions(const struct arguments *a, uint64_t *passed, uint64_t *failed)
{
	FILE *in = fopen(a->regressions, "r");
	char line[256], name[64];
	unsigned long long seed;

	if (!in) {
		(void)fprintf(stderr, "%s: %s\n", a->regressions, strerror(errno));
		return false;
	}
	while (fgets(line, sizeof(line), in)) {
		const struct sim_case *c;

		if (line[0] == '#' || sscanf(line, "%63s %llu", name, &seed) != 2)
			continue;
		c = find(name);
		if (c && run(c, seed, a))
			(*passed)++;
		else
			(*failed)++;
		if (!c)
			printf("FAILED %s: no such scenario\n", name);
	}
	return fclose(in) == 0;
}

/* All variants, with each congestion control if it matters here. */
static void run_case(const struct sim_case *c, bool has_kinds, const struct arguments *a,
                     uint64_t *passed, uint64_t *failed)
{
	const struct sim_kind *usual = running_kind;

	for (const struct sim_kind *k = SIM_KINDS; k->name; k++) {
		if (has_kinds ? a->kind && k != a->kind : k != usual)
			continue;
		running_kind = k;
		for (uint64_t v = 0; v < CV_MAX(c->variants, 1) * a->count; v++) {
			if (run(c, a->seed + v, a))
				(*passed)++;
			else
				(*failed)++;
		}
	}
	running_kind = usual;
}

static void run_all(const struct arguments *a, uint64_t *passed, uint64_t *failed)
{
	for (size_t t = 0; t < CV_ARRAY_SIZE(groups); t++) {
		if (a->group && strcmp(a->group, groups[t].name) != 0)
			continue;
		for (const struct sim_case *c = groups[t].list; c->name; c++) {
			if (a->lists)
				printf("%-24s %s\n", c->name, c->what);
			else
				run_case(c, groups[t].has_kinds, a, passed, failed);
		}
	}
}

int main(int argc, char **argv)
{
	struct arguments a;
	uint64_t passed = 0, failed = 0;
	const struct sim_case *c;

	if (!read_arguments(argc, argv, &a) || !(c = find(a.scenario))) {
		(void)fprintf(stderr, "usage: culvert-sim [--seed N] [--count M] [--scenario NAME "
		                      "| --group NAME | "
		                      "--all | --list] [--congestion KIND] [--regressions FILE] "
		                      "[--trace] [--verify] "
		                      "[--measures] [--soak | --churn] [--hours H]\n");
		return 2;
	}
	if (a.kind)
		running_kind = a.kind;
	(void)aead_available();
	if (signal(SIGABRT, on_abort) == SIG_ERR)
		return 2;
	if (a.is_matrix) {
		a.matrix.kind = running_kind;
		a.matrix.seed = a.seed;
		return matrix_run(&a.matrix);
	}
	if (a.regressions && !run_regressions(&a, &passed, &failed))
		return 2;
	if (a.all || a.lists || a.group) {
		run_all(&a, &passed, &failed);
	} else if (!a.regressions) {
		for (uint64_t i = 0; i < a.count; i++) {
			if (run(c, a.seed + i, &a))
				passed++;
			else
				failed++;
		}
	}
	if (!a.lists)
		printf("%llu passed, %llu failed\n", (unsigned long long)passed,
		       (unsigned long long)failed);
	return failed > 0 || (a.group && passed == 0 && !a.lists);
}
