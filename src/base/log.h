// key=value log lines on stderr, never a secret. One logger a process.
#pragma once

#include <spdlog/spdlog.h>

namespace sockmi::log {
using spdlog::critical;
using spdlog::debug;
using spdlog::error;
using spdlog::info;
using spdlog::warn;
}  // namespace sockmi::log
