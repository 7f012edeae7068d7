/* wolfSSL as a peer: standard input is sent over TLS, and what arrives is written to
 * standard output, as with openssl s_client.
 *
 * usage: wolfssl_relay ADDRESS PORT TLS CA      (TLS: 1.2 or 1.3)
 *
 * At the end of its input it sends close_notify and ends. */
#include <wolfssl/options.h>
#include <wolfssl/ssl.h>

#include <arpa/inet.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static void must(int done, const char* what) {
  if (done) return;
  fprintf(stderr, "wolfssl_relay: %s\n", what);
  exit(1);
}

static int connect_to(const char* address, const char* port) {
  struct sockaddr_in server = {.sin_family = AF_INET,
                               .sin_port = htons((unsigned short)atoi(port))};
  must(inet_pton(AF_INET, address, &server.sin_addr) == 1, "ADDRESS");
  const int fd = socket(AF_INET, SOCK_STREAM, 0);
  must(connect(fd, (struct sockaddr*)&server, sizeof server) == 0, "connect");
  return fd;
}

static int is_waiting(WOLFSSL* ssl, int result) {
  const int error = wolfSSL_get_error(ssl, result);
  return error == WOLFSSL_ERROR_WANT_READ || error == WOLFSSL_ERROR_WANT_WRITE;
}

/* Writes what arrived to standard output. Returns 0 if the peer has sent its
 * close_notify. */
static int drain(WOLFSSL* ssl) {
  char in[16384];
  int got;
  while ((got = wolfSSL_read(ssl, in, sizeof in)) > 0)
    must(write(1, in, (size_t)got) == got, "standard output");
  if (wolfSSL_get_error(ssl, got) == WOLFSSL_ERROR_ZERO_RETURN) return 0;
  must(is_waiting(ssl, got),
       wolfSSL_ERR_reason_error_string((unsigned long)wolfSSL_get_error(ssl, got)));
  return 1;
}

static void relay(WOLFSSL* ssl, int fd) {
  char out[16384];
  ssize_t size = 0;
  fcntl(fd, F_SETFL, O_NONBLOCK);
  while (drain(ssl)) {
    if (size > 0) {
      /* All of it, or wolfSSL requires the same call again. */
      const int sent = wolfSSL_write(ssl, out, (int)size);
      must(sent == size || is_waiting(ssl, sent), "write");
      if (sent == size) size = 0;
    }
    struct pollfd polled[] = {{fd, (short)(POLLIN | (size > 0 ? POLLOUT : 0)), 0},
                              {size > 0 ? -1 : 0, POLLIN, 0}};
    poll(polled, 2, -1);
    if (polled[1].revents && (size = read(0, out, sizeof out)) <= 0) break;
  }
  fcntl(fd, F_SETFL, 0);
  wolfSSL_shutdown(ssl);
}

int main(int argc, char** argv) {
  must(argc == 5, "ADDRESS PORT TLS CA");
  WOLFSSL_CTX* ctx = wolfSSL_CTX_new(strcmp(argv[3], "1.2") == 0 ? wolfTLSv1_2_client_method()
                                                                 : wolfTLSv1_3_client_method());
  must(ctx && wolfSSL_CTX_load_verify_locations(ctx, argv[4], NULL) == WOLFSSL_SUCCESS, "CA");
  WOLFSSL* ssl = wolfSSL_new(ctx);
  const int fd = connect_to(argv[1], argv[2]);
  wolfSSL_set_fd(ssl, fd);
  const int result = wolfSSL_connect(ssl);
  must(result == WOLFSSL_SUCCESS,
       wolfSSL_ERR_reason_error_string((unsigned long)wolfSSL_get_error(ssl, result)));
  relay(ssl, fd);
  wolfSSL_free(ssl);
  wolfSSL_CTX_free(ctx);
  close(fd);
  return 0;
}
