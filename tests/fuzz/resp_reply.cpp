// Fuzzes the reply scanner and the value reader: any bytes in any pieces give the same frames; what
// parses has that length.
#include <algorithm>
#include <cstdlib>
#include <string>
#include <utility>
#include <vector>

#include "wire/resp/reply_scanner.h"
#include "wire/resp/value.h"

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
    std::size_t used = 0;
    const auto value = resp::parse_reply(bytes, &used);
    if (value) check(used == bytes.size());
    result.frames.push_back(std::move(bytes));
}

Result scan(std::string_view bytes, std::size_t step, std::size_t stream_above) {
    resp::ReplyScanner scanner(resp::ReplyLimits{stream_above});
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
                case resp::ReplyEvent::need_more:
                    more = false;
                    break;
                case resp::ReplyEvent::frame:
                    check(scanner.frame().error_code().size() <= scanner.frame().bytes.size());
                    take(result, std::string(scanner.frame().bytes));
                    break;
                case resp::ReplyEvent::head:
                    streamed = scanner.frame().bytes;
                    break;
                case resp::ReplyEvent::body:
                    check(!scanner.piece().empty());
                    streamed += scanner.piece();
                    if (scanner.last_piece()) take(result, std::exchange(streamed, {}));
                    break;
                case resp::ReplyEvent::error:
                    result.error = scanner.error();
                    return result;
            }
        }
    }
    return result;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, std::size_t size) {
    if (size < 2) return 0;
    const std::string_view bytes(reinterpret_cast<const char*>(data) + 2, size - 2);
    check(scan(bytes, 0, 1U << 30) ==
          scan(bytes, data[0], data[1] < 128 ? 1U << 30 : data[1] - 127U));
    // The reader takes nothing that the scanner would refuse, and reads no further.
    std::size_t used = 0;
    if (resp::parse_reply(bytes, &used)) {
        const Result result = scan(bytes.substr(0, used), 0, 1U << 30);
        check(result.error.empty() && result.frames.size() == 1 && result.frames[0].size() == used);
    }
    return 0;
}
