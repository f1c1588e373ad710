/*
 * Copyright (c) 2016 The linetools authors
 * Licensed under the MIT License; see the file LICENSE.
 */
#include <ctype.h>
#include <stdio.h>

/* What wc(1) prints, and one number more: whether the last line is closed. */
struct counts {
	unsigned long lines, words, bytes;
	int closed;
};

static struct counts count(FILE *in)
{
	struct counts c = {0, 0, 0, 1};
	int byte, in_word = 0;

	while ((byte = getc(in)) != EOF) {
		c.bytes++;
		c.closed = byte == '\n';
		c.lines += c.closed;
		if (isspace(byte)) {
			in_word = 0;
		} else if (!in_word) {
			in_word = 1;
			c.words++;
		}
	}
	return c;
}

int main(int argc, char **argv)
{
	FILE *in = argc > 1 ? fopen(argv[1], "rb") : stdin;

	if (in == NULL) {
		perror(argv[1]);
		return 2;
	}
	struct counts c = count(in);
	printf("%lu lines, %lu words, %lu bytes%s\n", c.lines, c.words, c.bytes,
	       c.closed ? "" : ", and a last line that is not closed");
	return ferror(in) ? 1 : 0;
}
