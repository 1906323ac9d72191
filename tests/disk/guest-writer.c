/* guest-writer DEVICE: when told to by a line, writes to the disk for ever, past the page cache, and says after each flush how far it has come. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <termios.h>
#include <unistd.h>

enum { SLOT_BYTES = 32 * 1024, SLOTS = 512, FLUSH_EVERY = 8 };

static uint32_t mix(uint32_t n) {
	n *= 2654435761u;
	return n ^ n >> 15;
}

int main(int count, char **arguments) {
	const int file = count == 2 ? open(arguments[1], O_RDWR | O_DIRECT) : -1;
	uint32_t *buffer = mmap(0, SLOT_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (file < 0 || buffer == MAP_FAILED) return 1;
	char line[40];
	if (write(1, "\nREADY\n", 7) < 0 || read(0, line, sizeof line) <= 0) return 5;
	for (uint32_t write_number = 1;; write_number++) {
		uint32_t state = write_number;
		for (int i = 0; i < SLOT_BYTES / 4; i++) buffer[i] = state = state * 1664525u + 1013904223u;
		const off_t at = (off_t)(mix(write_number) % SLOTS) * SLOT_BYTES;
		if (pwrite(file, buffer, SLOT_BYTES, at) != SLOT_BYTES) return 2;
		if (write_number % FLUSH_EVERY != 0) continue;
		if (fdatasync(file) != 0) return 3;
		// What waits in the terminal's buffer, nobody has been told yet.
		if (write(1, line, (size_t)snprintf(line, sizeof line, "\nFLUSHED %u.\n", write_number)) < 0 || tcdrain(1) != 0) return 4;
	}
}
