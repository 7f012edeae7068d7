// A BIO between libssl and a socket that keeps record boundaries.
//
// libssl keeps half-read and half-written records in buffers that cannot be accessed from
// outside. So libssl never gets a part of a record: the BIO returns a record only when
// all of it has been received. If the socket accepts only a part of a record, the BIO
// keeps the rest. libssl is told to retry, and its retry succeeds once the rest has been
// sent. An idle connection has no buffer.
//
// The BIO receives nothing beyond the record that is being read, no matter how much
// libssl requests (SSL_set_read_ahead(3)). So poll(2) reports what has arrived after it,
// like with SSL_set_fd(3). This takes two calls per record, one for its header and one
// for the rest, as many as libssl makes on a socket.
#pragma once

#include <openssl/bio.h>

#include <cerrno>

#include "base/secret.h"

namespace sockmi::tls {

// Left in errno after an interrupted record completes inside SSL_write(). The cipher uses
// it to distinguish a continued SSL_write() from a new one, because every SSL_write()
// starts with errno 0. A continued call's earlier records are not reported to the
// application yet.
inline constexpr int kGoesOn = ERESTART;

class RecordBuffer {
 public:
  explicit RecordBuffer(int fd) : fd_(fd) {}

  // Implement BIO_read and BIO_write. Return the number of bytes, 0 at the end of the
  // stream, -1 with `retry` set, or -1 with errno.
  int read(char* out, int size, bool& retry);
  int write(const char* data, int size, bool& retry);
  bool flush();  // true: everything has been sent

  int fd() const { return fd_; }
  bool at_end() const { return ended_; }
  // For a connection whose migration is in doubt. As long as its socket is frozen,
  // nothing is read or written (EPERM).
  void doubt() { doubtful_ = true; }
  // While another process is offered the connection, nothing is read or written (EPERM).
  void suspend(bool on) { suspended_ = on; }
  // Whether there are bytes to send that do not belong to a write of this SSL.
  bool has_left_over() const { return interrupted_ == 0 && !unsent().empty(); }
  // How many bytes read() can return without the socket.
  std::size_t ready() const;

  // --- for the image ---
  bool untouched() const { return !touched_; }  // no byte was ever given to libssl
  bool on_boundary() const { return at_ == record_end_; }
  bool passes_through() const { return pass_through_; }
  ByteView waiting() const { return {in_.data() + at_, end_ - at_}; }
  ByteView unsent() const { return ByteView(out_).subspan(out_at_); }
  // Size of the record that libssl will try to write again; 0: none.
  std::size_t interrupted_record() const { return interrupted_; }
  void preload(ByteView waiting, ByteView unsent);

 private:
  // Size of the next record; 0 if its header is not complete. If the data are not TLS:
  // the size of what is here.
  std::size_t next_record() const;
  bool receive(std::size_t most, bool& retry);
  bool is_frozen();
  ssize_t send(const void* data, std::size_t size);
  int fd_;
  // [at_, record_end_) is the rest of the record that is being returned; [at_, end_) is
  // the rest of what was received.
  Bytes in_;
  std::size_t at_ = 0, record_end_ = 0, end_ = 0;
  bool ended_ = false, touched_ = false;
  // The data are not TLS. They are passed on, and libssl reports the error.
  mutable bool pass_through_ = false;
  // Records, or the rest of one, that the socket has not accepted.
  Bytes out_;
  std::size_t out_at_ = 0, interrupted_ = 0;
  bool doubtful_ = false, suspended_ = false;
  // Why sending has failed; 0: it has not. The socket says it once, and that may be while
  // libssl reads or flushes, which says nothing of it. So each later call fails with it.
  int broken_ = 0;
};

BIO* new_record_bio(int fd);
RecordBuffer* record_buffer(BIO* bio);  // null: not one of ours, or none

}  // namespace sockmi::tls
