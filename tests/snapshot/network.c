/* Talks with a server for ever: a number a tenth of a second, each answered by seven times as much. network PORT */
#include <arpa/inet.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static int reach(int port)
{
	struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(port) };
	inet_pton(AF_INET, "10.0.2.254", &to.sin_addr);
	for (;;) {
		int s = socket(AF_INET, SOCK_STREAM, 0);
		struct timeval patience = { .tv_sec = 20 };
		setsockopt(s, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
		if (connect(s, (struct sockaddr *)&to, sizeof to) == 0)
			return s;
		printf("UNREACHABLE %d\n", errno);
		close(s);
		sleep(1);
	}
}

static int64_t now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000000000ll + t.tv_nsec;
}

int main(int argc, char **argv)
{
	int port = atoi(argv[argc - 1]);
	setvbuf(stdout, 0, _IOLBF, 0);
	int timer = timerfd_create(CLOCK_MONOTONIC, 0);
	struct itimerspec tenth = { { 0, 100000000 }, { 0, 100000000 } };
	timerfd_settime(timer, 0, &tenth, 0);
	int s = reach(port);
	int64_t before = now();
	for (int64_t round = 1;; round++) {
		uint64_t ticks;
		if (read(timer, &ticks, sizeof ticks) != sizeof ticks)
			printf("FAIL timer\n");
		if (now() <= before)
			printf("FAIL clock\n");
		before = now();
		int64_t answer;
		if (write(s, &round, sizeof round) != sizeof round || recv(s, &answer, sizeof answer, MSG_WAITALL) != sizeof answer) {
			printf("LOST %d\n", errno);
			close(s);
			s = reach(port);
			continue;
		}
		if (answer != 7 * round)
			printf("FAIL answer %lld to %lld\n", (long long)answer, (long long)round);
		printf("ROUND %lld\n", (long long)round);
	}
}
