/* Small guest programs for the benches. Each returns a checksum, printed so that no compiler can leave the work out and
 * every engine can be seen to have done the same. */
#pragma once
#include <stdint.h>

uint32_t recursion(void);
uint32_t sieve(void);
uint32_t alu_mix(void);
uint32_t matrix_product(void);
uint32_t pointer_chase(void);
uint32_t indirect_calls(void);
uint32_t copy_memory(void);
uint32_t system_calls(void);
uint32_t sha256_of_16_mb(void);
int generate(const char *path);

static inline uint32_t next_random(uint32_t *state) {
	*state ^= *state << 13;
	*state ^= *state >> 17;
	*state ^= *state << 5;
	return *state;
}
