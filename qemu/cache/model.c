#include "model.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void *allocate(size_t n, size_t size)
{
	void *p = calloc(n, size);

	if (!p) {
		perror("cache model");
		exit(1);
	}
	return p;
}


/* cache_parse reads "KILOBYTES:WAYS", or "0" for a cache that is not there. */
static bool cache_parse(struct cache *c, const char *text)
{
	unsigned kilobytes, ways;
	int end = 0;

	if (strcmp(text, "0") == 0) {
		c->sets = 0;
		return true;
	}
	if (sscanf(text, "%u:%u%n", &kilobytes, &ways, &end) != 2 || text[end] || !kilobytes || !ways)
		return false;
	if ((kilobytes << 10 >> LINE_SHIFT) % ways)
		return false;
	c->ways = ways;
	c->sets = (kilobytes << 10 >> LINE_SHIFT) / ways;
	c->line = allocate((size_t)c->sets * ways, sizeof *c->line);
	memset(c->line, 0xff, (size_t)c->sets * ways * sizeof *c->line);
	return true;
}

const char *core_parse(struct core *c, const char *text)
{
	char name[32], data[32], code[32], l2[32], l3[32];
	int end = 0;

	memset(c, 0, sizeof *c);
	if (sscanf(text, "%31[^/]/%31[^/]/%31[^/]/%31[^/]/%31[^/]/%lf:%lf:%lf:%lf%n", name, data, code, l2, l3,
		   &c->instruction, &c->wait[L2], &c->wait[L3], &c->wait[MEMORY], &end) != 9 || text[end])
		return "want NAME/L1D/L1I/L2/L3/INSTRUCTION:L2:L3:MEMORY";
	memcpy(c->name, name, sizeof name);
	if (!cache_parse(&c->data, data) || !cache_parse(&c->code, code) || !cache_parse(&c->l2, l2) || !cache_parse(&c->l3, l3))
		return "want KILOBYTES:WAYS of each cache, lines divisible by ways";
	if (!c->data.sets || !c->code.sets || !c->l2.sets)
		return "only an L3 may be missing";
	return NULL;
}

/* use puts a line in front of its set, and says whether it was there. */
static bool use(struct cache *c, uint64_t line)
{
	uint64_t *set = c->line + line % c->sets * c->ways;
	unsigned i = 0;
	bool found;

	if (set[0] == line)
		return true;
	while (i < c->ways - 1 && set[i] != line)
		i++;
	found = set[i] == line;
	memmove(set + 1, set, i * sizeof *set);
	set[0] = line;
	return found;
}

static enum depth below_l1(struct core *c, uint64_t line)
{
	if (use(&c->l2, line))
		return L2;
	return c->l3.sets && use(&c->l3, line) ? L3 : MEMORY;
}

enum depth core_data(struct core *c, uint64_t line)
{
	return use(&c->data, line) ? L1 : below_l1(c, line);
}

enum depth core_code(struct core *c, uint64_t line)
{
	return use(&c->code, line) ? L1 : below_l1(c, line);
}

static uint64_t place(const struct lines *s, uint64_t line)
{
	uint64_t i = line * 0x9e3779b97f4a7c15 >> 20 & (s->size - 1);

	while (s->of[i] == s->now && s->line[i] != line)
		i = (i + 1) & (s->size - 1);
	return i;
}

static void grow(struct lines *s)
{
	struct lines old = *s;

	s->size = old.size ? old.size * 2 : 1024;
	s->line = allocate(s->size, sizeof *s->line);
	s->of = allocate(s->size, sizeof *s->of);
	if (!s->now)
		s->now = 1;
	for (uint64_t i = 0; i < old.size; i++) {
		if (old.of[i] == old.now) {
			uint64_t to = place(s, old.line[i]);

			s->line[to] = old.line[i];
			s->of[to] = s->now;
		}
	}
	free(old.line);
	free(old.of);
}

bool lines_add(struct lines *s, uint64_t line)
{
	uint64_t i;

	if (s->n * 2 >= s->size)
		grow(s);
	i = place(s, line);
	if (s->of[i] == s->now)
		return false;
	s->line[i] = line;
	s->of[i] = s->now;
	s->n++;
	return true;
}

void lines_clear(struct lines *s)
{
	s->n = 0;
	s->now++;
}
