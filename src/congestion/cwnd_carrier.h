// Gives a restored socket the congestion window and the slow-start threshold of the moved
// connection.
//
// A restored socket begins like a new one: 10 segments, no slow-start threshold. The
// kernel has no socket option for either number.
//
// Alternatives considered:
//
//                              window  threshold  needs
//   BPF, struct_ops            yes     yes        BTF in the kernel, CAP_BPF, CAP_PERFMON
//   BPF, sockops (TCP_BPF_IW)  yes     a cap      the cgroup of the connecting process;
//                                                 only before anything is sent
//   route with initcwnd        yes     no         a route per move, before the connect
//
// The first one is used. A congestion control of our own sets both numbers when a socket
// chooses it. Immediately afterwards the socket chooses its real one, and the kernel
// keeps both numbers over that change. This works on a socket that is connected and has
// full queues, so no other part of the restore is affected. Nothing in it is bound to a
// cgroup or a route. The numbers are stored in the socket's own BPF storage, by its
// descriptor. Only privileged processes (CAP_NET_ADMIN) can choose this congestion
// control. It is removed when the descriptor of its link is closed (before Linux 6.4: at
// an orderly end; a killed daemon leaves it behind, unused). It costs 6 us per restore.
//
// Limitations: the estimators themselves cannot be moved. These are srtt and the
// retransmission timeout (3 s until the first sample, which is the first acknowledgement
// of data), cubic's memory of the last loss (it probes from the threshold instead) and
// bbr's model: bbr starts up again, with the moved window.
//
// Pacing. After the move one acknowledgement opens the whole window, which before had
// opened acknowledgement by acknowledgement. That would be a burst. So the socket is
// paced from its first segment, at the rate that follows from its window and round trip,
// until it has measured the round trip itself. From then on the kernel's own rate is
// used.
//
// Measured (Linux 6.18, a download over 40 ms; throughput of the half second from the
// start of the move, relative to the half second before; "new": a new connection's
// window, "carried": the moved window):
//
//                                      cubic    bbr
//   590 Mbit/s, no queue      new      0.98     0.28
//                             carried  0.99     0.96     not paced 0.97, 0.96
//   100 Mbit/s, queue 50 ms   new      0.98     0.45
//                             carried  1.00     0.92     not paced 1.00, 0.85
//
// If the path is full, cubic's window recovers without help: the acknowledgements of the
// data in flight open it. With little data in flight, for example between two responses,
// cubic would begin with 10 segments. The loss of bbr with the short queue is from its
// startup: it overfills the queue before it has estimated the rate.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "base/error.h"
#include "wire/tcp_generated.h"

namespace sockmi::congestion {

class CwndCarrier {
 public:
  // Loads the BPF program if this kernel and our privileges allow it. The log says once
  // whether they do.
  static CwndCarrier open();
  CwndCarrier(CwndCarrier&&) noexcept;
  CwndCarrier& operator=(CwndCarrier&&) = delete;
  ~CwndCarrier();

  // "struct_ops NAME", where NAME is our congestion control; or "not carried: " and the
  // reason.
  const std::string& form() const { return form_; }

  // Applies the image's window to a restored socket that has its congestion control and
  // has not sent anything. Does nothing if the program is not loaded. After an error the
  // socket lacks the window, or its pacing.
  Result<> carry(int fd, const wire::TcpT& image) const;

 private:
  struct Kernel;  // what is loaded into the kernel
  explicit CwndCarrier(std::string form, std::unique_ptr<Kernel> kernel);

  std::string form_;
  std::unique_ptr<Kernel> kernel_;  // null: not loaded
};

}  // namespace sockmi::congestion
