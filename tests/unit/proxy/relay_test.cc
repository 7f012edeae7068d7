// The relay between two socket pairs: client <-> relay <-> backend.
#include "proxy/relay.h"

#include <gtest/gtest.h>
#include <sockmi/appsockmi.h>

#include "proxy/tls_stream.h"
#include "unit/proxy/socket_pairs.h"
#include "unit/self_signed.h"

namespace sockmi::proxy {
namespace {

using Progress = Relay::Progress;

using test::Pair;
using test::tcp_pair;
using test::unix_pair;

class RelayTest : public testing::Test {
 protected:
  void begin(Pair client, Pair backend, RelayState state = {}) {
    client_ = std::move(client.peer);
    backend_ = std::move(backend.peer);
    Relay::Parts parts;
    parts.state = std::move(state);
    parts.client = std::make_unique<PlainStream>(std::move(client.ours));
    parts.backend = std::make_unique<PlainStream>(std::move(backend.ours));
    relay_ = std::make_unique<Relay>(std::move(parts));
  }

  // Steps until the relay waits or ends.
  Progress settle() {
    Progress progress;
    do
      progress = relay_->step();
    while (progress == Progress::More);
    return progress;
  }

  static std::string receive(const unique_fd& fd) { return test::receive(fd); }
  static void send(const unique_fd& fd, std::string_view bytes) {
    ASSERT_EQ(::send(fd.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL),
              static_cast<ssize_t>(bytes.size()));
  }
  static void reset(unique_fd& fd) {
    const linger at_once{1, 0};
    ::setsockopt(fd.get(), SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
    fd.reset();
  }

  unique_fd client_, backend_;
  std::unique_ptr<Relay> relay_;
};

TEST_F(RelayTest, BytesPassInBothDirections) {
  begin(unix_pair(), unix_pair());
  send(client_, "question");
  send(backend_, "answer");

  EXPECT_EQ(settle(), Progress::Waiting);

  EXPECT_EQ(receive(backend_), "question");
  EXPECT_EQ(receive(client_), "answer");
  EXPECT_EQ(relay_->state().to_backend.bytes, 8u);
  EXPECT_EQ(relay_->state().to_client.bytes, 6u);
  EXPECT_TRUE(relay_->client_interest().read && relay_->backend_interest().read);
  EXPECT_FALSE(relay_->client_interest().write || relay_->backend_interest().write);
}

TEST_F(RelayTest, EndOfTheClientLeavesTheOtherDirectionOpen) {
  begin(unix_pair(), unix_pair());
  send(client_, "last");
  ::shutdown(client_.get(), SHUT_WR);

  EXPECT_EQ(settle(), Progress::Waiting);
  EXPECT_EQ(receive(backend_), "last");
  EXPECT_EQ(receive(backend_), "end");
  send(backend_, "late answer");
  EXPECT_EQ(settle(), Progress::Waiting);
  EXPECT_EQ(receive(client_), "late answer");
  ::shutdown(backend_.get(), SHUT_WR);

  EXPECT_EQ(settle(), Progress::Finished);
  EXPECT_EQ(receive(client_), "end");
}

TEST_F(RelayTest, EndOfTheBackendLeavesTheOtherDirectionOpen) {
  begin(unix_pair(), unix_pair());
  ::shutdown(backend_.get(), SHUT_WR);

  EXPECT_EQ(settle(), Progress::Waiting);
  EXPECT_EQ(receive(client_), "end");
  send(client_, "still");
  EXPECT_EQ(settle(), Progress::Waiting);
  EXPECT_EQ(receive(backend_), "still");
  ::shutdown(client_.get(), SHUT_WR);

  EXPECT_EQ(settle(), Progress::Finished);
}

TEST_F(RelayTest, SlowReaderStopsTheWriter) {
  begin(unix_pair(), unix_pair());
  const std::string block(65'536, 'x');
  std::size_t sent = 0;
  // Until neither the relay nor the writer gets on.
  for (bool moved = true; moved;) {
    const auto count = ::send(client_.get(), block.data(), block.size(), MSG_NOSIGNAL);
    moved = count > 0;
    if (moved) sent += static_cast<std::size_t>(count);
    EXPECT_EQ(settle(), Progress::Waiting);
  }

  EXPECT_LE(relay_->state().to_backend.pending.size(), kMaxPendingBytes);
  EXPECT_FALSE(relay_->state().to_backend.left().empty());
  EXPECT_FALSE(relay_->client_interest().read);
  EXPECT_TRUE(relay_->backend_interest().write);

  ::shutdown(client_.get(), SHUT_WR);
  std::size_t received = 0;
  for (;;) {
    const std::string part = receive(backend_);
    if (part == "end") break;
    if (part != "nothing") received += part.size();
    settle();
  }
  EXPECT_EQ(received, sent);
  EXPECT_TRUE(relay_->state().to_backend.pending.empty());
}

TEST_F(RelayTest, AnotherRelayContinuesFromTheState) {
  RelayState named;
  named.service = named.listener = named.backend = "name";
  begin(unix_pair(), unix_pair(), std::move(named));
  std::string sent;
  // Blocks of different bytes, more than the sockets take.
  for (int i = 0; i < 40; ++i) {
    const std::string block(20'000, static_cast<char>('a' + i % 26));
    const auto count = ::send(client_.get(), block.data(), block.size(), MSG_NOSIGNAL);
    if (count > 0) sent += block.substr(0, static_cast<std::size_t>(count));
    settle();
  }
  ::shutdown(client_.get(), SHUT_WR);
  settle();
  std::string received;

  for (int stops = 0;; ++stops) {
    auto parts = std::move(*relay_).take();
    auto state = decode(encode(parts.state));
    ASSERT_TRUE(state) << state.error().reason;
    parts.state = std::move(*state);
    relay_ = std::make_unique<Relay>(std::move(parts));
    settle();
    const std::string part = receive(backend_);
    if (part == "end") break;
    if (part != "nothing") received += part;
    ASSERT_LT(stops, 1000);
  }

  EXPECT_EQ(received, sent);
  EXPECT_EQ(relay_->state().to_backend.bytes, sent.size());
  EXPECT_EQ(relay_->state().to_backend.end, End::Closed);
}

TEST_F(RelayTest, ResetPassesAsReset) {
  begin(tcp_pair(), tcp_pair());
  reset(backend_);

  EXPECT_EQ(settle(), Progress::Failed);
  EXPECT_EQ(relay_->error().code, ECONNRESET);
  relay_.reset();

  EXPECT_EQ(receive(client_), "reset");
}

// The write takes the error out of the socket: what is read then looks like an end.
TEST_F(RelayTest, ResetThatAWriteNoticesPassesAsReset) {
  begin(tcp_pair(), tcp_pair());
  reset(backend_);
  send(client_, "more");

  EXPECT_EQ(settle(), Progress::Failed);
  EXPECT_EQ(relay_->state().to_backend.end, End::Broken);
  EXPECT_EQ(relay_->error().code, ECONNRESET);
  relay_.reset();

  EXPECT_EQ(receive(client_), "reset");
}

TEST_F(RelayTest, ResetThatAWriteNoticesPassesAfterThePendingBytes) {
  begin(tcp_pair(), tcp_pair());
  const std::string block(65'536, 'x');
  while (::send(client_.get(), block.data(), block.size(), MSG_NOSIGNAL) > 0)
    EXPECT_EQ(settle(), Progress::Waiting);
  reset(client_);
  send(backend_, "more");

  Progress progress;
  while ((progress = settle()) == Progress::Waiting) {
    pollfd ready[] = {{backend_.get(), POLLIN, 0}, {relay_->backend().fd(), POLLOUT, 0}};
    ASSERT_GT(::poll(ready, std::size(ready), 10'000), 0);
    receive(backend_);
  }
  EXPECT_EQ(progress, Progress::Failed);
  EXPECT_EQ(relay_->state().to_client.end, End::Broken);
  relay_.reset();

  std::string last;
  do
    last = receive(backend_);
  while (last.front() == 'x');
  EXPECT_EQ(last, "reset");
}

TEST_F(RelayTest, AnswerArrivesFromABackendThatTakesNothingMore) {
  begin(tcp_pair(), tcp_pair());
  send(backend_, "too large");
  ::shutdown(backend_.get(), SHUT_WR);
  ::shutdown(backend_.get(), SHUT_RD);
  reset(backend_);
  send(client_, "a long upload");

  EXPECT_EQ(settle(), Progress::Finished);
  EXPECT_EQ(relay_->state().to_backend.end, End::Broken);
  relay_.reset();

  EXPECT_EQ(receive(client_), "too large");
}

// A leg with TLS, as the server, whose handshake is over, and the SSL of its peer.
struct TlsLeg {
  std::unique_ptr<TlsStream> stream;
  SslPointer peer;
};

SslContext tls_context() {
  SslContext context(SSL_CTX_new(TLS_method()));
  SSL_CTX_set_mode(context.get(),
                   SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
  test::give_certificate(context.get());
  return context;
}

TlsLeg shake_hands(const SslContext& context, unique_fd ours, int peer) {
  SslPointer server(SSL_new(context.get()));
  SSL_set_accept_state(server.get());
  TlsLeg leg{std::move(*TlsStream::open(std::move(ours), std::move(server))),
             SslPointer(SSL_new(context.get()))};
  SSL_set_connect_state(leg.peer.get());
  SSL_set_fd(leg.peer.get(), peer);
  for (int i = 0; i < 20; ++i) {
    SSL_do_handshake(leg.peer.get());
    leg.stream->handshake();
  }
  EXPECT_TRUE(SSL_is_init_finished(leg.stream->ssl()));
  return leg;
}

// The rest of a record of which the peer has taken a part is sent by the next read, which
// says nothing of how that fails.
TEST_F(RelayTest, ResetOfATlsLegThatIsBeingWrittenPassesAsReset) {
  Pair client = tcp_pair();
  const SslContext context = tls_context();
  TlsLeg tls = shake_hands(context, std::move(client.ours), client.peer.get());
  Pair backend = tcp_pair();
  client_ = std::move(client.peer);
  backend_ = std::move(backend.peer);
  Relay::Parts parts;
  parts.client = std::move(tls.stream);
  parts.backend = std::make_unique<PlainStream>(std::move(backend.ours));
  relay_ = std::make_unique<Relay>(std::move(parts));
  const std::string block(65'536, 'x');
  while (::send(backend_.get(), block.data(), block.size(), MSG_NOSIGNAL) > 0)
    EXPECT_EQ(settle(), Progress::Waiting);
  ASSERT_TRUE(relay_->client_interest().write);

  reset(client_);
  pollfd ready{relay_->client().fd(), 0, 0};
  ASSERT_EQ(::poll(&ready, 1, 10'000), 1);
  EXPECT_EQ(settle(), Progress::Failed);
  EXPECT_EQ(relay_->error().code, ECONNRESET);
  relay_.reset();

  EXPECT_EQ(receive(backend_), "reset");
}

// A write that was under way at the exporter has taken all that was pending, and the
// client's leg is not read any more. The importer sends the rest of the record.
TEST_F(RelayTest, TheRestOfARecordThatTheExporterBeganIsSent) {
  ASSERT_EQ(sockmi_enable(nullptr), 0) << sockmi_last_error();
  Pair client = tcp_pair(), backend = tcp_pair();
  client_ = std::move(client.peer);
  backend_ = std::move(backend.peer);
  const SslContext context = tls_context();
  const int fd = client.ours.get();
  const TlsLeg tls = shake_hands(context, std::move(client.ours), client_.get());
  const Bytes block(16'384, 'x');
  std::size_t sent = 0;
  // The kernel takes more when it has passed on what it had: until it takes nothing.
  for (int blocked = 0; blocked < 1000; ++blocked) {
    const Outcome out = tls.stream->write(block);
    if (out.kind == Outcome::Kind::Done) blocked = 0;
    sent += out.bytes;
  }
  void* image = nullptr;
  const int size = save_ssl(&image, tls.stream->ssl(), SOCKMI_SERVER_ESTABLISHED);
  ASSERT_GT(size, 0) << sockmi_last_error();
  SslPointer loaded(SSL_new(context.get()));
  SSL_set_accept_state(loaded.get());
  ASSERT_EQ(
      load_ssl(image, static_cast<std::size_t>(size), loaded.get(), SOCKMI_SERVER_ESTABLISHED), 0)
      << sockmi_last_error();
  sockmi_image_free(image, static_cast<std::size_t>(size));
  unique_fd moved(::fcntl(fd, F_DUPFD_CLOEXEC, 0));
  ASSERT_EQ(sockmi_set_fd(loaded.get(), moved.get()), 0) << sockmi_last_error();
  const std::size_t taken = sockmi_write_taken(loaded.get());
  ASSERT_GT(taken, 0u);
  sent += taken;
  Relay::Parts parts;
  parts.state.to_backend.end = End::Closed;
  parts.state.to_client.pending = Bytes(taken, 'x');
  parts.state.to_client.taken = taken;
  parts.client = TlsStream::adopt(std::move(moved), std::move(loaded));
  parts.backend = std::make_unique<PlainStream>(std::move(backend.ours));
  relay_ = std::make_unique<Relay>(std::move(parts));

  EXPECT_EQ(settle(), Progress::Waiting);
  EXPECT_TRUE(relay_->client_interest().write);
  EXPECT_FALSE(relay_->backend_interest().read);
  std::size_t received = 0;
  for (int rounds = 0; received < sent && rounds < 100'000; ++rounds) {
    std::array<char, 16'384> part;
    const int got = SSL_read(tls.peer.get(), part.data(), part.size());
    if (got > 0) received += static_cast<std::size_t>(got);
    EXPECT_EQ(settle(), Progress::Waiting);
  }

  EXPECT_EQ(received, sent);
  EXPECT_TRUE(relay_->backend_interest().read);
}

class ThrowingStream : public PlainStream {
 public:
  using PlainStream::PlainStream;
  Outcome read(std::span<std::uint8_t>) override { throw std::bad_alloc(); }
};

TEST_F(RelayTest, AnExceptionResetsBothLegs) {
  Pair client = tcp_pair(), backend = tcp_pair();
  client_ = std::move(client.peer);
  backend_ = std::move(backend.peer);
  Relay::Parts parts;
  parts.client = std::make_unique<ThrowingStream>(std::move(client.ours));
  parts.backend = std::make_unique<PlainStream>(std::move(backend.ours));
  relay_ = std::make_unique<Relay>(std::move(parts));

  EXPECT_EQ(settle(), Progress::Failed);
  relay_.reset();

  EXPECT_EQ(receive(client_), "reset");
  EXPECT_EQ(receive(backend_), "reset");
}

}  // namespace
}  // namespace sockmi::proxy
