// Digests of values that do not depend on encoding, hash seeds or versions, built from one reply or
// piece by piece (redis.md 8). Pure.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/digest.h"
#include "families/redis/canonical.h"

namespace exodus::redis {

/// RDB version (2) and CRC-64 (8) at the end of a DUMP payload.
inline constexpr std::size_t kPayloadFooter_bytes = 10;

/// Digest of a value built piece by piece; the same for one reply and for pages.
class ValueDigest {
  public:
    explicit ValueDigest(std::string_view type) : type_(type) {}

    void string_piece(std::string_view bytes) { ordered_.update(bytes); }
    void list_elements(ReplyView elements);
    void set_elements(ReplyView elements);
    void hash_elements(ReplyView pairs);
    void zset_elements(ReplyView pairs);
    void stream_entries(ReplyView entries);
    void stream_last_id(std::string_view id);
    void group(std::string_view name, std::string_view last_id);
    /// [id, consumer, time or idle, deliveries] of XINFO STREAM FULL and of XPENDING.
    void pending_entries(ReplyView entries);
    void finish(KeyState& state);

  private:
    std::string type_;
    StreamDigest ordered_;
    StreamDigest groups_;
    Digest128 members_;
    std::vector<Digest128> unordered_;
};

/// Digest of a whole value in one reply; false when the reply is none of this type.
bool digest_whole_reply(std::string_view type, ReplyView reply, KeyState& state);

}  // namespace exodus::redis
