/* System calls without a C library: the cases load segment registers and bases, so nothing here may use thread-local
 * storage (errno), and the signal handler must work with whatever they leave behind. */
#pragma once
#include <asm/unistd.h>
#include <stddef.h>

#ifdef __x86_64__
static inline long sys6(long n, long a, long b, long c, long d, long e, long f) {
	register long r10 __asm__("r10") = d;
	register long r8 __asm__("r8") = e;
	register long r9 __asm__("r9") = f;
	long result;
	__asm__ volatile("syscall" : "=a"(result) : "a"(n), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9) : "rcx", "r11", "memory");
	return result;
}
#define NR_MMAP __NR_mmap
#define PAGE_OFFSET(bytes) (bytes)
#else
static inline long sys6(long n, long a, long b, long c, long d, long e, long f) {
	long result;
	/* EBP is the sixth argument and EBX the first: both saved by hand. */
	long arguments[2] = {a, f};
	__asm__ volatile("push %%ebx\n\tpush %%ebp\n\tmov 4(%%ebx), %%ebp\n\tmov (%%ebx), %%ebx\n\tint $0x80\n\tpop %%ebp\n\tpop %%ebx"
	                 : "=a"(result)
	                 : "a"(n), "b"(arguments), "c"(b), "d"(c), "S"(d), "D"(e)
	                 : "memory");
	return result;
}
#define NR_MMAP __NR_mmap2
#define PAGE_OFFSET(bytes) ((bytes) >> 12)
#endif

#define SYS(n, a, b, c) sys6((n), (long)(a), (long)(b), (long)(c), 0, 0, 0)

static inline void *map(void *at, size_t bytes, int protection, int flags, int fd) {
	return (void *)sys6(NR_MMAP, (long)at, (long)bytes, protection, flags, fd, PAGE_OFFSET(0));
}

static void fail(const char *what) {
	size_t length = 0;
	while (what[length]) length++;
	SYS(__NR_write, 2, what, length);
	SYS(__NR_write, 2, "\n", 1);
	SYS(__NR_exit_group, 1, 0, 0);
	__builtin_unreachable();
}

/* GCC may call these for struct copies. */
void *memcpy(void *to, const void *from, size_t bytes) {
	void *start = to;
	__asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(bytes) : : "memory");
	return start;
}

void *memset(void *to, int value, size_t bytes) {
	void *start = to;
	__asm__ volatile("rep stosb" : "+D"(to), "+c"(bytes) : "a"(value) : "memory");
	return start;
}
