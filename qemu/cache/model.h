/*
 * What a memory access costs: the caches of one core, as sets of 64-byte lines of
 * which the one that was not used for longest makes room. It knows no emulator;
 * trace.c and plugin.c drive it.
 */
#ifndef MODEL_H
#define MODEL_H

#include <stdbool.h>
#include <stdint.h>

enum { LINE_SHIFT = 6 };

/* Where a line was found, nearest first. */
enum depth { L1, L2, L3, MEMORY, DEPTHS };

/* A cache: its sets one after another, each with the line used last in front. */
struct cache {
	unsigned sets, ways;
	uint64_t *line;
};

/* A core of a given name. Without an L3 (no sets) its L2 stands before memory. */
struct core {
	char name[32];
	struct cache data, code, l2, l3;
	double instruction;  /* cycles of one, if all that it needs is in L1 */
	double wait[DEPTHS]; /* cycles more, by where a line was found */
};

/*
 * core_parse reads "NAME/L1D/L1I/L2/L3/CYCLES": a cache is KILOBYTES:WAYS, or 0
 * for none (L3 only), CYCLES is INSTRUCTION:L2:L3:MEMORY. NULL, or what is wrong.
 */
const char *core_parse(struct core *c, const char *text);

/* core_data and core_code use a line, and tell where it was. */
enum depth core_data(struct core *c, uint64_t line);
enum depth core_code(struct core *c, uint64_t line);

/* A set of lines that can be emptied at once. */
struct lines {
	uint64_t *line;
	uint32_t *of; /* which emptying the line was added after */
	uint32_t now;
	uint64_t size, n; /* size: a power of two */
};

/* lines_add adds a line and says whether it is new. */
bool lines_add(struct lines *s, uint64_t line);
void lines_clear(struct lines *s);

#endif
