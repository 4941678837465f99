// The plan of one batch of a lane (redis.md 4.5 and 4.6): which keys must be copied again, which
// operations run, which are already contained in a copy, and where the presence of a key is checked
// first. Pure: no I/O, no clock; the simulator runs it against a reference map. Nothing changes in
// the watermarks until commit(): a batch that did not run leaves no trace.
#pragma once

#include <cstdint>
#include <functional>
#include <set>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "families/redis/stream_command.h"
#include "families/redis/watermarks.h"

namespace exodus::redis {

struct Key {
    int db = 0;
    std::string name;
    Digest128 hash;
};

using KeySet = std::unordered_map<Digest128, Key, DigestHash>;

/// Where a part of a big key belongs.
struct Piece {
    uint64_t copy = 0;    ///< number of the copy that it is a piece of; 0: a whole key
    bool last = false;    ///< of its round
    std::string through;  ///< last, of a stream: the last id
    std::vector<std::string> phantoms;  ///< last, of a stream: entries that stand for deleted ones
};

/// A key as it was on the origin at one offset, ready to be written.
struct CopyItem {
    Key key;
    uint64_t at = 0;       ///< the origin's offset of this state
    std::string bytes;     ///< RESP commands that write it (RESTORE, DEL, or typed ones)
    int commands = 0;      ///< how many
    bool expires = false;  ///< it has an expiry
    bool unreadable =
        false;  ///< could not be copied at all; `reason` says why. Its operations are dropped
    std::string reason;
    bool big = false;         ///< found too big to be copied whole: only its name (big_keys.h)
    Piece piece;              ///< of a big key, for its temporary key; not the planner's
    bool absent = false;      ///< the origin has no such key
    bool equal = false;       ///< of a repair: the destination holds this state, nothing is written
    std::string change = {};  ///< of a repair: what differs ("value", "extra"); empty: not compared
    std::string detail = {};  ///< of a repair: digests and expiries of both sides
};

struct Step {
    enum class Kind : uint8_t { item, copy, check, command };
    Kind kind = Kind::command;
    int db = 0;
    std::size_t index = 0;  ///< of the item, copy or operation
    Digest128 key;          ///< of a check
    std::string_view name;  ///< of a check
    std::string_view raw;   ///< of a command that runs as it came
    std::string rewritten;  ///< of a command that does not
};

struct Plan {
    std::vector<Step> steps;
    uint64_t applied = 0;    ///< operations that run
    uint64_t contained = 0;  ///< operations that a copy already contains
};

/// What the destination answered to the step of the same index.
struct StepResult {
    bool failed = false;
    std::string_view error;
    int64_t value = 0;  ///< of a check: PEXPIRETIME
};

struct PlannerOptions {
    bool presence_checks = true;  ///< off only in tests that show why they are there
    std::function<bool(const KeyRef&)> in_scope;  ///< empty: everything
    std::function<bool(const Digest128&)>
        doubtful;  ///< keys that are unknown whenever they are not in W
};

class Planner {
  public:
    Planner(Watermarks& watermarks, PlannerOptions options)
        : watermarks_(watermarks), options_(std::move(options)) {}

    /// Steps 0 to 2: the keys that must be copied now, for a batch of `ops` (no global one) with
    /// `items` due.
    KeySet closure(const std::vector<StreamCommand>& ops, const std::vector<CopyItem>& items,
                   const KeySet& repairs);
    /// Step 4, after the keys of the closure were copied. The result refers to all three arguments.
    Plan plan(const std::vector<StreamCommand>& ops, const std::vector<CopyItem>& items,
              const std::vector<CopyItem>& copies);
    /// Step 5, after the plan ran. Returns the repairs of the next batch.
    KeySet commit(const Plan& plan, const std::vector<StreamCommand>& ops,
                  const std::vector<CopyItem>& items, const std::vector<CopyItem>& copies,
                  const std::vector<StepResult>& results);

    /// A verb that the destination does not know: its keys are copied by state from now on. False:
    /// they were already.
    bool copy_by_state(std::string verb) { return by_state_.insert(std::move(verb)).second; }
    void set_doubtful(std::function<bool(const Digest128&)> doubtful) {
        options_.doubtful = std::move(doubtful);
    }
    /// Keys of an operation as the lane counts them: without its own and without what is out of
    /// scope.
    [[nodiscard]] bool in_scope(const KeyRef& key) const {
        return !key.name.starts_with(kOwnPrefix) && (!options_.in_scope || options_.in_scope(key));
    }

  private:
    [[nodiscard]] const Watermark* look(const Digest128& key) const;
    [[nodiscard]] bool ahead(const KeyRef& key, uint64_t end) const;
    [[nodiscard]] bool unknown(const KeyRef& key, uint64_t end) const;
    [[nodiscard]] bool forced(const StreamCommand& op) const;
    /// The destination's own key, which the origin does not have: it is let be.
    [[nodiscard]] bool left_alone(const CopyItem& item) const {
        return item.absent && options_.doubtful && options_.doubtful(item.key.hash);
    }
    void plan_reset(const StreamCommand& op, std::size_t index, Plan& plan);
    void plan_op(const StreamCommand& op, std::size_t index, Plan& plan);
    Watermark& overlay(const KeyRef& key);

    Watermarks& watermarks_;
    PlannerOptions options_;
    std::set<std::string> by_state_;
    /// The watermarks as they will be after the batch; merged by commit().
    tsl::robin_map<Digest128, Watermark, DigestHash> overlay_;
    /// Over the overlay while the closure is sought: what operations of the batch write whole.
    tsl::robin_map<Digest128, Watermark, DigestHash> resets_;
    tsl::robin_map<Digest128, bool, DigestHash>
        alive_;  ///< known to be present, or exactly absent, at this step
    KeySet copied_;
    std::unordered_set<Digest128, DigestHash> left_alone_;  ///< of the batch's copies
    std::vector<bool> item_due_;                            ///< by index of the batch's items
};

}  // namespace exodus::redis
