// Every call that asks a daemon fails with ENXIO if none is there, however it is missing.
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <string>

#include <gtest/gtest.h>
#include <sockmi/sockmi.h>

#include "base/unique_fd.h"
#include "unit/temporary_folder.h"

namespace {

class NoDaemon : public testing::Test {
 protected:
  static void expect_none_at(const std::string& path) {
    ::setenv("SOCKMID_SOCKET", path.c_str(), 1);
    const auto expect_none = [&](int result, const char* call) {
      EXPECT_EQ(result, -1) << call;
      EXPECT_EQ(errno, ENXIO) << call << ": " << sockmi_last_error();
    };
    sockmi_export_socket_req leaving{};
    sockmi_import_socket_req arriving{};
    leaving.state = SOCKMI_CONNECTED;
    expect_none(export_socket(0, SOCKMI_CONNECTED, AF_UNSPEC, nullptr), "export_socket");
    expect_none(sockmi_export_sockets(&leaving, 1, AF_UNSPEC, nullptr, nullptr),
                "sockmi_export_sockets");
    EXPECT_EQ(leaving.error, ENXIO);
    expect_none(import_socket(&arriving, 1, 0), "import_socket");
    expect_none(sockmi_event_open(nullptr), "sockmi_event_open");
    expect_none(sockmi_export_done(1, 0, 0), "sockmi_export_done");
    sockmi_export_answer answer{};
    expect_none(sockmi_exports_done(&answer, 1), "sockmi_exports_done");
    EXPECT_EQ(answer.error, ENXIO);
  }

  const sockmi::test::TemporaryFolder temporary_;
  const std::filesystem::path& folder_ = temporary_.path;
};

TEST_F(NoDaemon, CallsFailWithoutTheSocket) {
  expect_none_at(folder_ / "socket");
}

TEST_F(NoDaemon, CallsFailWithoutTheFolder) {
  expect_none_at(folder_ / "nothing" / "socket");
}

TEST_F(NoDaemon, CallsFailAtAPathThatIsTooLong) {
  expect_none_at(folder_ / std::string(200, 'x'));
}

TEST_F(NoDaemon, CallsFailAtTheSocketOfADeadDaemon) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::strcpy(address.sun_path, (folder_ / "socket").c_str());
  {
    const sockmi::unique_fd listener(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    ASSERT_EQ(::bind(listener.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) |
                  ::listen(listener.get(), 1),
              0);
  }
  expect_none_at(folder_ / "socket");
}

}  // namespace
