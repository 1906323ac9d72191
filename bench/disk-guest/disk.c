/* disk [-q] TEST DEVICE MIB OPERATIONS: reads or writes DEVICE past the guest's page cache, and says "BENCH TEST begin" and
 * "BENCH TEST end CHECKSUM" around it. A test's name is seq or rand, read or write, and how many do it at a time. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

enum { SEQUENTIAL_BYTES = 1 << 20, RANDOM_BYTES = 4096 };

static int is_quiet;

static void say(const char *text, int length) {
	if (!is_quiet && write(1, text, (size_t)length) != length) _exit(1);
}

static void fail(const char *what) {
	perror(what);
	exit(1);
}

static uint64_t next(uint64_t *state) {
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

/* One of `workers`, each with its own part of the work: places spread over the whole device either way. */
static uint32_t work(const char *device, int is_random, int is_write, uint64_t bytes, int operations, int worker, int workers) {
	const int file = open(device, O_RDWR | O_DIRECT);
	if (file < 0) fail(device);
	const uint64_t unit = is_random ? RANDOM_BYTES : SEQUENTIAL_BYTES;
	const uint64_t units = bytes / unit;
	unsigned char *buffer = mmap(0, unit, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	if (buffer == MAP_FAILED) fail("mmap");
	memset(buffer, 0x5a + worker, unit);
	uint64_t state = 88172645463325252ull + (uint64_t)worker * 7919;
	uint32_t sum = 0;
	for (int i = worker; i < operations; i += workers) {
		const uint64_t at = (is_random ? next(&state) % units : (uint64_t)i % units) * unit;
		if (is_write) memcpy(buffer, &i, sizeof i);
		const ssize_t done = is_write ? pwrite(file, buffer, unit, (off_t)at) : pread(file, buffer, unit, (off_t)at);
		if (done != (ssize_t)unit) fail(is_write ? "pwrite" : "pread");
		sum = sum * 31 + buffer[0];
	}
	if (is_write && fsync(file) != 0) fail("fsync");
	close(file);
	return sum;
}

int main(int count, char **arguments) {
	char pattern[8], kind[8];
	int workers = 1;
	is_quiet = count > 1 && strcmp(arguments[1], "-q") == 0;
	count -= is_quiet;
	arguments += is_quiet;
	if (count != 5 || sscanf(arguments[1], "%7[a-z]-%7[a-z]-%d", pattern, kind, &workers) < 2) {
		fprintf(stderr, "usage: disk [-q] (seq|rand)-(read|write)-WORKERS DEVICE MIB OPERATIONS\n");
		return 2;
	}
	const int is_random = strcmp(pattern, "rand") == 0, is_write = strcmp(kind, "write") == 0;
	const uint64_t bytes = (uint64_t)atoi(arguments[3]) << 20;
	const int operations = atoi(arguments[4]);
	char line[96];
	say(line, snprintf(line, sizeof line, "\nBENCH %s begin\n", arguments[1]));
	uint32_t sum = 0;
	for (int worker = 1; worker < workers; worker++)
		if (fork() == 0) _exit(work(arguments[2], is_random, is_write, bytes, operations, worker, workers) & 0);
	sum = work(arguments[2], is_random, is_write, bytes, operations, 0, workers);
	int status = 0, is_bad = 0;
	while (wait(&status) > 0) is_bad |= status != 0;
	if (is_bad) return 1;
	say(line, snprintf(line, sizeof line, "\nBENCH %s end %08x\n", arguments[1], sum));
	return 0;
}
