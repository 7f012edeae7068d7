// Preloaded into a program that was not written for sockmi, this library moves the
// program's TLS connections while it uses them. Between two of its calls, the state of
// its SSL is saved by save_ssl() and loaded by load_ssl() into a new SSL of the same
// context. The new SSL gets the same BIOs, and from then on answers in place of the old
// one. So the program experiences everything of a move except the journey to another
// host, and what it reads and writes can be compared.
//
// HOP_EVERY is the number of calls for application data from hop to hop (default 3). A
// refused move is tried again at the next call. At the program's end the library prints
// on standard error how many hops there were, and how often each errno occurred.
#include <dlfcn.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>
#include <string>

#include <sockmi/appsockmi.h>

namespace {

struct Connection {
  SSL* now;       // the SSL that is in use
  int calls = 0;  // for application data, since the last hop
};

struct Counts {
  int hops = 0;
  std::map<int, int> refused;  // by errno
  std::string broken;          // an error that must not occur
};

std::mutex mutex;
// Indexed by the SSL that the program holds. Both are used until the very end of the
// process.
auto& connections = *new std::map<const SSL*, Connection>;
auto& counts = *new Counts;
thread_local bool hopping = false;  // libappsockmi also calls libssl

// The function that would have been called without this library.
#define NEXT(name)                                                                       \
  ([] {                                                                                  \
    static const auto it = reinterpret_cast<decltype(&name)>(::dlsym(RTLD_NEXT, #name)); \
    return it;                                                                           \
  }())

int every() {
  static const int it = [] {
    const char* given = std::getenv("HOP_EVERY");
    return given ? std::atoi(given) : 3;
  }();
  return it;
}

Connection* find(const SSL* ssl) {
  std::lock_guard lock(mutex);
  const auto it = hopping ? connections.end() : connections.find(ssl);
  return it == connections.end()
             ? nullptr
             : &it->second;  // the element stays where it is until the program frees its SSL
}

SSL* now(const SSL* ssl) {
  const Connection* connection = find(ssl);
  return connection ? connection->now : const_cast<SSL*>(ssl);
}

void refused(int error) {
  std::lock_guard lock(mutex);
  ++counts.refused[error];
}

// Does what export_ssl() does to an SSL that has moved. The program's own SSL is then
// only a handle, and the source of what does not change (certificates, ex_data).
void retire(SSL* ssl, bool of_the_program) {
  SSL_set_quiet_shutdown(ssl, 1);
  SSL_set_shutdown(ssl, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
  SSL_set_bio(ssl, nullptr, nullptr);
  if (!of_the_program) SSL_free(ssl);
}

void hop(const SSL* program, Connection& connection) {
  SSL* const old = connection.now;
  const int state = SSL_is_server(old) ? SOCKMI_SERVER_ESTABLISHED : SOCKMI_CLIENT_ESTABLISHED;
  void* image = nullptr;
  const int size = save_ssl(&image, old, state);
  if (size < 0) return refused(errno);
  SSL* const next = SSL_new(SSL_get_SSL_CTX(old));
  SSL_set_mode(next, SSL_get_mode(old));
  const bool loaded = load_ssl(image, static_cast<size_t>(size), next, state) == 0;
  sockmi_image_free(image, static_cast<size_t>(size));
  if (!loaded) {
    SSL_free(next);
    std::lock_guard lock(mutex);
    counts.broken = sockmi_last_error();
    return;
  }
  BIO *const in = SSL_get_rbio(old), *const out = SSL_get_wbio(old);
  for (BIO* bio : {in, out})
    BIO_up_ref(bio);
  retire(old, old == program);
  SSL_set0_rbio(next, in);
  SSL_set0_wbio(next, out);
  connection.now = next;
  connection.calls = 0;
  std::lock_guard lock(mutex);
  ++counts.hops;
}

// Runs before a call for application data.
void before(SSL* ssl) {
  if (hopping || !SSL_is_init_finished(ssl)) return;
  Connection* connection;
  {
    std::lock_guard lock(mutex);
    connection = &connections.try_emplace(ssl, ssl).first->second;
  }
  if (++connection->calls <= every()) return;
  const int error = errno;
  hopping = true;
  hop(ssl, *connection);
  hopping = false;
  errno = error;
}

template <class Call>
int transfer(SSL* ssl, Call call) {
  before(ssl);
  return call(now(ssl));
}

struct Report {
  ~Report() {
    std::string text = "hop: " + std::to_string(counts.hops) + " hops";
    for (const auto& [error, times] : counts.refused)
      text += ", " + std::to_string(times) + " " + ::strerrorname_np(error);
    if (!counts.broken.empty()) text += ", BROKEN: " + counts.broken;
    text += "\n";
    (void)!::write(STDERR_FILENO, text.data(), text.size());
  }
} report;

}  // namespace

#define HERE extern "C" SOCKMI_API
#define FORWARD(type, name)      \
  HERE type name(SSL* ssl) {     \
    return NEXT(name)(now(ssl)); \
  }
#define FORWARD_CONST(type, name)  \
  HERE type name(const SSL* ssl) { \
    return NEXT(name)(now(ssl));   \
  }

HERE int SSL_read(SSL* ssl, void* buf, int num) {
  return transfer(ssl, [=](SSL* to) { return NEXT(SSL_read)(to, buf, num); });
}
HERE int SSL_read_ex(SSL* ssl, void* buf, size_t num, size_t* done) {
  return transfer(ssl, [=](SSL* to) { return NEXT(SSL_read_ex)(to, buf, num, done); });
}
HERE int SSL_write(SSL* ssl, const void* buf, int num) {
  return transfer(ssl, [=](SSL* to) { return NEXT(SSL_write)(to, buf, num); });
}
HERE int SSL_write_ex(SSL* ssl, const void* buf, size_t num, size_t* done) {
  return transfer(ssl, [=](SSL* to) { return NEXT(SSL_write_ex)(to, buf, num, done); });
}

HERE int SSL_peek(SSL* ssl, void* buf, int num) {
  return NEXT(SSL_peek)(now(ssl), buf, num);
}
HERE int SSL_get_error(const SSL* ssl, int result) {
  return NEXT(SSL_get_error)(now(ssl), result);
}
HERE void SSL_set_shutdown(SSL* ssl, int mode) {
  NEXT(SSL_set_shutdown)(now(ssl), mode);
}
HERE int SSL_key_update(SSL* ssl, int type) {
  return NEXT(SSL_key_update)(now(ssl), type);
}
FORWARD_CONST(int, SSL_pending)
FORWARD_CONST(int, SSL_has_pending)
FORWARD_CONST(int, SSL_want)
FORWARD_CONST(int, SSL_get_shutdown)
FORWARD_CONST(int, SSL_get_fd)
FORWARD_CONST(BIO*, SSL_get_rbio)
FORWARD_CONST(BIO*, SSL_get_wbio)
FORWARD_CONST(int, SSL_is_init_finished)
FORWARD(int, SSL_do_handshake)
FORWARD(int, SSL_shutdown)

HERE void SSL_free(SSL* ssl) {
  if (const Connection* connection = find(ssl)) {
    if (connection->now != ssl) NEXT(SSL_free)(connection->now);
    std::lock_guard lock(mutex);
    connections.erase(ssl);
  }
  NEXT(SSL_free)(ssl);
}
