// The states of a migration and what may follow: which command is allowed where, which state a
// phase leads to, and what each state means for traffic and for the data movements. Pure functions;
// the store makes their results durable.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "core/state.h"

namespace exodus {

/// The seven phases as commands.
enum class Command : uint8_t { pretest, analyze, compare, test, migrate, rollback, commit };
std::string_view to_string(Command command);
std::optional<Command> command_from(std::string_view text);

/// Phases that a decision skips (--skip-gate; compare and test only).
struct Skips {
    bool compare = false;
    bool test = false;
};

/// Commands that make sense now, most likely first.
std::vector<Command> allowed_commands(const MigrationRow& row, const Skips& skips = {});
/// Error not_allowed with the reason, and the commands that are allowed now as hint.
Status check_command(Command command, const MigrationRow& row, const Skips& skips = {});
/// True when the goal of the command holds already (pretest never; commit in `committed`, rollback
/// in `rolled_back`, and in `aborted` when no data move, ...).
bool goal_holds(Command command, const MigrationRow& row);

/// All arrows of the table.
bool transition_allowed(MigrationState from, MigrationState to);
/// The state after a phase of preparation succeeded: the next one, or the same when the migration
/// is already further.
MigrationState state_after(Command phase, MigrationState now);

/// The attempt that the next phase works in: after a rollback it is not the row's own any more.
/// Decisions of an operator belong to it.
int current_attempt(const MigrationRow& row);

/// The row as it shall be in state `to`: route (without epoch), movement modes, attempt, flags,
/// switched_ms. Error not_allowed when there is no such arrow. `now_ms` for switched_ms. Live knobs
/// of the route (mirror, aa, canary) that the new state cannot have are cleared.
Result<MigrationRow> row_for(const MigrationRow& now, MigrationState to, int64_t now_ms);

// Changes that keep the state (the store still counts the epoch).
/// Reads can be mirrored to the side that follows: the target holds the data and the source
/// answers. Error not_allowed with the reason. Whether the target has caught up is the mover's to
/// say.
Status may_mirror(const MigrationRow& row);
/// compare's start: forward applies, answers are mirrored. Keeps the state, but from `aborted` it
/// begins the next attempt as `analyzed`.
MigrationRow row_for_compare(const MigrationRow& now, double mirror_percent, double aa_percent);
/// compare's end: no more mirroring; the target goes on following.
MigrationRow row_without_mirror(const MigrationRow& now);
/// Both movements are off.
bool at_rest(const MigrationRow& row);
/// Both movements off, nothing mirrored. Keeps the state.
MigrationRow row_at_rest(const MigrationRow& now);
/// test's start: the target follows and the way back is attached, so that rehearsed cutovers find
/// both. Keeps the state.
MigrationRow row_for_rehearsal(const MigrationRow& now);
/// A step of a canary (0 … 100 % of sessions read from the target). Error not_allowed unless
/// `following` or `ready`.
Result<MigrationRow> row_for_canary(const MigrationRow& now, double percent);

// The cutover's rows. `gaining` gets the authority.
MigrationRow row_for_hold(const MigrationRow& now, int64_t deadline_ms);
/// C7: gaining side has authority, reads and writes; the hold stays until its fence is open and all
/// workers follow.
MigrationRow row_for_switch(const MigrationRow& now, Side gaining, MigrationState to,
                            int64_t now_ms);
/// The durable abort: back to `back_to`; the hold stays until the fence is lifted.
MigrationRow row_for_abort(const MigrationRow& now, MigrationState back_to);
/// Held writes go out. Keeps the state.
MigrationRow row_for_release(const MigrationRow& now);

}  // namespace exodus
