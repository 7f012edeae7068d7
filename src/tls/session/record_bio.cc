#include "tls/session/record_bio.h"

#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include <openssl/ssl.h>

#include "base/freeze_mark.h"

namespace sockmi::tls {
namespace {

constexpr std::size_t kRecordHeader = SSL3_RT_HEADER_LENGTH;
// RFC 5246, 6.2.3; TLS 1.3 allows less.
constexpr std::size_t kLargest = kRecordHeader + SSL3_RT_MAX_PLAIN_LENGTH + 2048;
constexpr std::size_t kRecordRoomBytes = kLargest;
constexpr const char* kRecordBioName = "sockmi record";

// The buffer that a connection of this thread released last.
thread_local Bytes spare;

Bytes take_room() {
  return std::exchange(spare, Bytes());
}
void give_room(Bytes&& room) {
  if (spare.empty() && room.size() == kRecordRoomBytes) spare = std::move(room);
  room = Bytes();
}

// Returns whether OpenSSL's own socket BIO would retry, which includes a signal's EINTR.
bool may_retry() {
  return BIO_sock_non_fatal_error(errno) == 1;
}

}  // namespace

// A connection that has been ended because it moved is not frozen any more:
// getpeername(2) fails on its socket.
bool RecordBuffer::is_frozen() {
  if (suspended_) errno = EPERM;
  if (suspended_ || !doubtful_) return suspended_;
  std::uint32_t mark = 0;
  socklen_t size = sizeof mark;
  sockaddr_storage peer{};
  socklen_t peer_size = sizeof peer;
  doubtful_ = ::getsockopt(fd_, SOL_SOCKET, SO_MARK, &mark, &size) == 0 && mark == kFreezeMark &&
              ::getpeername(fd_, reinterpret_cast<sockaddr*>(&peer), &peer_size) == 0;
  if (doubtful_) errno = EPERM;
  return doubtful_;
}

std::size_t RecordBuffer::next_record() const {
  if (pass_through_) return end_ - at_;
  if (end_ - at_ < kRecordHeader) return 0;
  const std::uint8_t* header = in_.data() + at_;
  const std::size_t size = kRecordHeader + (std::size_t(header[3]) << 8 | header[4]);
  if (header[0] < SSL3_RT_CHANGE_CIPHER_SPEC || header[0] > 24 || header[1] != SSL3_VERSION_MAJOR ||
      size > kLargest) {
    pass_through_ = true;
    return end_ - at_;
  }
  return size;
}

std::size_t RecordBuffer::ready() const {
  if (at_ < record_end_) return record_end_ - at_;
  const std::size_t record = next_record();
  return end_ - at_ >= record ? record : 0;
}

bool RecordBuffer::receive(std::size_t most, bool& retry) {
  if (in_.empty()) in_ = take_room();
  if (at_ > 0) {
    std::memmove(in_.data(), in_.data() + at_, end_ - at_);
    end_ -= at_;
    at_ = record_end_ = 0;
  }
  if (in_.size() < std::max(kRecordRoomBytes, end_ + most))
    in_.resize(std::max(kRecordRoomBytes, end_ + most));
  const ssize_t got = ::recv(fd_, in_.data() + end_, most, 0);
  if (got > 0) {
    end_ += static_cast<std::size_t>(got);
    return true;
  }
  // After an error that send() has reported, the socket looks as if the peer had ended.
  // EPIPE: it had indeed, before the error.
  const bool is_reset = got == 0 && broken_ != 0 && broken_ != EPIPE;
  ended_ = got == 0 && !is_reset;
  retry = got < 0 && may_retry();
  const int why = is_reset ? broken_ : errno;
  if (end_ == 0) give_room(std::move(in_));
  errno = why;
  return false;
}

int RecordBuffer::read(char* out, int size, bool& retry) {
  if (is_frozen()) return -1;
  if (!unsent().empty()) (void)flush();
  while (at_ == record_end_) {
    const std::size_t record = next_record(), here = end_ - at_;
    if (record > 0 && here >= record) {
      record_end_ = at_ + record;
      touched_ = true;
      break;
    }
    const std::size_t lacking = pass_through_ ? static_cast<std::size_t>(size)
                                              : (record > 0 ? record : kRecordHeader) - here;
    if (!receive(lacking, retry)) return ended_ ? 0 : -1;
  }
  const std::size_t given =
      std::min<std::size_t>(static_cast<std::size_t>(size), record_end_ - at_);
  std::memcpy(out, in_.data() + at_, given);
  at_ += given;
  if (at_ == end_) {
    at_ = record_end_ = end_ = 0;
    give_room(std::move(in_));
  }
  return static_cast<int>(given);
}

ssize_t RecordBuffer::send(const void* data, std::size_t size) {
  if (broken_ != 0) {
    errno = broken_;
    return -1;
  }
  const ssize_t sent = ::send(fd_, data, size, MSG_NOSIGNAL);
  if (sent < 0 && !may_retry()) broken_ = errno;
  return sent;
}

bool RecordBuffer::flush() {
  if (is_frozen()) return false;
  while (out_at_ < out_.size()) {
    const ssize_t sent = send(out_.data() + out_at_, out_.size() - out_at_);
    if (sent < 0) return false;
    out_at_ += static_cast<std::size_t>(sent);
  }
  out_.clear();
  out_at_ = 0;
  return true;
}

int RecordBuffer::write(const char* data, int size, bool& retry) {
  if (is_frozen()) return -1;
  const auto record = static_cast<std::size_t>(size);
  if (interrupted_ == 0 && out_.empty()) {
    const ssize_t sent = send(data, record);
    if (sent == size) return size;
    if (sent < 0 && !may_retry()) return -1;
    const std::size_t taken = sent > 0 ? static_cast<std::size_t>(sent) : 0;
    out_.assign(data + taken, data + record);
    interrupted_ = record;
    retry = true;
    return -1;
  }
  // The rest of another SSL's record is not sent yet: this record waits behind it.
  if (interrupted_ == 0) {
    out_.insert(out_.end(), data, data + record);
    interrupted_ = record;
  }
  if (!flush()) {
    retry = may_retry();
    return -1;
  }
  interrupted_ = 0;
  errno = kGoesOn;
  return size;
}

void RecordBuffer::preload(ByteView waiting, ByteView unsent) {
  in_.assign(waiting.begin(), waiting.end());
  at_ = record_end_ = 0;
  end_ = in_.size();
  out_.assign(unsent.begin(), unsent.end());
  out_at_ = 0;
}

namespace {

RecordBuffer* buffer_of(BIO* bio) {
  return static_cast<RecordBuffer*>(BIO_get_data(bio));
}

// If another SSL has left bytes here to be sent, an application that only waits to read
// does not know of them. So SSL_read reports WANT_WRITE.
int bio_read(BIO* bio, char* out, int size) {
  bool retry = false;
  BIO_clear_retry_flags(bio);
  const int got = buffer_of(bio)->read(out, size, retry);
  if (retry) buffer_of(bio)->has_left_over() ? BIO_set_retry_write(bio) : BIO_set_retry_read(bio);
  return got;
}

int bio_write(BIO* bio, const char* data, int size) {
  bool retry = false;
  BIO_clear_retry_flags(bio);
  const int taken = buffer_of(bio)->write(data, size, retry);
  if (retry) BIO_set_retry_write(bio);
  return taken;
}

long bio_ctrl(BIO* bio, int command, long number, void* pointer) {
  RecordBuffer* buffer = buffer_of(bio);
  switch (command) {
    case BIO_C_GET_FD:
      if (pointer) *static_cast<int*>(pointer) = buffer->fd();
      return buffer->fd();
    case BIO_CTRL_GET_CLOSE: return BIO_get_shutdown(bio);
    case BIO_CTRL_SET_CLOSE: BIO_set_shutdown(bio, static_cast<int>(number)); return 1;
    case BIO_CTRL_FLUSH: (void)buffer->flush(); return 1;
    case BIO_CTRL_EOF: return buffer->at_end();
    case BIO_CTRL_PENDING: return static_cast<long>(buffer->ready());
    case BIO_CTRL_WPENDING: return static_cast<long>(buffer->unsent().size());
    default: return 0;
  }
}

int bio_destroy(BIO* bio) {
  if (BIO_get_shutdown(bio)) ::close(buffer_of(bio)->fd());
  delete buffer_of(bio);
  BIO_set_data(bio, nullptr);
  return 1;
}

const BIO_METHOD* method() {
  static const BIO_METHOD* it = [] {
    // The descriptor bit lets SSL_get_fd(3) find this BIO.
    BIO_METHOD* m = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK | BIO_TYPE_DESCRIPTOR,
                                 kRecordBioName);
    BIO_meth_set_read(m, bio_read);
    BIO_meth_set_write(m, bio_write);
    BIO_meth_set_ctrl(m, bio_ctrl);
    BIO_meth_set_destroy(m, bio_destroy);
    return m;
  }();
  return it;
}

}  // namespace

BIO* new_record_bio(int fd) {
  BIO* bio = BIO_new(method());
  if (!bio) return nullptr;
  BIO_set_data(bio, new RecordBuffer(fd));
  BIO_set_init(bio, 1);
  BIO_set_shutdown(bio, 0);
  return bio;
}

RecordBuffer* record_buffer(BIO* bio) {
  return bio && std::strcmp(BIO_method_name(bio), kRecordBioName) == 0 ? buffer_of(bio) : nullptr;
}

}  // namespace sockmi::tls
