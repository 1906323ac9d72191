/* Runs generated instruction sequences on the host's processor: a batch on standard input, results on standard output.
 * Formats: format.h.
 *
 * A case ends by a fault (the code area is filled with INT3). The handler notes the result, puts memory back, loads the
 * next case into the signal frame and returns into it: one kernel round trip per case. Should a case bring the process
 * down, results are missing; with any argument each result is written at once, so that the tester sees which case did it.
 *
 * Buffers are small on purpose: in 32-bit modes a stray pointer may hit whatever this process has mapped. */
#include "format.h"
#include "frame.h"
#include "sys.h"
#include <asm/ldt.h>
#include <linux/mman.h>
#include <asm/siginfo.h>

enum { TIMEOUT_US = 10000 };

static uint8_t signal_stack[64 * 1024] __attribute__((aligned(64)));

static struct batch_header batch;
static const struct case_record *current;
static uint32_t case_index, last_alarm_case = ~0u;
static int is_careful;

static uint8_t input[128 * 1024] __attribute__((aligned(16)));
static uint32_t input_at, input_end;
static uint8_t output[128 * 1024] __attribute__((aligned(16)));
static uint32_t output_end;
/* What memory should hold if the case had written nothing. */
static uint64_t shadow[MEMORY_BYTES / 8];

static const struct area {
	uint32_t address, bytes, shadow_offset;
} areas[AREA_COUNT] = {
	{CODE_ADDRESS, CODE_BYTES, 0},
	{DATA_ADDRESS, DATA_BYTES, CODE_BYTES},
	{STACK_ADDRESS, STACK_BYTES, CODE_BYTES + DATA_BYTES},
};

static uint32_t padded(uint32_t bytes) { return (bytes + 7) & ~7u; }

/* Offset of a linear address within `shadow` and the batch's memory image. */
static uint32_t image_offset(uint32_t address) {
	for (int index = 0; index < AREA_COUNT; index++)
		if (address - areas[index].address < areas[index].bytes) return areas[index].shadow_offset + (address - areas[index].address);
	fail("runner: a patch outside the areas");
	return 0;
}

static void put(uint32_t address, const void *bytes, uint32_t length) {
	if (length == 0) return;
	memcpy((void *)(uintptr_t)address, bytes, length);
	memcpy((uint8_t *)shadow + image_offset(address), bytes, length);
}

static const struct patch *first_patch(const struct case_record *in) {
	return (const struct patch *)((const uint8_t *)(in + 1) + padded(in->code_bytes));
}

static const struct patch *next_patch(const struct patch *patch) {
	return (const struct patch *)(patch->bytes + padded(patch->length));
}

/* Puts one range back to the batch's image, in the guest's sight and in the shadow. */
static void unput(uint32_t address, uint32_t length) {
	if (length != 0) put(address, batch.memory + image_offset(address), length);
}

/* Appends what the case changed, and undoes it. */
static uint8_t *collect_diff(struct result_record *out) {
	uint8_t *end = (uint8_t *)(out + 1);
	out->diff_count = 0;
	for (int index = 0; index < AREA_COUNT; index++) {
		const struct area *area = &areas[index];
		uint64_t *live = (uint64_t *)(uintptr_t)area->address;
		const uint64_t *was = (const uint64_t *)((uint8_t *)shadow + area->shadow_offset);
		const uint32_t words = area->bytes / 8;
		for (uint32_t at = 0; at < words; at += 4) {
			if (((live[at] ^ was[at]) | (live[at + 1] ^ was[at + 1]) | (live[at + 2] ^ was[at + 2]) | (live[at + 3] ^ was[at + 3])) == 0)
				continue;
			for (uint32_t word = at; word < at + 4; word++) {
				if (live[word] == was[word]) continue;
				struct patch *diff = (struct patch *)end;
				diff->address = area->address + word * 8;
				diff->length = 8;
				*(uint64_t *)diff->bytes = live[word];
				end += sizeof *diff + 8;
				out->diff_count++;
				live[word] = was[word];
			}
		}
	}
	return end;
}

static void undo_case(const struct case_record *in) {
	unput(in->code_address, in->code_bytes);
	const struct patch *patch = first_patch(in);
	for (int index = 0; index < in->patch_count; index++, patch = next_patch(patch)) unput(patch->address, patch->length);
}

static void load_case(const struct case_record *in) {
	put(in->code_address, in + 1, in->code_bytes);
	const struct patch *patch = first_patch(in);
	for (int index = 0; index < in->patch_count; index++, patch = next_patch(patch)) put(patch->address, patch->bytes, patch->length);
}

/* sigreturn cannot change ID and NT, and a case may have left AC: the handler's own flags carry those two over. */
static void set_own_flags(unsigned long flags) {
#ifdef __x86_64__
	__asm__ volatile("push %0\n\tpopfq" : : "r"(flags) : "cc", "memory");
#else
	__asm__ volatile("push %0\n\tpopfl" : : "r"(flags) : "cc", "memory");
#endif
}

enum { FLAG_ALWAYS_ONE = 2, FLAG_NT = 1 << 14, FLAG_ID = 1 << 21 };

/* The next `bytes` of the batch, contiguous; they stay where they are until the next call. */
static const void *take(uint32_t bytes) {
	if (bytes > sizeof input) fail("runner: a record too large");
	if (input_end - input_at < bytes) {
		memcpy(input, input + input_at, input_end - input_at);
		input_end -= input_at;
		input_at = 0;
		while (input_end < bytes) {
			const long got = SYS(__NR_read, 0, input + input_end, sizeof input - input_end);
			if (got <= 0) fail("runner: the batch is cut short");
			input_end += (uint32_t)got;
		}
	}
	input_at += bytes;
	return input + input_at - bytes;
}

static void flush(void) {
	for (uint32_t at = 0; at < output_end;) {
		const long put_bytes = SYS(__NR_write, 1, output + at, output_end - at);
		if (put_bytes <= 0) fail("runner: cannot write results");
		at += (uint32_t)put_bytes;
	}
	output_end = 0;
}

static void start_next(struct sigcontext *context) {
	if (case_index == batch.case_count) {
		flush();
		SYS(__NR_exit_group, 0, 0, 0);
	}
	const uint32_t size_bytes = *(const uint32_t *)take(4);
	input_at -= 4;
	current = take(size_bytes);
	load_case(current);
	write_frame(context, current);
	set_own_flags(FLAG_ALWAYS_ONE | (current->rflags & (FLAG_NT | FLAG_ID)));
}

/* QEMU's user-mode emulation leaves no vector in the frame: the signal is the next best. */
static uint16_t vector_of_signal(const siginfo_t *info) {
	switch (info->si_signo) {
	case SIGTRAP: return info->si_code == 2 /* TRAP_TRACE */ ? 1 : 3;
	case SIGILL: return 6;
	case SIGBUS: return 17;
	case SIGFPE: return info->si_code == 1 /* FPE_INTDIV */ ? 0 : 16;
	default: return info->si_code == 1 || info->si_code == 2 /* SEGV_MAPERR, SEGV_ACCERR */ ? 14 : 13;
	}
}

static void finish(struct sigcontext *context, const siginfo_t *info, uint16_t status) {
	if (output_end + sizeof(struct result_record) + MEMORY_BYTES * 2 > sizeof output) flush();
	struct result_record *out = (struct result_record *)(output + output_end);
	read_frame(out, context);
	out->status = status;
	if (out->vector > 31) out->vector = vector_of_signal(info);
	if (current->flags & 1) reset_segments();
	uint8_t *end = collect_diff(out);
	out->size_bytes = (uint32_t)(end - (uint8_t *)out);
	undo_case(current);
	output_end += out->size_bytes;
	if (is_careful) flush();
	case_index++;
	start_next(context);
}

/* From here on everything runs on the signal stack. The less is mapped, the less a stray 32-bit pointer can find. */
static void unmap_the_rest(void) {
#ifndef __x86_64__
	SYS(__NR_munmap, 0x80000000u, 0x7fffe000u, 0);
#endif
}

static void on_signal(int number, siginfo_t *info, void *argument) {
	set_own_flags(FLAG_ALWAYS_ONE);
	struct sigcontext *context = (struct sigcontext *)&((struct ucontext *)argument)->uc_mcontext;
	if (number == SIGUSR1) {
		unmap_the_rest();
		start_next(context);
	} else if (number != SIGALRM) {
		finish(context, info, STATUS_FAULT);
	} else if (last_alarm_case == case_index) {
		finish(context, info, STATUS_TIMEOUT);
	} else {
		last_alarm_case = case_index;
		set_own_flags(FLAG_ALWAYS_ONE | (current->rflags & (FLAG_NT | FLAG_ID)));
	}
}

__asm__(".globl signal_return\nsignal_return:\n"
#ifdef __x86_64__
        "mov $15, %eax\n\tsyscall\n"
#else
        "mov $173, %eax\n\tint $0x80\n"
#endif
);
void signal_return(void);

static void install_handler(int number) {
	struct {
		void (*handler)(int, siginfo_t *, void *);
		unsigned long flags;
		void (*restorer)(void);
		uint64_t mask;
	} action = {on_signal, SA_SIGINFO | SA_ONSTACK | 0x04000000 /* SA_RESTORER */, signal_return, ~0ull};
	if (sys6(__NR_rt_sigaction, number, (long)&action, 0, 8, 0, 0) != 0) fail("runner: rt_sigaction");
}

#ifndef __x86_64__
static void install_descriptor(unsigned index, uint32_t base, uint32_t limit, unsigned contents, int is32, int is_read_only, int is_absent) {
	struct user_desc descriptor = {.entry_number = index, .base_addr = base, .limit = limit, .seg_32bit = is32, .contents = contents,
	                               .read_exec_only = is_read_only, .limit_in_pages = 0, .seg_not_present = is_absent, .useable = 1};
	if (SYS(__NR_modify_ldt, 0x11, &descriptor, sizeof descriptor) != 0) fail("runner: modify_ldt");
}

enum { CONTENTS_DATA = 0, CONTENTS_EXPAND_DOWN = 1, CONTENTS_CODE = 2 };

/* The same table stands in tests/cpu/format.ts. */
static void install_descriptors(void) {
	install_descriptor(0, CODE_ADDRESS, CODE_BYTES - 1, CONTENTS_CODE, 0, 0, 0);
	install_descriptor(1, DATA_ADDRESS, DATA_BYTES - 1, CONTENTS_DATA, 0, 0, 0);
	install_descriptor(2, STACK_ADDRESS, STACK_BYTES - 1, CONTENTS_DATA, 0, 0, 0);
	install_descriptor(3, DATA_ADDRESS, DATA_BYTES - 1, CONTENTS_DATA, 1, 0, 0);
	install_descriptor(4, DATA_ADDRESS, DATA_BYTES / 2 - 1, CONTENTS_DATA, 0, 1, 0);
	install_descriptor(5, DATA_ADDRESS, DATA_BYTES / 2 - 1, CONTENTS_EXPAND_DOWN, 0, 0, 0);
	install_descriptor(6, DATA_ADDRESS, DATA_BYTES - 1, CONTENTS_DATA, 1, 0, 1);
	install_descriptor(7, CODE_ADDRESS, CODE_BYTES - 1, CONTENTS_CODE, 0, 1, 0);
	install_descriptor(8, CODE_ADDRESS, CODE_BYTES - 1, CONTENTS_CODE, 1, 0, 0);
}
#else
static void install_descriptors(void) {}
#endif

static void main_of(int count) {
	is_careful = count > 1;
	batch = *(const struct batch_header *)take(sizeof batch);
	if (batch.magic != FORMAT_MAGIC) fail("runner: not a batch");

	for (int index = 0; index < AREA_COUNT; index++) {
		void *at = (void *)(uintptr_t)areas[index].address;
		const int protection = PROT_READ | PROT_WRITE | (index == 0 ? PROT_EXEC : 0);
		if (map(at, areas[index].bytes, protection, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1) != at) fail("runner: cannot map an area");
		put(areas[index].address, batch.memory + areas[index].shadow_offset, areas[index].bytes);
	}
	install_descriptors();
	reset_segments();

	const struct sigaltstack alternate = {.ss_sp = signal_stack, .ss_size = sizeof signal_stack};
	if (SYS(__NR_sigaltstack, &alternate, 0, 0) != 0) fail("runner: sigaltstack");
	static const int signals[] = {SIGILL, SIGTRAP, SIGBUS, SIGFPE, SIGSEGV, SIGALRM, SIGUSR1};
	for (unsigned index = 0; index < sizeof signals / sizeof *signals; index++) install_handler(signals[index]);
	const long interval[4] = {0, TIMEOUT_US, 0, TIMEOUT_US};
	SYS(__NR_setitimer, 0 /* ITIMER_REAL */, interval, 0);
	SYS(__NR_kill, SYS(__NR_getpid, 0, 0, 0), SIGUSR1, 0);
	fail("runner: the first case did not start");
}

#ifdef __x86_64__
__asm__(".globl _start\n_start:\n\tmov %rsp, %rdi\n\tand $-16, %rsp\n\tcall enter\n");
void enter(long *stack) { main_of((int)stack[0]); }
#else
__asm__(".globl _start\n_start:\n\tmov %esp, %eax\n\tand $-16, %esp\n\tsub $12, %esp\n\tpush %eax\n\tcall enter\n");
void enter(long *stack) { main_of((int)stack[0]); }
#endif
