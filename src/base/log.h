// Writes key=value log lines to stderr, never a secret. There is one logger per process.
#pragma once

#include <spdlog/spdlog.h>

namespace sockmi::log {
using spdlog::critical;
using spdlog::debug;
using spdlog::error;
using spdlog::info;
using spdlog::warn;
}  // namespace sockmi::log
