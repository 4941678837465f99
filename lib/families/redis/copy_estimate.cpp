#include "families/redis/copy_estimate.h"

#include <charconv>

namespace exodus::redis {

double scanned_share(std::string_view cursor) {
    uint64_t bits = 0;
    std::from_chars(cursor.data(), cursor.data() + cursor.size(), bits);
    double share = 0;
    for (double weight = 0.5; bits != 0; bits >>= 1U, weight /= 2) {
        if ((bits & 1U) != 0) share += weight;
    }
    return share;
}

uint64_t keys_left(const std::map<int, uint64_t>& keyspace, const ScanPlace& place) {
    if (place.phase != ScanPlace::Phase::copy) return 0;
    double left = 0;
    for (const auto& [db, keys] : keyspace) {
        if (db < place.db) continue;
        const double share = db == place.db ? scanned_share(place.cursor) : 0;
        left += static_cast<double>(keys) * (1 - share);
    }
    return static_cast<uint64_t>(left);
}

}  // namespace exodus::redis
