// A host with a valid certificate that sends what it should not send:
//
//     member IDENTITY ADDRESS HOST LINE COMMAND ARGUMENT...
//
// Acts as IDENTITY from ADDRESS towards the daemon HOST, whose control channel is at
// LINE. Prints "answer CODE DECIDED REASON" for each message, or for each endpoint of one
// that is refused, or "lost REASON".
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <map>
#include <random>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>

#include "cluster/cluster.h"
#include "wire/control_messages.h"
#include "wire/flatbuffer.h"

namespace asio = boost::asio;
using namespace sockmi;
using namespace std::chrono_literals;

namespace {

using Words = std::vector<std::string>;

FourTuple tuple_of(const std::string& local, const std::string& remote) {
  return {*SocketAddress::parse(local),
          remote == "-" ? SocketAddress() : *SocketAddress::parse(remote)};
}

wire::MigrationId id_of(const std::string& number) {
  return cluster::member({}, static_cast<std::uint32_t>(std::stoul(number)));
}

Secret empty_union(int type) {
  wire::WipingBuilder builder;
  builder.Finish(wire::CreateMessage(builder, static_cast<wire::Request>(type)));
  return builder.take();
}

Secret straggler(const Words& words) {
  wire::StragglerT said;
  said.local = words[0];
  said.remote = words[1];
  said.seq = static_cast<std::uint32_t>(std::stoul(words[2]));
  said.ack = static_cast<std::uint32_t>(std::stoul(words[3]));
  said.window = 1000;
  said.delta = std::make_unique<wire::FreezeDeltaT>();
  said.delta->bytes.assign(words[4].begin(), words[4].end());
  return wire::pack_straggler(said);
}

Secret standby(const Words&) {
  return wire::pack_standby();
}

// Arguments: ID [LOCAL REMOTE HOME [SERVICE OWNER STATE PAYLOAD-SIZE]]
Secret prepare(const Words& words) {
  wire::Endpoint endpoint{.service = "web",
                          .owner = {0, "root"},
                          .state = 4,
                          .home = "hostB",
                          .home_control = *SocketAddress::parse("10.77.0.2:7078")};
  endpoint.tcp.local_ip = {10, 77, 0, 2};
  endpoint.tcp.local_port = 443;
  endpoint.tcp.remote_ip = {10, 77, 0, 100};
  endpoint.tcp.remote_port = 1;
  if (words.size() > 3) {
    const FourTuple tuple = tuple_of(words[1], words[2]);
    endpoint.home = words[3];
    endpoint.tcp.local_ip.assign(tuple.local.ip.view().begin(), tuple.local.ip.view().end());
    endpoint.tcp.local_port = tuple.local.port;
    endpoint.tcp.remote_ip.assign(tuple.remote.ip.view().begin(), tuple.remote.ip.view().end());
    endpoint.tcp.remote_port = tuple.remote.port;
  }
  if (words.size() > 7) {
    endpoint.service = words[4];
    endpoint.owner.name = words[5];
    endpoint.state = static_cast<std::uint8_t>(std::stoul(words[6]));
    endpoint.payload = Secret(std::stoul(words[7]));
  }
  const wire::OutgoingImage one{id_of(words[0]), &endpoint, 0};
  return wire::pack_prepare({&one, 1}, endpoint.home_control);
}

// A group. Its ids follow each other. Arguments: ID COUNT [SERVICE STATE],
// of the last one
Secret prepare_group(const Words& words) {
  std::vector<wire::Endpoint> endpoints(std::stoul(words[1]));
  std::vector<wire::OutgoingImage> images;
  const unsigned first = static_cast<unsigned>(std::stoul(words[0]));
  for (wire::Endpoint& endpoint : endpoints) {
    endpoint = {.service = "web",
                .owner = {0, "root"},
                .state = 4,
                .home = "hostB",
                .home_control = *SocketAddress::parse("10.77.0.2:7078"),
                .group = 1};
    endpoint.tcp.local_ip = {10, 77, 0, 2};
    endpoint.tcp.local_port = 443;
    endpoint.tcp.remote_ip = {10, 77, 0, 100};
    endpoint.tcp.remote_port = static_cast<std::uint16_t>(1 + images.size());
    images.push_back({id_of(std::to_string(first + images.size())), &endpoint, 0});
  }
  if (words.size() > 3) {
    endpoints.back().service = words[2];
    endpoints.back().state = static_cast<std::uint8_t>(std::stoul(words[3]));
  }
  return wire::pack_prepare(images, endpoints.front().home_control);
}

// Arguments: STEP ADDRESS
Secret take_over(const Words& words) {
  const auto names = wire::EnumNamesTakeOverStep();
  int step = 0;
  while (names[step] && words[0] != names[step])
    ++step;
  return wire::pack_take_over(static_cast<wire::TakeOverStep>(step), *IpAddress::parse(words[1]),
                              24, false);
}

const std::map<std::string, std::function<Secret(const Words&)>> kMessages = {
    {"null",
     [](const Words& w) {
       return empty_union(std::stoi(w[0]));
     }},
    {"moved",
     [](const Words& w) {
       return wire::pack_moved(tuple_of(w[0], w[1]), *IpAddress::parse(w[2]), w[3], w[4]);
     }},
    {"ended",
     [](const Words& w) {
       return wire::pack_ended(tuple_of(w[0], w[1]));
     }},
    {"query_holder",
     [](const Words& w) {
       return wire::pack_query_holder(tuple_of(w[0], w[1]), w[2], *SocketAddress::parse(w[3]), 0,
                                      w.size() > 4 && w[4] == "routed");
     }},
    {"straggler", straggler},
    {"standby", standby},
    {"prepare", prepare},
    {"prepare_group", prepare_group},
    {"pre_copy",
     [](const Words& w) {
       return wire::pack_pre_copy(id_of(w[0]), Bytes(16, 'x'));
     }},
    {"abort",
     [](const Words& w) {
       const auto id = id_of(w[0]);
       return wire::pack_abort({&id, 1});
     }},
    {"path_queries",
     [](const Words& w) {
       return wire::pack_path_queries(
           {{.tuple = tuple_of(w[0], w[1]), .largest = 100, .near = false}});
     }},
    {"take_over", take_over},
    {"commit",
     [](const Words& w) {
       std::vector<wire::Committed> one(1);
       one[0].id = id_of(w[0]);
       return wire::pack_commit(one);
     }},
    {"query_outcome",
     [](const Words& w) {
       return wire::pack_query_outcome(id_of(w[0]));
     }},
    {"late_write",
     [](const Words& w) {
       wire::FreezeDeltaT delta;
       delta.written.assign(w[1].begin(), w[1].end());
       return wire::pack_late_write(id_of(w[0]), delta);
     }},
};

class Member {
 public:
  Member(char** words)
      : identity_(*cluster::Identity::load(words[0])),
        address_(*IpAddress::parse(words[1])),
        host_(words[2]),
        control_address_(*SocketAddress::parse(words[3])) {}

  asio::awaitable<void> run(std::string command, Words words) {
    transfer_ = *cluster::ControlChannel::open(
        io_, identity_, {address_, 17078},
        [](cluster::AuthenticatedHost, Secret) -> asio::awaitable<Secret> { co_return Secret(); });
    if (command == "reserve") {
      co_await reserve(words);
    } else if (command == "hello") {
      co_await send_hello(std::chrono::milliseconds(std::stoi(words[0])));
    } else if (command == "garbage") {
      std::mt19937 random(static_cast<unsigned>(std::stoul(words[0])));
      for (int i = 0; i < std::stoi(words[1]); ++i) {
        Secret bytes(random() % 400);
        for (auto& byte : bytes)
          byte = static_cast<std::uint8_t>(random());
        co_await say(std::move(bytes));
      }
    } else {
      co_await say(kMessages.at(command)(words));
    }
  }

  void start(std::string command, Words words) {
    asio::co_spawn(io_, run(std::move(command), std::move(words)),
                   [this](std::exception_ptr thrown) {
                     if (thrown) std::puts("failed");
                     io_.stop();
                   });
    io_.run();
  }

 private:
  asio::awaitable<void> say(Secret message) {
    const auto reply = co_await transfer_->call(host_, control_address_, std::move(message), 3s);
    if (!reply) {
      std::printf("lost %s\n", reply.error().reason.c_str());
      co_return;
    }
    const auto answer = wire::read_answer(*reply);
    const auto whole = wire::read<wire::Answer>(*reply);
    const auto verdicts = whole && (*whole)->verdicts()
                              ? wire::read_verdicts(*reply, (*whole)->verdicts()->size())
                              : std::vector<Result<>>();
    const bool fails = verdicts && std::ranges::any_of(*verdicts, [](const auto& each) {
                         return !each.has_value();
                       });
    if (answer && fails)
      for (const auto& verdict : *verdicts)
        std::printf("answer %d 0 %s\n", verdict ? 0 : verdict.error().code,
                    verdict ? "-" : verdict.error().reason.c_str());
    else if (answer)
      std::printf("answer 0 %d -\n", *answer);
    else
      std::printf("answer %d 0 %s\n", answer.error().code, answer.error().reason.c_str());
    std::fflush(stdout);
  }

  struct Nobody : cluster::Discovery::OfferHandler {
    Result<cluster::OfferReply> can_accept(const cluster::Offer&) override {
      return fail(EPERM, "no");
    }
    Result<> reserve(const std::string&, const cluster::Offer&) override {
      return fail(EPERM, "no");
    }
  };

  std::unique_ptr<cluster::Discovery> make_discovery(Nobody& nobody) {
    cluster::DiscoveryConfig config{.interface = "eth0",
                                    .address = address_,
                                    .group = *SocketAddress::parse("239.255.77.77:7077"),
                                    .control_port = 17078};
    config.timeout = 2000ms;
    return *cluster::Discovery::open(io_, identity_, config, nobody);
  }

  // Announces itself for that long, as a starting daemon does.
  asio::awaitable<void> send_hello(std::chrono::milliseconds time) {
    Nobody nobody;
    const auto discovery = make_discovery(nobody);
    asio::steady_timer timer(io_, time);
    co_await timer.async_wait(asio::use_awaitable);
  }

  // Arguments: FIRST-ID COUNT TIMES. Reserves slots for TIMES batches of COUNT endpoints
  // each, and prints the result of each.
  asio::awaitable<void> reserve(const Words& words) {
    Nobody nobody;
    const auto discovery = make_discovery(nobody);
    const auto local = *SocketAddress::parse("10.77.0.100:9");
    for (std::uint32_t i = 0; i < std::stoul(words[2]); ++i) {
      const auto count = static_cast<std::uint32_t>(std::stoul(words[1]));
      cluster::Offer offer{.id = cluster::member(id_of(words[0]), i * count),
                           .service = "web",
                           .owner = {0, "root"},
                           .state = 4,
                           .tuple = {local, local},
                           .home = local.ip,
                           .size = 1,
                           .target = control_address_.ip,
                           .count = count};
      const auto found = co_await discovery->find(offer);
      std::printf("reserved %d %s\n", found ? 0 : found.error().code,
                  found ? "-" : found.error().reason.c_str());
      std::fflush(stdout);
    }
  }

  asio::io_context io_;
  const cluster::Identity identity_;
  const IpAddress address_;
  const std::string host_;
  const SocketAddress control_address_;
  std::unique_ptr<cluster::ControlChannel> transfer_;
};

}  // namespace

int main(int argc, char** argv) {
  if (argc < 6) return 2;
  Member member(argv + 1);
  member.start(argv[5], Words(argv + 6, argv + argc));
  return 0;
}
