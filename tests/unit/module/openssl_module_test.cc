// Tests sockmi.so as OpenSSL loads it: by a configuration, into a library context.
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <fstream>
#include <string>

#include <gtest/gtest.h>
#include <openssl/err.h>
#include <openssl/provider.h>
#include <sockmi/appsockmi.h>

#include "base/openssl_ptr.h"
#include "unit/self_signed.h"

namespace {

using sockmi::OpenSslPointer;
using Context = OpenSslPointer<OSSL_LIB_CTX, OSSL_LIB_CTX_free>;
using SslCtx = OpenSslPointer<SSL_CTX, SSL_CTX_free>;
using Ssl = OpenSslPointer<SSL, SSL_free>;

const char kPreferred[] =
    "alg_section = algorithms\n[algorithms]\ndefault_properties = ?provider=sockmi\n";

struct Configuration {
  const std::string path =
      testing::TempDir() + "sockmi_module_test." + std::to_string(::getpid()) + ".cnf";
  explicit Configuration(const char* algorithms) {
    std::ofstream(path)
        << "openssl_conf = init\n[default_provider]\nactivate = 1\n[sockmi_provider]\nactivate = "
           "1\nmodule = " MODULE
           "\n"
           "[all]\ndefault = default_provider\nsockmi = sockmi_provider\n[init]\nproviders = all\n"
        << algorithms;
  }
  ~Configuration() { ::unlink(path.c_str()); }
};

void load_module(OSSL_LIB_CTX* libctx, const char* algorithms = kPreferred) {
  const Configuration configuration(algorithms);
  ASSERT_EQ(OSSL_LIB_CTX_load_config(libctx, configuration.path.c_str()), 1);
}

Context with_module(const char* algorithms = kPreferred) {
  Context libctx(OSSL_LIB_CTX_new());
  load_module(libctx.get(), algorithms);
  return libctx;
}

int providers(OSSL_LIB_CTX* libctx) {
  int count = 0;
  OSSL_PROVIDER_do_all(
      libctx, [](OSSL_PROVIDER*, void* counted) { return ++*static_cast<int*>(counted); }, &count);
  return count;
}

SslCtx make_ctx(OSSL_LIB_CTX* libctx) {
  SslCtx ctx(SSL_CTX_new_ex(libctx, nullptr, TLS_method()));
  sockmi::test::give_certificate(ctx.get());
  return ctx;
}

// Saves a server's SSL of the library context and loads it there again. Returns the
// errno, or 0 if the client receives from the second SSL.
int move(OSSL_LIB_CTX* libctx) {
  const SslCtx ctx = make_ctx(libctx);
  int fds[2];
  EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
  const Ssl server(SSL_new(ctx.get())), client(SSL_new(ctx.get())), next(SSL_new(ctx.get()));
  SSL_set_accept_state(server.get());
  SSL_set_connect_state(client.get());
  SSL_set_fd(server.get(), fds[0]);
  SSL_set_fd(client.get(), fds[1]);
  for (int i = 0; i < 5; ++i)
    SSL_do_handshake(client.get()), SSL_do_handshake(server.get());
  EXPECT_TRUE(SSL_is_init_finished(server.get()));
  void* image = nullptr;
  const int size = save_ssl(&image, server.get(), SOCKMI_SERVER_ESTABLISHED);
  int error = size > 0 ? 0 : errno;
  if (size > 0) {
    EXPECT_EQ(load_ssl(image, static_cast<size_t>(size), next.get(), SOCKMI_SERVER_ESTABLISHED), 0)
        << sockmi_last_error();
    sockmi_image_free(image, static_cast<size_t>(size));
    SSL_set_fd(next.get(), fds[0]);
    char bytes[4] = {};
    EXPECT_EQ(SSL_write(next.get(), "pong", 4), 4);
    EXPECT_EQ(SSL_read(client.get(), bytes, 4), 4);
    EXPECT_EQ(std::string(bytes, 4), "pong");
  }
  for (const int fd : fds)
    ::close(fd);
  ERR_clear_error();
  return error;
}

TEST(OpensslModule, SslsOfItsLibraryContextMove) {
  const Context libctx = with_module();
  EXPECT_EQ(OSSL_PROVIDER_available(libctx.get(), "sockmi"), 1);
  EXPECT_EQ(move(libctx.get()), 0);
}

TEST(OpensslModule, SslsOfAnotherLibraryContextDoNotMove) {
  const Context with = with_module(), without(OSSL_LIB_CTX_new());
  EXPECT_EQ(move(without.get()), ENOKEY);
}

TEST(OpensslModule, SslsDoNotMoveUnlessTheModuleIsPreferred) {
  const Context libctx = with_module("");
  EXPECT_EQ(OSSL_PROVIDER_available(libctx.get(), "sockmi"), 1);
  EXPECT_EQ(move(libctx.get()), ENOKEY);
}

TEST(OpensslModule, EnableUsesTheLoadedModule) {
  const Context libctx = with_module();
  EXPECT_EQ(sockmi_enable(libctx.get()), 0);
  EXPECT_EQ(providers(libctx.get()), 2);
  EXPECT_EQ(move(libctx.get()), 0);
}

TEST(OpensslModule, EnablePrefersAModuleThatTheConfigurationDoesNot) {
  const Context libctx = with_module("");
  EXPECT_EQ(sockmi_enable(libctx.get()), 0) << sockmi_last_error();
  EXPECT_EQ(providers(libctx.get()), 2);
  EXPECT_EQ(move(libctx.get()), 0);
}

TEST(OpensslModule, EnableRefusesAContextThatRequiresFips) {
  const Context libctx =
      with_module("alg_section = algorithms\n[algorithms]\ndefault_properties = fips=yes\n");
  EXPECT_EQ(sockmi_enable(libctx.get()), -1);
  EXPECT_EQ(errno, ENOTSUP);
  EXPECT_EQ(EVP_default_properties_is_fips_enabled(libctx.get()), 1);
}

TEST(OpensslModule, LoadsAfterEnable) {
  const Context libctx(OSSL_LIB_CTX_new());
  EXPECT_EQ(sockmi_enable(libctx.get()), 0);
  load_module(libctx.get());
  EXPECT_EQ(providers(libctx.get()), 2);
  EXPECT_EQ(move(libctx.get()), 0);
}

// The other provider stands for one of another copy of the library: this copy would not
// find what that provider sees.
TEST(OpensslModule, EnableRefusesAForeignProviderOfItsName) {
  const Context libctx(OSSL_LIB_CTX_new());
  const auto other = [](const OSSL_CORE_HANDLE*, const OSSL_DISPATCH*, const OSSL_DISPATCH** out,
                        void**) {
    static const OSSL_DISPATCH nothing[] = {{0, nullptr}};
    *out = nothing;
    return 1;
  };
  ASSERT_EQ(OSSL_PROVIDER_add_builtin(libctx.get(), "sockmi", other), 1);
  OSSL_PROVIDER* const provider = OSSL_PROVIDER_load(libctx.get(), "sockmi");
  ASSERT_NE(provider, nullptr);
  EXPECT_EQ(sockmi_enable(libctx.get()), -1);
  EXPECT_EQ(errno, EEXIST);
  OSSL_PROVIDER_unload(provider);
}

TEST(OpensslModule, LoadsAgainAfterAnUnload) {
  for (int i = 0; i < 3; ++i)
    EXPECT_EQ(move(with_module().get()), 0);
}

TEST(OpensslModule, ServesTheDefaultLibraryContext) {
  load_module(nullptr);
  EXPECT_EQ(move(nullptr), 0);
}

// In a program that nothing else binds to libappsockmi, OPENSSL_cleanup() unloads the
// module at the end. The leak checker runs last, and even then it must find what OpenSSL
// holds for sockmi.
TEST(OpensslModule, AProgramThatLoadsItEndsWithoutLeaks) {
  const Configuration configuration(kPreferred);
  const std::string program = "LD_PRELOAD=" LIBASAN " OPENSSL_CONF=" + configuration.path +
                              " openssl list -cipher-algorithms";
  EXPECT_EQ(
      std::system(
          ("bash -o pipefail -c \"" + program + " | grep 'gcm.*@ sockmi' >/dev/null\"").c_str()),
      0);
}

}  // namespace
