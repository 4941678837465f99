// The keys that a lane follows apart because they are too big to be copied whole (redis.md 4.8).
// Such a key is set aside: for the planner it is out of scope until its copy is finished. The
// copier reads the pieces, the lane writes them to a temporary key in its own transactions, and
// renames that over the key. What is set aside is recorded on the destination in the transaction
// that sets it aside: so the record is right for the checkpoint beside it, and a new lane copies
// these keys again. One lane's own.
#pragma once

#include <deque>
#include <memory>
#include <optional>
#include <unordered_map>

#include "families/redis/bigkey.h"
#include "families/redis/bigkey_reader.h"
#include "families/redis/flow.h"
#include "families/redis/planner.h"

namespace exodus::redis {

/// The temporary key of a big key: exodus' own, in its slot.
std::string temporary_of(const Flow& flow, const Key& key);

/// Removes the record and every temporary key from the destination.
Status forget_big_keys(const Flow& flow, Client& destination);

class BigKeys {
  public:
    explicit BigKeys(Flow& flow);

    /// A lane that (re)starts: what was set aside is set aside again. `origin_rdb` above the
    /// destination's: sets and streams are taken in parts from a smaller size on.
    Status open(Client& origin, Client& destination, int origin_rdb, int destination_rdb);

    [[nodiscard]] bool aside(const Digest128& key) const {
        return !asides_.empty() && asides_.contains(key);
    }
    [[nodiscard]] std::size_t size() const { return asides_.size(); }
    /// Some were found by the fill.
    [[nodiscard]] bool filling() const { return filling_; }
    /// What is being done, for people; empty when nothing.
    [[nodiscard]] std::string doing() const;

    void set_aside(const Key& key, bool found_by_fill);
    /// Sets aside those of `wanted` that are too big to be copied now; true when there are any.
    Result<bool> set_aside_big(Client& origin, const KeySet& wanted, KeySet& repairs,
                               Watermarks& watermarks);

    /// What a finished copy adds to the next batch.
    struct Outcome {
        std::optional<CopyItem> item;    ///< the temporary key becomes the key
        std::vector<StreamCommand> ops;  ///< what happened to it since
        std::optional<Key> failed;       ///< it cannot be copied; `reason` says why
        std::string reason;
    };
    /// Does what can be done at this place of the lane. Keys that are to be copied whole, or from
    /// the beginning, go to `repairs`.
    Result<Outcome> advance(Client& origin, uint64_t applied, KeySet& repairs);

    /// A piece of the copy that is made now; others are left over from an earlier one.
    [[nodiscard]] bool is_current(const CopyItem& piece) const {
        return active_ && active_->round->copy == piece.piece.copy;
    }
    /// Writes the pieces before everything else.
    void add_pieces(Plan& plan, const std::vector<CopyItem>& items) const;
    void after_batch(const Plan& plan, const std::vector<StreamCommand>& ops,
                     const std::vector<CopyItem>& items, const std::vector<StepResult>& results);
    /// It was copied whole.
    void copied(const Digest128& key);

    /// A database was emptied or exchanged: nothing of it is set aside any more.
    void drop_db(int db);
    [[nodiscard]] bool any_in(int db) const;
    /// The pieces that were read are lost.
    void start_again();
    /// The destination's database 0, where the record lives, was emptied or exchanged.
    void record_gone();

    /// Changes of the record and temporary keys to be removed, for the next transaction, which
    /// stands in database 0. Returns the number of commands.
    std::size_t append_changes(std::string& out) const;
    [[nodiscard]] bool changed() const { return !changes_.empty() || !garbage_.empty(); }
    void changes_written();

  private:
    struct Active {
        Key key;
        int64_t bytes;  ///< MEMORY USAGE
        std::shared_ptr<const BigKeyRound> round;
        BigKeyCopy copy;
        Piece stream;   ///< the last piece of its last round
        BigKeyEnd end;  ///< when it is settled
    };
    Status begin(Client& origin, const Key& key, KeySet& repairs);
    Status read_end(Client& origin);
    void post(BigKeyRound round);
    void withdraw();
    void release(const Key& key);
    void restart(Outcome& outcome, KeySet& repairs);
    Outcome install();
    void record(std::string_view verb, const Key& key);

    Flow& flow_;
    BigKeySizes sizes_;
    bool filling_ = false;
    std::unordered_map<Digest128, Key, DigestHash> asides_;
    std::deque<Digest128> order_;  ///< may name keys that are not set aside any more
    std::optional<Active> active_;
    uint64_t next_copy_ = 1;
    uint64_t next_round_ = 1;
    std::unordered_map<Digest128, int, DigestHash> restarts_;
    std::vector<std::pair<std::string, std::string>> changes_;  ///< SADD or SREM, member
    std::vector<std::pair<int, std::string>> garbage_;          ///< database, temporary key
};

}  // namespace exodus::redis
