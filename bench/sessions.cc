// Measures what many sessions cost: loads per second on two threads, the memory that
// sockmi adds to each, and handshakes while very many sessions are live. Prints one JSON
// object.
#include <sys/wait.h>

#include <atomic>
#include <fstream>
#include <thread>

#include <nlohmann/json.hpp>

#include "tls_connection.h"

using namespace sockmi::bench;

namespace {

constexpr int kThreads = 2, kLive = 100'000, kForMemory = 20'000, kSlices = 15;
constexpr const char* kSuite = "TLS_AES_128_GCM_SHA256";
constexpr auto kSlice = std::chrono::milliseconds(300), kLoading = std::chrono::milliseconds(1500);

template <class Function>
void on_threads(Function&& function) {
  std::vector<std::thread> threads;
  for (int i = 0; i < kThreads; ++i)
    threads.emplace_back([&, i] { function(i); });
  for (auto& thread : threads)
    thread.join();
}

// Returns the server's end of a new connection, idle. The client is freed without a
// close_notify.
SslPtr new_session(SSL_CTX* ctx) {
  SslPtr server(SSL_new(ctx)), client(SSL_new(ctx));
  BIO *one = nullptr, *other = nullptr;
  must(BIO_new_bio_pair(&one, 1 << 15, &other, 1 << 15) == 1, "bio pair");
  SSL_set_bio(server.get(), one, one);
  SSL_set_bio(client.get(), other, other);
  SSL_set_accept_state(server.get());
  SSL_set_connect_state(client.get());
  for (int i = 0;
       i < 10 && !(SSL_is_init_finished(server.get()) && SSL_is_init_finished(client.get())); ++i) {
    SSL_do_handshake(client.get());
    SSL_do_handshake(server.get());
  }
  must(SSL_is_init_finished(server.get()) == 1, "handshake");
  SSL_set_quiet_shutdown(client.get(), 1);
  ERR_clear_error();
  return server;
}

double loads_per_second() {
  std::atomic<long> loads{0};
  const auto began = Clock::now();
  on_threads([&](int) {
    const CtxPtr ctx = make_context(TLS1_3_VERSION, kSuite, true);
    const SslPtr origin = new_session(ctx.get());
    void* image = nullptr;
    const int size = save_ssl(&image, origin.get(), SOCKMI_SERVER_ESTABLISHED);
    must(size > 0, sockmi_last_error());
    while (Clock::now() - began < kLoading) {
      const SslPtr ssl(SSL_new(ctx.get()));
      must(load_ssl(image, static_cast<std::size_t>(size), ssl.get(), SOCKMI_SERVER_ESTABLISHED) ==
               0,
           sockmi_last_error());
      SSL_set_quiet_shutdown(ssl.get(), 1);
      ++loads;
    }
    sockmi_image_free(image, static_cast<std::size_t>(size));
  });
  return static_cast<double>(loads) / (microseconds(Clock::now() - began) / 1e6);
}

double resident_bytes() {
  std::ifstream statm("/proc/self/statm");
  double all = 0, resident = 0;
  statm >> all >> resident;
  return resident * static_cast<double>(::sysconf(_SC_PAGESIZE));
}

// Measures one session with all that it holds, in a process of its own, so that memory
// that was freed before is not counted as saved.
double bytes_per_session(bool sockmi) {
  int result[2], wire[2];
  must(::pipe(result) == 0 && ::socketpair(AF_UNIX, SOCK_STREAM, 0, wire) == 0, "pipe");
  const pid_t child = ::fork();
  must(child >= 0, "fork");
  if (child == 0) {
    const CtxPtr ctx = make_context(TLS1_3_VERSION, kSuite, sockmi);
    SSL_CTX_set_session_cache_mode(ctx.get(), SSL_SESS_CACHE_OFF);
    std::vector<SslPtr> sessions;
    const auto add = [&] {
      sessions.push_back(new_session(ctx.get()));
      SSL* ssl = sessions.back().get();
      must(sockmi ? sockmi_set_fd(ssl, wire[0]) == 0 : SSL_set_fd(ssl, wire[0]) == 1, "set_fd");
    };
    for (int i = 0; i < 1000; ++i)
      add();
    const double before = resident_bytes();
    for (int i = 0; i < kForMemory; ++i)
      add();
    const double each = (resident_bytes() - before) / kForMemory;
    must(::write(result[1], &each, sizeof each) == sizeof each, "write");
    ::_exit(0);
  }
  double each = 0;
  must(::read(result[0], &each, sizeof each) == sizeof each, "read");
  ::waitpid(child, nullptr, 0);
  for (const int fd : {result[0], result[1], wire[0], wire[1]})
    ::close(fd);
  return each;
}

// Compares handshakes with the provider and without it, in turns, while that many
// sessions live in the process.
double handshake_ratio() {
  const CtxPtr with = make_context(TLS1_3_VERSION, kSuite, true),
               without = make_context(TLS1_3_VERSION, kSuite, false);
  for (const CtxPtr* ctx : {&with, &without})
    SSL_CTX_set_session_cache_mode(ctx->get(), SSL_SESS_CACHE_OFF);
  std::vector<std::vector<SslPtr>> live(kThreads);
  on_threads([&](int thread) {
    for (int i = 0; i < kLive / kThreads; ++i)
      live[static_cast<std::size_t>(thread)].push_back(new_session(with.get()));
  });
  const auto rate = [&](SSL_CTX* ctx) {
    std::atomic<long> done{0};
    const auto began = Clock::now();
    on_threads([&](int) {
      for (; Clock::now() - began < kSlice; ++done)
        new_session(ctx);
    });
    return static_cast<double>(done) / microseconds(Clock::now() - began);
  };
  std::vector<double> ratios;
  for (int i = 0; i < kSlices; ++i) {
    const bool first = i % 2 == 0;
    const double one = rate((first ? with : without).get()),
                 other = rate((first ? without : with).get());
    ratios.push_back(first ? one / other : other / one);
  }
  return median(ratios);
}

}  // namespace

int main() {
  const double overhead =
      bytes_per_session(true) - bytes_per_session(false);  // first: a fork of a small process
  const nlohmann::json out{{"session_overhead_bytes", overhead},
                           {"load_ssl_per_s_2threads", loads_per_second()},
                           {"handshake_ratio_2threads", handshake_ratio()}};
  std::puts(out.dump().c_str());
}
