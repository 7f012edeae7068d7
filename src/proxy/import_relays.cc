#include "proxy/import_relays.h"

#include <openssl/crypto.h>
#include <sockmi/appsockmi.h>
#include <sys/eventfd.h>

#include <algorithm>
#include <cstdlib>
#include <functional>

namespace sockmi::proxy {
namespace {

constexpr std::size_t kRelaysPerImport = 8;

// One connection that has arrived. If it does not become a part of a relay, it ends with
// a reset.
struct Leg {
  Leg() = default;
  Leg(Leg&&) noexcept = default;
  Leg& operator=(Leg&&) noexcept = default;
  ~Leg() {
    if (stream) stream->reset_at_close();
  }

  std::unique_ptr<Stream> stream;
  Secret payload;
  std::size_t write_taken = 0;
};

// Reads the state of a relay that this proxy can continue.
Result<RelayState> read_state(ByteView payload, const RelayService& service) {
  TRY_LET(state, decode(payload));
  if (state.listener != service.listener->name || state.service != service.service->name)
    return fail(EBADMSG, "the relay belongs to {}/{}", state.listener, state.service);
  return state;
}

// Keeps a relay at the daemon that this proxy cannot continue.
int accept_state(void* service, const void* payload, std::size_t size) {
  if (size == 0) return 0;  // the second connection of a relay
  const ByteView bytes(static_cast<const std::uint8_t*>(payload), size);
  const auto state = read_state(bytes, *static_cast<const RelayService*>(service));
  return state ? 0 : state.error().code;
}

// Requests come in pairs: for the connection with the client, and with the backend.
class Requests {
 public:
  // `backend`: whose SSLs fit the backends' connections; nullptr: these are without TLS.
  Requests(const RelayService& service, const TlsClient* backend)
      : service_(service),
        name_(service.name()) {
    const TlsServer* client = service.listener->tls.get();
    for (std::size_t i = 0; i < kRelaysPerImport; ++i) {
      if (client)
        add(client->new_ssl(nullptr), SOCKMI_SERVER_ESTABLISHED);
      else
        add(nullptr, SOCKMI_CONNECTED);
      if (backend)
        add(backend->new_ssl({}), SOCKMI_CLIENT_ESTABLISHED);
      else
        add(nullptr, SOCKMI_CONNECTED);
    }
  }

  Requests(const Requests&) = delete;
  // Ends what has arrived and was not taken.
  ~Requests() {
    for (std::size_t i = 0; i < requests_.size(); ++i)
      if (requests_[i].ssl_state != 0) (void)take(i);
  }

  // Returns the number of connections that have arrived; -1 with errno set.
  int import() { return import_ssl(requests_.data(), static_cast<unsigned>(requests_.size()), 0); }

  // Returns what has arrived, by its groups. What has no group is alone.
  std::vector<std::vector<Leg>> take() {
    std::vector<std::vector<Leg>> groups;
    std::map<std::uint64_t, std::size_t> known;
    for (std::size_t i = 0; i < requests_.size(); ++i) {
      if (requests_[i].ssl_state == 0) continue;
      const std::uint64_t group = requests_[i].group;
      const auto [it, added] = known.try_emplace(group, groups.size());
      if (added || group == 0) groups.emplace_back();
      groups[group == 0 ? groups.size() - 1 : it->second].push_back(take(i));
    }
    return groups;
  }

 private:
  void add(SslPointer ssl, unsigned state) {
    sockmi_import_ssl_req request{};
    request.ssl = ssl.get();
    request.criteria.service = name_.c_str();
    request.criteria.states = state;
    request.accept = accept_state;
    request.accept_arg = &service_;
    requests_.push_back(request);
    ssls_.push_back(std::move(ssl));
  }
  Leg take(std::size_t i) {
    sockmi_import_ssl_req& request = requests_[i];
    Leg leg;
    request.ssl_state = 0;
    unique_fd socket(request.fd);
    if (ssls_[i])
      leg.stream = TlsStream::adopt(std::move(socket), std::move(ssls_[i]));
    else
      leg.stream = std::make_unique<PlainStream>(std::move(socket));
    const auto* payload = static_cast<const std::uint8_t*>(request.payload);
    leg.payload.assign(payload, payload + request.payload_len);
    OPENSSL_cleanse(request.payload, request.payload_len);
    std::free(request.payload);
    leg.write_taken = request.write_taken;
    return leg;
  }

  RelayService service_;
  std::string name_;
  std::vector<sockmi_import_ssl_req> requests_;
  std::vector<SslPointer> ssls_;
};

// A write that was under way when the relay was exported has taken these bytes.
Result<> add_taken(Direction& direction, std::size_t taken) {
  if (taken > direction.left().size())
    return fail(EBADMSG, "the TLS has taken more than is pending");
  direction.taken += taken;
  direction.bytes += taken;
  return {};
}

// Returns what stands for a leg that has ended in both directions at the exporter.
Result<Leg> ended_leg() {
  unique_fd fd(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!fd) return fail_errno("cannot open an eventfd");
  Leg leg;
  leg.stream = std::make_unique<PlainStream>(std::move(fd));
  return leg;
}

// The first connection has the relay's state as its payload.
Result<Relay::Parts> join(std::vector<Leg>& legs, const RelayService& service) {
  std::ranges::sort(legs, std::greater(), [](const Leg& leg) { return leg.payload.size(); });
  TRY_LET(state, read_state(legs.front().payload, service));
  const bool both = state.needs_client() && state.needs_backend();
  if (legs.size() != (both ? 2 : 1))
    return fail(EBADMSG, "these are not the connections of one relay");
  if (!both) {
    TRY_LET(ended, ended_leg());
    legs.insert(state.needs_client() ? legs.end() : legs.begin(), std::move(ended));
  }
  Leg &client = legs[0], &backend = legs[1];
  const bool has_tls = client.stream->ssl() != nullptr;
  if (state.needs_client() && has_tls != (service.listener->tls != nullptr))
    return fail(EBADMSG, "the client's connection and the listener differ in TLS");
  TRY(add_taken(state.to_client, client.write_taken));
  TRY(add_taken(state.to_backend, backend.write_taken));
  return Relay::Parts{std::move(state), std::move(client.stream), std::move(backend.stream)};
}

}  // namespace

ImportedRelays import_relays(const RelayService& service, const TlsClient* backend) {
  ImportedRelays imported;
  Requests requests(service, backend);
  const int count = requests.import();
  if (count < 0) imported.errors.push_back({errno, sockmi_last_error()});
  // What could not be used is not offered again, so others may come after an error.
  imported.more = count > 0 || (count < 0 && imported.errors[0].code != ENXIO);
  for (auto& legs : requests.take()) {
    auto parts = join(legs, service);
    if (parts) {
      imported.relays.push_back(std::move(*parts));
      continue;
    }
    imported.errors.push_back(parts.error());
  }
  return imported;
}

}  // namespace sockmi::proxy
