// The URI of an endpoint: scheme://user@host:port/database, or unix paths. A password in it is
// refused, because URIs end in process lists, shell histories and logs. Pure; no message ever
// repeats what stands before the '@'.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/error.h"

namespace exodus {

struct ParsedUri {
    std::string scheme;
    std::string user;
    std::string host;       ///< without brackets
    uint16_t port = 0;      ///< 0: not given
    std::string unix_path;  ///< instead of host and port
    std::string database;   ///< as written; empty: not given
};

/// Errors of code config.
Result<ParsedUri> parse_uri(std::string_view text);

}  // namespace exodus
