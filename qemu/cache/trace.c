/*
 * trace drives the cache model by hand, for tests: trace CORE reads lines from its
 * input and answers those that ask.
 *
 *	d ADDRESS    a data access; answers where the line was: 1, 2, 3 or m
 *	i ADDRESS    an instruction fetch, likewise
 *	a ADDRESS    adds a line to the set; answers new or old
 *	c            empties the set
 */
#include <inttypes.h>
#include <stdio.h>

#include "model.h"

int main(int argc, char **argv)
{
	static struct core core;
	static struct lines lines;
	const char *wrong = argc == 2 ? core_parse(&core, argv[1]) : "usage: trace CORE";
	uint64_t at;
	char what;

	if (wrong) {
		fprintf(stderr, "trace: %s\n", wrong);
		return 2;
	}
	while (scanf(" %c", &what) == 1) {
		if (what == 'c') {
			lines_clear(&lines);
			continue;
		}
		if (scanf("%" SCNx64, &at) != 1)
			return 2;
		at >>= LINE_SHIFT;
		switch (what) {
		case 'd':
			putchar("123m"[core_data(&core, at)]);
			break;
		case 'i':
			putchar("123m"[core_code(&core, at)]);
			break;
		case 'a':
			fputs(lines_add(&lines, at) ? "new" : "old", stdout);
			break;
		default:
			return 2;
		}
		putchar('\n');
	}
	return 0;
}
