#include "proxy/moves.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>

#include "proxy/attempt.h"

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
  exporter_.begin_stop();
  thread_.join();
  for (auto& [name, registration] : registrations_)
    close(registration);
}

void Moves::use(std::vector<RelayService> services) {
  {
    std::lock_guard lock(mutex_);
    wanted_ = std::move(services);
    is_new_ = true;
  }
  (void)::eventfd_write(wake_.get(), 1);
}

// A daemon that hangs answers no attempt to register for seconds.
bool Moves::has_news() {
  std::lock_guard lock(mutex_);
  return stopping_ || is_new_;
}

bool Moves::is_wanted(const std::string& service) {
  std::lock_guard lock(mutex_);
  return !stopping_ && std::ranges::any_of(wanted_, [&](const RelayService& each) {
    return each.name() == service;
  });
}

void Moves::run() {
  bool goes_on = true;
  while (goes_on) {
    const auto turn = [&] {
      goes_on = update();
      if (goes_on) run_once();
    };
    if (!attempt("serve_moves", turn)) pause();
  }
}

// Waits until it is time to try again, or for use().
void Moves::pause() {
  pollfd waked{wake_.get(), POLLIN, 0};
  (void)::poll(&waked, 1, kRetryMs);
  eventfd_t count = 0;
  (void)::eventfd_read(wake_.get(), &count);
}

void Moves::run_once() {
  bool is_complete = true;
  for (auto& [name, registration] : registrations_) {
    if (registration.events < 0 && !has_news()) open(registration);
    is_complete = is_complete && registration.events >= 0;
  }
  for (auto* registration : wait(is_complete))
    handle(*registration);
}

// Takes over what use() has said. Returns false at the end. If it throws, everything is
// as before.
bool Moves::update() {
  std::lock_guard lock(mutex_);
  if (stopping_) return false;
  if (!is_new_) return true;
  std::map<std::string, Registration> next;
  for (const RelayService& service : wanted_)
    next[service.name()].service = service;
  for (auto& [name, registration] : registrations_) {
    const auto same = next.find(name);
    if (same == next.end()) {
      close(registration);
    } else {
      same->second.events = registration.events;
      same->second.failed = registration.failed;
    }
  }
  registrations_ = std::move(next);
  is_new_ = false;
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

// Waits for events, or for use(), or until it is time to register again. Returns what has
// events.
std::vector<Moves::Registration*> Moves::wait(bool is_complete) {
  std::vector<pollfd> polled{{wake_.get(), POLLIN, 0}};
  std::vector<Registration*> of;
  for (auto& [name, registration] : registrations_) {
    if (registration.events < 0) continue;
    polled.push_back({registration.events, POLLIN, 0});
    of.push_back(&registration);
  }
  // Without the descriptor that wakes it, it looks by itself.
  const int time = is_complete && wake_ ? -1 : kRetryMs;
  if (::poll(polled.data(), polled.size(), time) <= 0) return {};
  eventfd_t count = 0;
  (void)::eventfd_read(wake_.get(), &count);
  std::size_t i = 0;
  std::erase_if(of, [&](const Registration*) { return polled[++i].revents == 0; });
  return of;
}

void Moves::handle(Registration& registration) {
  const std::string name = registration.service.name();
  sockmi_event event{};
  int got = 0;
  while (is_wanted(name) && (got = sockmi_event_next(registration.events, &event)) == 1) {
    if (event.type == SOCKMI_EVENT_IMPORT) {
      import_all(registration.service);
    } else {
      pass_on(registration.service, event);
    }
  }
  if (got >= 0) return;
  log::warn("moves_interrupted", {{"service", name}, {"error", sockmi_last_error()}});
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
  for (bool more = true; more && errors < kMaxErrors && is_wanted(service.name());) {
    ImportedRelays imported = import_relays(service, backend);
    more = imported.more;
    count += imported.relays.size();
    errors += imported.errors.size();
    for (Relay::Parts& parts : imported.relays)
      attempt("adopt_relay", [&] { adopt_(service, std::move(parts)); });
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
