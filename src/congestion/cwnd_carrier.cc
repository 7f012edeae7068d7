#include "congestion/cwnd_carrier.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/random.h>
#include <sys/socket.h>

#include <algorithm>
#include <cstdarg>
#include <cstring>
#include <utility>
#include <vector>

#include "base/log.h"
#include "base/unique_fd.h"
#include "congestion/cwnd_limits.h"

// The compiled cwnd_carrier.bpf.c.
asm(".section .rodata\n.balign 8\n"
    "sockmi_carrier_bpf: .incbin \"" CARRIER_BPF
    "\"\n"
    "sockmi_carrier_bpf_end:\n.previous\n");
// NOLINTNEXTLINE(readability-identifier-naming): the names of the assembly above
extern "C" const std::uint8_t sockmi_carrier_bpf[], sockmi_carrier_bpf_end[];

namespace sockmi::congestion {
namespace {

constexpr std::string_view kName = "sockmi_........";  // in cwnd_carrier.bpf.c
// Since Linux 6.4. Debian 12 has the headers of 6.1, so the values are repeated here.
constexpr std::uint32_t kMapWithLink = 1u << 13;                   // BPF_F_LINK
constexpr auto kStructOpsLink = static_cast<bpf_attach_type>(44);  // BPF_STRUCT_OPS

int log_libbpf(libbpf_print_level, const char* format, va_list values) {
  char line[512];
  int size = std::vsnprintf(line, sizeof line, format, values);
  while (size > 0 && size < int(sizeof line) && line[size - 1] == '\n')
    line[--size] = 0;
  log::debug("libbpf_printed", {{"text", line}});
  return size;
}

struct Free {
  void operator()(bpf_object* object) const { ::bpf_object__close(object); }
  void operator()(bpf_link* link) const { (void)::bpf_link__destroy(link); }
};

std::string random_name() {
  std::uint32_t number = 0;
  (void)::getrandom(&number, sizeof number, 0);
  return fmt::format("sockmi_{:08x}", number);
}

}  // namespace

struct CwndCarrier::Kernel {
  static Result<std::unique_ptr<Kernel>> load(std::uint32_t flags);

  std::string name;  // of the congestion control
  std::unique_ptr<bpf_object, Free> object;
  int wanted = -1;  // borrowed from object
  std::unique_ptr<bpf_link, Free> registration;
  unique_fd link;
};

Result<std::unique_ptr<CwndCarrier::Kernel>> CwndCarrier::Kernel::load(std::uint32_t flags) {
  auto kernel = std::make_unique<Kernel>();
  kernel->name = random_name();
  std::vector<std::uint8_t> program(sockmi_carrier_bpf, sockmi_carrier_bpf_end);
  const auto name = std::search(program.begin(), program.end(), kName.begin(), kName.end());
  std::copy(kernel->name.begin(), kernel->name.end(), name);
  kernel->object.reset(::bpf_object__open_mem(program.data(), program.size(), nullptr));
  if (!kernel->object) return fail_errno("cannot open the BPF program");
  bpf_map* operations = ::bpf_object__find_map_by_name(kernel->object.get(), "carrier");
  bpf_map* wanted = ::bpf_object__find_map_by_name(kernel->object.get(), "wanted");
  if (!operations || !wanted) return fail(EINVAL, "unexpected BPF program");
  if (::bpf_map__set_map_flags(operations, flags) != 0)
    return fail_errno("cannot set the flags of a BPF map");
  if (::bpf_object__load(kernel->object.get()) != 0)
    return fail_errno("cannot load the BPF program");
  kernel->wanted = ::bpf_map__fd(wanted);
  kernel->registration.reset(::bpf_map__attach_struct_ops(operations));
  if (!kernel->registration) return fail_errno("cannot register a congestion control");
  // Before version 1.2, libbpf only prepares a map of this kind for a link; the link must
  // still be made.
  if ((flags & kMapWithLink) &&
      ::bpf_link__fd(kernel->registration.get()) == ::bpf_map__fd(operations)) {
    kernel->link.reset(::bpf_link_create(::bpf_map__fd(operations), 0, kStructOpsLink, nullptr));
    if (!kernel->link) return fail_errno("cannot link a congestion control");
  }
  return kernel;
}

CwndCarrier::CwndCarrier(std::string form, std::unique_ptr<Kernel> kernel)
    : form_(std::move(form)),
      kernel_(std::move(kernel)) {}
CwndCarrier::CwndCarrier(CwndCarrier&&) noexcept = default;
CwndCarrier::~CwndCarrier() = default;

CwndCarrier CwndCarrier::open() {
  ::libbpf_set_print(log_libbpf);
  bool linked = true;
  auto kernel = Kernel::load(kMapWithLink);
  if (!kernel) {
    linked = false;
    kernel = Kernel::load(0);
  }
  if (!kernel) {
    log::warn("congestion_carrier_unavailable", {{"error", kernel.error()}});
    return CwndCarrier("not carried: " + to_string(kernel.error()), nullptr);
  }
  log::info("congestion_carrier_loaded", {{"name", (*kernel)->name}, {"linked", linked}});
  std::string form = "struct_ops " + (*kernel)->name;
  return CwndCarrier(std::move(form), std::move(*kernel));
}

namespace {

Result<> choose(int fd, std::string_view name) {
  if (::setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, name.data(),
                   static_cast<socklen_t>(name.size())) != 0)
    return fail_errno("cannot set the congestion control " + std::string(name));
  return {};
}

// Sets the pacing rate. The limit is set only briefly, but the rate that it causes stays
// until the kernel has measured the round trip, and so does pacing.
Result<> pace(int fd, std::uint64_t rate) {
  std::uint64_t owners = 0;
  socklen_t size = sizeof owners;
  if (::getsockopt(fd, SOL_SOCKET, SO_MAX_PACING_RATE, &owners, &size) != 0)
    return fail_errno("cannot access SO_MAX_PACING_RATE");
  for (const std::uint64_t limit : {std::min(rate, owners), owners}) {
    if (::setsockopt(fd, SOL_SOCKET, SO_MAX_PACING_RATE, &limit, sizeof limit) != 0)
      return fail_errno("cannot access SO_MAX_PACING_RATE");
  }
  return {};
}

}  // namespace

Result<> CwndCarrier::carry(int fd, const wire::TcpT& image) const {
  const Window window = admissible(image);
  if (!kernel_ || window.cwnd == 0 || is_fresh(window)) return {};
  char real[17] = {};
  socklen_t size = 16;
  if (::getsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, real, &size) != 0)
    return fail_errno("cannot read TCP_CONGESTION");
  Result<> carried;
  if (::bpf_map_update_elem(kernel_->wanted, &fd, &window, BPF_ANY) != 0)
    carried = fail_errno("cannot write the socket's BPF storage");
  if (carried) carried = choose(fd, kernel_->name);
  TRY(carried);
  TRY(choose(fd, real));
  (void)::bpf_map_delete_elem(kernel_->wanted, &fd);
  const std::uint64_t rate = pacing_rate(window, image);
  return rate > 0 ? pace(fd, rate) : Result<>();
}

}  // namespace sockmi::congestion
