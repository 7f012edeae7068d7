#pragma once
#include "base/error.h"
#include "base/unique_fd.h"
#include "image/tcp_generated.h"
namespace sockmi::tcp {
inline constexpr int kSynRecv = 3, kListen = 10, kClose = 7;
inline Result<image::TcpT> capture_passive(int) { return fail(ENOTSUP, "passive"); }
inline Result<unique_fd> restore_passive(const image::TcpT&, bool) { return fail(ENOTSUP, "passive"); }
inline Result<std::vector<unique_fd>> drain_accept_queue(int) { return fail(ENOTSUP, "passive"); }
}
