/*
 * A QEMU plugin that runs everything a guest executes through cache models, and
 * adds up what lies between two readings of the counter, case by case of
 * user/exitbench. qemu/BENCH.md explains what comes out.
 *
 * Arguments:
 *
 *	core=SPEC           a core to model (model.h); up to 4
 *	reset=ADDR          the program starts here: caches live from then on
 *	begin=ADDR          the program enters its next case here
 *	case=FROM:TO:SKIP   the next case's readings, and its windows of warm-up
 *	out=FILE            where the figures go
 *	sites=FILE          and, if given, the counts of each run of instructions
 *
 * Addresses are virtual and hexadecimal; they are the program's, and only one
 * program in the guest has code there.
 *
 * Code is instrumented by runs: instructions that follow each other in one line
 * and one translated block. A run is counted when its first instruction executes,
 * so an exception in its middle counts the rest once too often.
 *
 * QEMU's header comes with none of Debian's packages. What is used of it is
 * declared here; it has been the same from QEMU 7.2 to 10. Of the data, physical
 * addresses name the lines; of the code, addresses in QEMU's own memory do, as it
 * tells no others.
 */
#include <inttypes.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model.h"

#define EXPORT __attribute__((visibility("default")))

typedef uint64_t qemu_plugin_id_t;
typedef uint32_t qemu_plugin_meminfo_t;
typedef struct {
	const char *target_name;
} qemu_info_t;
struct qemu_plugin_tb;
struct qemu_plugin_insn;
struct qemu_plugin_hwaddr;
enum { CB_NO_REGS = 0, MEM_RW = 3 };

void qemu_plugin_register_vcpu_tb_trans_cb(qemu_plugin_id_t, void (*)(qemu_plugin_id_t, struct qemu_plugin_tb *));
void qemu_plugin_register_atexit_cb(qemu_plugin_id_t, void (*)(qemu_plugin_id_t, void *), void *);
void qemu_plugin_register_vcpu_insn_exec_cb(struct qemu_plugin_insn *, void (*)(unsigned, void *), int, void *);
void qemu_plugin_register_vcpu_mem_cb(struct qemu_plugin_insn *,
				      void (*)(unsigned, qemu_plugin_meminfo_t, uint64_t, void *), int, int, void *);
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *);
struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *, size_t);
uint64_t qemu_plugin_insn_vaddr(const struct qemu_plugin_insn *);
size_t qemu_plugin_insn_size(const struct qemu_plugin_insn *);
void *qemu_plugin_insn_haddr(const struct qemu_plugin_insn *);
bool qemu_plugin_mem_is_store(qemu_plugin_meminfo_t);
struct qemu_plugin_hwaddr *qemu_plugin_get_hwaddr(qemu_plugin_meminfo_t, uint64_t);
bool qemu_plugin_hwaddr_is_io(const struct qemu_plugin_hwaddr *);
uint64_t qemu_plugin_hwaddr_phys_addr(const struct qemu_plugin_hwaddr *);

/* The version of the interface: qemu/lab knows which the emulator takes. */
EXPORT int qemu_plugin_version = PLUGIN_VERSION;

enum { MAX_CORES = 4, MAX_CASES = 256, DATA = 0, CODE = 1 };

/* What is counted, whatever the core. */
enum event { INSTRUCTIONS, LOADS, STORES, DATA_LINES, CODE_LINES, ROOTS, FLUSHES, INTERRUPTS, EVENTS };

struct counts {
	uint64_t event[EVENTS];
	uint64_t found[MAX_CORES][2][DEPTHS]; /* accesses to data and fetches of code; those in L1 are not counted */
};

/* A run of instructions. */
struct site {
	struct site *next;
	uint64_t pc, line;
	uint32_t length;
	bool root;  /* loads a page-table root */
	bool flush; /* drops translations */
	bool interrupt; /* interrupts another CPU */
	bool from, to;  /* a case's readings are here */
	bool reset, begin;
	struct counts seen; /* in windows that count */
};

/* A case: its readings, and what was between them. */
struct one_case {
	uint64_t from, to, skip;
	uint64_t windows;
	struct counts sum;
};

static struct core cores[MAX_CORES];
static unsigned ncores, ncases;
static struct one_case cases[MAX_CASES];
static uint64_t reset_at, begin_at;
static const char *out_name, *sites_name;
static bool arm;
static struct site *sites;

/* current is the case that the program is in; ncases: none that counts. */
static unsigned current, next_case;
static bool running; /* the program has started */
static bool open_, counting;
static struct counts window;
static struct lines data_lines, code_lines;
static uint64_t last_code;

static void window_open(void)
{
	memset(&window, 0, sizeof window);
	lines_clear(&data_lines);
	lines_clear(&code_lines);
	open_ = true;
	counting = cases[current].windows >= cases[current].skip;
	last_code = 0; /* the line of the next instruction counts as touched */
}

static void window_close(void)
{
	struct one_case *c = &cases[current];
	uint64_t *sum = (uint64_t *)&c->sum, *add = (uint64_t *)&window;

	open_ = false;
	if (counting) {
		window.event[DATA_LINES] = data_lines.n;
		window.event[CODE_LINES] = code_lines.n;
		for (size_t i = 0; i < sizeof window / sizeof *sum; i++)
			sum[i] += add[i];
	}
	counting = false;
	c->windows++;
}

static void marks(struct site *s)
{
	if (s->reset) {
		running = true;
		open_ = counting = false;
		current = ncases;
		next_case = 0;
	}
	if (s->begin) {
		open_ = counting = false;
		current = next_case < ncases ? next_case++ : ncases;
	}
	if (current >= ncases)
		return;
	if (s->to && s->pc == cases[current].to && open_)
		window_close();
	else if (s->from && s->pc == cases[current].from)
		window_open();
}

static void found(struct site *s, enum depth (*use)(struct core *, uint64_t), int what, uint64_t line)
{
	for (unsigned i = 0; i < ncores; i++) {
		enum depth d = use(&cores[i], line);

		if (d != L1 && open_) {
			window.found[i][what][d]++;
			if (counting)
				s->seen.found[i][what][d]++;
		}
	}
}

static void at_run(unsigned cpu, void *site)
{
	struct site *s = site;

	(void)cpu;
	if (s->reset || s->begin || s->from || s->to)
		marks(s);
	if (!running)
		return;
	if (s->line != last_code) {
		last_code = s->line;
		found(s, core_code, CODE, s->line);
		if (open_ && lines_add(&code_lines, s->line) && counting)
			s->seen.event[CODE_LINES]++;
	}
	if (!open_)
		return;
	window.event[INSTRUCTIONS] += s->length;
	window.event[ROOTS] += s->root;
	window.event[FLUSHES] += s->flush;
	window.event[INTERRUPTS] += s->interrupt;
	if (counting)
		s->seen.event[INSTRUCTIONS] += s->length;
}

/*
 * interrupts_cpu tells whether a store to a device makes it interrupt a CPU: the low
 * half of the local APIC's interrupt command, or GICv2's GICD_SGIR on QEMU's virt.
 */
static bool interrupts_cpu(uint64_t physical)
{
	return arm ? physical == 0x08000f00 : physical == 0xfee00300;
}

static void at_access(unsigned cpu, qemu_plugin_meminfo_t info, uint64_t va, void *site)
{
	struct site *s = site;
	struct qemu_plugin_hwaddr *h;
	bool store;
	uint64_t line;

	(void)cpu;
	if (!running)
		return;
	h = qemu_plugin_get_hwaddr(info, va);
	if (!h)
		return;
	store = qemu_plugin_mem_is_store(info);
	line = qemu_plugin_hwaddr_phys_addr(h);
	if (qemu_plugin_hwaddr_is_io(h)) {
		window.event[INTERRUPTS] += store && interrupts_cpu(line);
		return;
	}
	line >>= LINE_SHIFT;
	found(s, core_data, DATA, line);
	if (!open_)
		return;
	window.event[store ? STORES : LOADS]++;
	if (lines_add(&data_lines, line) && counting)
		s->seen.event[DATA_LINES]++;
}

/* decode_amd64 looks for MOV to CR3, INVLPG and INVPCID (Intel SDM, volume 2). */
static void decode_amd64(struct site *s, const uint8_t *p, size_t n)
{
	const uint8_t *end = p + n;

	while (p < end && (*p == 0x66 || *p == 0xf2 || *p == 0xf3 || (*p & 0xf0) == 0x40))
		p++;
	if (end - p < 3 || p[0] != 0x0f)
		return;
	s->root |= p[1] == 0x22 && (p[2] >> 3 & 7) == 3;
	s->flush |= p[1] == 0x01 && (p[2] >> 3 & 7) == 7 && p[2] < 0xc0;
	s->flush |= p[1] == 0x38 && p[2] == 0x82;
}

/* decode_arm64 looks for MSR to TTBR0_EL1 or ICC_SGI1R_EL1, and TLBI (Arm ARM, C5). */
static void decode_arm64(struct site *s, const uint8_t *p)
{
	uint32_t w = p[0] | p[1] << 8 | p[2] << 16 | (uint32_t)p[3] << 24;

	s->root |= (w & ~31u) == 0xd5182000;
	s->flush |= (w & 0xfff8f000) == 0xd5088000;
	s->interrupt |= (w & ~31u) == 0xd518cba0;
}

static bool is_reading(uint64_t pc, bool to)
{
	for (unsigned i = 0; i < ncases; i++)
		if (pc == (to ? cases[i].to : cases[i].from))
			return true;
	return false;
}

/* mark notes what the program's code at pc is, and says whether it is anything. */
static bool mark(struct site *s, uint64_t pc)
{
	s->from = is_reading(pc, false);
	s->to = is_reading(pc, true);
	s->reset = pc == reset_at;
	s->begin = pc == begin_at;
	return s->from || s->to || s->reset || s->begin;
}

static void translated(qemu_plugin_id_t id, struct qemu_plugin_tb *tb)
{
	size_t n = qemu_plugin_tb_n_insns(tb);
	struct site *s = NULL;
	bool alone = false; /* the instruction before is a mark: a run of its own */

	(void)id;
	for (size_t i = 0; i < n; i++) {
		struct qemu_plugin_insn *in = qemu_plugin_tb_get_insn(tb, i);
		const uint8_t *host = qemu_plugin_insn_haddr(in);
		uint64_t pc = qemu_plugin_insn_vaddr(in), line = (uintptr_t)host >> LINE_SHIFT;
		struct site m = {0};
		bool marked = mark(&m, pc);

		if (!s || s->line != line || marked || alone) {
			s = calloc(1, sizeof *s);
			if (!s)
				return;
			*s = m;
			s->pc = pc;
			s->line = line;
			s->next = sites;
			sites = s;
			qemu_plugin_register_vcpu_insn_exec_cb(in, at_run, CB_NO_REGS, s);
		}
		alone = marked;
		s->length++;
		/* Safety: an instruction whose bytes go on in the next page is none of those looked for. */
		if (host && (pc & 4095) + qemu_plugin_insn_size(in) <= 4096) {
			if (arm)
				decode_arm64(s, host);
			else
				decode_amd64(s, host, qemu_plugin_insn_size(in));
		}
		qemu_plugin_register_vcpu_mem_cb(in, at_access, CB_NO_REGS, MEM_RW, s);
	}
}

/* cycles is what a core would have needed. */
static double cycles(const struct counts *k, unsigned core)
{
	double sum = k->event[INSTRUCTIONS] * cores[core].instruction;

	for (int d = L2; d < DEPTHS; d++)
		sum += (k->found[core][DATA][d] + k->found[core][CODE][d]) * cores[core].wait[d];
	return sum;
}

static void write_cases(FILE *f)
{
	static const char *const name[EVENTS] = {
		"instructions", "loads", "stores", "data_lines", "code_lines", "roots", "flushes", "interrupts",
	};

	for (unsigned i = 0; i < ncases; i++) {
		const struct one_case *c = &cases[i];
		double n = (double)c->windows - c->skip;

		if (c->windows <= c->skip)
			continue;
		for (unsigned k = 0; k < ncores; k++) {
			fprintf(f, "case=%u core=%s windows=%.0f cycles=%.1f", i, cores[k].name, n, cycles(&c->sum, k) / n);
			for (int e = 0; e < EVENTS; e++)
				fprintf(f, " %s=%.1f", name[e], c->sum.event[e] / n);
			for (int what = DATA; what <= CODE; what++)
				for (int d = L2; d < DEPTHS; d++)
					fprintf(f, " %s_%s=%.1f", what ? "code" : "data", (const char *[]){"", "l2", "l3", "memory"}[d],
						c->sum.found[k][what][d] / n);
			fputc('\n', f);
		}
	}
}

/* write_sites writes what each run cost, for all windows and cases together. */
static void write_sites(FILE *f)
{
	for (struct site *s = sites; s; s = s->next) {
		if (!s->seen.event[INSTRUCTIONS])
			continue;
		for (unsigned k = 0; k < ncores; k++) {
			fprintf(f, "site=%" PRIx64 " core=%s cycles=%.1f instructions=%" PRIu64 " data_lines=%" PRIu64 " code_lines=%" PRIu64,
				s->pc, cores[k].name, cycles(&s->seen, k), s->seen.event[INSTRUCTIONS],
				s->seen.event[DATA_LINES], s->seen.event[CODE_LINES]);
			for (int what = DATA; what <= CODE; what++)
				for (int d = L2; d < DEPTHS; d++)
					fprintf(f, " %s_%s=%" PRIu64, what ? "code" : "data", (const char *[]){"", "l2", "l3", "memory"}[d],
						s->seen.found[k][what][d]);
			fputc('\n', f);
		}
	}
}

static void write_file(const char *name, void (*write)(FILE *))
{
	FILE *f;

	if (!name)
		return;
	f = fopen(name, "w");
	if (!f) {
		perror(name);
		return;
	}
	write(f);
	if (fclose(f))
		perror(name);
}

static void ended(qemu_plugin_id_t id, void *unused)
{
	(void)id, (void)unused;
	write_file(out_name, write_cases);
	write_file(sites_name, write_sites);
}

static const char *argument(const char *name, const char *value)
{
	if (strcmp(name, "core") == 0)
		return ncores == MAX_CORES ? "too many cores" : core_parse(&cores[ncores++], value);
	if (strcmp(name, "case") == 0) {
		struct one_case *c = &cases[ncases];

		if (ncases == MAX_CASES)
			return "too many cases";
		ncases++;
		return sscanf(value, "%" SCNx64 ":%" SCNx64 ":%" SCNu64, &c->from, &c->to, &c->skip) == 3 ? NULL : "want FROM:TO:SKIP";
	}
	if (strcmp(name, "out") == 0)
		out_name = strdup(value);
	else if (strcmp(name, "sites") == 0)
		sites_name = strdup(value);
	else if (strcmp(name, "reset") == 0)
		reset_at = strtoull(value, NULL, 16);
	else if (strcmp(name, "begin") == 0)
		begin_at = strtoull(value, NULL, 16);
	else
		return "not an argument";
	return NULL;
}

EXPORT int qemu_plugin_install(qemu_plugin_id_t id, const qemu_info_t *info, int argc, char **argv)
{
	arm = strcmp(info->target_name, "aarch64") == 0;
	for (int i = 0; i < argc; i++) {
		char *value = strchr(argv[i], '=');
		const char *wrong = "want NAME=VALUE";

		if (value) {
			*value++ = 0;
			wrong = argument(argv[i], value);
		}
		if (wrong) {
			fprintf(stderr, "cache plugin: %s: %s\n", argv[i], wrong);
			return 1;
		}
	}
	current = ncases;
	qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
	qemu_plugin_register_atexit_cb(id, ended, NULL);
	return 0;
}
