// A reserved field that is not zero is refused in every structure that an application
// fills. A program that was written for a later version learns so that this version does
// not know what it asks for. The test needs no daemon: the refusal comes first.
#include <cerrno>
#include <vector>

#include <gtest/gtest.h>
#include <sockmi/appsockmi.h>

namespace {

// Applies `check` to a structure with the first, and with the last reserved field set.
template <class Struct, class Check>
void with_each_end(Struct& one, Check check) {
  for (auto* field : {std::begin(one.reserved), std::end(one.reserved) - 1}) {
    *field = 1;
    check();
    *field = 0;
  }
}

class ReservedFields : public testing::Test {
 protected:
  void SetUp() override { ::setenv("SOCKMID_SOCKET", "/nonexistent/socket", 1); }

  void expect_refused(int result) {
    EXPECT_EQ(result, -1);
    EXPECT_EQ(errno, EINVAL) << sockmi_last_error();
    EXPECT_STREQ(sockmi_last_error(), "invalid reserved field: not zero (EINVAL)");
  }
};

TEST_F(ReservedFields, MustBeZeroInExportOptions) {
  sockmi_export_options options{};
  sockmi_export_socket_req request{};
  request.state = SOCKMI_CONNECTED;
  with_each_end(options, [&] {
    expect_refused(sockmi_export_socket_with(0, SOCKMI_CONNECTED, AF_UNSPEC, nullptr, &options));
    expect_refused(sockmi_export_sockets(&request, 1, AF_UNSPEC, nullptr, &options));
    EXPECT_EQ(request.error, ECANCELED);
    expect_refused(
        sockmi_export_ssl_with(nullptr, SOCKMI_SERVER_ESTABLISHED, AF_UNSPEC, nullptr, &options));
  });
}

TEST_F(ReservedFields, ANonZeroFieldRefusesAllExportRequests) {
  std::vector<sockmi_export_socket_req> requests(2);
  for (auto& request : requests)
    request.state = SOCKMI_CONNECTED;
  with_each_end(requests[0], [&] {
    requests[1].error = 0;
    expect_refused(sockmi_export_sockets(requests.data(), 2, AF_UNSPEC, nullptr, nullptr));
    EXPECT_EQ(requests[1].error, ECANCELED);
  });
}

TEST_F(ReservedFields, MustBeZeroInExportRequestsForSsls) {
  sockmi_export_ssl_req request{};
  request.state = SOCKMI_CONNECTED;
  with_each_end(request, [&] {
    expect_refused(sockmi_export_ssls(&request, 1, AF_UNSPEC, nullptr, nullptr));
    EXPECT_EQ(request.error, ECANCELED);
  });
}

TEST_F(ReservedFields, MustBeZeroInImportRequests) {
  sockmi_import_socket_req socket{};
  sockmi_import_ssl_req ssl{};
  SSL_CTX* context = SSL_CTX_new(TLS_method());
  ssl.ssl = SSL_new(context);
  const auto import_both = [&] {
    expect_refused(import_socket(&socket, 1, 0));
    expect_refused(import_ssl(&ssl, 1, 0));
  };
  with_each_end(socket, [&] { expect_refused(import_socket(&socket, 1, 0)); });
  with_each_end(ssl, [&] { expect_refused(import_ssl(&ssl, 1, 0)); });
  with_each_end(socket.criteria, [&] {
    ssl.criteria = socket.criteria;
    import_both();
  });
  for (sockmi_match sockmi_criteria::*side : {&sockmi_criteria::local, &sockmi_criteria::remote})
    with_each_end(socket.criteria.*side, [&] {
      ssl.criteria = socket.criteria;
      import_both();
    });
  SSL_free(ssl.ssl);
  SSL_CTX_free(context);
}

}  // namespace
