/* A connection with several users: threads and children of the process that exports it.
 * Streams are numbers of four bytes, so each byte encodes its position.
 *
 * usage: sharing serve ADDRESS PORT TARGET SERVICE EXPORTS USER…
 *            accepts one connection and exports it until it has moved, at most EXPORTS
 *            times. Users:
 *            "tiny"     writes 4 bytes at a time, without a pause
 *            "steady"   writes 256 bytes, and soon the next
 *            "sleeper"  sleeps in send(2) with 1 MB
 *            "reader", "child"
 *            "waker"    wakes a sleeper by a larger send buffer when the socket has been
 *                       in repair mode for a while
 *        sharing peer ADDRESS PORT
 *            connects, writes and reads until the end of the stream
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <sockmi/sockmi.h>

enum { kMost = 1 << 20 };

/* In memory that is shared with a child. */
static struct {
  atomic_int stop;
  atomic_long written, read, wrong, write_errors[134], read_errors[134];
} * seen;
static int fd;

static unsigned char at(long place) {
  return (unsigned char)((unsigned)(place / 4) >> (24 - 8 * (place % 4)));
}

static void count(atomic_long* errors) {
  ++errors[errno < 133 ? errno : 133];
}

/* Returns whether the writer can continue. */
static int put(size_t size, int flags) {
  static _Thread_local unsigned char bytes[kMost];
  for (size_t i = 0; i < size; ++i)
    bytes[i] = at(seen->written + (long)i);
  const ssize_t sent = send(fd, bytes, size, flags | MSG_NOSIGNAL);
  if (sent > 0) seen->written += sent;
  if (sent < 0 && errno != EAGAIN) count(seen->write_errors);
  return sent >= 0 || errno == EAGAIN || errno == EINVAL;
}

static int take(int flags) {
  unsigned char bytes[65536];
  const ssize_t got = recv(fd, bytes, sizeof bytes, flags);
  for (ssize_t i = 0; i < got; ++i, ++seen->read)
    if (bytes[i] != at(seen->read)) ++seen->wrong;
  if (got < 0 && errno != EAGAIN) count(seen->read_errors);
  return got > 0 || (got < 0 && (errno == EAGAIN || errno == EPERM));
}

static void* tiny(void* unused) {
  while (!seen->stop && put(4, MSG_DONTWAIT)) {
  }
  return unused;
}

static void* steady(void* unused) {
  while (!seen->stop && put(256, MSG_DONTWAIT))
    usleep(20);
  return unused;
}

static void* sleeper(void* unused) {
  while (!seen->stop && put(kMost, 0)) {
  }
  return unused;
}

static void* reader(void* unused) {
  struct pollfd readable = {fd, POLLIN, 0};
  while (!seen->stop)
    if (poll(&readable, 1, 20) == 1 && !take(MSG_DONTWAIT)) break;
  return unused;
}

static void* waker(void* unused) {
  int repaired = 0, repair = 0, size = 200000;
  while (!seen->stop && repaired < 100) {
    socklen_t length = sizeof repair;
    repaired =
        getsockopt(fd, IPPROTO_TCP, TCP_REPAIR, &repair, &length) == 0 && repair ? repaired + 1 : 0;
    usleep(1000);
  }
  if (!seen->stop && setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof size) == 0)
    printf("waked\n");
  return unused;
}

static void report(const char* what, atomic_long* errors) {
  for (int i = 0; i < 134; ++i)
    if (errors[i]) printf("%s failed %ld times: errno %d %s\n", what, errors[i], i, strerror(i));
}

/* Returns whether the connection has moved, by the result of the export. If the outcome
 * is not known yet, the descriptor shows it later: it works again, or is dead. */
static int has_gone(int result) {
  char byte;
  if (result == 0 || errno != EINPROGRESS) return result == 0;
  for (int i = 0; i < 60000; ++i, usleep(1000)) {
    if (recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) >= 0 || errno == EAGAIN) return 0;
    if (errno == ENOTCONN || errno == ECONNABORTED) return 1;
  }
  return 1;
}

/* Returns whether an export was in repair mode for longer than it takes to read the
 * sequence numbers: that leaves no queue selected, so that TCP_QUEUE_SEQ fails. */
static int was_repaired(void) {
  unsigned sequence;
  socklen_t length = sizeof sequence;
  return getsockopt(fd, IPPROTO_TCP, TCP_QUEUE_SEQ, &sequence, &length) != 0;
}

/* Returns whether all that was written is sent, without another call of send(2). */
static int sends_all(void) {
  int unsent = 1;
  for (int i = 0; i < 30000; ++i, usleep(1000))
    if (ioctl(fd, SIOCOUTQNSD, &unsent) == 0 && unsent == 0) return 1;
  printf("%d bytes stay unsent\n", unsent);
  return 0;
}

static int serve(struct sockaddr_in* address, char** words) {
  const int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1, small = 16384,
            exports = atoi(words[2]);
  struct in_addr target;
  inet_pton(AF_INET, words[0], &target);
  setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  if (bind(listener, (struct sockaddr*)address, sizeof *address) || listen(listener, 8))
    return perror("listen"), 1;
  printf("ready\n");
  fd = accept(listener, NULL, NULL);
  close(listener);
  pthread_t threads[8];
  int started = 0;
  pid_t child = 0;
  for (char** user = words + 3; *user; ++user) {
    if (!strcmp(*user, "child") && !(child = fork())) {
      tiny(NULL);
      _exit(0);
    }
    if (!strcmp(*user, "waker")) setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &small, sizeof small);
    void* (*work)(void*) = !strcmp(*user, "tiny")      ? tiny
                           : !strcmp(*user, "steady")  ? steady
                           : !strcmp(*user, "sleeper") ? sleeper
                           : !strcmp(*user, "reader")  ? reader
                           : !strcmp(*user, "waker")   ? waker
                                                       : NULL;
    if (work) pthread_create(&threads[started++], NULL, work, NULL);
  }
  for (int i = 0; i < 3000 && seen->written + seen->read < 100000; ++i)
    usleep(1000);
  struct sockmi_export_options options = {.service = words[1]};
  int gone = 0, failed = 0, repaired = 0;
  for (; !gone && failed < exports; failed += !gone, repaired += !gone && was_repaired())
    gone = has_gone(sockmi_export_socket_with(fd, SOCKMI_CONNECTED, AF_INET, &target, &options));
  printf("%s after %d failures, %d in repair mode: %s\n", gone ? "gone" : "here", failed, repaired,
         gone ? "" : sockmi_last_error());
  seen->stop = 1;
  for (int i = 0; i < started; ++i)
    pthread_join(threads[i], NULL);
  if (child) waitpid(child, NULL, 0);
  if (!gone && sends_all()) {
    shutdown(fd, SHUT_WR);
    while (take(0)) {
    }
  }
  report("send", seen->write_errors);
  report("recv", seen->read_errors);
  printf("written %ld read %ld wrong %ld\n", seen->written, seen->read, seen->wrong);
  return 0;
}

static int peer(struct sockaddr_in* address) {
  fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (connect(fd, (struct sockaddr*)address, sizeof *address)) return perror("connect"), 1;
  struct pollfd ready = {fd, POLLIN | POLLOUT, 0};
  while (poll(&ready, 1, -1) == 1) {
    if ((ready.revents & POLLIN) && !take(MSG_DONTWAIT)) break;
    if ((ready.revents & POLLOUT) && seen->written < kMost && !put(4096, MSG_DONTWAIT)) break;
    if (seen->written >= kMost) ready.events = POLLIN;
  }
  shutdown(fd, SHUT_WR);
  report("send", seen->write_errors);
  report("recv", seen->read_errors);
  printf("written %ld read %ld wrong %ld\n", seen->written, seen->read, seen->wrong);
  return 0;
}

int main(int count, char** words) {
  setvbuf(stdout, NULL, _IOLBF, 0);
  seen = mmap(NULL, sizeof *seen, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (count < 4 || seen == MAP_FAILED) return 2;
  struct sockaddr_in address = {.sin_family = AF_INET,
                                .sin_port = htons((unsigned short)atoi(words[3]))};
  inet_pton(AF_INET, words[2], &address.sin_addr);
  if (!strcmp(words[1], "peer")) return peer(&address);
  return count >= 7 ? serve(&address, words + 4) : 2;
}
