/* FIPS 180-4, "Secure Hash Standard": SHA-256, over 16 MB of generated words. */
#include "programs.h"

static uint32_t rotated(uint32_t word, int by) { return word >> by | word << (32 - by); }

/* The first 32 bits of the fractional parts of the cube and square roots of the first primes, worked out instead of listed. */
static uint32_t root_fraction(uint32_t prime, int is_cube) {
	/* The largest r with r² ≤ p·2⁶⁴ or r³ ≤ p·2⁹⁶, bit by bit; its low 32 bits are the fraction. */
	uint64_t root = 0;
	for (int bit = 36; bit >= 0; bit--) {
		const uint64_t candidate = root | 1ull << bit;
		/* 128-bit products in two halves, for 32-bit targets. */
		const uint64_t low = candidate & 0xffffffff, high = candidate >> 32;
		const uint64_t middle = 2 * low * high + (low * low >> 32);
		uint64_t square_high = high * high + (middle >> 32), square_low = middle << 32 | (low * low & 0xffffffff);
		int fits;
		if (!is_cube) {
			fits = square_high < prime || (square_high == prime && square_low == 0);
		} else {
			/* candidate³ = square · candidate, kept above 2⁹⁶'s neighbourhood: bits from 64 up are enough with a carry. */
			const uint64_t carry = (square_low >> 32) * low + ((square_low & 0xffffffff) * low >> 32) + (square_low & 0xffffffff) * high;
			uint64_t upper = square_high * candidate + (square_low >> 32) * high + (carry >> 32);
			fits = upper >> 32 < prime;
		}
		if (fits) root = candidate;
	}
	return (uint32_t)root;
}

static uint32_t constants[64], initial[8];

static void work_out_constants(void) {
	int count = 0;
	for (uint32_t n = 2; count < 64; n++) {
		int is_prime = 1;
		for (uint32_t divisor = 2; divisor * divisor <= n; divisor++)
			if (n % divisor == 0) is_prime = 0;
		if (!is_prime) continue;
		if (count < 8) initial[count] = root_fraction(n, 0);
		constants[count++] = root_fraction(n, 1);
	}
}

static void block(uint32_t *state, const uint32_t *words) {
	uint32_t schedule[64];
	for (int round = 0; round < 16; round++) schedule[round] = words[round];
	for (int round = 16; round < 64; round++) {
		const uint32_t w15 = schedule[round - 15], w2 = schedule[round - 2];
		schedule[round] = schedule[round - 16] + (rotated(w15, 7) ^ rotated(w15, 18) ^ w15 >> 3) + schedule[round - 7] +
		                  (rotated(w2, 17) ^ rotated(w2, 19) ^ w2 >> 10);
	}
	uint32_t a = state[0], b = state[1], c = state[2], d = state[3], e = state[4], f = state[5], g = state[6], h = state[7];
	for (int round = 0; round < 64; round++) {
		const uint32_t first = h + (rotated(e, 6) ^ rotated(e, 11) ^ rotated(e, 25)) + ((e & f) ^ (~e & g)) + constants[round] + schedule[round];
		const uint32_t second = (rotated(a, 2) ^ rotated(a, 13) ^ rotated(a, 22)) + ((a & b) ^ (a & c) ^ (b & c));
		h = g, g = f, f = e, e = d + first, d = c, c = b, b = a, a = first + second;
	}
	state[0] += a, state[1] += b, state[2] += c, state[3] += d, state[4] += e, state[5] += f, state[6] += g, state[7] += h;
}

uint32_t sha256_of_16_mb(void) {
	enum { BLOCKS = 16 * 1024 * 1024 / 64 };
	work_out_constants();
	uint32_t state[8], words[16], seed = 4711;
	for (int word = 0; word < 8; word++) state[word] = initial[word];
	for (int at = 0; at < BLOCKS; at++) {
		for (int word = 0; word < 16; word++) words[word] = next_random(&seed);
		block(state, words);
	}
	return state[0];
}
