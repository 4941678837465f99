// Data movement in one direction (source to target, or the reverse): attach to the origin's change
// stream, copy what was there, apply what changes. Made by a family; driven by workflow's mover
// inside the interlay's process; steered by the state file. Owns its threads and connections. All
// calls are thread-safe and return quickly unless they say otherwise.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/error.h"
#include "core/endpoint.h"

namespace exodus {

enum class Direction : uint8_t { forward, reverse };

constexpr Side origin_of(Direction d) {
    return d == Direction::forward ? Side::source : Side::target;
}
constexpr Side destination_of(Direction d) {
    return d == Direction::forward ? Side::target : Side::source;
}
constexpr std::string_view to_string(Direction d) {
    return d == Direction::forward ? "forward" : "reverse";
}

/// What the state file wants of one direction. It is a column of the migration row, set by
/// transitions.
enum class MovementMode : uint8_t {
    off,      ///< not attached
    standby,  ///< attached and reading; nothing is applied; its start moves on with what it reads
    apply,    ///< from the durable start: fill what is missing, then follow
};

enum class MovementStage : uint8_t {
    off,
    attaching,
    standby,
    filling,
    following,
    repairing,
    blocked,
    failed
};
std::string_view to_string(MovementStage stage);
std::string_view to_string(MovementMode mode);

/// The family's own text of a place in a change stream; comparable only by the family.
struct Position {
    std::string text;
    bool operator==(const Position&) const = default;
};

struct MovementStatus {
    MovementStage stage = MovementStage::off;
    uint64_t items_done = 0;  ///< copied keys, rows, documents
    uint64_t items_total_estimate = 0;
    uint64_t bytes_copied = 0;
    uint64_t changes_applied = 0;
    double items_per_s = 0;
    double changes_per_s = 0;
    // A batch is one transaction on the destination; its time is from sent to answered.
    uint64_t batches = 0;
    uint64_t batches_us = 0;              ///< how long they took in all
    std::optional<int64_t> batch_p50_us;  ///< of about the last ten seconds; none: there was none
    std::optional<int64_t> batch_p99_us;
    uint64_t lag_bytes = 0;         ///< origin's end of stream minus applied
    std::optional<int64_t> lag_ms;  ///< the oldest change not applied is at most this old; none
                                    ///< until all that was written has been applied once
    uint64_t queue_bytes = 0;       ///< the replay queue (spool) on disk
    uint64_t queue_max_bytes = 0;   ///< what it may take
    uint64_t retries = 0;
    uint64_t failed_items = 0;  ///< rows in the item-error table
    uint64_t repairs_open = 0;
    uint64_t items_kept = 0;  ///< the destination's own, left as they are by the conflict policy
    uint64_t changes_dropped = 0;  ///< changes of the origin to kept items, not applied
    uint64_t items_equal = 0;      ///< of a repair: found equal, not written
    uint64_t items_restored = 0;   ///< of a repair: differed, written again
    uint64_t items_removed = 0;    ///< of a repair: only the destination had them
    Position applied;
    int64_t proven_ms = 0;    ///< Unix ms of the last successful prove(), 0 never
    std::string waiting_for;  ///< why nothing moves now; empty when it moves
    std::string throttled;    ///< why it is slower than it could be
    std::string degraded;     ///< what is wrong but being retried
    std::string blocked;      ///< what an operator must solve
};

class Movement {
  public:
    virtual ~Movement() = default;

    /// Changes the mode; idempotent. Going to apply resumes from what is durable (checkpoints on
    /// the destination, positions in the journal); with nothing durable it attaches, stores the
    /// start, and fills.
    virtual Status set_mode(MovementMode mode) = 0;
    [[nodiscard]] virtual MovementStatus status() const = 0;

    /// The origin's end of stream, read now. Blocks for one round trip.
    virtual Result<Position> end_position() = 0;
    /// True when everything up to `position` is applied and nothing is left to repair.
    virtual Result<bool> applied_through(const Position& position) = 0;
    /// Lets the stream stand still for a moment, so that both sides can be read at one position
    /// although the origin never rests. Ticket 0: stops behind what is in flight and gives a new
    /// ticket. With a ticket: applies up to exactly `position` and stops there. Returns when it
    /// stands; `span` after the first call it goes on by itself. Errors: not_allowed (not
    /// following), locked (it stands for somebody else), gap (already past it), timeout.
    virtual Result<uint64_t> stand(uint64_t ticket, const Position& position,
                                   milliseconds span) = 0;
    /// Goes on. False: it did so before by itself, and what was read meanwhile proves nothing.
    virtual bool go_on(uint64_t ticket) = 0;
    /// Writes a marker to the origin and waits until it comes back through the stream. Blocks up to
    /// `timeout`.
    virtual Status prove(milliseconds timeout) = 0;
    /// In standby: makes the origin's end of stream now the durable start, from which apply will go
    /// on. Returns it.
    virtual Result<Position> arm() = 0;
    /// After applied_through the end position, in the hold: stops applying, moves the checkpoints
    /// from the destination into the journal so that the destination holds no exodus data when it
    /// becomes the authority, and goes to standby from there. Called again in that hold it proves
    /// that the destination is still the one that was handed over: error safety when it may have
    /// lost what was applied.
    virtual Status hand_over() = 0;
    /// Undoes hand_over after an abort: checkpoints back to the destination, mode apply. When
    /// nothing was handed over it changes nothing, the mode neither: the caller sets it afterwards.
    virtual Status take_back() = 0;
    /// Keys changed on the origin in the last `span`, as the verifier wants them; bounded.
    virtual std::vector<std::string> touched(milliseconds span) = 0;
    /// Copies the items of the item-error table again. Returns how many were given to the lanes.
    virtual Result<uint64_t> redrive() = 0;
    /// Stops the fill (not the stream) and lets it go on.
    virtual void set_paused(bool paused) = 0;
    /// Live knobs: bytes_per_s, origin_p99_ratio, ... ; an unknown key is an error with the list of
    /// known ones.
    virtual Status set_throttle(std::string_view key, std::string_view value) = 0;
    /// Removes everything that exodus keeps on the destination and in the journal for this
    /// direction; mode off.
    virtual Status forget() = 0;
    /// Ends threads and connections; what is durable stays. Blocks up to a few seconds.
    virtual void stop() = 0;
};

}  // namespace exodus
