// Names that the target held before the first copy, and what the conflict policy says about each
// (redis.md 6). Settled once before the first start is durable, and kept until a policy is settled
// anew: also over a rollback, so that the next attempt does not take them for its own.
//
// On disk, in the movement's private directory: `redis-foreign-<digest>`, the sorted 16-byte hashes
// of the kept names and then of the left ones; how many of each, and the digest, are in the journal
// ("forward-past", "foreign"). Beside it `….forward.taken` and `….reverse.taken` grow by the hashes
// of names that this direction has written since: they are ordinary ones from then on.
#pragma once

#include <string>
#include <string_view>
#include <unordered_set>
#include <vector>

#include "core/family.h"
#include "families/redis/canonical.h"
#include "families/redis/watermarks.h"

namespace exodus::redis {

class ForeignKeys {
  public:
    struct Names {
        std::vector<Digest128> kept;  ///< the target's value stays, whatever the source has
        std::vector<Digest128> left;  ///< stays only as long as the source lacks the name
        [[nodiscard]] std::size_t size() const { return kept.size() + left.size(); }
    };

    ForeignKeys() = default;
    ~ForeignKeys();
    ForeignKeys(ForeignKeys&& other) noexcept;
    ForeignKeys& operator=(ForeignKeys&& other) noexcept;

    /// As `direction` sees them; empty when there were none. Error safety: the list is damaged.
    static Result<ForeignKeys> load(const FamilyContext& context, Direction direction);
    /// Replaces whatever was settled before; durable when it returns.
    static Status save(const FamilyContext& context, Names names);
    /// Arms the reverse direction: both sides hold what they hold, nothing is taken yet.
    static Status forget_taken(const FamilyContext& context, Direction direction);

    [[nodiscard]] bool empty() const { return names_.size() == 0; }
    [[nodiscard]] std::size_t kept_count() const { return names_.kept.size(); }
    /// Never written by this direction, whatever its stream says.
    [[nodiscard]] bool never_written(const Digest128& key) const;
    /// What the destination has under this name is not what the origin had: an operation on it
    /// needs a copy first, and as long as the origin lacks it, it is let be.
    [[nodiscard]] bool doubtful(const Digest128& key) const;
    /// True for a difference that the policy wants, so it is no divergence.
    [[nodiscard]] bool excuses(const Digest128& key, Difference difference) const;
    /// These are about to be written. Durable when it returns, so that a crash between cannot make
    /// them look like the target's own.
    Status take(const std::vector<Digest128>& keys);

  private:
    Names names_;
    std::unordered_set<Digest128, DigestHash> taken_;
    Direction direction_ = Direction::forward;
    std::string taken_path_;
    int taken_file_ = -1;
};

}  // namespace exodus::redis
