// A key that is too big to be copied whole, copied in pieces while it is written (redis.md 4.8):
// what an operation does to it, which elements must be read again, which operations follow the
// copy, and when the copy has to start again. Pure: no I/O, no clock; the lane drives it
// (big_keys.h).
//
// A copy goes through rounds. In each, pieces are read between two marks of the origin's stream
// while the names that operations touch are collected; the next round reads those names again. When
// few are left the last ones are read in one transaction at O2: elements that are not among them
// are as they were when the lane last stood still for a mark, so operations up to O2 run on them
// alone, and later ones run on the finished key.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_set>
#include <vector>

#include "families/redis/payload.h"
#include "families/redis/stream_command.h"

namespace exodus::redis {

/// Which keys are copied in pieces.
struct BigKeySizes {
    bool rewritten = false;       ///< the destination does not load every payload of the origin
    bool field_expiries = false;  ///< HSCAN does not tell when fields expire: such hashes are whole
    /// Worth asking for the type.
    [[nodiscard]] bool may_be(int64_t bytes) const;
    [[nodiscard]] bool in_pieces(ValueKind kind, int64_t bytes) const;
};

enum class BigEffect : uint8_t {
    none,      ///< what the last transaction reads whole anyway (expiry, groups, new entries), or a
               ///< mere read
    elements,  ///< changes the elements that it names
    whole,     ///< anything else
};

struct BigEffectOf {
    BigEffect effect = BigEffect::whole;
    std::vector<std::string_view> names;  ///< of `elements`
};

/// What `op`, which names the key, does to a key of this kind.
BigEffectOf big_effect(ValueKind kind, const StreamCommand& op, const Digest128& key);

using NameSet = std::unordered_set<std::string>;

/// The command of an operation on the key `name` instead, without the elements in `skip`; empty
/// when nothing is left of it.
std::string redirect(ValueKind kind, const StreamCommand& op, std::string_view name,
                     const NameSet& skip);

class BigKeyCopy {
  public:
    struct Limits {
        std::size_t final_names;  ///< elements that the last transaction may read
        std::size_t names;        ///< elements touched during one round
        std::size_t names_bytes;
        std::size_t kept;  ///< operations kept for later
        std::size_t kept_bytes;
        int rounds;
    };
    /// `mark`: the origin's offset before the first piece is read.
    BigKeyCopy(ValueKind kind, const Digest128& key, std::string temporary, uint64_t mark,
               const Limits& limits);

    /// An operation on the key that the lane has passed.
    void note(const StreamCommand& op);
    /// A piece that was read at or before this offset was written.
    void piece_written(uint64_t read_at);
    /// It was the last one of the round.
    void round_written(uint64_t read_at);

    enum class Next : uint8_t {
        wait,
        read_names,  ///< take_names() and read them in a further round
        read_last,   ///< one transaction: the names() and what is read whole; then settle()
        install,
        start_again,  ///< reason() says why
    };
    /// What can be done when the lane stands at `applied`, everything up to it noted.
    [[nodiscard]] Next next(uint64_t applied) const;
    /// Begins a round that reads the names that were touched.
    std::vector<std::string> take_names();
    /// Begins a round that reads on where the last one ended.
    void read_on();
    [[nodiscard]] const NameSet& names() const { return names_; }
    /// The last transaction was made at `offset`.
    void settle(uint64_t offset);
    [[nodiscard]] uint64_t settled_at() const { return settled_at_; }
    void spoil(std::string reason);
    [[nodiscard]] const std::string& reason() const { return reason_; }

    /// Commands for the temporary key: operations up to the last transaction that it did not
    /// contain.
    [[nodiscard]] const std::string& catch_up() const { return catch_up_; }
    [[nodiscard]] int catch_up_commands() const { return catch_up_commands_; }
    /// Operations behind it, in order; they own their bytes.
    std::vector<StreamCommand> take_kept() { return std::move(kept_); }

    [[nodiscard]] ValueKind kind() const { return kind_; }
    [[nodiscard]] const std::string& temporary() const { return temporary_; }

  private:
    void keep(const StreamCommand& op);
    void add_names(const std::vector<std::string_view>& names);
    void run_on_temporary(const StreamCommand& op);
    [[nodiscard]] bool in_order() const;

    ValueKind kind_;
    Digest128 key_;
    std::string temporary_;
    uint64_t mark_;
    Limits limits_;
    std::string reason_;
    uint64_t read_at_ = 0;  ///< offset of the latest piece
    bool round_done_ = false;
    bool settling_ = false;
    int rounds_ = 0;
    uint64_t settled_at_ = 0;
    NameSet names_;
    std::size_t names_bytes_ = 0;
    std::vector<StreamCommand> kept_;
    std::size_t kept_bytes_ = 0;
    std::string catch_up_;
    int catch_up_commands_ = 0;
};

}  // namespace exodus::redis
