#include "families/redis/shadow.h"

#include "base/limits.h"

namespace exodus::redis {

bool ShadowPairs::has_room(std::size_t request_bytes) const {
    return open_ < limits::kShadowRequests_max &&
           bytes_ + request_bytes <= limits::kShadowQueue_bytes;
}

uint32_t ShadowPairs::open(const resp::CommandRow& row, std::string_view request, int database,
                           int protocol, bool aa, int64_t now_us, int64_t wall_us) {
    uint32_t index = 0;
    if (unused_.empty()) {
        index = static_cast<uint32_t>(pairs_.size());
        pairs_.emplace_back();
    } else {
        index = unused_.back();
        unused_.pop_back();
    }
    Pair& pair = pairs_[index];
    pair.row = &row;
    pair.request.assign(request);
    pair.left.clear();
    pair.right.clear();
    pair.database = database;
    pair.protocol = protocol;
    pair.aa = aa;
    pair.left_done = pair.right_done = pair.dropped = false;
    pair.sent_us = now_us;
    pair.sent_wall_us = wall_us;
    ++open_;
    bytes_ += request.size();
    return index;
}

void ShadowPairs::add(uint32_t index, bool left, std::string_view bytes) {
    Pair& pair = pairs_[index];
    if (pair.dropped) return;
    if (bytes_ + bytes.size() > limits::kShadowQueue_bytes) {
        pair.dropped = true;
        return;
    }
    (left ? pair.left : pair.right).append(bytes);
    bytes_ += bytes.size();
}

bool ShadowPairs::done(uint32_t index, bool left) {
    Pair& pair = pairs_[index];
    (left ? pair.left_done : pair.right_done) = true;
    return pair.left_done && pair.right_done;
}

void ShadowPairs::free(uint32_t index) {
    Pair& pair = pairs_[index];
    bytes_ -= pair.request.size() + pair.left.size() + pair.right.size();
    --open_;
    // Large buffers are given back; small ones are reused without allocating.
    if (pair.left.capacity() + pair.right.capacity() + pair.request.capacity() > 16 * 1024) {
        pair.left = {};
        pair.right = {};
        pair.request = {};
    } else {
        pair.left.clear();
        pair.right.clear();
        pair.request.clear();
    }
    unused_.push_back(index);
}

}  // namespace exodus::redis
