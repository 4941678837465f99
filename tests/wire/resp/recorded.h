// Conversations recorded from a real server (recorded/*.txt), and frames as plain values that
// outlive their buffers.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "wire/resp/codec.h"

namespace exodus::test {

struct Exchange {
    std::string request;
    std::string reply;
};
/// "resp2" or "resp3"; throws when the file is missing or malformed.
std::vector<Exchange> load_recorded(const std::string& name);

/// Everything that a scanner says about a byte stream, in a form that can be compared.
struct Event {
    std::string kind;  ///< "frame", "error …"; a streamed frame is joined into one "frame"
    std::string bytes;
    std::vector<std::string> arguments;  ///< of requests
    char type = 0;                       ///< of replies
    std::string value;
    bool operator==(const Event&) const = default;
};

/// Feeds the pieces one after the other.
std::vector<Event> scan_requests(const std::vector<std::string>& pieces,
                                 const resp::RequestLimits& limits = {}, bool restricted = false);
std::vector<Event> scan_replies(const std::vector<std::string>& pieces,
                                const resp::ReplyLimits& limits = {});

std::vector<std::string> single_bytes(const std::string& text);

}  // namespace exodus::test
