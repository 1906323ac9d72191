/* bench NAME: says "BENCH NAME begin", works, says "BENCH NAME end CHECKSUM". The host measures between the two lines: a
 * guest's own clock may be as slow as the guest. */
#include "programs.h"
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const struct {
	const char *name;
	uint32_t (*run)(void);
} programs[] = {
	{"recursion", recursion},
	{"sieve", sieve},
	{"alu", alu_mix},
	{"matmul", matrix_product},
	{"chase", pointer_chase},
	{"calls", indirect_calls},
	{"memcpy", copy_memory},
	{"syscalls", system_calls},
	{"sha256", sha256_of_16_mb},
};

static void say(const char *text, int length) {
	/* One write per line, so that nothing comes between. */
	if (write(1, text, (size_t)length) != length) _exit(1);
}

int main(int count, char **arguments) {
	if (count == 3 && strcmp(arguments[1], "generate") == 0) return generate(arguments[2]);
	for (unsigned index = 0; count == 2 && index < sizeof programs / sizeof *programs; index++) {
		if (strcmp(arguments[1], programs[index].name) != 0) continue;
		char line[80];
		say(line, snprintf(line, sizeof line, "\nBENCH %s begin\n", programs[index].name));
		const uint32_t checksum = programs[index].run();
		say(line, snprintf(line, sizeof line, "\nBENCH %s end %08x\n", programs[index].name, checksum));
		return 0;
	}
	fprintf(stderr, "usage: bench NAME | bench generate FILE\n");
	return 2;
}
