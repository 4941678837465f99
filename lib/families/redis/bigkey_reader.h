// Reads a big key of the origin piece by piece, and turns the pieces into commands for the
// temporary key on the destination; reads what is left in one transaction at the end
// (redis.md 4.8). Pieces are read by the copier, the end by the lane, each over its own connection.
#pragma once

#include <string>
#include <vector>

#include "families/redis/bigkey.h"
#include "families/redis/client.h"
#include "families/redis/planner.h"
#include "families/redis/typed_copy.h"

namespace exodus::redis {

/// One round of a copy: the whole key, or what changed since.
struct BigKeyRound {
    uint64_t copy = 0;   ///< number of the copy
    uint64_t round = 0;  ///< number of the round; no two are the same
    Key key;
    ValueKind kind = ValueKind::other;
    std::string temporary;
    std::size_t page = 1;            ///< elements per piece; of a string bytes
    bool again = false;              ///< false: the whole key
    std::vector<std::string> names;  ///< again, hash, set, zset: these elements
    std::string after;               ///< again, stream: entries behind this id
};

class BigKeyReader {
  public:
    /// From the beginning of whatever round comes next.
    void forget() { round_ = 0; }
    /// The next piece of the round; its `piece.last` says that there is no more. A key that
    /// vanished or changed its type has an empty last piece: the operation that did it is in the
    /// stream.
    Result<CopyItem> next(Client& origin, const BigKeyRound& round, std::string_view replid);

  private:
    Result<Reply> ask(Client& origin, const BigKeyRound& round,
                      const std::vector<std::string>& command, std::string_view replid,
                      CopyItem& item);
    Status scan(Client& origin, const BigKeyRound& round, std::string_view replid, CopyItem& item);
    Status elements(Client& origin, const BigKeyRound& round, std::string_view replid,
                    CopyItem& item);
    Status in_order(Client& origin, const BigKeyRound& round, std::string_view replid,
                    CopyItem& item);
    Status entries(Client& origin, const BigKeyRound& round, std::string_view replid,
                   CopyItem& item);

    uint64_t round_ = 0;  ///< 0: none begun
    bool first_ = false;
    std::string cursor_;
    std::size_t at_ = 0;  ///< of a list, a string, the names
    std::vector<std::string> groups_;
    std::string reached_;
    std::vector<std::string> phantoms_;
};

/// The transaction that ends a copy.
struct BigKeyEnd {
    uint64_t at = 0;      ///< the origin's offset of it
    std::string spoiled;  ///< not empty: the copy must start again, this is why
    bool more = false;   ///< stream: too many new entries for one transaction, a round must read on
    RespWriter changes;  ///< for the temporary key, before the operations up to `at`
    RespWriter finish;   ///< and behind them
    int64_t expiry_ms = -1;
};

/// `names`: elements to be read again, of a hash, set or zset. `stream`: where the pieces of a
/// stream ended.
Result<BigKeyEnd> read_big_end(Client& origin, const BigKeyRound& round, const NameSet& names,
                               const Piece& stream, std::string_view replid);

}  // namespace exodus::redis
