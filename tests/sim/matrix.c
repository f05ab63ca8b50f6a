/* SPDX-License-Identifier: MIT */
#include "tests/sim/sim.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/*
 * Rate x round trip x loss x buffer: what one transfer gets in each cell, as a table that is kept
 * in the tree (matrix-KIND.csv) and compared with. README.md says how long a cell runs and how much
 * worse it may be.
 */

enum { DIMENSIONS = 4, LINE_SIZE = 160, CELLS = 4 * 7 * 4 * 4 };

struct value {
	const char *name;
	uint64_t number;
};

static const struct value RATES[] = {
	{ "1", 1000000 }, { "10", 10000000 }, { "100", 100000000 }, { "1000", 1000000000 }
};
static const struct value RTTS[] = { { "0.05", CV_US(50) }, { "1", CV_MS(1) },
	                             { "10", CV_MS(10) },   { "50", CV_MS(50) },
	                             { "100", CV_MS(100) }, { "200", CV_MS(200) },
	                             { "600", CV_MS(600) } };
static const struct value LOSSES[] = {
	{ "0", 0 }, { "0.1", 1000 }, { "1", 10000 }, { "5", 50000 }
};
static const struct value BUFFERS[] = {
	{ "0.1", 100 }, { "0.5", 500 }, { "1", 1000 }, { "4", 4000 }
};

static const struct {
	const struct value *list;
	unsigned count;
} dimensions[DIMENSIONS] = {
	{ RATES, CV_ARRAY_SIZE(RATES) },
	{ RTTS, CV_ARRAY_SIZE(RTTS) },
	{ LOSSES, CV_ARRAY_SIZE(LOSSES) },
	{ BUFFERS, CV_ARRAY_SIZE(BUFFERS) },
};

static const char HEADER[] = "rate_mbit,rtt_ms,loss_percent,buffer_bdp,goodput_permille,"
			     "queue_p95_us,resent_per_10000";

/* --cells quick: what tests/run compares. */
static const char *const QUICK[] = {
	"100:10:*:1",  "100:50:0:0.1", "100:50:0:1", "100:50:1:1",  "100:50:5:1", "100:200:0:1",
	"100:200:1:1", "100:200:5:1",  "10:1:*:1",   "10:50:*:0.5", "10:50:*:4",  "10:600:0:1",
	"10:600:5:1",  "1:0.05:*:1",   "1:50:*:1",   "1:200:1:4",   "1000:1:0:1",
};

struct figures {
	uint64_t goodput, queue, resent;
	bool is_set;
};

static struct figures golden[CELLS];

/* ---- cells ---- */

static const struct value *value_of(unsigned cell, unsigned dimension)
{
	for (unsigned i = DIMENSIONS - 1; i > dimension; i--)
		cell /= dimensions[i].count;
	return &dimensions[dimension].list[cell % dimensions[dimension].count];
}

/* "100:50:*:1": a name or a star for each dimension. */
static bool matches(const char *pattern, unsigned cell)
{
	for (unsigned i = 0; i < DIMENSIONS; i++) {
		size_t size = strcspn(pattern, ":");
		const char *name = value_of(cell, i)->name;
		bool is_any = size == 1 && *pattern == '*';

		if (!is_any && (strlen(name) != size || memcmp(name, pattern, size) != 0))
			return false;
		pattern += size;
		if (*pattern == ':')
			pattern++;
	}
	return *pattern == '\0';
}

static bool is_wanted(const char *cells, unsigned cell)
{
	if (strcmp(cells, "all") == 0)
		return true;
	if (strcmp(cells, "quick") != 0)
		return matches(cells, cell);
	for (size_t i = 0; i < CV_ARRAY_SIZE(QUICK); i++) {
		if (matches(QUICK[i], cell))
			return true;
	}
	return false;
}

static void print_name(FILE *out, unsigned cell)
{
	for (unsigned i = 0; i < DIMENSIONS; i++)
		(void)fprintf(out, "%s%s", i ? "," : "", value_of(cell, i)->name);
}

/* ---- one cell ---- */

/* A second of a gigabit is 85,000 packets, and of a flooded LAN a million: there a second is ten
 * thousand round trips as well. */
static cv_duration warm_time(const struct sim_load_spec *spec)
{
	return spec->rtt < CV_MS(1) ? CV_MS(500) : CV_MAX(CV_SEC(2), 20 * spec->rtt);
}

static cv_duration measured_time(const struct sim_load_spec *spec)
{
	if (spec->rtt < CV_MS(1))
		return spec->rate > 10000000 ? CV_SEC(1) : CV_SEC(5);
	if (spec->rate > 100000000)
		return CV_MAX(CV_SEC(3), 60 * spec->rtt);
	return CV_MAX(spec->rate > 10000000 ? CV_SEC(10) : CV_SEC(20), 60 * spec->rtt);
}

static bool measure(unsigned cell, const struct matrix_options *opt, struct figures *out)
{
	static struct sim sim;
	struct sim_load_spec spec = {
		.rate = value_of(cell, 0)->number,
		.rtt = value_of(cell, 1)->number,
		.loss_ppm = (uint32_t)value_of(cell, 2)->number,
		.buffer_permille = (unsigned)value_of(cell, 3)->number,
	};
	bool is_good;

	sim_init(&sim, opt->seed + cell, "matrix", false);
	sim.congestion = opt->kind->kind;
	sim.is_light = true;
	sim.events_max = sim.turns_max = UINT64_MAX;
	simload_init(&sim, &spec);
	simload_bulk(&sim, 0);
	sim_run(&sim, warm_time(&spec));
	simload_mark(&sim);
	sim_run(&sim, measured_time(&spec));
	*out = (struct figures){
		.goodput = simload_goodput(&sim, 0),
		.queue = simlink_wait(&sim.load.meter, 950) / 1000,
		.resent = simload_resent(&sim, 0),
		.is_set = true,
	};
	is_good = sim_deinit(&sim);
	if (!is_good) {
		printf("FAILED matrix cell ");
		print_name(stdout, cell);
		printf(", %s: %s\n", opt->kind->name, sim.why);
	}
	return is_good;
}

/* ---- comparing ---- */

static bool read_line(const char *line)
{
	unsigned long long goodput, queue, resent;

	for (unsigned cell = 0; cell < CELLS; cell++) {
		const char *at = line;

		for (unsigned i = 0; at && i < DIMENSIONS; i++) {
			const char *name = value_of(cell, i)->name;
			size_t size = strlen(name);

			at = strncmp(at, name, size) == 0 && at[size] == ',' ? at + size + 1 : NULL;
		}
		if (!at)
			continue;
		if (sscanf(at, "%llu,%llu,%llu", &goodput, &queue, &resent) != 3)
			return false;
		golden[cell] = (struct figures){ goodput, queue, resent, true };
		return true;
	}
	return false;
}

static bool read_golden(const char *path)
{
	FILE *in = fopen(path, "r");
	char line[LINE_SIZE];
	bool is_good = true;

	if (!in) {
		(void)fprintf(stderr, "%s: %s\n", path, strerror(errno));
		return false;
	}
	while (is_good && fgets(line, sizeof(line), in)) {
		if (strncmp(line, "rate", 4) == 0)
			continue;
		is_good = read_line(line);
		if (!is_good)
			(void)fprintf(stderr, "%s: cannot read %s", path, line);
	}
	return fclose(in) == 0 && is_good;
}

static bool is_worse(const struct figures *now, const struct figures *then)
{
	return now->goodput + CV_MAX(then->goodput / 20, 10) < then->goodput ||
	       now->queue > then->queue + then->queue / 4 + 2000 ||
	       now->resent > then->resent + then->resent / 4 + 50;
}

static bool compare(unsigned cell, const struct figures *now)
{
	const struct figures *then = &golden[cell];
	bool is_bad = !then->is_set || is_worse(now, then);

	if (!is_bad && !is_worse(then, now))
		return true;
	printf("%s ", is_bad ? "FAILED: worse" : "better:");
	print_name(stdout, cell);
	printf(": goodput %llu (was %llu), queue %llu us (%llu), sent again %llu (%llu)\n",
	       (unsigned long long)now->goodput, (unsigned long long)then->goodput,
	       (unsigned long long)now->queue, (unsigned long long)then->queue,
	       (unsigned long long)now->resent, (unsigned long long)then->resent);
	return !is_bad;
}

/* ---- all of it ---- */

int matrix_run(const struct matrix_options *opt)
{
	FILE *csv = opt->csv ? fopen(opt->csv, "w") : opt->compare ? NULL : stdout;
	unsigned count = 0, failed = 0;

	if (opt->csv && !csv) {
		(void)fprintf(stderr, "%s: %s\n", opt->csv, strerror(errno));
		return 2;
	}
	if (opt->compare && !read_golden(opt->compare))
		return 2;
	if (csv)
		(void)fprintf(csv, "%s\n", HEADER);
	for (unsigned cell = 0; cell < CELLS; cell++) {
		struct figures f;

		if (!is_wanted(opt->cells, cell))
			continue;
		count++;
		if (!measure(cell, opt, &f) || (opt->compare && !compare(cell, &f)))
			failed++;
		if (!csv)
			continue;
		print_name(csv, cell);
		(void)fprintf(csv, ",%llu,%llu,%llu\n", (unsigned long long)f.goodput,
		              (unsigned long long)f.queue, (unsigned long long)f.resent);
		(void)fflush(csv);
	}
	if (csv && csv != stdout && fclose(csv) != 0)
		return 2;
	(void)fprintf(stderr, "%u cells, %u failed\n", count, failed);
	return failed > 0 || count == 0;
}
