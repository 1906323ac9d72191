#include "programs.h"
#include <stdlib.h>
#include <string.h>

/* GCC would turn part of the recursion into loops, and each version into something else. */
__attribute__((noinline, noclone, optimize("no-optimize-sibling-calls", "no-inline"))) static uint32_t fibonacci(uint32_t n) {
	if (n < 2) return n;
	return fibonacci(n - 1) + fibonacci(n - 2);
}

uint32_t recursion(void) { return fibonacci(32); }

uint32_t sieve(void) {
	enum { LIMIT = 4000000 };
	uint8_t *is_composite = calloc(LIMIT, 1);
	uint32_t count = 0;
	for (uint32_t n = 2; n < LIMIT; n++) {
		if (is_composite[n]) continue;
		count++;
		for (uint64_t multiple = (uint64_t)n * n; multiple < LIMIT; multiple += n) is_composite[multiple] = 1;
	}
	free(is_composite);
	return count;
}

uint32_t alu_mix(void) {
	uint32_t a = 1, b = 0x9e3779b9, c = 7;
	for (uint32_t round = 0; round < 10000000; round++) {
		a += b ^ (c << 3);
		b = (b >> 7 | b << 25) + round;
		c = c * 5 + (a & 0xff);
		a ^= c >> 5;
	}
	return a ^ b ^ c;
}

enum { SIDE = 128, PRODUCTS = 5 };
static double left[SIDE][SIDE], right[SIDE][SIDE], product[SIDE][SIDE];

uint32_t matrix_product(void) {
	for (int row = 0; row < SIDE; row++)
		for (int column = 0; column < SIDE; column++) {
			left[row][column] = (row * 3 + column) % 17 * 0.5;
			right[row][column] = (row + column * 5) % 13 * 0.25;
		}
	for (int time = 0; time < PRODUCTS; time++) {
		for (int row = 0; row < SIDE; row++)
			for (int column = 0; column < SIDE; column++) {
				double sum = 0;
				for (int inner = 0; inner < SIDE; inner++) sum += left[row][inner] * right[inner][column];
				product[row][column] = sum;
			}
		left[time][time] += product[time][SIDE - 1 - time] * 0.001;
	}
	uint64_t bits;
	memcpy(&bits, &product[5][7], sizeof bits);
	return (uint32_t)(bits ^ bits >> 32);
}
