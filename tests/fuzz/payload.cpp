// Fuzzes what is read of DUMP payloads: the length of a string, and the footer: what has a version
// gets another one, and nothing else of it changes.
#include "families/redis/payload.h"

#include <cstdlib>
#include <string>
#include <vector>

namespace redis = exodus::redis;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, std::size_t size) {
    const std::vector<char> copy(data, data + size);
    const std::string_view payload(copy.data(), copy.size());
    const auto version = redis::payload_version(payload);
    for (const int there : {8, 9, 10, 11, 80})
        (void)redis::ladder_level(redis::payload_type(payload), version.value_or(0), there);
    (void)redis::payload_string_bytes(payload);
    if (!version) return 0;
    for (const int other : {9, 10, 11, *version}) {
        const std::string stamped = redis::restamp(payload, other);
        if (stamped.size() != size || redis::payload_version(stamped) != other) std::abort();
        if (std::string_view(stamped).substr(0, size - 10) != payload.substr(0, size - 10))
            std::abort();
    }
    return 0;
}
