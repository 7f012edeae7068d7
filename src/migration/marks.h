// The marks of sockets and packets that migrations use.
#pragma once

#include "steer/packet_marks.h"
#include "tcp/marks.h"

namespace sockmi::daemon {

inline constexpr tcp::Marks kMarks{.freeze = steer::kFreezeMark, .inject = steer::kInjectMark};

}  // namespace sockmi::daemon
