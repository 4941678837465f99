// Reads keys of the origin as they are at one known offset of its stream, and turns them into what
// writes them on the destination: MULTI; (DUMP, PEXPIRETIME)…; INFO replication; EXEC
// (redis.md 4.4). Used by the copier and by the lane.
#pragma once

#include <string>
#include <utility>
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

/// How the keys of a chunk are read.
struct ChunkRead {
    /// By GETRANGE instead of DUMP, at less than half of the cost for both servers: no more than
    /// kShortString_bytes of a value are read, whatever its size.
    bool strings = false;
    /// Each key's expiry is asked for. Else the chunk holds only while its database has none, which
    /// the INFO of the same transaction tells.
    bool expiries = true;
};

/// Longer strings are read by DUMP: a chunk stays within its bytes without a size being asked for.
inline constexpr std::size_t kShortString_bytes = limits::kChunk_bytes / limits::kChunkKeys_max;

struct Chunk {
    std::vector<CopyItem> items;
    std::vector<Key> rest;    ///< what could not be read so; DUMP with expiries leaves none
    bool expiries = false;    ///< keys of the database have some
    std::size_t strings = 0;  ///< items that are short strings
    std::size_t others = 0;   ///< items of other types
};

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
    static void send(Client& origin, int db, const std::vector<Key>& keys, ChunkRead how);
    Result<Chunk> receive(Client& origin, const std::vector<Key>& keys, std::string_view replid,
                          ChunkRead how);

    /// False when every payload of an origin with this RDB version can be written as it is.
    [[nodiscard]] bool may_need_typed(int origin_rdb_version) const {
        return origin_rdb_version > format_.rdb_version;
    }

  private:
    Result<CopyItem> read_typed(Client& origin, const Key& key, uint8_t type,
                                std::string_view replid);
    void add_dumped(Chunk& chunk, const Key& key, ReplyView dump, int64_t expiry_ms, uint64_t at,
                    std::vector<std::pair<std::size_t, uint8_t>>& typed) const;
    CopyItem write_item(const Key& key, std::string_view payload, int64_t expiry_ms, uint64_t at,
                        uint8_t& typed) const;

    DestinationFormat format_;
};

/// Offset of "INFO replication"; error gap when it is another history.
Result<uint64_t> offset_of_info(std::string_view info, std::string_view replid);
/// Of "INFO keyspace": whether keys of the database have an expiry; true when it cannot be read.
bool expiries_in_info(std::string_view info, int db);

}  // namespace exodus::redis
