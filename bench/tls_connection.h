// A TLS connection whose two ends are in one thread, so that a figure measures the work
// of OpenSSL and sockmi only.
#pragma once

#include <sys/socket.h>
#include <unistd.h>

#include <array>

#include <openssl/err.h>
#include <sockmi/appsockmi.h>

#include "base/openssl_ptr.h"
#include "stopwatch.h"
#include "unit/self_signed.h"

namespace sockmi::bench {

using SslPtr = OpenSslPointer<SSL, SSL_free>;
using CtxPtr = OpenSslPointer<SSL_CTX, SSL_CTX_free>;

inline OSSL_LIB_CTX* with_provider() {
  static OSSL_LIB_CTX* libctx = [] {
    OSSL_LIB_CTX* made = OSSL_LIB_CTX_new();
    must(sockmi_enable(made) == 0, sockmi_last_error());
    return made;
  }();
  return libctx;
}

inline CtxPtr make_context(int version, const char* suite, bool sockmi) {
  CtxPtr ctx(SSL_CTX_new_ex(sockmi ? with_provider() : nullptr, nullptr, TLS_method()));
  SSL_CTX_set_min_proto_version(ctx.get(), version);
  SSL_CTX_set_max_proto_version(ctx.get(), version);
  must((version == TLS1_3_VERSION ? SSL_CTX_set_ciphersuites(ctx.get(), suite)
                                  : SSL_CTX_set_cipher_list(ctx.get(), suite)) == 1,
       suite);
  SSL_CTX_set_mode(ctx.get(), SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
  test::give_certificate(ctx.get());
  return ctx;
}

// A connection over a socketpair. Either both ends use sockmi, or neither.
class Connection {
 public:
  Connection(int version, const char* suite, bool sockmi)
      : sockmi_(sockmi),
        ctx_(make_context(version, suite, sockmi)) {
    must(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds_.data()) == 0, "socketpair");
    for (const int fd : fds_) {
      const int size = 1 << 20;
      ::setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
    }
    server_ = fresh_server();
    set_fd(server_.get(), fds_[0]);
    client_.reset(SSL_new(ctx_.get()));
    SSL_set_connect_state(client_.get());
    set_fd(client_.get(), fds_[1]);
    for (int i = 0;
         i < 20 && !(SSL_is_init_finished(server_.get()) && SSL_is_init_finished(client_.get()));
         ++i) {
      SSL_do_handshake(client_.get());
      SSL_do_handshake(server_.get());
    }
    ERR_clear_error();
    exchange(server_.get(), client_.get(), 1);  // the client reads the session tickets too
    exchange(client_.get(), server_.get(), 1);
  }
  Connection(const Connection&) = delete;
  ~Connection() {
    for (const int fd : fds_)
      ::close(fd);
  }

  SslPtr fresh_server() const {
    SslPtr ssl(SSL_new(ctx_.get()));
    SSL_set_accept_state(ssl.get());
    return ssl;
  }
  SSL* server() const { return server_.get(); }

  // Replaces the server's end by `next`, and checks that it works.
  void replace_server(SslPtr next) {
    server_ = std::move(next);
    set_fd(server_.get(), fds_[0]);
    exchange(server_.get(), client_.get(), 1000);
    exchange(client_.get(), server_.get(), 1000);
  }

  // Returns bytes per microsecond from server to client, in records of `size` bytes.
  double throughput(std::size_t size, Clock::duration slice) {
    const auto began = Clock::now();
    std::size_t bytes = 0;
    do {
      for (int i = 0; i < 64; ++i, bytes += size)
        exchange(server_.get(), client_.get(), size);
    } while (Clock::now() - began < slice);
    return static_cast<double>(bytes) / microseconds(Clock::now() - began);
  }

 private:
  void set_fd(SSL* ssl, int fd) const {
    must(sockmi_ ? sockmi_set_fd(ssl, fd) == 0 : SSL_set_fd(ssl, fd) == 1, "set_fd");
  }

  static void exchange(SSL* from, SSL* to, std::size_t size) {
    static std::array<char, 16384> bytes{};
    must(SSL_write(from, bytes.data(), static_cast<int>(size)) == static_cast<int>(size),
         "SSL_write");
    for (std::size_t got = 0; got < size;) {
      const int n = SSL_read(to, bytes.data(), static_cast<int>(bytes.size()));
      must(n > 0, "SSL_read");
      got += static_cast<std::size_t>(n);
    }
  }

  bool sockmi_;
  CtxPtr ctx_;
  std::array<int, 2> fds_{-1, -1};
  SslPtr server_, client_;
};

}  // namespace sockmi::bench
