// A RecordBuffer between a reader and a writer that do what the input says, and a peer
// behind a small socket: records, cut anywhere, in and out, with moves in between.
// Whatever happens, both streams arrive completely and in order.
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <memory>

#include "base/unique_fd.h"
#include "tls/session/record_bio.h"

using namespace sockmi;
using namespace sockmi::tls;

namespace {

void need(bool good) {
  if (!good) std::abort();
}

class Setup {
 public:
  Setup() {
    int fds[2];
    need(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds) == 0);
    ours_.reset(fds[0]);
    theirs_.reset(fds[1]);
    const int smallest = 1;
    need(::setsockopt(ours_.get(), SOL_SOCKET, SO_SNDBUF, &smallest, sizeof smallest) == 0);
    buffer_ = std::make_unique<RecordBuffer>(ours_.get());
  }

  void peer_sends(ByteView bytes) {
    const ssize_t sent = ::send(theirs_.get(), bytes.data(), bytes.size(), 0);
    if (sent > 0) incoming_.insert(incoming_.end(), bytes.begin(), bytes.begin() + sent);
  }

  bool read(std::size_t size) {
    Bytes out(size);
    bool retry = false;
    const int got =
        buffer_->read(reinterpret_cast<char*>(out.data()), static_cast<int>(size), retry);
    if (got < 0) return need(retry), false;
    need(got > 0 && static_cast<std::size_t>(got) <= size &&
         read_ + static_cast<std::size_t>(got) <= incoming_.size());
    need(std::equal(out.begin(), out.begin() + got,
                    incoming_.begin() + static_cast<std::ptrdiff_t>(read_)));
    read_ += static_cast<std::size_t>(got);
    return true;
  }

  // Like libssl, offers a record that was not taken again until it is taken.
  void write(std::size_t size) {
    if (pending_.empty()) {
      for (std::size_t i = 0; i < size; ++i)
        pending_.push_back(static_cast<std::uint8_t>(going_.size() + i * 7));
      going_.insert(going_.end(), pending_.begin(), pending_.end());
    }
    bool retry = false;
    const int taken = buffer_->write(reinterpret_cast<const char*>(pending_.data()),
                                     static_cast<int>(pending_.size()), retry);
    if (taken < 0) return need(retry && buffer_->interrupted_record() == pending_.size());
    need(static_cast<std::size_t>(taken) == pending_.size());
    pending_.clear();
  }

  bool peer_receives(std::size_t size) {
    Bytes in(size);
    const ssize_t got = ::recv(theirs_.get(), in.data(), size, 0);
    if (got < 0) return false;
    need(arrived_ + static_cast<std::size_t>(got) <= going_.size());
    need(std::equal(in.begin(), in.begin() + got,
                    going_.begin() + static_cast<std::ptrdiff_t>(arrived_)));
    arrived_ += static_cast<std::size_t>(got);
    return true;
  }

  void move() {
    if (!buffer_->on_boundary() || buffer_->passes_through()) return;
    auto next = std::make_unique<RecordBuffer>(ours_.get());
    next->preload(buffer_->waiting(), buffer_->unsent());
    buffer_ = std::move(next);
    pending_.clear();  // what was interrupted is on its way
  }

  void finish() {
    while (read(1000) || peer_receives(10'000) || !buffer_->unsent().empty())
      if (!buffer_->unsent().empty()) (void)buffer_->flush();
    need(arrived_ == going_.size());
    // What is left is an incomplete record.
    const ByteView left = ByteView(incoming_).subspan(read_);
    need(buffer_->waiting().size() == left.size() && !(buffer_->passes_through() && !left.empty()));
    need(left.size() < 5 || left.size() < 5 + (std::size_t(left[3]) << 8 | left[4]));
  }

 private:
  unique_fd ours_, theirs_;
  std::unique_ptr<RecordBuffer> buffer_;
  Bytes incoming_, going_, pending_;
  std::size_t read_ = 0, arrived_ = 0;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  Setup setup;
  ByteView rest(data, size);
  while (rest.size() >= 2) {
    const std::size_t amount = rest[1] + 1u;
    const std::uint8_t what = rest[0] % 6;
    rest = rest.subspan(2);
    switch (what) {
      case 0: {
        const ByteView bytes = rest.first(std::min(amount, rest.size()));
        setup.peer_sends(bytes);
        rest = rest.subspan(bytes.size());
        break;
      }
      case 1: {  // a record: its head is right, its content does not matter
        Bytes record(5 + amount * 64, 0x17);
        record[1] = record[2] = 3;
        record[3] = static_cast<std::uint8_t>((record.size() - 5) >> 8);
        record[4] = static_cast<std::uint8_t>(record.size() - 5);
        setup.peer_sends(record);
        break;
      }
      case 2: (void)setup.read(amount * 16); break;
      case 3: setup.write(amount * 64); break;
      case 4: (void)setup.peer_receives(amount * 32); break;
      case 5: setup.move(); break;
    }
  }
  setup.finish();
  return 0;
}
