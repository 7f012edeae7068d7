// Makes a TCP connection out of an image.
#pragma once

#include <functional>
#include <optional>

#include "base/address.h"
#include "base/error.h"
#include "base/unique_fd.h"
#include "wire/tcp_generated.h"
#include "tcp/buffers.h"
#include "tcp/inject.h"
#include "tcp/freeze_delta.h"
#include "tcp/marks.h"

namespace sockmi::tcp {

struct Heard {
  std::uint32_t answers = 0;       // segments without data
  std::uint64_t acknowledged = 0;  // bytes of ours
};

// A restored endpoint, mute (the freeze mark) and in repair mode until thaw(). Destroying one that was not thawed discards it without a packet on
// the wire.
class RestoredSocket {
 public:
  // `transparent`: the local address is not this host's (IP_TRANSPARENT). Checks the image: EBADMSG if it can not be.
  static Result<RestoredSocket> restore(const wire::TcpT& image, Marks marks, bool transparent);
  RestoredSocket(RestoredSocket&&) noexcept = default;
  RestoredSocket& operator=(RestoredSocket&&) = delete;
  ~RestoredSocket();

  int fd() const { return fd_.get(); }  // borrows
  // Of a thawed one: what its counters say though the peer has not answered yet.
  const Heard& heard() const { return heard_; }
  // The peer answers it, if it gets it, by an acknowledgement, and takes nothing from it: it is too old. For speak().
  std::optional<Segment> question() const;
  // Gives the socket what happened to the other one after its image was taken. What the peer would send again may be missing then; nothing else is. An error
  // leaves it unfit for anything but being discarded.
  Result<> receive(const FreezeDelta& late);
  // One live endpoint from here on: mark off, repair mode off (its window probe goes out), the unsent rest of the send queue written, and what
  // comes behind it: our FIN, in SYN_SENT the SYN. All that was received is acknowledged. An error (EBADMSG: bytes of the image are still to come):
  // mute() tells whether it fell mute again, and nobody heard of it, or whether it lived for a moment, and was reset.
  Result<unique_fd> thaw() &&;
  bool mute() const { return bool(fd_); }

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
  Result<> done_by_owner(const FreezeDelta& late);
  Result<> hear(const FreezeDelta& late);
  Result<> receive_data(const FreezeDelta& late);
  Result<> write_unsent();
  Result<> acknowledge() const;
  Result<> await(const char* what, const std::function<bool()>& done) const;
  Segment next_segment() const { return {.tuple = tuple_, .seq = rcv_seq_, .ack = acknowledged_, .window = window_}; }
  Next next() const { return sample_ > 0 ? Next::IsAsSample : Next::IsMeasured; }
  bool has_received(std::uint32_t end) const;
  std::uint8_t state() const;

  unique_fd fd_;
  const Marks marks_;
  const FourTuple tuple_;
  const std::uint8_t state_;  // what it is to be
  const std::uint32_t owner_mark_;
  const bool owner_reuse_address_, read_shutdown_;
  std::uint32_t rcv_seq_, snd_seq_;     // behind all bytes received, and to be sent
  std::uint32_t to_come_;               // of the latter, behind snd_seq_
  std::uint32_t acknowledged_;          // by the peer, when the image was taken
  std::uint8_t wscale_;
  std::size_t sample_;                  // see overhead.h; 0: none
  std::uint32_t rcv_wup_ = 0;           // the peer was told that so far everything is received
  std::uint16_t window_ = 0;            // the peer's, as in a header
  bool fin_waits_ = false;              // the peer's, until ours is sent
  bool peer_knows_all_ = false;         // that we have received all that it sent
  bool nothing_to_read_ = false;
  Buffers buffers_;
  Bytes unsent_;
  bool finished_ = false;               // our FIN is behind them, though it was not when the image was taken
  std::uint32_t read_ = 0;              // of the receive queue, by somebody else
  mutable Heard heard_;
};

}  // namespace sockmi::tcp
