// The log: spdlog to stderr, text or JSON lines. Never a secret, key or statement text above debug
// level. Use spdlog::info("...") and friends directly; this file only sets it up.
#pragma once

#include <spdlog/spdlog.h>
#include <string_view>

#include "base/error.h"

namespace exodus {

enum class LogFormat { text, json };

/// Sets up the default logger. Levels: error, warn, info, debug, trace. Thread-safe afterwards.
Status setup_log(LogFormat format, std::string_view level);
Status set_log_level(std::string_view level);

}  // namespace exodus
