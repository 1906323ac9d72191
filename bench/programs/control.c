#include "programs.h"
#include <sys/syscall.h>
#include <unistd.h>

#define TARGET(name, expression) \
	__attribute__((noinline)) static uint32_t name(uint32_t value) { return expression; }
TARGET(add, value + 3)
TARGET(rotate, value << 5 | value >> 27)
TARGET(flip, value ^ 0x5bd1e995)
TARGET(multiply, value * 9)
TARGET(subtract, value - 77)
TARGET(mask, value & 0x7fffffff)
TARGET(invert, ~value)
TARGET(fold, value ^ value >> 15)

uint32_t indirect_calls(void) {
	static uint32_t (*const volatile targets[])(uint32_t) = {add, rotate, flip, multiply, subtract, mask, invert, fold};
	uint32_t value = 1;
	for (uint32_t call = 0; call < 10000000; call++) value = targets[(call * 2654435761u) >> 29](value);
	return value;
}

uint32_t system_calls(void) {
	uint32_t sum = 0;
	for (int call = 0; call < 200000; call++) sum += (uint32_t)syscall(SYS_getppid);
	return sum != 0;
}
