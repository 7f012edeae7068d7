// mover: a relay between TLS and plain TCP whose TLS end moves from process to process by
// save_ssl() and load_ssl(), without a daemon. With other people's programs at the far
// end it shows that a moved session continues.
//
//     mover serve   --listen A:P --backend A:P --certificate FILE --key FILE
//         one TLS connection in, plain TCP out
//     mover connect --listen A:P --backend A:P --ca FILE
//         one plain connection in, TLS out
//     mover take    --at PATH
//         waits for a connection from another mover
//
// With --hand-over PATH and --every BYTES each of them gives its connection to the mover
// at PATH whenever that many bytes have passed. With --at it then waits for the
// connection to come back: two movers that name each other pass it to and fro. A mover
// prints "hop N" when it has taken a connection.
#include <csignal>
#include <cstdio>

#include <CLI/CLI.hpp>

#include "handover.h"
#include "handshake.h"
#include "relay.h"
#include "sockets.h"

namespace {

using namespace mover;

struct Options {
  std::string listen, backend, at, next;
  std::uint64_t every = 0;
  TlsOptions tls;
};

void say(const std::string& line) {
  std::printf("%s\n", line.c_str());
  std::fflush(stdout);
}

Connection begin(const Options& options, const Context& context, bool server) {
  const Fd listener = listen_tcp(options.listen);
  say("mover ready");
  Fd in = accept_one(listener), out = connect_tcp(options.backend);
  Connection c;
  c.tls = server ? std::move(in) : std::move(out);
  c.plain = server ? std::move(out) : std::move(in);
  c.ssl = server ? context.accept(c.tls.get()) : context.connect(c.tls.get());
  say("established " + describe(c.ssl.get()));
  for (const Fd* fd : {&c.tls, &c.plain})
    set_relaying(*fd);
  return c;
}

// Returns true if the connection went to the next mover, false if it ended here.
bool relay(Connection& c, Handover& handover, std::uint64_t every) {
  Relay relay(c, handover.gives() ? every : 0);
  while (relay.run() == Relay::Outcome::hop_due) {
    if (handover.give(c)) return true;
    say("not yet");
    relay.postpone();
  }
  say("ended " + describe(c.ssl.get()) + ", hops: " + std::to_string(c.hops));
  return false;
}

int run(const Options& options, const std::string& how) {
  const Context context(options.tls);
  Handover handover(options.at, options.next);
  if (how != "take") {
    Connection c = begin(options, context, how == "serve");
    if (!relay(c, handover, options.every) || !handover.takes()) return 0;
  } else {
    say("mover ready");
  }
  while (auto taken = handover.take(context)) {
    say("hop " + std::to_string(taken->hops));
    if (!relay(*taken, handover, options.every)) return 0;
  }
  return 0;
}

void add_options(CLI::App& app, const std::string& how, Options& options) {
  const bool takes = how == "take";
  if (!takes) {
    app.add_option("--listen", options.listen, "ADDRESS:PORT where one connection is accepted")
        ->required();
    app.add_option("--backend", options.backend, "ADDRESS:PORT where it goes on")->required();
    app.add_option("--tls", options.tls.version, "only this version")
        ->check(CLI::IsMember({"1.2", "1.3"}));
    app.add_option("--ciphers", options.tls.ciphers, "cipher list; with --tls 1.3, cipher suites");
    app.add_option("--alpn", options.tls.alpn, "protocols")->delimiter(',');
  }
  if (how == "serve") {
    app.add_option("--certificate", options.tls.certificate, "chain, PEM")->required();
    app.add_option("--key", options.tls.key, "private key, PEM")->required();
  }
  if (how == "connect") {
    app.add_option("--ca", options.tls.ca, "whom to trust, PEM");
    app.add_option("--name", options.tls.name, "the server's, to be sent and to be verified");
  }
  auto* at = app.add_option("--at", options.at, "Unix socket where connections are taken");
  if (takes) at->required();
  auto* next = app.add_option("--hand-over", options.next,
                              "Unix socket of the mover that gets the connection");
  auto* every = app.add_option("--every", options.every, "a hop after so many bytes")
                    ->check(CLI::PositiveNumber);
  next->needs(every);
  every->needs(next);
}

}  // namespace

int main(int argc, char** argv) {
  Options options;
  CLI::App app{"Relays between TLS and TCP; the TLS end moves between processes.", "mover"};
  for (const auto& [how, what] :
       {std::pair("serve", "TLS in, TCP out"), std::pair("connect", "TCP in, TLS out"),
        std::pair("take", "waits for one that moves")})
    add_options(*app.add_subcommand(how, what), how, options);
  app.require_subcommand(1);
  CLI11_PARSE(app, argc, argv);
  std::signal(SIGPIPE, SIG_IGN);
  try {
    return run(options, app.get_subcommands().front()->get_name());
  } catch (const std::exception& failure) {
    std::fprintf(stderr, "mover: %s\n", failure.what());
    return 1;
  }
}
