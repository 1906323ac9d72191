/* Runs the functions of all pieces (wide.ts makes them) in three ways, and says when each begins and ends as programs/main.c does. */
#include <stdint.h>
#include <stdio.h>
#include <unistd.h>

typedef unsigned (*entry)(unsigned, unsigned, unsigned *);
#include "wide-pieces.h"

enum { FUNCTIONS = PIECES * ENTRIES, WARM_PASSES = 4, SKEWED_CALLS = 300000 };
static unsigned data[8192];
static uint32_t sum = 1;

static void call(uint32_t function) { sum = pieces[function / ENTRIES][function % ENTRIES](sum, function, data); }

/* Every function once, in an order that looks random: multiples of an odd number go through all numbers below a power of two. */
static void pass(uint32_t number) {
	const uint32_t step = (number * 2654435761u) | 1;
	for (uint32_t index = 0; index < FUNCTIONS; index++) call((index * step + number) % FUNCTIONS);
}

static void say(const char *phase, const char *what) {
	char line[80];
	const int length = snprintf(line, sizeof line, "\nBENCH wide%s %s %08x\n", phase, what, sum);
	if (write(1, line, (size_t)length) != length) _exit(1);
}

int main(void) {
	_Static_assert((FUNCTIONS & (FUNCTIONS - 1)) == 0, "a power of two");
	for (uint32_t word = 0; word < 8192; word++) data[word] = word * 2654435761u;
	say("", "begin");
	say("-cold", "begin");
	pass(1);
	say("-cold", "end");
	say("-warm", "begin");
	for (uint32_t number = 2; number < 2 + WARM_PASSES; number++) pass(number);
	say("-warm", "end");
	say("-skewed", "begin");
	uint32_t seed = 12345;
	for (uint32_t count = 0; count < SKEWED_CALLS; count++) {
		seed ^= seed << 13, seed ^= seed >> 17, seed ^= seed << 5;
		/* The product of three draws: a tenth of the functions takes six tenths of the calls. */
		const uint64_t a = seed & 0x3ff, b = seed >> 10 & 0x3ff, c = seed >> 20 & 0x3ff;
		const uint32_t rank = (uint32_t)(a * b * c * FUNCTIONS >> 30);
		call((rank * 40503u + 77) % FUNCTIONS);
	}
	say("-skewed", "end");
	say("", "end");
	return 0;
}
