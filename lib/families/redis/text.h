// Text forms of Redis things: keys as an operator reads them, glob patterns as the servers match
// them, a line of redis-cli taken apart, a reply as redis-cli prints it, RESP2 bytes of a reply.
// Pure.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "families/redis/client.h"

namespace exodus::redis {

/// Printable bytes as they are, others as \xNN, backslash and quote escaped; at most `bytes_max`
/// bytes of the key, then "…".
std::string escape_key(std::string_view key, std::size_t bytes_max = 256);

/// Words of a line as redis-cli splits it: "double quoted with \n \xff", 'single quoted', bare.
/// Error usage: unbalanced quotes.
Result<std::vector<std::string>> split_line(std::string_view line);

/// A reply as redis-cli prints it to a terminal, without the final newline.
std::string print_reply(ReplyView reply);

/// The reply as RESP2 bytes again, for normalisers that work on frames.
void append_resp(ReplyView reply, std::string& out);

}  // namespace exodus::redis
