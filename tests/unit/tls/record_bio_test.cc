// A program that follows OpenSSL's manual for SSL_set_fd(3) works with sockmi_set_fd():
// no event that it waits for is hidden from it. As a reference, each test runs with
// SSL_set_fd() as well.
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>

#include <atomic>
#include <csignal>
#include <thread>

#include "cases.h"
#include "pair.h"
#include "tls/session/record_bio.h"

namespace sockmi::tls::test {
namespace {

struct Form {
  const char* name;
  const char* of;  // a case of cases.h
  bool ours;       // set_fd(), else SSL_set_fd()
  bool read_ahead;
  bool moves;  // between any two calls
};
const Form kForms[] = {{"Tls13Plain", "Tls13Aes128Server", false, false, false},
                       {"Tls12Plain", "Tls12Aes128Server", false, false, false},
                       {"Tls13Server", "Tls13Aes128Server", true, false, false},
                       {"Tls13Client", "Tls13ChaChaClient", true, false, false},
                       {"Tls12Server", "Tls12Aes128Server", true, false, false},
                       {"Tls12Client", "Tls12CbcSha384Client", true, false, false},
                       {"Tls13ReadAhead", "Tls13Aes128Server", true, true, false},
                       {"Tls12ReadAhead", "Tls12Aes256Client", true, true, false},
                       {"Tls13Moves", "Tls13Aes256Server", true, false, true},
                       {"Tls13ClientMoves", "Tls13Aes128Client", true, false, true},
                       {"Tls12Moves", "Tls12ChaChaServer", true, false, true},
                       {"Tls12ReadAheadMoves", "Tls12CbcSha1Server", true, true, true}};

class RecordBioTest : public testing::TestWithParam<Form> {
 protected:
  Pair pair_{case_of(GetParam().of)};

  void SetUp() override {
    if (!GetParam().ours) SSL_set_fd(mover(), pair_.mover_fd.get());
    set_read_ahead();
    const int room = 4 << 20;
    ::setsockopt(pair_.peer_fd.get(), SOL_SOCKET, SO_SNDBUF, &room, sizeof room);
  }
  SSL* mover() const { return pair_.mover.get(); }
  void set_read_ahead() const { SSL_set_read_ahead(mover(), GetParam().read_ahead); }
  void connect() {
    pair_.handshake();
    read_all(pair_.peer.get());  // tickets
    read_all(mover());
  }
  void maybe_move() {
    if (!GetParam().moves) return;
    pair_.hop();
    set_read_ahead();
  }
  // Returns whether poll(2) reports data.
  bool readable(int timeout_ms) const {
    pollfd wait{.fd = pair_.mover_fd.get(), .events = POLLIN, .revents = 0};
    return ::poll(&wait, 1, timeout_ms) == 1;
  }
  // Returns what a program may check before it waits: whether there is something to read.
  bool something_to_read(int timeout_ms) const {
    return SSL_has_pending(mover()) || readable(timeout_ms);
  }
  // Reads as the manual says: waits for the descriptor, reads once, and again while there
  // is more of the same record.
  std::string poll_and_read(std::size_t size) {
    std::string got;
    char bytes[300];
    while (got.size() < size && something_to_read(1000))
      do {
        const int n = SSL_read(mover(), bytes, sizeof bytes);
        if (n <= 0) break;
        got.append(bytes, static_cast<std::size_t>(n));
        maybe_move();
      } while (SSL_pending(mover()) > 0);
    ERR_clear_error();
    return got;
  }
};
INSTANTIATE_TEST_SUITE_P(Forms, RecordBioTest, testing::ValuesIn(kForms),
                         [](const auto& info) { return info.param.name; });

TEST_P(RecordBioTest, ASecondRecordInOneSegmentIsReported) {
  connect();
  Tap tap(pair_.peer.get());
  std::string both = tap.record(pair_.peer.get(), "A");
  both += tap.record(pair_.peer.get(), "B");
  put(pair_.peer_fd, both);
  ASSERT_TRUE(readable(1000));
  char byte = 0;
  ASSERT_EQ(SSL_read(mover(), &byte, 1), 1);
  EXPECT_EQ(byte, 'A');
  maybe_move();
  EXPECT_TRUE(SSL_pending(mover()) > 0 || something_to_read(0))
      << "neither SSL_pending, SSL_has_pending nor poll tells of the second";
  ASSERT_EQ(SSL_read(mover(), &byte, 1), 1);
  EXPECT_EQ(byte, 'B');
  EXPECT_FALSE(readable(0));
}

TEST_P(RecordBioTest, DataInTheLastSegmentOfTheHandshakeIsReported) {
  const Case& is = case_of(GetParam().of);
  if (!is.server || is.version != TLS1_3_VERSION)
    GTEST_SKIP() << "it is TLS 1.3's client whose data can follow at once";
  SSL_do_handshake(pair_.peer.get());
  SSL_do_handshake(mover());
  Tap tap(pair_.peer.get());
  ASSERT_EQ(SSL_do_handshake(pair_.peer.get()), 1);
  put(pair_.peer_fd, tap.record(pair_.peer.get(), "request"));  // after its Finished
  ASSERT_EQ(SSL_do_handshake(mover()), 1);
  maybe_move();
  EXPECT_EQ(poll_and_read(7), "request");
}

TEST_P(RecordBioTest, AnUploadInSmallRecordsArrivesWhole) {
  connect();
  const std::string text = pattern(100'000);
  for (std::size_t at = 0; at < text.size(); at += 1000)
    ASSERT_EQ(SSL_write(pair_.peer.get(), text.data() + at, 1000), 1000);
  EXPECT_TRUE(poll_and_read(text.size()) == text);
}

TEST_P(RecordBioTest, APeekKeepsTheReadinessThatPollReports) {
  connect();
  Tap tap(pair_.peer.get());
  std::string both = tap.record(pair_.peer.get(), "first");
  both += tap.record(pair_.peer.get(), "second");
  put(pair_.peer_fd, both);
  char bytes[10];
  ASSERT_EQ(SSL_peek(mover(), bytes, sizeof bytes), 5);
  maybe_move();
  EXPECT_EQ(SSL_pending(mover()), 5);
  ASSERT_EQ(SSL_peek(mover(), bytes, 2), 2);
  ASSERT_EQ(SSL_read(mover(), bytes, sizeof bytes), 5);
  maybe_move();
  EXPECT_TRUE(something_to_read(0));
  EXPECT_EQ(poll_and_read(6), "second");
}

// The program waits at the socket for the rest of a record. Nothing is reported as ready
// before it has arrived.
TEST_P(RecordBioTest, APartialRecordIsNotReportedAsReadable) {
  connect();
  Tap tap(pair_.peer.get());
  std::string record = tap.record(pair_.peer.get(), "text");
  record += tap.record(pair_.peer.get(), "more");
  std::string got;
  for (const char byte : record) {
    EXPECT_FALSE(readable(0)) << "what has come is taken, so that poll waits";
    EXPECT_FALSE(SSL_pending(mover()) > 0);
    EXPECT_EQ(BIO_pending(SSL_get_rbio(mover())), 0)
        << "who reads as long as the BIO has something would spin";
    put(pair_.peer_fd, std::string_view(&byte, 1));
    ASSERT_TRUE(readable(0));
    got += read_all(mover());
    maybe_move();
  }
  EXPECT_EQ(got, "textmore");
}

TEST_P(RecordBioTest, ABlockingReadReturnsOneRecordAndBlocksForTheNext) {
  connect();
  ::fcntl(pair_.mover_fd.get(), F_SETFL, 0);
  Tap tap(pair_.peer.get());
  const std::string first = tap.record(pair_.peer.get(), "first"),
                    second = tap.record(pair_.peer.get(), "second");
  put(pair_.peer_fd, first + second.substr(0, second.size() - 1));
  char bytes[10];
  ASSERT_EQ(SSL_read(mover(), bytes, sizeof bytes), 5);  // and does not wait for the second one
  maybe_move();
  std::atomic<bool> sent = false;
  std::thread peer([&] {
    sent = true;
    put(pair_.peer_fd, second.substr(second.size() - 1));
  });
  EXPECT_EQ(SSL_read(mover(), bytes, sizeof bytes), 6);
  EXPECT_TRUE(sent);
  peer.join();
}

// A program ends its wait by a signal whose handler sets a flag: SSL_read must return,
// and must not lose anything.
TEST_P(RecordBioTest, ASignalEndsABlockedRead) {
  connect();
  ::fcntl(pair_.mover_fd.get(), F_SETFL, 0);
  struct sigaction action = {}, before = {};
  action.sa_handler = [](int) {
  };  // no SA_RESTART
  ASSERT_EQ(::sigaction(SIGUSR1, &action, &before), 0);
  Tap tap(pair_.peer.get());
  const std::string record = tap.record(pair_.peer.get(), "text");
  put(pair_.peer_fd, record.substr(0, 9));
  std::atomic<bool> back = false;
  const pthread_t reader = ::pthread_self();
  std::thread sender([&] {
    const auto once = std::chrono::milliseconds(1);
    while (!back) {  // a signal that arrives before the read blocks has no effect
      ::pthread_kill(reader, SIGUSR1);
      std::this_thread::sleep_for(once);
    }
  });
  char bytes[10];
  const int n = SSL_read(mover(), bytes, sizeof bytes);
  back = true;
  sender.join();
  ::sigaction(SIGUSR1, &before, nullptr);
  EXPECT_EQ(n, -1);
  EXPECT_EQ(SSL_get_error(mover(), n), SSL_ERROR_WANT_READ);
  ERR_clear_error();
  maybe_move();
  put(pair_.peer_fd, record.substr(9));
  ASSERT_EQ(SSL_read(mover(), bytes, sizeof bytes), 4);
}

TEST_P(RecordBioTest, TheApplicationsLowWaterMarkIsKept) {
  connect();
  const int mark = 3;
  ASSERT_EQ(::setsockopt(pair_.mover_fd.get(), SOL_SOCKET, SO_RCVLOWAT, &mark, sizeof mark), 0);
  ASSERT_EQ(SSL_write(pair_.peer.get(), "text", 4), 4);
  EXPECT_EQ(poll_and_read(4), "text");
  int now = 0;
  socklen_t size = sizeof now;
  ASSERT_EQ(::getsockopt(pair_.mover_fd.get(), SOL_SOCKET, SO_RCVLOWAT, &now, &size), 0);
  EXPECT_EQ(now, mark);
}

struct TcpPair {
  unique_fd ours, peer;

  TcpPair() : peer(::socket(AF_INET, SOCK_STREAM, 0)) {
    const unique_fd listener(::socket(AF_INET, SOCK_STREAM, 0));
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    auto* any = reinterpret_cast<sockaddr*>(&address);
    socklen_t size = sizeof address;
    EXPECT_EQ(::bind(listener.get(), any, size), 0);
    EXPECT_EQ(::listen(listener.get(), 1), 0);
    EXPECT_EQ(::getsockname(listener.get(), any, &size), 0);
    EXPECT_EQ(::connect(peer.get(), any, size), 0);
    ours.reset(::accept4(listener.get(), nullptr, nullptr, SOCK_NONBLOCK));
  }
  void reset() {
    const linger at_once{1, 0};
    ::setsockopt(peer.get(), SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
    peer.reset();
    pollfd wait{.fd = ours.get(), .events = 0, .revents = 0};
    EXPECT_EQ(::poll(&wait, 1, 10'000), 1);  // POLLERR
  }
};

TEST(RecordBio, AResetThatSendingTheRestNoticesIsReported) {
  TcpPair pair;
  RecordBuffer buffer(pair.ours.get());
  const Bytes record(1 << 24);
  const auto* data = reinterpret_cast<const char*>(record.data());
  bool retry = false;
  ASSERT_EQ(buffer.write(data, static_cast<int>(record.size()), retry), -1);
  ASSERT_TRUE(retry);
  pair.reset();

  EXPECT_FALSE(buffer.flush());
  char byte = 0;
  retry = false;
  errno = 0;
  EXPECT_EQ(buffer.read(&byte, 1, retry), -1);
  EXPECT_EQ(errno, ECONNRESET);
  EXPECT_FALSE(buffer.at_end());
  errno = 0;
  EXPECT_EQ(buffer.write(data, static_cast<int>(record.size()), retry), -1);
  EXPECT_EQ(errno, ECONNRESET);
  EXPECT_FALSE(retry);
}

TEST(RecordBio, ClosesItsDescriptorIfTheApplicationSaysSo) {
  Pair pair(case_of("Tls13Aes128Server"));
  BIO* const bio = SSL_get_rbio(pair.mover.get());
  EXPECT_EQ(BIO_get_close(bio), BIO_NOCLOSE);
  EXPECT_EQ(BIO_set_close(bio, BIO_CLOSE), 1);
  EXPECT_EQ(BIO_get_close(bio), BIO_CLOSE);
  const int fd = pair.mover_fd.release();
  pair.mover.reset();
  EXPECT_EQ(::fcntl(fd, F_GETFD), -1);
}

}  // namespace
}  // namespace sockmi::tls::test
