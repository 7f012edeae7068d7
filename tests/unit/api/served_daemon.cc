#include "served_daemon.h"

#include <sched.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <cstdlib>
#include <cstring>
#include <future>

#include <boost/asio/io_context.hpp>

#include "api/metrics.h"
#include "api/router.h"
#include "base/scm_rights.h"
#include "cluster/authority.h"
#include "unit/temporary_folder.h"

namespace sockmi::api {
namespace {

template <class T>
T need(Result<T> result) {
  if (!result) throw std::runtime_error(to_string(result.error()));
  if constexpr (!std::is_void_v<T>) return std::move(*result);
}

void make_network() {
  if (::unshare(CLONE_NEWNET) != 0) throw std::runtime_error("unshare");
  if (std::system("ip link set lo up && ip link add eth0 type veth peer name eth1 && "
                  "ip addr add 192.0.2.1/24 dev eth0 && ip link set eth1 up && "
                  "ip link set eth0 up") != 0)
    throw std::runtime_error("ip");
}

daemon::Daemon::Config config_in(const std::filesystem::path& folder) {
  const auto address = need(IpAddress::parse("192.0.2.1"));
  daemon::ServiceRule everybody{.exporters = {{"*"}}, .importers = {{"*"}}, .listen = {}};
  return {
      .settings = {.host = "A",
                   .address = address,
                   .interfaces = {"eth0"},
                   .runtime = folder,
                   .testing = true},
      .policy = daemon::Policy({{"web", everybody}}),
      .maxima = {},
      .state_folder = folder / "state",
      .discovery = {.address = address, .group = need(SocketAddress::parse("239.255.77.77:7077"))},
      .guard = nullptr};
}

}  // namespace

struct ServedDaemon::Parts {
  test::TemporaryFolder folder;
  std::string socket = folder.path / "sockmid.sock";
  boost::asio::io_context io{1};
  std::promise<void> ready;
  std::thread thread;

  void run() {
    try {
      make_network();
      const auto daemon = need(daemon::Daemon::open(
          io, config_in(folder.path), need(cluster::Identity::load(folder.path / "A"))));
      const auto listener = need(serve(io, socket, *daemon));
      ready.set_value();
      io.run();
    } catch (...) {
      ready.set_exception(std::current_exception());
    }
  }
};

ServedDaemon::ServedDaemon() : parts_(std::make_unique<Parts>()) {
  const auto& folder = parts_->folder.path;
  need(cluster::init_cluster(folder / "cluster"));
  need(cluster::issue_host(folder / "cluster", "A", folder / "A"));
  auto ready = parts_->ready.get_future();
  parts_->thread = std::thread([parts = parts_.get()] { parts->run(); });
  try {
    ready.get();
  } catch (...) {
    parts_->thread.join();
    throw;
  }
}

ServedDaemon::~ServedDaemon() {
  parts_->io.stop();
  parts_->thread.join();
}

const std::string& ServedDaemon::socket() const {
  return parts_->socket;
}

std::vector<std::string> metric_names() {
  std::vector<std::string> names;
  for (const Metric& metric : metrics())
    names.push_back(metric.name);
  return names;
}

std::string request(const std::string& method, const std::string& target, const std::string& body,
                    const std::string& fields) {
  return fmt::format("{} {} HTTP/1.1\r\nConnection: close\r\nContent-Length: {}\r\n{}\r\n{}",
                     method, target, body.size(), fields, body);
}

namespace {

Answer talk_now(const std::string& socket, const std::string& bytes,
                std::span<const int> descriptors) {
  const unique_fd line(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_un address{.sun_family = AF_UNIX, .sun_path = {}};
  std::strcpy(address.sun_path, socket.c_str());
  if (::connect(line.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0)
    throw std::runtime_error("connect");
  for (std::size_t at = 0; at < bytes.size();) {
    alignas(cmsghdr) char control[CMSG_SPACE(253 * sizeof(int))];
    iovec part{const_cast<char*>(bytes.data()) + at, bytes.size() - at};
    msghdr message{.msg_iov = &part, .msg_iovlen = 1};
    if (at == 0) attach_descriptors(message, control, descriptors);
    const ssize_t sent = ::sendmsg(line.get(), &message, MSG_NOSIGNAL);
    if (sent <= 0) break;  // refused already
    at += static_cast<std::size_t>(sent);
  }
  ::shutdown(line.get(), SHUT_WR);
  std::string all;
  char piece[65536];
  for (ssize_t got; (got = ::recv(line.get(), piece, sizeof piece, 0)) > 0;)
    all.append(piece, static_cast<std::size_t>(got));
  const auto end = all.find("\r\n\r\n");
  if (end == all.npos || !all.starts_with("HTTP/1.1 ")) return {};
  return {std::atoi(all.c_str() + 9), all.substr(0, end), all.substr(end + 4)};
}

}  // namespace

Answer talk(const std::string& socket, const std::string& bytes, uid_t as,
            std::span<const int> descriptors) {
  Answer answer;
  const auto talk = [&] {
    answer = talk_now(socket, bytes, descriptors);
  };
  as == 0 ? talk() : as_user(as, talk);
  return answer;
}

}  // namespace sockmi::api
