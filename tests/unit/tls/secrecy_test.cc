// Where secrets are in this process's memory: what an image and the registry hold is
// locked and excluded from core dumps, and after an export no copy is left anywhere,
// libssl's own copies included.
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstring>
#include <fstream>
#include <map>
#include <sstream>

#include "cases.h"
#include "pair.h"

// Frames of ended calls are not searched, so they must be on the stack. A newer
// AddressSanitizer does not keep them there. All memory is searched, and 256 MiB of freed
// memory, which it keeps by default, would be most of it.
extern "C" __attribute__((visibility("default"))) const char* __asan_default_options() {
  return "detect_stack_use_after_return=0:quarantine_size_mb=16";
}

namespace sockmi::tls::test {
namespace {

constexpr std::uint8_t kMask = 0xa5;  // so that a search does not find its own pattern

// Returns the first half of a secret, as the key log has it: enough to recognize it.
std::string masked(std::string_view hex) {
  std::string out;
  for (std::size_t i = 0; i < 32; i += 2)
    out.push_back(static_cast<char>(std::stoi(std::string(hex.substr(i, 2)), nullptr, 16) ^ kMask));
  return out;
}
std::map<std::string, std::string>& known_secrets() {
  static std::map<std::string, std::string> all;
  return all;
}
void log_key(const SSL*, const char* line) {
  std::istringstream words(line);
  std::string label, random, secret;
  words >> label >> random >> secret;
  if (label == "CLIENT_TRAFFIC_SECRET_0" || label == "SERVER_TRAFFIC_SECRET_0" ||
      label == "EXPORTER_SECRET" || label == "CLIENT_RANDOM")
    known_secrets()[label == "CLIENT_RANDOM" ? "master secret" : label] = masked(secret);
}

struct Found {
  int locked = 0, open = 0;  // open: neither locked nor excluded from core dumps
};

// The stack below the caller's frame is dead: libssl does not wipe it, and the next call
// overwrites it. What is searched for is in one mapping that is left out of the search.
class Search {
 public:
  Search()
      : room_(static_cast<char*>(
            ::mmap(nullptr, kRoom, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0))),
        memory_(::open("/proc/self/mem", O_RDONLY)) {}
  Search(const Search&) = delete;
  ~Search() { ::munmap(room_, kRoom); }

  Found find(const std::string& masked) {
    for (std::size_t i = 0; i < masked.size(); ++i)
      room_[i] = static_cast<char>(masked[i] ^ static_cast<char>(kMask));
    Found found;
    std::ifstream maps("/proc/self/smaps");
    unsigned long first = 0, last = 0, resident = 0;
    char mode[5] = "";
    for (std::string line; std::getline(maps, line);) {
      if (line.find('-') < line.find(' '))
        std::sscanf(line.c_str(), "%lx-%lx %4s", &first, &last, mode);
      std::sscanf(line.c_str(), "Rss: %lu kB", &resident);
      const bool ours = first == reinterpret_cast<unsigned long>(room_),
                 sanitizers = last - first >= (1ul << 30);
      const auto frame = reinterpret_cast<unsigned long>(__builtin_frame_address(0));
      if (first < frame && frame < last) first = frame;
      if (line.starts_with("VmFlags:") && mode[1] == 'w' && resident > 0 && !ours && !sanitizers)
        (line.find(" dd") == std::string::npos ? found.open : found.locked) +=
            count(first, last, masked.size());
    }
    return found;
  }

 private:
  static constexpr std::size_t kRoom = 8 << 20, kPiece = 4 << 20;
  int count(unsigned long first, unsigned long last, std::size_t size) {
    int seen = 0;
    char* const piece = room_ + 4096;
    for (unsigned long at = first; at < last; at += kPiece - size) {
      const ssize_t got = ::pread(memory_.get(), piece, std::min<std::size_t>(kPiece, last - at),
                                  static_cast<off_t>(at));
      if (got <= 0) break;
      for (char* next = piece;
           (next = static_cast<char*>(
                ::memmem(next, static_cast<std::size_t>(piece + got - next), room_, size)));
           ++next)
        ++seen;
    }
    return seen;
  }
  char* room_;
  unique_fd memory_;
};
Found find(const std::string& masked) {
  return Search().find(masked);
}

// A connection whose peer is another process, so that what is found here belongs to the
// mover.
class Secrecy : public testing::TestWithParam<Case> {
 protected:
  void SetUp() override {
    known_secrets().clear();
    pair_ = std::make_unique<Pair>(GetParam());
    prepare();
    child_ = ::fork();
    ASSERT_GE(child_, 0);
    if (child_ == 0) {
      ::prctl(PR_SET_PDEATHSIG, SIGKILL);
      pair_->mover_fd.reset();
      ::fcntl(pair_->peer_fd.get(), F_SETFL, 0);
      char byte;
      SSL_do_handshake(pair_->peer.get());
      SSL_write(pair_->peer.get(), "x", 1);
      while (SSL_read(pair_->peer.get(), &byte, 1) > 0) {
      }
      ::_exit(0);
    }
    pair_->peer.reset();
    pair_->peer_fd.reset();
    SSL_CTX_set_keylog_callback(pair_->mover_ctx.get(), log_key);
    ::fcntl(pair_->mover_fd.get(), F_SETFL, 0);
    ASSERT_EQ(SSL_do_handshake(pair_->mover.get()), 1);
    char byte;
    ASSERT_EQ(SSL_read(pair_->mover.get(), &byte, 1), 1);
    ASSERT_FALSE(known_secrets().empty());
    SSL_CTX_set_keylog_callback(pair_->mover_ctx.get(),
                                nullptr);  // a handshake replay would be logged too
  }
  void TearDown() override {
    pair_->mover.reset();
    pair_->mover_fd.reset();
    ::waitpid(child_, nullptr, 0);
  }
  virtual void prepare() {
    SSL_CTX_set_session_cache_mode(pair_->mover_ctx.get(), SSL_SESS_CACHE_OFF);
    SSL_set_options(pair_->mover.get(), SSL_OP_NO_TICKET);
  }
  void expect_nothing_left(const char* when) {
    for (const auto& [label, secret] : known_secrets()) {
      const Found now = find(secret);
      EXPECT_EQ(now.locked + now.open, 0)
          << label << ": " << now.locked << " locked, " << now.open << " open, " << when;
    }
  }
  std::unique_ptr<Pair> pair_;
  pid_t child_ = -1;
};
const Case kSearched[] = {case_of("Tls13Aes128Server"), case_of("Tls13Aes256Client"),
                          case_of("Tls12Aes128Server"), case_of("Tls12ChaChaClient"),
                          case_of("Tls12CbcSha1Server")};
INSTANTIATE_TEST_SUITE_P(Versions, Secrecy, testing::ValuesIn(kSearched), kName);

// Its callbacks allow no other handshake than the one with the peer.
class SecrecyOfAStrictServer : public Secrecy {
  void prepare() override {
    Secrecy::prepare();
    SSL_CTX* const ctx = pair_->mover_ctx.get();
    SSL_CTX_set_tlsext_servername_callback(
        ctx, +[](SSL*, int* alert, void*) -> int {
          *alert = SSL_AD_UNRECOGNIZED_NAME;
          return known_secrets().empty() ? SSL_TLSEXT_ERR_OK : SSL_TLSEXT_ERR_ALERT_FATAL;
        });
    SSL_CTX_set_client_hello_cb(
        ctx,
        +[](SSL*, int* alert, void*) -> int {
          *alert = SSL_AD_UNRECOGNIZED_NAME;
          return known_secrets().empty() ? SSL_CLIENT_HELLO_SUCCESS : SSL_CLIENT_HELLO_ERROR;
        },
        nullptr);
  }
};
INSTANTIATE_TEST_SUITE_P(Versions, SecrecyOfAStrictServer,
                         testing::Values(case_of("Tls13Aes128Server"), case_of("Tls13Aes256Server"),
                                         case_of("Tls12Aes128Server")),
                         kName);

// Sessions are cached, and TLS 1.3 gives tickets. (In TLS 1.2 libssl leaves in freed
// memory what it has packed into a ticket: the master secret.)
class SecrecyWithACache : public Secrecy {
  void prepare() override {
    SSL_CTX_set_session_cache_mode(pair_->mover_ctx.get(), SSL_SESS_CACHE_BOTH);
    if (GetParam().version != TLS1_3_VERSION) SSL_set_options(pair_->mover.get(), SSL_OP_NO_TICKET);
  }
};
INSTANTIATE_TEST_SUITE_P(Versions, SecrecyWithACache, testing::ValuesIn(kSearched), kName);

TEST_P(Secrecy, AnImageIsHeldInLockedMemoryOnly) {
  std::map<std::string, Found> before;
  for (const auto& [label, secret] : known_secrets())
    before[label] = find(secret);
  const auto image = save(pair_->mover.get());
  ASSERT_TRUE(image);
  for (const auto& [label, secret] : known_secrets()) {
    const Found now = find(secret);
    EXPECT_GT(now.locked, before[label].locked) << label << ": the search finds nothing";
    EXPECT_LE(now.open, before[label].open) << label;
  }
}

TEST_P(Secrecy, NoSecretIsLeftAfterAnExport) {
  { ASSERT_TRUE(save(pair_->mover.get())); }
  retire(pair_->mover.get());
  expect_nothing_left("while the SSL is still there");
  pair_->mover.reset();
  expect_nothing_left("without the SSL");
}

TEST_P(SecrecyOfAStrictServer, NoSecretIsLeftAfterAnExport) {
  EXPECT_TRUE(retire(pair_->mover.get()));
  expect_nothing_left("while the SSL is still there");
}

TEST_P(SecrecyWithACache, NoSecretIsLeftAfterAnExport) {
  EXPECT_TRUE(retire(pair_->mover.get()));
  expect_nothing_left("while the SSL and its context are still there");
}

TEST_P(Secrecy, NoSecretIsLeftAfterALoadAndAnExport) {
  const auto image = std::make_unique<Secret>(*save(pair_->mover.get()));
  retire(pair_->mover.get());
  pair_->mover = pair_->fresh();
  ASSERT_TRUE(load(*image, pair_->mover.get(), {GetParam().server, true}));
  image->clear();
  image->shrink_to_fit();
  retire(pair_->mover.get());
  expect_nothing_left("after a load and an export");
}

}  // namespace
}  // namespace sockmi::tls::test
