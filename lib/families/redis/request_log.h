// The log of requests that Redis itself can give, MONITOR, live or in a file; and the file of
// requests that RequestCapture writes. Each line becomes the
// frame that the client had sent. It costs the server throughput (redis.md 10) and shows no
// replies. Arguments of AUTH and HELLO are not in it.
#pragma once

#include <optional>
#include <stop_token>
#include <string>
#include <string_view>

#include "core/family.h"

namespace exodus::redis {

struct LoggedRequest {
    std::string client;  ///< "127.0.0.1:60866", "unix:/path"
    int64_t wall_us = 0;
    std::string frame;  ///< a RESP array of bulk strings
};

/// `1339518083.107412 [0 127.0.0.1:60866] "keys" "*"`. None for other lines, and for requests that
/// scripts made.
std::optional<LoggedRequest> parse_monitor_line(std::string_view line);

/// `@1532 r [0 42] "GET" "user:1"`, as RequestCapture writes it; the time is since its beginning.
std::optional<LoggedRequest> parse_capture_line(std::string_view line);

/// As Family::read_log.
Result<uint64_t> read_redis_log(const FamilyContext& context, const std::string& file,
                                milliseconds duration, const std::stop_token& stop,
                                const Family::OnLoggedRequest& on_request);

}  // namespace exodus::redis
