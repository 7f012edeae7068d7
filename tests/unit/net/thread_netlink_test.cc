// A thread's netlink sockets where descriptors are lacking. Each test has a thread of its
// own, which has no socket yet.
#include "net/thread_netlink.h"

#include <linux/netlink.h>
#include <sys/socket.h>

#include <thread>

#include <gtest/gtest.h>

#include "net/sock_diag.h"
#include "unit/few_descriptors.h"

namespace sockmi::net {
namespace {

template <class Function>
void in_new_thread(Function function) {
  std::thread(function).join();
}

// Of a connection that does not exist.
const FourTuple kUnknown{*SocketAddress::parse("127.0.0.1:1"),
                         *SocketAddress::parse("127.0.0.1:2")};

TEST(ThreadNetlink, AFailureToOpenIsReportedAndNotRemembered) {
  in_new_thread([] {
    Result<Netlink*> opened = nullptr;
    {
      const test::FewDescriptors none(0);
      opened = thread_netlink(NETLINK_SOCK_DIAG);
    }
    ASSERT_FALSE(opened);
    EXPECT_EQ(opened.error().code, EMFILE);

    const auto again = thread_netlink(NETLINK_SOCK_DIAG);
    ASSERT_TRUE(again) << to_string(again.error());
    EXPECT_NE(*again, nullptr);
  });
}

TEST(ThreadNetlink, AnOpenSocketNeedsNoFurtherDescriptor) {
  in_new_thread([] {
    const auto first = thread_netlink(NETLINK_SOCK_DIAG);
    ASSERT_TRUE(first) << to_string(first.error());

    const test::FewDescriptors none(0);
    EXPECT_EQ(thread_netlink(NETLINK_SOCK_DIAG), *first);
  });
}

// "There is no such socket" ends a connection; "the kernel was not asked" must not.
TEST(ThreadNetlink, ALookupWithoutADescriptorIsNotTakenForAMissingSocket) {
  in_new_thread([] {
    int code = 0;
    {
      const test::FewDescriptors none(0);
      code = find_socket(kUnknown).error().code;
    }
    EXPECT_EQ(code, EMFILE);
    EXPECT_EQ(find_socket(kUnknown).error().code, ENOENT);
  });
}

}  // namespace
}  // namespace sockmi::net
