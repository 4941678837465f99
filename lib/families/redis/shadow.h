// Mirrored requests: pairs of answers that wait for their other half, bounded in number, bytes and
// age; what is beyond is dropped and counted and never delays a client (redis.md 7, overview
// invariant 6).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "core/protocol_worker.h"
#include "families/redis/backend_link.h"
#include "wire/resp/command_table.h"

namespace exodus::redis {

class ShadowPairs {
  public:
    struct Pair {
        const resp::CommandRow* row = nullptr;
        std::string request;
        std::string left;
        std::string right;
        int database = 0;
        int protocol = 2;
        bool aa = false;
        bool left_done = false;
        bool right_done = false;
        bool dropped = false;
        int64_t sent_us = 0;  ///< steady
        int64_t sent_wall_us = 0;
        int64_t left_wall_us = 0;
        int64_t right_wall_us = 0;
    };

    /// Room for one more of this size?
    [[nodiscard]] bool has_room(std::size_t request_bytes) const;
    uint32_t open(const resp::CommandRow& row, std::string_view request, int database, int protocol,
                  bool aa, int64_t now_us, int64_t wall_us);
    [[nodiscard]] Pair& at(uint32_t index) { return pairs_[index]; }
    /// Adds bytes to one half; false (and dropped) beyond the byte bound.
    void add(uint32_t index, bool left, std::string_view bytes);
    /// One half is complete or will never come. The pair is freed when both are; then true.
    bool done(uint32_t index, bool left);
    void drop(uint32_t index) { pairs_[index].dropped = true; }
    void free(uint32_t index);
    [[nodiscard]] std::size_t open_count() const { return open_; }
    [[nodiscard]] std::size_t bytes() const { return bytes_; }

  private:
    std::vector<Pair> pairs_;
    std::vector<uint32_t> unused_;
    std::size_t open_ = 0;
    std::size_t bytes_ = 0;
};

}  // namespace exodus::redis
