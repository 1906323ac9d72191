/*
 * A guest that watches itself: memory, floating point, disk and clocks, checked over and over. Each round prints a line; whatever
 * a snapshot, a restore or a fork loses or mixes up ends it with FAIL.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define WORDS (1024 * 1024)
#define BLOCKS 512
#define BLOCK_BYTES 4096

static uint64_t memory[WORDS];
static uint32_t version[WORDS / 512];
static uint32_t written[BLOCKS];

static uint64_t mix(uint64_t x)
{
	x ^= x >> 31;
	x *= 0x7fb5d329728ea185ull;
	x ^= x >> 27;
	return x * 0x81dadef4bc2dd44dull;
}

static void fail(const char *what, long a, long b)
{
	printf("FAIL %s %ld %ld\n", what, a, b);
	fflush(stdout);
	exit(1);
}

static void fill_block(uint64_t *block, uint32_t number, uint32_t round)
{
	for (int i = 0; i < BLOCK_BYTES / 8; i++) block[i] = mix(((uint64_t)number << 40) + ((uint64_t)round << 10) + i);
}

static double sse = 0.3;
static long double x87 = 0.7L;
static double sse_again = 0.3;
static long double x87_again = 0.7L;

static void step(double *d, long double *l)
{
	for (int i = 0; i < 500; i++) {
		*d = 3.9 * *d * (1 - *d);
		*l = fabsl(sinl(*l * 3 + 1)) * 0.999L;
	}
}

int main(void)
{
	int disk = open("/dev/vda", O_RDWR);
	if (disk < 0) fail("no disk", 0, 0);
	for (long i = 0; i < WORDS; i++) memory[i] = mix(i);
	struct timespec before = {0};
	static uint64_t block[BLOCK_BYTES / 8], back[BLOCK_BYTES / 8];
	for (uint32_t round = 1;; round++) {
		/* Every page is checked each round; some change. */
		for (long i = 0; i < WORDS; i++) {
			uint32_t v = version[i / 512];
			if (memory[i] != mix(i + ((uint64_t)v << 32))) fail("memory", i, round);
		}
		for (int k = 0; k < 24; k++) {
			long page = mix(round * 64 + k) % (WORDS / 512);
			version[page] = round;
			for (long i = page * 512; i < page * 512 + 512; i++) memory[i] = mix(i + ((uint64_t)round << 32));
		}
		step(&sse, &x87);
		for (int k = 0; k < 4; k++) {
			uint32_t number = mix(round * 8 + k) % BLOCKS;
			fill_block(block, number, round);
			if (pwrite(disk, block, BLOCK_BYTES, (off_t)number * BLOCK_BYTES) != BLOCK_BYTES) fail("write", number, round);
			written[number] = round;
		}
		if (fsync(disk) != 0) fail("fsync", 0, round);
		posix_fadvise(disk, 0, 0, POSIX_FADV_DONTNEED);
		for (int k = 0; k < 16; k++) {
			uint32_t number = mix(round * 32 + k + 7) % BLOCKS;
			if (pread(disk, back, BLOCK_BYTES, (off_t)number * BLOCK_BYTES) != BLOCK_BYTES) fail("read", number, round);
			if (written[number] == 0) continue;
			fill_block(block, number, written[number]);
			if (memcmp(block, back, BLOCK_BYTES) != 0) fail("disk", number, round);
		}
		step(&sse_again, &x87_again);
		if (sse != sse_again || x87 != x87_again) fail("floating point", 0, round);
		struct timespec now, pause = {0, 1000000};
		clock_gettime(CLOCK_MONOTONIC, &now);
		if (now.tv_sec < before.tv_sec || (now.tv_sec == before.tv_sec && now.tv_nsec < before.tv_nsec)) fail("clock", now.tv_sec, round);
		if (before.tv_sec != 0 && now.tv_sec - before.tv_sec > 20) fail("time", now.tv_sec - before.tv_sec, round);
		before = now;
		nanosleep(&pause, NULL);
		printf("ROUND %u\n", round);
		fflush(stdout);
	}
}
