// Tests what only TLS 1.3 has: KeyUpdate, tickets after the handshake, the exporter as
// channel binding.
#include "cases.h"
#include "pair.h"

namespace sockmi::tls::test {
namespace {

class Tls13 : public testing::TestWithParam<Case> {};
INSTANTIATE_TEST_SUITE_P(Roles, Tls13,
                         testing::Values(case_of("Tls13Aes128Server"), case_of("Tls13Aes256Client"),
                                         case_of("Tls13ChaChaServer"),
                                         case_of("Tls13ChaChaClient")),
                         kName);

TEST_P(Tls13, KeyUpdatesWorkBeforeAndAfterAMove) {
  Pair pair(GetParam());
  pair.handshake();
  for (int hop = 0; hop < 4; ++hop) {
    SSL_key_update(pair.peer.get(), SSL_KEY_UPDATE_REQUESTED);
    pair.talk("the peer updates");
    SSL_key_update(pair.mover.get(),
                   hop % 2 ? SSL_KEY_UPDATE_REQUESTED : SSL_KEY_UPDATE_NOT_REQUESTED);
    pair.talk("we update");
    pair.hop();
    pair.talk("moved");
  }
}

TEST_P(Tls13, ManyKeyUpdatesBeforeAMoveWork) {
  Pair pair(GetParam());
  pair.handshake();
  for (int round = 0; round < 3; ++round) {
    for (int i = 0; i < 40; ++i) {  // more than are remembered
      SSL_key_update(i % 2 ? pair.peer.get() : pair.mover.get(), SSL_KEY_UPDATE_NOT_REQUESTED);
      pair.talk("x");
    }
    pair.hop();
    pair.talk("moved");
  }
}

TEST_P(Tls13, KeyUpdatesWorkWhileBothEndsMove) {
  Pair pair(GetParam(), true, /*peer_moves=*/true);
  pair.handshake();
  for (int i = 0; i < 6; ++i) {
    i % 2 ? pair.hop() : pair.hop_peer();
    for (SSL* ssl : {pair.mover.get(), pair.peer.get(), pair.mover.get()}) {
      SSL_key_update(ssl, i % 3 ? SSL_KEY_UPDATE_REQUESTED : SSL_KEY_UPDATE_NOT_REQUESTED);
      pair.talk("updated");
    }
  }
}

TEST_P(Tls13, AQueuedKeyUpdateIsSentAfterTheMove) {
  Pair pair(GetParam());
  pair.handshake();
  read_all(pair.mover.get());
  ASSERT_EQ(SSL_key_update(pair.mover.get(), SSL_KEY_UPDATE_REQUESTED), 1);
  pair.hop();
  EXPECT_EQ(SSL_get_key_update_type(pair.mover.get()), SSL_KEY_UPDATE_REQUESTED);
  pair.hop();
  pair.talk("with new keys");
  EXPECT_EQ(SSL_get_key_update_type(pair.mover.get()), SSL_KEY_UPDATE_NONE);
  pair.hop();
  pair.talk("on");
}

TEST_P(Tls13, AKeyUpdateThatThePeerRequestedIsSentAfterTheMove) {
  Pair pair(GetParam());
  pair.handshake();
  read_all(pair.mover.get());
  ASSERT_EQ(SSL_key_update(pair.peer.get(), SSL_KEY_UPDATE_REQUESTED), 1);
  ASSERT_EQ(SSL_write(pair.peer.get(), "x", 1), 1);
  ASSERT_EQ(read_all(pair.mover.get()), "x");
  ASSERT_EQ(SSL_get_key_update_type(pair.mover.get()), SSL_KEY_UPDATE_NOT_REQUESTED);
  pair.hop();
  Tap tap(pair.mover.get());
  const std::string wire = tap.record(pair.mover.get(), "y");
  const std::size_t first =
      5 + (static_cast<unsigned char>(wire[3]) << 8 | static_cast<unsigned char>(wire[4]));
  EXPECT_GT(wire.size(), first) << "the KeyUpdate goes before";
  put(pair.mover_fd, wire);
  EXPECT_EQ(read_all(pair.peer.get()), "y");
}

TEST_P(Tls13, AKeyUpdateInFlightIsReadAfterTheMove) {
  Pair pair(GetParam());
  pair.handshake();
  read_all(pair.mover.get());
  Tap tap(pair.peer.get());
  ASSERT_EQ(SSL_key_update(pair.peer.get(), SSL_KEY_UPDATE_NOT_REQUESTED), 1);
  const std::string wire = tap.record(pair.peer.get(), "under new keys");
  for (std::size_t cut : {std::size_t{3}, std::size_t{10}, wire.size() - 3}) {
    if (cut == 3) put(pair.peer_fd, wire.substr(0, 3));
    if (cut == 10) put(pair.peer_fd, wire.substr(3, 7));
    if (cut == wire.size() - 3) put(pair.peer_fd, wire.substr(10, cut - 10));
    EXPECT_EQ(read_all(pair.mover.get()), "");
    pair.hop();
  }
  put(pair.peer_fd, wire.substr(wire.size() - 3));
  EXPECT_EQ(read_all(pair.mover.get()), "under new keys");
}

TEST_P(Tls13, TheExporterChannelBindingMoves) {
  Pair pair(GetParam());
  pair.handshake();
  for (int hop = 0; hop < 3; ++hop) {
    unsigned char ours[32], theirs[32];  // RFC 9266
    ASSERT_EQ(SSL_export_keying_material(pair.mover.get(), ours, 32, "EXPORTER-Channel-Binding", 24,
                                         nullptr, 0, 1),
              1);
    ASSERT_EQ(SSL_export_keying_material(pair.peer.get(), theirs, 32, "EXPORTER-Channel-Binding",
                                         24, nullptr, 0, 1),
              1);
    EXPECT_EQ(std::memcmp(ours, theirs, 32), 0);
    pair.hop();
  }
}

// With a peer that supports only one group: the groups of the handshake replay are not
// left behind.
TEST_P(Tls13, ALoadedSslMayServeAnotherConnection) {
  for (const char* group : {"X25519", "P-256", "P-384"}) {
    Pair first(GetParam()), second(GetParam());
    first.handshake();
    first.hop();
    SSL_set_shutdown(first.mover.get(), SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
    SSL_clear(first.mover.get());
    SSL_set1_groups_list(second.peer.get(), group);
    second.mover = std::move(first.mover);
    ASSERT_TRUE(set_fd(second.mover.get(), second.mover_fd.get()));
    if (!GetParam().server) SSL_set_tlsext_host_name(second.mover.get(), "server.test");
    second.handshake();
    second.hop();
    second.talk("another life");
  }
}

// --- tickets ---

// Returns the tickets that a client gets.
std::vector<SSL_SESSION*>& tickets() {
  static std::vector<SSL_SESSION*> all;
  return all;
}
void collect_tickets(SSL_CTX* ctx) {
  SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
  SSL_CTX_sess_set_new_cb(ctx, [](SSL*, SSL_SESSION* session) {
    tickets().push_back(session);
    return 1;
  });
}
void drop_tickets() {
  for (SSL_SESSION* each : tickets())
    SSL_SESSION_free(each);
  tickets().clear();
}

// Checks that another connection with the ticket is a resumption.
void resumes(const Pair& pair, SSL_SESSION* ticket) {
  int fds[2];
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
  const unique_fd one(fds[0]), other(fds[1]);
  SslPtr client = Pair::fresh_of(pair.c.server ? pair.peer_ctx : pair.mover_ctx, false),
         server = Pair::fresh_of(pair.c.server ? pair.mover_ctx : pair.peer_ctx, true);
  SSL_set_fd(client.get(), fds[0]);
  SSL_set_fd(server.get(), fds[1]);
  SSL_set_session(client.get(), ticket);
  SSL_set_alpn_protos(client.get(), reinterpret_cast<const unsigned char*>("\x02h2"), 3);
  SSL_set_tlsext_host_name(client.get(), "server.test");
  for (int i = 0;
       i < 10 && !(SSL_is_init_finished(client.get()) && SSL_is_init_finished(server.get())); ++i) {
    SSL_do_handshake(client.get());
    SSL_do_handshake(server.get());
  }
  ERR_clear_error();
  ASSERT_TRUE(SSL_is_init_finished(client.get()) && SSL_is_init_finished(server.get()));
  EXPECT_TRUE(SSL_session_reused(client.get()) && SSL_session_reused(server.get()));
  EXPECT_EQ(was_reused(server.get()), true);
}

TEST_P(Tls13, TicketsFromBeforeAndAfterAMoveResume) {
  Pair pair(GetParam());
  drop_tickets();
  collect_tickets(pair.c.server ? pair.peer_ctx.get() : pair.mover_ctx.get());
  pair.handshake();
  pair.talk("the client reads its tickets");
  const std::size_t before = tickets().size();
  ASSERT_GT(before, 0u);
  for (int hop = 0; hop < 2; ++hop) {
    pair.hop();
    ASSERT_EQ(SSL_new_session_ticket(pair.server()), 1);
    pair.talk("another ticket");
    EXPECT_EQ(tickets().size(), before + 1 + static_cast<std::size_t>(hop));
  }
  for (SSL_SESSION* each : tickets())
    resumes(pair, each);
  drop_tickets();
}

TEST_P(Tls13, ATicketInFlightIsReadAfterTheMove) {
  Pair pair(GetParam());
  drop_tickets();
  collect_tickets(pair.c.server ? pair.peer_ctx.get() : pair.mover_ctx.get());
  pair.handshake();
  const std::size_t before = tickets().size();
  pair.hop();
  pair.talk("the client reads its tickets");
  EXPECT_GE(tickets().size(), before);
  ASSERT_GT(tickets().size(), 0u);
  for (SSL_SESSION* each : tickets())
    resumes(pair, each);
  drop_tickets();
}

TEST_P(Tls13, AResumedConnectionMoves) {
  Pair first(GetParam());
  drop_tickets();
  collect_tickets(first.c.server ? first.peer_ctx.get() : first.mover_ctx.get());
  first.handshake();
  first.talk("x");
  ASSERT_GT(tickets().size(), 0u);
  Pair pair(GetParam());
  // The server's ticket keys belong to its context.
  (pair.c.server ? pair.mover_ctx : pair.peer_ctx)
      .swap(pair.c.server ? first.mover_ctx : first.peer_ctx);
  (pair.c.server ? pair.mover : pair.peer) =
      Pair::fresh_of(pair.c.server ? pair.mover_ctx : pair.peer_ctx, true);
  if (pair.c.server) {
    ASSERT_TRUE(set_fd(pair.mover.get(), pair.mover_fd.get()));
  } else {
    SSL_set_fd(pair.peer.get(), pair.peer_fd.get());
  }
  SSL_set_session(pair.client(), tickets().front());
  pair.handshake();
  ASSERT_TRUE(SSL_session_reused(pair.mover.get()));
  pair.hop();
  EXPECT_TRUE(was_reused(pair.mover.get()));
  pair.talk("on");
  drop_tickets();
}

}  // namespace
}  // namespace sockmi::tls::test
