#include "proxy/moves.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>

#include "base/log.h"

namespace sockmi::proxy {
namespace {

// Between attempts to reach a daemon.
constexpr int kRetryMs = 1000;
// Of one event: further ones are most likely the same.
constexpr std::size_t kMaxErrors = 16;

}  // namespace

std::vector<RelayService> relay_services(const Plan& plan) {
  std::map<std::string, RelayService> found;
  const auto add = [&](RelayService service) {
    found.insert_or_assign(service.name(), service);
  };
  for (const auto& [name, listener] : plan.listeners) {
    add({listener, listener->service});
    for (const auto& [route, target] : listener->config.routes)
      add({listener, plan.services.at(target.service)});
  }
  std::vector<RelayService> out;
  for (auto& [name, service] : found)
    out.push_back(std::move(service));
  return out;
}

Moves::Moves(const RelayExporter::Workers& workers, Adopt adopt)
    : adopt_(std::move(adopt)),
      exporter_(workers),
      wake_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
      thread_([this] { run(); }) {}

Moves::~Moves() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  (void)::eventfd_write(wake_.get(), 1);
  thread_.join();
  for (auto& [name, registration] : registrations_)
    close(registration);
}

void Moves::use(std::vector<RelayService> services) {
  {
    std::lock_guard lock(mutex_);
    wanted_ = std::move(services);
  }
  (void)::eventfd_write(wake_.get(), 1);
}

void Moves::run() {
  while (update()) {
    bool is_complete = true;
    for (auto& [name, registration] : registrations_) {
      if (registration.events < 0) open(registration);
      is_complete = is_complete && registration.events >= 0;
    }
    wait(is_complete);
  }
}

// Takes over what use() has said. Returns false at the end.
bool Moves::update() {
  std::optional<std::vector<RelayService>> wanted;
  {
    std::lock_guard lock(mutex_);
    if (stopping_) return false;
    wanted = std::exchange(wanted_, std::nullopt);
  }
  if (!wanted) return true;
  auto before = std::exchange(registrations_, {});
  for (RelayService& service : *wanted) {
    const std::string name = service.name();
    Registration& registration = registrations_[name];
    if (auto old = before.extract(name)) registration = std::move(old.mapped());
    registration.service = std::move(service);
  }
  for (auto& [name, registration] : before)
    close(registration);
  return true;
}

void Moves::open(Registration& registration) {
  const std::string name = registration.service.name();
  registration.events = sockmi_event_open(name.c_str());
  const bool failed = registration.events < 0;
  if (failed && !registration.failed)
    log::warn("moves_unavailable", {{"service", name}, {"error", sockmi_last_error()}});
  if (!failed) log::info("moves_available", {{"service", name}});
  registration.failed = failed;
}

void Moves::close(Registration& registration) {
  if (registration.events >= 0) (void)sockmi_event_close(registration.events);
  registration.events = -1;
}

// Waits for events, or for use(), or until it is time to register again.
void Moves::wait(bool is_complete) {
  std::vector<pollfd> polled{{wake_.get(), POLLIN, 0}};
  std::vector<Registration*> of;
  for (auto& [name, registration] : registrations_) {
    if (registration.events < 0) continue;
    polled.push_back({registration.events, POLLIN, 0});
    of.push_back(&registration);
  }
  if (::poll(polled.data(), polled.size(), is_complete ? -1 : kRetryMs) <= 0) return;
  eventfd_t count = 0;
  (void)::eventfd_read(wake_.get(), &count);
  for (std::size_t i = 0; i < of.size(); ++i)
    if (polled[i + 1].revents != 0) handle(*of[i]);
}

void Moves::handle(Registration& registration) {
  sockmi_event event{};
  int got = 0;
  while ((got = sockmi_event_next(registration.events, &event)) == 1) {
    if (event.type == SOCKMI_EVENT_IMPORT) {
      import_all(registration.service);
    } else {
      pass_on(registration.service, event);
    }
  }
  if (got == 0) return;
  log::warn("moves_interrupted",
            {{"service", registration.service.name()}, {"error", sockmi_last_error()}});
  close(registration);
}

// A loaded SSL needs a context that suits the role, and no more: any of the service's.
void Moves::import_all(const RelayService& service) {
  import_all(service, nullptr);
  const auto& with_tls = service.service->tls;
  if (!with_tls.empty()) import_all(service, with_tls.begin()->second.get());
}

void Moves::import_all(const RelayService& service, const TlsClient* backend) {
  std::size_t count = 0, errors = 0;
  for (bool more = true; more && errors < kMaxErrors;) {
    ImportedRelays imported = import_relays(service, backend);
    more = imported.more;
    count += imported.relays.size();
    errors += imported.errors.size();
    for (Relay::Parts& parts : imported.relays)
      adopt_(service, std::move(parts));
    for (const Error& error : imported.errors)
      log::warn("relay_not_imported", {{"service", service.name()}, {"error", error}});
  }
  if (count > 0) log::info("relays_imported", {{"service", service.name()}, {"count", count}});
}

void Moves::pass_on(const RelayService& service, const sockmi_event& event) {
  ExportOrder order;
  order.request = event.request;
  order.which = {service.listener->name, service.service->name, AddressMatch::from(event.local),
                 AddressMatch::from(event.remote)};
  order.target = {service.name(), event.af, {}};
  std::ranges::copy(event.to, order.target.host.begin());
  // The daemon tells the operator that there was no answer.
  if (!exporter_.add(std::move(order)))
    log::warn("export_request_dropped",
              {{"service", service.name()}, {"reason", "too many export requests wait"}});
}

}  // namespace sockmi::proxy
