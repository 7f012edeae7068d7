// The BIO between libssl and a socket that keeps record boundaries.
//
// What libssl has half read, or half written, is in buffers that nobody else can see. So it never gets half a record: a record is given to it
// when all of it is here. And a record that the socket takes only in part is kept here to its end; libssl is told to try again, and on its next
// try is told that it is done. A connection that is idle holds no buffer.
//
// Nothing is received beyond the record that is being read, however much libssl asks for (SSL_set_read_ahead(3)): what has come after it is seen by
// poll(2), as with SSL_set_fd(3). That takes two calls a record, its header and the rest, as many as libssl makes on a socket.
#pragma once

#include <openssl/bio.h>

#include <cerrno>

#include "base/secret.h"

namespace sockmi::tls {

// errno between the end of a record that had been interrupted and the next, if libssl writes both in one SSL_write; every SSL_write begins with
// errno = 0. So who encrypts the next record can tell whether the application has heard of the last one.
inline constexpr int kGoesOn = ERESTART;

class RecordBuffer {
 public:
  explicit RecordBuffer(int fd) : fd_(fd) {}

  // BIO_read and BIO_write: bytes, 0 at the stream's end, -1 with `retry`, or -1 with errno.
  int read(char* out, int size, bool& retry);
  int write(const char* data, int size, bool& retry);
  bool flush();  // true: nothing is left to be sent

  int fd() const { return fd_; }
  bool at_end() const { return ended_; }
  // Nobody can say yet whether the connection is still this host's. As long as its socket is frozen nothing is read or written (EPERM).
  void doubt() { doubtful_ = true; }
  bool has_left_over() const { return interrupted_ == 0 && !unsent().empty(); }  // to send, of which this SSL knows nothing
  std::size_t ready() const;  // how much read() has without the socket

  // --- for the image ---
  bool untouched() const { return !touched_; }  // nothing was ever given to libssl
  bool on_boundary() const { return at_ == record_end_; }
  bool passes_through() const { return pass_through_; }
  ByteView waiting() const { return {in_.data() + at_, end_ - at_}; }
  ByteView unsent() const { return ByteView(out_).subspan(out_at_); }
  std::size_t interrupted_record() const { return interrupted_; }  // size of the one that libssl will try to write again; 0: none
  void adopt(ByteView waiting, ByteView unsent);

 private:
  std::size_t next_record() const;  // its size; 0: not all of its header is here; or what is here, if it is no TLS
  bool receive(std::size_t most, bool& retry);
  bool is_frozen();
  int fd_;
  Bytes in_;                    // [at_, record_end_) is the rest of the record that is being given, [at_, end_) of what was received
  std::size_t at_ = 0, record_end_ = 0, end_ = 0;
  bool ended_ = false, touched_ = false;
  mutable bool pass_through_ = false;  // no TLS: libssl shall find out by itself
  Bytes out_;                   // records, or the rest of one, that the socket has not taken
  std::size_t out_at_ = 0, interrupted_ = 0;
  bool doubtful_ = false;
};

BIO* new_record_bio(int fd);
RecordBuffer* record_buffer(BIO* bio);  // null: not one of ours, or none

}  // namespace sockmi::tls
