// Speed survives a move.
//
// A restored socket begins as a new one: 10 segments, no slow-start threshold. The kernel has no socket option for either number. What there is:
//
//                              window  threshold  needs
//   BPF, struct_ops            yes     yes        BTF in the kernel, CAP_BPF, CAP_PERFMON
//   BPF, sockops (TCP_BPF_IW)  yes     a cap      the cgroup of whoever connects; only before anything is sent
//   route with initcwnd        yes     no         a route a move, before the connect
//
// The first it is. A congestion control of our own sets both numbers when a socket takes it; at once the socket takes its real one, and the
// kernel keeps both over that change. It works on a socket that is connected and full, so nothing else needs to know; nothing in it is
// bound to a cgroup or a route; the numbers reach it as the socket's own storage, by its descriptor. The kernel tells only privileged users of
// it, and it goes with the descriptor of its link (before Linux 6.4: with an orderly end; a killed daemon leaves it behind, unused). It costs a
// restore 6 us.
//
// What can not be carried are the estimators themselves: srtt and the retransmission timeout (3 s until the first sample, which is the
// first acknowledgement of data), cubic's memory of the last loss (it probes from the threshold on instead) and bbr's model: bbr starts up again,
// with the carried window.
//
// The window is one thing, a burst another: after the move one acknowledgement opens the whole window at once, which the path had been given
// acknowledgement by acknowledgement. So the socket is paced from its first segment on, at the rate that its window and round trip make,
// until it has measured the round trip itself; from then on at the kernel's own rate.
//
// Measured (Linux 6.18, a download over 40 ms; its next half second from the start of the move, over the same time before):
//
//                                      cubic    bbr
//   590 Mbit/s, no queue      new      0.98     0.28
//                             carried  0.99     0.96     not paced 0.97, 0.96
//   100 Mbit/s, queue 50 ms   new      0.98     0.45
//                             carried  1.00     0.92     not paced 1.00, 0.85
//
// A full path makes cubic's window anew by itself: the acknowledgements of what is in flight open it. With little in flight, as between two
// responses, it would begin with 10. What bbr lacks there is lost when it starts up: it overfills the short queue before it knows the rate.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "base/error.h"
#include "wire/tcp_generated.h"

namespace sockmi::congestion {

class CwndCarrier {
 public:
  // As far as this kernel and our privileges allow; the log says it once.
  static CwndCarrier open();
  CwndCarrier(CwndCarrier&&) noexcept;
  CwndCarrier& operator=(CwndCarrier&&) = delete;
  ~CwndCarrier();

  // "struct_ops NAME", the name being that of our congestion control; or "not carried: " and why.
  const std::string& form() const { return form_; }

  // To a restored socket that has its congestion control and has not sent yet. Nothing is done where windows are not carried. An error: the
  // socket can not be used.
  Result<> carry(int fd, const wire::TcpT& image) const;

 private:
  struct Kernel;  // what is loaded there
  explicit CwndCarrier(std::string form, std::unique_ptr<Kernel> kernel);

  std::string form_;
  std::unique_ptr<Kernel> kernel_;  // null: not carried
};

}  // namespace sockmi::congestion
