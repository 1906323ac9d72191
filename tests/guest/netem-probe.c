// Sends numbered frames into one interface and times them as they come out of another; prints what became of them.
// probe TX RX COUNT SPACING_NS SIZE
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <linux/if_packet.h>
#include <math.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#define ETHERTYPE 0x88b5

static long count, *sent_ns, *first_ns, duplicates, reordered, highest = -1;

static long now_ns(void)
{
	struct timespec t;
	clock_gettime(CLOCK_REALTIME, &t);
	return t.tv_sec * 1000000000L + t.tv_nsec;
}

static int packet_socket(const char *name, int protocol)
{
	int s = socket(AF_PACKET, SOCK_RAW, htons(protocol));
	struct sockaddr_ll a = { .sll_family = AF_PACKET, .sll_protocol = htons(protocol), .sll_ifindex = if_nametoindex(name) };
	int bytes = 64 << 20, on = 1;
	if (s < 0 || bind(s, (struct sockaddr *)&a, sizeof a) < 0) {
		perror(name);
		exit(1);
	}
	setsockopt(s, SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof bytes);
	setsockopt(s, SOL_SOCKET, SO_SNDBUFFORCE, &bytes, sizeof bytes);
	setsockopt(s, SOL_SOCKET, SO_TIMESTAMPNS, &on, sizeof on);
	return s;
}

static int drain(int s)
{
	int seen = 0;
	for (;;) {
		unsigned char frame[2048];
		char control[256];
		struct iovec v = { frame, sizeof frame };
		struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control };
		ssize_t n = recvmsg(s, &m, MSG_DONTWAIT);
		if (n < 18)
			return seen;
		seen++;
		unsigned index;
		memcpy(&index, frame + 14, 4);
		if (index >= count)
			continue;
		struct timespec t = { 0 };
		for (struct cmsghdr *c = CMSG_FIRSTHDR(&m); c; c = CMSG_NXTHDR(&m, c))
			if (c->cmsg_type == SO_TIMESTAMPNS)
				memcpy(&t, CMSG_DATA(c), sizeof t);
		if (first_ns[index]) {
			duplicates++;
			continue;
		}
		first_ns[index] = t.tv_sec * 1000000000L + t.tv_nsec;
		if ((long)index < highest)
			reordered++;
		else
			highest = index;
	}
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;
	return x < y ? -1 : x > y;
}

int main(int argc, char **argv)
{
	if (argc != 6)
		return 2;
	count = atol(argv[3]);
	long spacing_ns = atol(argv[4]), size = atol(argv[5]);
	int tx = packet_socket(argv[1], 0), rx = packet_socket(argv[2], ETHERTYPE);
	sent_ns = calloc(count, sizeof *sent_ns);
	first_ns = calloc(count, sizeof *first_ns);
	unsigned char frame[2048] = { 2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, ETHERTYPE >> 8, ETHERTYPE & 255 };
	long start = now_ns() + 10000000;
	for (long i = 0; i < count; i++) {
		long due = start + i * spacing_ns;
		unsigned index = i;
		if (due - now_ns() > 200000) {
			struct timespec t = { due / 1000000000, due % 1000000000 };
			drain(rx);
			clock_nanosleep(CLOCK_REALTIME, TIMER_ABSTIME, &t, NULL);
		}
		while (now_ns() < due)
			;
		memcpy(frame + 14, &index, 4);
		sent_ns[i] = now_ns();
		if (send(tx, frame, size, 0) < 0 && i == 0)
			perror("send");
		if (i % 64 == 63)
			drain(rx);
	}
	for (int quiet = 0; quiet < 20; quiet++) {
		struct timespec t = { 0, 50000000 };
		nanosleep(&t, NULL);
		if (drain(rx))
			quiet = 0;
	}
	double *delays = calloc(count, sizeof *delays), *order = calloc(count, sizeof *order), sum = 0, squares = 0, products = 0;
	long received = 0, bursts = 0;
	for (long i = 0; i < count; i++) {
		if (!first_ns[i]) {
			bursts += i == 0 || first_ns[i - 1];
			continue;
		}
		delays[received] = first_ns[i] - sent_ns[i];
		sum += delays[received++];
	}
	double mean = received ? sum / received : 0;
	for (long i = 0; i < received; i++) {
		squares += (delays[i] - mean) * (delays[i] - mean);
		if (i)
			products += (delays[i] - mean) * (delays[i - 1] - mean);
	}
	memcpy(order, delays, received * sizeof *order);
	qsort(order, received, sizeof *order, compare);
	printf("{\"sent\":%ld,\"received\":%ld,\"duplicates\":%ld,\"reordered\":%ld,\"bursts\":%ld,\"meanNs\":%.1f,\"deviationNs\":%.1f,\"lag1\":%.4f,\"quantilesNs\":[",
	       count, received, duplicates, reordered, bursts, mean, received ? sqrt(squares / received) : 0, squares > 0 ? products / squares : 0);
	for (int p = 1; p < 100; p++)
		printf("%s%.0f", p > 1 ? "," : "", received ? order[received * p / 100] : 0.0);
	printf("]}\n");
	return 0;
}
