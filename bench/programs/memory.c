#include "programs.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

uint32_t pointer_chase(void) {
	enum { NODES = 65536, STEPS = 10000000 };
	uint32_t *next = malloc(NODES * sizeof *next);
	uint32_t seed = 12345;
	/* One cycle through all nodes, in random order (Sattolo's shuffle). */
	for (uint32_t node = 0; node < NODES; node++) next[node] = node;
	for (uint32_t node = NODES - 1; node > 0; node--) {
		const uint32_t other = next_random(&seed) % node, kept = next[node];
		next[node] = next[other];
		next[other] = kept;
	}
	uint32_t at = 0;
	for (uint32_t step = 0; step < STEPS; step++) at = next[at];
	free(next);
	return at;
}

uint32_t copy_memory(void) {
	enum { BYTES = 2 * 1024 * 1024, COPIES = 100 };
	uint8_t *from = malloc(BYTES), *to = malloc(BYTES);
	memset(from, 0x5a, BYTES);
	for (int copy = 0; copy < COPIES; copy++) {
		from[copy] = (uint8_t)copy;
		memcpy(to, from, BYTES);
		__asm__ volatile("" : : "r"(to) : "memory");
	}
	const uint32_t sum = to[0] + to[COPIES - 1] + to[BYTES - 1];
	free(from);
	free(to);
	return sum;
}

/* 16 MB that compress about as text does: words of a small vocabulary, with numbers between them. */
int generate(const char *path) {
	enum { BYTES = 16 * 1024 * 1024, WORDS = 2048 };
	static char words[WORDS][12];
	uint32_t seed = 99;
	for (int word = 0; word < WORDS; word++) {
		const int length = 2 + next_random(&seed) % 9;
		for (int letter = 0; letter < length; letter++) words[word][letter] = (char)('a' + next_random(&seed) % 26);
	}
	FILE *file = fopen(path, "w");
	if (file == NULL) {
		perror(path);
		return 1;
	}
	for (uint32_t written = 0; written < BYTES;) {
		const uint32_t pick = next_random(&seed);
		/* The product of two draws is small more often than large, as word frequencies are. */
		const uint32_t word = (pick % WORDS) * (pick / WORDS % WORDS) / WORDS;
		written += (uint32_t)(pick % 29 == 0 ? fprintf(file, "%u\n", pick) : fprintf(file, "%s ", words[word]));
	}
	return fclose(file) == 0 ? 0 : 1;
}
