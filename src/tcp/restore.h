// Creates a TCP connection from an image.
#pragma once

#include <functional>
#include <optional>

#include "base/address.h"
#include "base/error.h"
#include "base/unique_fd.h"
#include "tcp/buffers.h"
#include "tcp/freeze_delta.h"
#include "tcp/inject.h"
#include "tcp/marks.h"
#include "wire/tcp_generated.h"

namespace sockmi::tcp {

struct Heard {
  std::uint32_t answers = 0;       // segments without data
  std::uint64_t acknowledged = 0;  // bytes of ours
};

// A restored endpoint: frozen (output-blocked by the freeze mark), and in repair mode
// until thaw(). The destructor discards a socket that has not thawed, without a packet on
// the wire.
class RestoredSocket {
 public:
  // `transparent`: the local address is not one of this host's (IP_TRANSPARENT). Checks
  // the image. Errors: EBADMSG if the image is impossible.
  static Result<RestoredSocket> restore(const wire::TcpT& image, Marks marks, bool transparent);
  RestoredSocket(RestoredSocket&&) noexcept = default;
  RestoredSocket& operator=(RestoredSocket&&) = delete;
  ~RestoredSocket();

  int fd() const { return fd_.get(); }  // borrowed
  // The counters of a thawed socket before any answer of the peer.
  const Heard& heard() const { return heard_; }
  // Returns a segment for send_to_peer() that makes the peer answer by an
  // acknowledgement. The peer takes nothing else from the segment, because it is too old.
  std::optional<Segment> question() const;
  // Applies to the socket what happened to the exporter's socket after its image was
  // taken. Data that the peer would retransmit may be missing afterwards; nothing else
  // is. After an error the socket can only be discarded.
  Result<> receive(const FreezeDelta& delta);
  // Checks what can be checked of thaw() before it. Errors: EBADMSG if bytes of the image
  // are still to come.
  Result<> may_thaw() const;
  // Makes the endpoint live: removes the mark, ends repair mode (which sends a window
  // probe), writes the unsent rest of the send queue and what follows it: our FIN, or in
  // SYN_SENT the SYN. Everything received is acknowledged. Errors: those of may_thaw(),
  // which is called first. After an error, is_frozen() says whether the socket is
  // output-blocked (and nothing has left it), or whether it was live for a moment and was
  // reset.
  Result<unique_fd> thaw() &&;
  bool is_frozen() const { return bool(fd_); }

 private:
  explicit RestoredSocket(const wire::TcpT& image, Marks marks);
  Result<> restore_socket(const wire::TcpT& image, bool transparent);
  Result<> restore_connection(const wire::TcpT& image);
  Result<> show_sample(const wire::TcpT& image);
  Result<> fill_receive_queue(const wire::TcpT& image);
  Result<> finish_silently();
  Result<> give_fin();
  Result<> go_live();
  Result<> send_syn();
  Result<> done_by_owner(const FreezeDelta& delta);
  Result<> inject_ack(const FreezeDelta& delta);
  Result<> receive_data(const FreezeDelta& delta);
  Result<> write_unsent();
  Result<> acknowledge() const;
  Result<> await(const char* what, const std::function<bool()>& done) const;
  Segment next_segment() const {
    return {.tuple = tuple_, .seq = rcv_seq_, .ack = acknowledged_, .window = window_};
  }
  Next next() const { return sample_ > 0 ? Next::IsAsSample : Next::IsMeasured; }
  bool has_received(std::uint32_t end) const;
  std::uint8_t state() const;

  unique_fd fd_;
  const Marks marks_;
  const FourTuple tuple_;
  const std::uint8_t state_;  // the state to reach
  const std::uint32_t owner_mark_;
  const bool owner_reuse_address_, read_shutdown_;
  std::uint32_t rcv_seq_, snd_seq_;  // behind all bytes received, and all bytes to be sent
  std::uint32_t to_come_;            // bytes to be sent behind snd_seq_ that are still missing
  std::uint32_t acknowledged_;       // by the peer, when the image was taken
  std::uint8_t wscale_;
  std::size_t sample_;           // see overhead.h; 0: none
  std::uint32_t rcv_wup_ = 0;    // the peer has an acknowledgement up to here
  std::uint16_t window_ = 0;     // the peer's, as in a header
  bool fin_waits_ = false;       // the peer's FIN, until ours is sent
  bool peer_knows_all_ = false;  // it has an acknowledgement of all that it sent
  bool nothing_to_read_ = false;
  Buffers buffers_;
  Bytes unsent_;
  bool finished_ = false;   // our FIN is behind them, but was not when the image was taken
  std::uint32_t read_ = 0;  // bytes of the receive queue that another thread has read
  mutable Heard heard_;
};

}  // namespace sockmi::tcp
