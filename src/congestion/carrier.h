// Speed survives a move.
//
// A restored socket begins as a new one: 10 segments, no slow-start threshold. On a path of 40 ms that costs a download that ran with 500
// Mbit/s most of its next half second, and where a queue is short, losses: without its threshold it doubles its window past what it had found
// to be enough. The kernel has no socket option for either number. What there is:
//
//                              window  threshold  needs
//   BPF, struct_ops            yes     yes        BTF in the kernel, CAP_BPF, CAP_PERFMON
//   BPF, sockops (TCP_BPF_IW)  yes     a cap      the cgroup of whoever connects; only before anything is sent
//   route with initcwnd        yes     no         a route a move, before the connect
//
// The first it is. A congestion control of our own sets both numbers when a socket takes it; at once the socket takes its real one, and the
// kernel keeps both over that change. It works on a socket that is connected and full, so nothing else needs to know; nothing in it is
// bound to a cgroup or a route; the numbers reach it as the socket's own storage, by its descriptor. The kernel tells only privileged users of
// it, and it goes with the descriptor of its link (before Linux 6.4: with an orderly end; a killed daemon leaves it behind, unused).
//
// What can not be carried are the estimators themselves: srtt and the retransmission timeout (3 s until the first sample, which is the
// first acknowledgement of data), cubic's memory of the last loss (it probes from the threshold on instead) and bbr's model: bbr starts up again,
// with the carried window.
//
// The window is one thing, a burst another: after the move one acknowledgement opens the whole window at once, which the path had been given
// acknowledgement by acknowledgement. So the socket is paced from its first segment on, at the rate that its window and round trip make,
// until it has measured the round trip itself; from then on at the kernel's own rate.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "base/error.h"
#include "image/tcp_generated.h"

namespace sockmi::congestion {

class Carrier {
 public:
  // As far as this kernel and our privileges allow; the log says it once.
  static Carrier open();
  Carrier(Carrier&&) noexcept;
  Carrier& operator=(Carrier&&) = delete;
  ~Carrier();

  // "struct_ops NAME", the name being that of our congestion control; or "not carried: " and why.
  const std::string& form() const { return form_; }

  // To a restored socket that has its congestion control and has not sent yet. Nothing is done where windows are not carried.
  Result<> carry(int fd, const image::TcpT& image) const;

 private:
  struct Kernel;  // what is loaded there
  explicit Carrier(std::string form, std::unique_ptr<Kernel> kernel);

  std::string form_;
  std::unique_ptr<Kernel> kernel_;  // null: not carried
};

}  // namespace sockmi::congestion
