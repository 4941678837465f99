// Reads keys of the origin as they are at one known offset of its stream, and turns them into what
// writes them on the destination: MULTI; (DUMP, PEXPIRETIME)…; INFO replication; EXEC
// (redis.md 4.4). Used by the copier and by the lane.
#pragma once

#include <string>
#include <vector>

#include "base/limits.h"
#include "core/settings.h"
#include "families/redis/client.h"
#include "families/redis/planner.h"

namespace exodus::redis {

/// What the destination can load, learned once.
struct DestinationFormat {
    int rdb_version = 9;
    uint64_t bulk_bytes_max = limits::kRespBulk_bytes_max;  ///< its proto-max-bulk-len

    static Result<DestinationFormat> of(Client& destination);
};

/// Asks a server which payload version it writes: the footer of FUNCTION DUMP (>= 7.0), which needs
/// no key.
Result<int> rdb_version_of(Client& client);

class KeyReader {
  public:
    explicit KeyReader(DestinationFormat format) : format_(format) {}

    /// One transaction per database; `at` of each item is the offset of its transaction. Error gap
    /// when the origin's replid is not `replid`: its offsets would mean nothing. Every key yields
    /// an item; an absent one becomes a DEL.
    Result<std::vector<CopyItem>> read(Client& origin, const std::vector<Key>& keys,
                                       std::string_view replid);

    /// Splits into its two halves for pipelining: several chunks may be sent before the first is
    /// received.
    static void send(Client& origin, int db, const std::vector<Key>& keys);
    Result<std::vector<CopyItem>> receive(Client& origin, const std::vector<Key>& keys,
                                          std::string_view replid);

    /// False when every payload of an origin with this RDB version can be written as it is.
    [[nodiscard]] bool may_need_typed(int origin_rdb_version) const {
        return origin_rdb_version > format_.rdb_version;
    }

  private:
    Result<CopyItem> read_typed(Client& origin, const Key& key, uint8_t type,
                                std::string_view replid);
    CopyItem write_item(const Key& key, std::string_view payload, int64_t expiry_ms, uint64_t at,
                        uint8_t& typed) const;

    DestinationFormat format_;
};

/// Offset of "INFO replication"; error gap when it is another history.
Result<uint64_t> offset_of_info(std::string_view info, std::string_view replid);

}  // namespace exodus::redis
