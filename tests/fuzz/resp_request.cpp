// Fuzzes the request scanner: any bytes in any pieces give the same requests as in one piece, and
// each request splits.
#include <algorithm>
#include <cstdlib>
#include <string>
#include <utility>
#include <vector>

#include "wire/resp/command_table.h"
#include "wire/resp/request_scanner.h"

namespace resp = exodus::resp;

namespace {

struct Result {
    std::vector<std::string> frames;
    std::string error;
    bool operator==(const Result&) const = default;
};

void check(bool condition) {
    if (!condition) std::abort();
}

void take(Result& result, std::string bytes) {
    static std::vector<std::string_view> arguments;
    static std::vector<resp::KeyRef> keys;
    check(resp::split_arguments(bytes, arguments));
    const resp::CommandRow& row = resp::classify(arguments);
    resp::extract_keys(row, arguments, keys);
    for (const resp::KeyRef& key : keys)
        check(key.key.data() >= bytes.data() &&
              key.key.data() + key.key.size() <= bytes.data() + bytes.size());
    resp::first_key(row, arguments);
    resp::may_block(row, arguments);
    resp::compare_rule(row, arguments);
    resp::stream_role(row, arguments);
    result.frames.push_back(std::move(bytes));
}

/// `step` 0: in one piece. Pieces are copies, so that reading past their end is seen.
Result scan(std::string_view bytes, std::size_t step, std::size_t stream_above, bool restricted) {
    resp::RequestLimits limits;
    limits.bulk_bytes_max = 1 << 20;
    limits.stream_above_bytes = stream_above;
    resp::RequestScanner scanner(limits);
    scanner.set_restricted(restricted);
    Result result;
    std::string streamed;
    while (!bytes.empty()) {
        const std::size_t size = step == 0 ? bytes.size() : std::min(step, bytes.size());
        const std::vector<char> piece(bytes.begin(),
                                      bytes.begin() + static_cast<std::ptrdiff_t>(size));
        bytes.remove_prefix(size);
        scanner.feed({piece.data(), piece.size()});
        for (bool more = true; more;) {
            switch (scanner.next()) {
                case resp::RequestEvent::need_more:
                    more = false;
                    break;
                case resp::RequestEvent::frame:
                    take(result, std::string(scanner.frame().bytes));
                    break;
                case resp::RequestEvent::head:
                    streamed = scanner.frame().bytes;
                    break;
                case resp::RequestEvent::body:
                    check(!scanner.piece().empty());
                    streamed += scanner.piece();
                    if (scanner.last_piece()) take(result, std::exchange(streamed, {}));
                    break;
                case resp::RequestEvent::error:
                    result.error =
                        scanner.error().reply + std::string(to_string(scanner.error().fault));
                    return result;
            }
        }
    }
    return result;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, std::size_t size) {
    if (size < 2) return 0;
    const std::size_t step = data[0];
    const bool restricted = (data[1] & 1) != 0;
    const std::size_t stream_above = data[1] < 128 ? 1U << 16 : data[1] - 120U;
    const std::string_view bytes(reinterpret_cast<const char*>(data) + 2, size - 2);
    const Result whole = scan(bytes, 0, 1U << 20, restricted);
    Result cut = scan(bytes, step, stream_above, restricted);
    // An error inside a streamed request comes where the request had begun to stream: the same
    // error all the same.
    check(whole == cut);
    return 0;
}
