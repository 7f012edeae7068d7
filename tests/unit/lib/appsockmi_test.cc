// Tests the calls of appsockmi.h that need no daemon, from an application's view.
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include <gtest/gtest.h>
#include <openssl/err.h>
#include <sockmi/appsockmi.h>

#include "base/openssl_ptr.h"
#include "unit/self_signed.h"

namespace {

using SslPtr = sockmi::OpenSslPointer<SSL, SSL_free>;

SSL_CTX* context() {
  static SSL_CTX* ctx = [] {
    if (sockmi_enable(nullptr) != 0) std::abort();
    SSL_CTX* made = SSL_CTX_new(TLS_method());
    sockmi::test::give_certificate(made);
    return made;
  }();
  return ctx;
}

class LoadSsl : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds_), 0);
    server_.reset(SSL_new(context()));
    client_.reset(SSL_new(context()));
    SSL_set_accept_state(server_.get());
    SSL_set_connect_state(client_.get());
    ASSERT_EQ(sockmi_set_fd(server_.get(), fds_[0]), 0);
    ASSERT_EQ(SSL_set_fd(client_.get(), fds_[1]), 1);
    shake_hands(server_.get());
    void* image = nullptr;
    const int size = save_ssl(&image, server_.get(), SOCKMI_SERVER_ESTABLISHED);
    ASSERT_GT(size, 0) << sockmi_last_error();
    image_.assign(static_cast<char*>(image), static_cast<char*>(image) + size);
    sockmi_image_free(image, static_cast<std::size_t>(size));
  }
  void TearDown() override {
    for (const int fd : fds_)
      ::close(fd);
    ERR_clear_error();
  }

  void shake_hands(SSL* server) {
    for (int i = 0; i < 10; ++i) {
      SSL_do_handshake(client_.get());
      SSL_do_handshake(server);
    }
    ASSERT_TRUE(SSL_is_init_finished(server) && SSL_is_init_finished(client_.get()));
  }
  // Loads the image into `ssl`. Returns 0, or the errno.
  int load(std::vector<char> image, SSL* ssl, int state = SOCKMI_SERVER_ESTABLISHED) {
    return load_ssl(image.data(), image.size(), ssl, state) == 0 ? 0 : errno;
  }

  int fds_[2] = {-1, -1};
  SslPtr server_, client_;
  std::vector<char> image_;
};

TEST_F(LoadSsl, TheLoadedSslReadsFromThePeer) {
  SslPtr next(SSL_new(context()));
  ASSERT_EQ(load(image_, next.get()), 0) << sockmi_last_error();
  ASSERT_EQ(sockmi_set_fd(next.get(), fds_[0]), 0);
  ASSERT_EQ(SSL_write(client_.get(), "ping", 4), 4);
  char bytes[4];
  ASSERT_EQ(SSL_read(next.get(), bytes, 4), 4);
  EXPECT_EQ(std::memcmp(bytes, "ping", 4), 0);
}

TEST_F(LoadSsl, ABadImageIsRefusedAndLeavesTheSslUnchanged) {
  SslPtr fresh(SSL_new(context()));
  std::vector<char> flipped = image_, foreign(image_.size(), 'x');
  flipped[flipped.size() / 2] ^= 1;
  EXPECT_EQ(load({}, fresh.get()), EBADMSG);
  EXPECT_EQ(load_ssl(nullptr, 0, fresh.get(), SOCKMI_SERVER_ESTABLISHED), -1);
  EXPECT_EQ(load({image_.begin(), image_.end() - 1}, fresh.get()), EBADMSG);
  EXPECT_EQ(load(flipped, fresh.get()), EBADMSG);
  EXPECT_STRNE(sockmi_last_error(), "");
  EXPECT_EQ(load(foreign, fresh.get()), EBADMSG);
  EXPECT_TRUE(SSL_in_before(fresh.get()));
  EXPECT_EQ(SSL_get_rbio(fresh.get()), nullptr);
  EXPECT_EQ(SSL_do_handshake(fresh.get()), -1) << "it had no role before";
  // The SSL can still do a handshake of its own, and load a good image.
  EXPECT_EQ(load(image_, fresh.get()), 0) << sockmi_last_error();
}

TEST_F(LoadSsl, LoadRefusesAnotherStateThanTheImages) {
  SslPtr fresh(SSL_new(context()));
  for (const int state : {SOCKMI_CLIENT_ESTABLISHED, SOCKMI_SERVER_CONNECTED, SOCKMI_LISTENING, 0,
                          SOCKMI_SERVER_ESTABLISHED | SOCKMI_CLIENT_ESTABLISHED})
    EXPECT_EQ(load(image_, fresh.get(), state), EINVAL) << state;
  EXPECT_EQ(load(image_, server_.get()), EINVAL) << "it has a session already";
}

TEST_F(LoadSsl, SaveRefusesAnotherState) {
  void* image = nullptr;
  EXPECT_EQ(save_ssl(&image, server_.get(), SOCKMI_CLIENT_ESTABLISHED), -1);
  EXPECT_EQ(errno, EINVAL);
  EXPECT_EQ(save_ssl(&image, server_.get(), SOCKMI_LISTENING), -1);
  EXPECT_EQ(errno, EINVAL);
  EXPECT_EQ(image, nullptr);
}

// On a socket BIO libssl keeps the received part of a record where sockmi cannot read it.
// So such an SSL can be saved only between two records.
class SaveSslOnSocketBio : public LoadSsl {
 protected:
  void SetUp() override {
    LoadSsl::SetUp();
    SSL_set_fd(server_.get(), fds_[0]);
    // What the client sends is kept here, and forwarded in the pieces that a test wants.
    SSL_set0_wbio(client_.get(), BIO_new(BIO_s_mem()));
    ASSERT_EQ(SSL_write(client_.get(), "ping", 4), 4);
    char* data = nullptr;
    const long size = BIO_get_mem_data(SSL_get_wbio(client_.get()), &data);
    record_.assign(data, static_cast<std::size_t>(size));
  }
  int save() {
    void* image = nullptr;
    const int size = save_ssl(&image, server_.get(), SOCKMI_SERVER_ESTABLISHED);
    if (size < 0) return errno;
    image_.assign(static_cast<char*>(image), static_cast<char*>(image) + size);
    sockmi_image_free(image, static_cast<std::size_t>(size));
    return 0;
  }
  std::string record_;
};

TEST_F(SaveSslOnSocketBio, SaveFailsWithEagainInsideARecord) {
  char bytes[4];
  for (const std::size_t piece :
       // A part of the header; the rest of the header; a part of the body
       {std::size_t(3), std::size_t(2), std::size_t(7)}) {
    ASSERT_EQ(::send(fds_[1], record_.data(), piece, 0), static_cast<ssize_t>(piece));
    record_.erase(0, piece);
    ASSERT_EQ(SSL_read(server_.get(), bytes, 4), -1);
    EXPECT_EQ(save(), EAGAIN) << piece;
  }
  ASSERT_EQ(::send(fds_[1], record_.data(), record_.size(), 0),
            static_cast<ssize_t>(record_.size()));
  ASSERT_EQ(SSL_read(server_.get(), bytes, 3), 3);
  EXPECT_EQ(save(), 0) << sockmi_last_error();
  SslPtr next(SSL_new(context()));
  ASSERT_EQ(load(image_, next.get()), 0) << sockmi_last_error();
  SSL_set_fd(next.get(), fds_[0]);
  EXPECT_EQ(SSL_read(next.get(), bytes, 4), 1) << "a byte waited";
  SSL_set_fd(client_.get(), fds_[1]);
  ASSERT_EQ(SSL_write(client_.get(), "pong", 4), 4);
  ASSERT_EQ(SSL_read(next.get(), bytes, 4), 4);
  EXPECT_EQ(std::memcmp(bytes, "pong", 4), 0);
}

TEST_F(SaveSslOnSocketBio, SaveFailsWithEagainDuringAnInterruptedWrite) {
  std::string bytes(16384, 'x');
  const auto write = [&] {
    return SSL_write(server_.get(), bytes.data(), static_cast<int>(bytes.size()));
  };
  int done;
  do
    done = write();
  while (done > 0);
  ASSERT_EQ(SSL_get_error(server_.get(), done), SSL_ERROR_WANT_WRITE);
  EXPECT_EQ(save(), EAGAIN);
  ASSERT_EQ(::send(fds_[1], record_.data(), record_.size(), 0),
            static_cast<ssize_t>(record_.size()));
  ASSERT_EQ(SSL_read(server_.get(), bytes.data(), 4), 4);
  EXPECT_EQ(save(), EAGAIN) << "a read in between changes nothing";
  char sink[65536];
  do
    ASSERT_GT(::recv(fds_[1], sink, sizeof sink, 0), 0);
  while (write() != static_cast<int>(bytes.size()));
  EXPECT_EQ(save(), 0) << sockmi_last_error();
  EXPECT_EQ(write(), static_cast<int>(bytes.size())) << "it goes on as it was";
}

}  // namespace
