#include "host_process.h"

#include <linux/capability.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <future>

#include <sockmi/sockmi.h>
#include <spdlog/spdlog.h>
#include <boost/asio/post.hpp>
#include <nlohmann/json.hpp>

#include "base/fault.h"
#include "base/log.h"
#include "base/spawn.h"
#include "connections/home_protocol.h"
#include "connections/recovery.h"
#include "daemon/request_handler.h"
#include "daemon/start.h"
#include "frames.h"
#include "interposed.h"
#include "migration/batching.h"
#include "reported_steering.h"
#include "unit/daemon/test_host.h"
#include "wire/flatbuffer.h"

namespace sockmi::daemon {
namespace {

using Kind = Frame::Kind;

std::string text_of(ByteView bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

bool listens(int fd) {
  int out = 0;
  socklen_t size = sizeof out;
  return ::getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &out, &size) == 0 && out == 1;
}

// A host of these tests has neither the priority of a real-time process nor congestion
// windows that move: loading their BPF program takes longer than all the rest.
void drop_capabilities() {
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct data[2];
  ::syscall(SYS_capget, &header, data);
  for (const unsigned each : {CAP_SYS_NICE, CAP_SYS_ADMIN, CAP_PERFMON, CAP_BPF})
    for (auto* set : {&data[each / 32].effective, &data[each / 32].permitted})
      *set &= ~(1u << each % 32);
  ::syscall(SYS_capset, &header, data);
}

// The frames to and from the test.
class Link {
 public:
  Link(int fd, const asio::any_io_executor& executor) : fd_(fd), executor_(executor) {}

  Frame next() {
    auto frame = receive(fd_);
    if (!frame) ::_exit(0);  // the test is over
    return std::move(*frame);
  }
  void say(const Frame& frame) {
    if (!send(fd_, frame)) ::_exit(0);
  }
  std::string ask(const Frame& frame) {
    say(frame);
    return next().data;
  }
  asio::awaitable<Result<Secret>> call(std::string name, std::string message,
                                       milliseconds timeout) {
    const std::uint64_t number = ++last_;
    const auto one = std::make_shared<Pending>(executor_);
    pending_[number] = one;
    say({Kind::Call, number, name, std::move(message)});
    const bool answered = co_await one->answered.wait(Clock::now() + timeout);
    pending_.erase(number);
    if (!answered) co_return fail(ETIMEDOUT, "no answer to {}", name);
    co_return std::move(one->answer);
  }
  void reply(const Frame& frame) {
    const auto it = pending_.find(frame.number);
    if (it == pending_.end()) return;  // nobody waits for it any more
    if (!frame.name.empty())
      it->second->answer = fail(std::stoi(frame.name), "the other host is gone");
    else
      it->second->answer = secret_of(frame.data);
    it->second->answered.set();
  }

 private:
  struct Pending {
    explicit Pending(const asio::any_io_executor& executor) : answered(executor) {}
    Event answered;
    Result<Secret> answer = fail(ETIMEDOUT, "no answer");
  };
  int fd_;
  asio::any_io_executor executor_;
  std::uint64_t last_ = 0;
  std::map<std::uint64_t, std::shared_ptr<Pending>> pending_;
};

class FakeChannel : public cluster::ControlChannel {
 public:
  explicit FakeChannel(Link& link) : link_(link) {}
  void set_member_addresses(std::function<bool(const IpAddress&)>) override {}
  bool connected(const std::string&) const override { return true; }
  asio::awaitable<Result<Secret>> call(std::string, SocketAddress, Secret message,
                                       milliseconds timeout) override {
    const auto read = wire::read<wire::Message>(message);
    const std::string name = read ? wire::EnumNameRequest((*read)->request_type()) : "?";
    return link_.call(name, text_of(message), timeout);
  }

 private:
  Link& link_;
};

// Finds the other host, and no other. Its datagrams are a message of the name "Offer".
class FakeDiscovery : public cluster::Discovery {
 public:
  FakeDiscovery(Link& link, const HostSetup& setup) : link_(link), setup_(setup) {}
  asio::awaitable<Result<cluster::SelectedHost>> find(cluster::Offer offer) override {
    const std::string text = fmt::format("{} {} {} {}", wire::to_hex(offer.id), offer.state,
                                         offer.count, to_string(offer.tuple));
    CO_TRY_LET(reply, co_await link_.call("Offer", text, milliseconds(500)));
    if (const int error = std::stoi(text_of(reply)))
      co_return fail(error, "the other host refuses");
    cluster::SelectedHost selected;
    selected.host = setup_.other;
    selected.control_address = setup_.other_control_address;
    co_return selected;
  }
  asio::awaitable<std::vector<cluster::HostAnswer>> survey(cluster::Offer) override {
    co_return std::vector<cluster::HostAnswer>();
  }
  void set_draining(bool) override {}
  static cluster::Offer offer_of(const std::string& text) {
    std::istringstream words(text);
    std::string id, tuple;
    unsigned state;
    cluster::Offer offer{.service = "web", .owner = {0, "root"}};
    words >> id >> state >> offer.count >> tuple;
    for (std::size_t i = 0; i < offer.id.size(); ++i)
      offer.id[i] = static_cast<std::uint8_t>(std::stoi(id.substr(2 * i, 2), nullptr, 16));
    offer.state = static_cast<std::uint8_t>(state);
    offer.tuple = tuple_from(tuple);
    return offer;
  }
  std::vector<std::string> warnings() const override { return {}; }
  void addresses_changed(const IpAddress&) override {}
  std::vector<cluster::HostInfo> hosts() const override {
    return {{.host = setup_.other,
             .control_address = setup_.other_control_address,
             .other_address = {}}};
  }

 private:
  Link& link_;
  const HostSetup& setup_;
};

// What Daemon (daemon/daemon.h) consists of, as far as migrations need it.
class Host {
 public:
  Host(const HostSetup& setup, int link) : setup_(setup), link_(link, io_.get_executor()) {
    on_visible_action([this](const std::string& name) { link_.ask({Kind::Action, 0, name}); });
  }
  [[noreturn]] void run() {
    for (;;) {
      handle(link_.next());
      run_until_idle();
      link_.say({Kind::Idle, static_cast<std::uint64_t>(next_timer())});
    }
  }

 private:
  // The daemon's worker thread has one task at a time, so whatever it had to do is done
  // when it gets to ours.
  void run_until_idle() {
    for (std::size_t handled = 1; handled > 0;) {
      handled = io_.poll();
      std::promise<void> done;
      asio::post(host_->workers, [&] { done.set_value(); });
      done.get_future().wait();
      handled += io_.poll();
    }
  }

  void handle(Frame frame) {
    switch (frame.kind) {
      case Kind::Start: return start(frame.data == "guard");
      case Kind::Tick: return fire_timer();
      case Kind::Deliver: return link_.say({Kind::Answer, frame.number, frame.name, answer(frame)});
      case Kind::Reply: return link_.reply(frame);
      case Kind::Export: return spawn(io_, "export", export_all(frame.data, frame.name == "group"));
      case Kind::Arm: return fault::arm(frame.name);
      case Kind::Greet:
        return spawn(
            io_, "reconcile",
            host_->connections.homes.reconcile(setup_.other, setup_.other_control_address));
      case Kind::Take: return take();
      case Kind::Decide: return decide(frame.data == "commit" ? Decide::Commit : Decide::Discard);
      case Kind::Dump: return link_.say({Kind::Dumped, 0, "", dump()});
      default: ::_exit(2);
    }
  }

  void start(bool guarded) {
    Settings settings{.host = setup_.name,
                      .address = setup_.control_address.ip,
                      .interfaces = {"eth0"},
                      .linger = milliseconds(2000),
                      .require_importer = false,
                      .runtime = setup_.folder};
    host_ = std::make_unique<TestHost>(
        io_, std::move(settings), setup_.folder,
        std::make_unique<ReportedSteering>([this](const std::string& operation) {
          return link_.ask({Kind::Steer, 0, operation.substr(0, operation.find(' ')), operation});
        }));
    host_->use(std::make_unique<FakeChannel>(link_));
    discovery_ = std::make_unique<FakeDiscovery>(link_, setup_);
    host_->services.discovery = discovery_.get();
    if (guarded) {
      auto guard = CrashGuard::start(setup_.folder);
      if (!guard) ::_exit(4);
      host_->exports.guard = std::move(*guard);
    }
    importer_ = std::make_unique<Importer>(host_->connections, host_->import_queue, congestion_);
    taken_addresses_ = std::make_unique<TakenAddresses>(host_->connections);
    address_receiver_ = std::make_unique<AddressReceiver>(host_->connections, *taken_addresses_);
    requests_ = std::make_unique<RequestHandler>(host_->connections, host_->exports, *importer_,
                                                 *address_receiver_);
    auto adopted = adopt(host_->connections);
    if (adopted) adopted = adopt_sockets(host_->exports, *importer_);
    if (!adopted) {
      log::critical("start_failed", {{"error", adopted.error()}});
      ::_exit(5);
    }
    spawn(io_, "ask_in_turn", host_->connections.homes.ask_in_turn());
  }

  std::string answer(const Frame& frame) {
    if (frame.name == "Offer") {
      const auto offer = FakeDiscovery::offer_of(frame.data);
      auto reserved = importer_->can_accept(offer);
      const auto done =
          reserved ? importer_->reserve(setup_.other, offer) : std::unexpected(reserved.error());
      return std::to_string(done ? 0 : done.error().code);
    }
    return text_of(dispatch(*requests_, {setup_.other, setup_.other_control_address.ip},
                            secret_of(frame.data)));
  }

  asio::awaitable<void> export_all(std::string descriptors, bool grouped) {
    const int test = static_cast<int>(::syscall(SYS_pidfd_open, ::getppid(), 0));
    std::vector<ExportItem> items;
    std::istringstream words(descriptors);
    for (int fd, token; words >> fd >> token;) {
      ExportItem item;
      if (token >= 0)
        item.token = std::make_shared<Token>(
            *Token::adopt(unique_fd(static_cast<int>(::syscall(SYS_pidfd_getfd, test, token, 0)))));
      item.socket.reset(static_cast<int>(::syscall(SYS_pidfd_getfd, test, fd, 0)));
      item.endpoint.service = "web";
      item.endpoint.owner = {0, "root"};
      item.endpoint.state = listens(item.socket.get()) ? SOCKMI_LISTENING : SOCKMI_CONNECTED;
      item.endpoint.group = grouped;
      items.push_back(std::move(item));
    }
    ::close(test);
    const auto results = co_await export_endpoints(host_->exports, std::move(items), IpAddress());
    std::string text;
    for (const auto& result : results)
      text += std::to_string(result ? 0 : result.error().code) + "\n";
    link_.say({Kind::Exported, 0, "", text});
  }

  void take() {
    auto taken = host_->import_queue.take_if([](const ReadyEndpoint&) { return true; });
    std::string text;
    for (const auto& each : taken)
      text += fmt::format("{} {}\n", each.socket.get(), to_string(each.tuple));
    (void)link_.ask({Kind::Taken, 0, "", text});
    for (const auto& each : taken)
      host_->import_queue.release(each.id);
  }

  void decide(Decide how) {
    // A decision removes its doubt, and those of the others of its group.
    const auto doubts = host_->in_doubt.all();
    for (const auto& [id, doubt] : doubts)
      if (host_->in_doubt.has(id) && !host_->in_doubt.decide(id, how)) ::_exit(6);
  }

  std::string dump() const {
    nlohmann::json out;
    const auto tuples = [](const auto& records) {
      std::map<std::string, std::string> out;
      for (const auto& [tuple, away] : records)
        out[to_string(tuple)] = away.host;
      return out;
    };
    // A connection that is at home needs no record in the journal.
    const auto foreign = [this](const auto& records) {
      std::map<std::string, std::string> out;
      for (const auto& [cookie, imported] : records)
        if (imported.home != setup_.name)
          out[fmt::format("{} {}", cookie, to_string(imported.tuple))] = imported.home;
      return out;
    };
    const Journal& journal = host_->connections.table.journal();
    out["away"] = tuples(host_->connections.table.remote());
    out["away in the journal"] = tuples(journal.away());
    out["imported"] = foreign(host_->connections.table.imported());
    out["imported in the journal"] = foreign(journal.imported());
    std::size_t deltas = 0;
    for (const auto& entry : std::filesystem::directory_iterator(setup_.folder))
      deltas += entry.path().filename().string().starts_with("late-");
    out["left"] = {{"decisions", journal.decisions().size()},
                   {"pending ends", journal.pending_ends().size()},
                   {"in doubt", host_->in_doubt.all().size()},
                   {"undecided", host_->exports.undecided.size()},
                   {"prepared or waiting for late writes", importer_->in_doubt()},
                   {"reserved places", host_->import_queue.used(SOCKMI_CONNECTED)},
                   {"reserved places of listeners", host_->import_queue.used(SOCKMI_LISTENING)},
                   {"exports under way", host_->exports.under_way},
                   {"freeze deltas in files", deltas}};
    out["thawed"] = journal.thawed().size();
    return out.dump();
  }

  const HostSetup& setup_;
  asio::io_context io_;
  const asio::executor_work_guard<asio::io_context::executor_type> work_ =
      asio::make_work_guard(io_);
  Link link_;
  const congestion::CwndCarrier congestion_ = congestion::CwndCarrier::open();
  std::unique_ptr<TestHost> host_;
  std::unique_ptr<FakeDiscovery> discovery_;
  std::unique_ptr<Importer> importer_;
  std::unique_ptr<TakenAddresses> taken_addresses_;
  std::unique_ptr<AddressReceiver> address_receiver_;
  std::unique_ptr<RequestHandler> requests_;
};

}  // namespace

void run_host(const HostSetup& setup, int link, std::atomic<std::int64_t>& now) {
  drop_capabilities();
  spdlog::set_level(std::getenv("HOST_LOGS") ? spdlog::level::info : spdlog::level::off);
  use_virtual_time(now);
  Host(setup, link).run();
}

}  // namespace sockmi::daemon
