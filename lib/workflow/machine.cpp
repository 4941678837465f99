#include "workflow/machine.h"

#include <algorithm>
#include <array>
#include <fmt/format.h>

namespace exodus {

namespace {

using S = MigrationState;

constexpr std::array<std::string_view, 7> kCommandNames{"pretest", "analyze",  "compare", "test",
                                                        "migrate", "rollback", "commit"};

struct Arrow {
    S from;
    S to;
};

/// Every arrow of workflow.md. Preparation phases lead forward by state_after(); a cutover goes
/// through `holding`.
constexpr std::array<Arrow, 46> kArrows{{
    {S::created, S::pretested},
    {S::pretested, S::analyzed},
    {S::analyzed, S::compared},
    {S::analyzed, S::tested},  // compare skipped by decision
    {S::compared, S::tested},
    {S::analyzed, S::copying},  // compare and test skipped
    {S::compared, S::copying},  // test skipped
    {S::tested, S::copying},
    {S::copying, S::following},
    {S::following, S::ready},
    {S::ready, S::following},    // lag came back
    {S::following, S::copying},  // the stream broke and the fill begins again
    {S::ready, S::copying},
    {S::ready, S::holding},
    {S::following,
     S::holding},  // a canary's or blue-green's step from a state whose gate was asked just now
    {S::analyzed, S::holding},  // test's rehearsal (compare skipped)
    {S::compared, S::holding},  // test's rehearsal
    {S::tested, S::holding},    // test run again
    {S::holding, S::analyzed},
    {S::holding, S::compared},
    {S::holding, S::tested},
    {S::holding, S::following},
    {S::holding, S::ready},  // abort of a switch
    {S::holding, S::switched},
    {S::holding, S::rolled_back},
    {S::switched, S::holding},  // rollback, blue-green toggle
    {S::switched, S::committed},
    {S::rolled_back, S::following},  // the next attempt: nothing has to be copied again
    {S::rolled_back, S::copying},    // unless the way was lost
    {S::rolled_back, S::aborted},    // give up: both movements end
    {S::created, S::aborted},
    {S::pretested, S::aborted},
    {S::analyzed, S::aborted},
    {S::compared, S::aborted},
    {S::tested, S::aborted},
    {S::copying, S::aborted},
    {S::following, S::aborted},
    {S::ready, S::aborted},
    {S::aborted, S::pretested},
    {S::aborted, S::analyzed},
    {S::aborted, S::compared},
    {S::aborted, S::copying},
    {S::rolled_back, S::holding},  // blue-green toggle back to the target
    {S::holding, S::copying},      // abort of a cutover whose stream broke meanwhile
    {S::rolled_back, S::ready},
    {S::copying, S::ready},  // copied and followed in one look
}};

bool before_copy(S state) {
    return state == S::created || state == S::pretested || state == S::analyzed ||
           state == S::compared || state == S::tested;
}

int rank(S state) {
    switch (state) {
        case S::created:
            return 0;
        case S::aborted:
            return 0;
        case S::pretested:
            return 1;
        case S::analyzed:
            return 2;
        case S::compared:
            return 3;
        case S::tested:
            return 4;
        default:
            return 5;
    }
}

S goal_of(Command phase) {
    switch (phase) {
        case Command::pretest:
            return S::pretested;
        case Command::analyze:
            return S::analyzed;
        case Command::compare:
            return S::compared;
        case Command::test:
            return S::tested;
        case Command::migrate:
            return S::ready;
        case Command::rollback:
            return S::rolled_back;
        case Command::commit:
            return S::committed;
    }
    return S::created;
}

std::string why_not(Command command, const MigrationRow& row, const Skips& skips) {
    const std::string state(to_string(row.state));
    const std::string name(to_string(command));
    if (row.state == S::committed)
        return name + " is not possible: the migration is committed, the target is final";
    if (row.state == S::holding)
        return name +
               " is not possible while writes are held: a cutover has begun and was not ended";
    if (row.state == S::switched)
        return name + " is not possible after the switch: the target is authoritative";
    switch (command) {
        case Command::analyze:
            return "analyze needs pretest first (state '" + state + "')";
        case Command::compare:
            return "compare needs analyze first (state '" + state + "')";
        case Command::test:
            if (row.state == S::aborted)
                return "test is not possible in state 'aborted': the target does not follow; "
                       "compare begins the next attempt";
            if (row.state == S::copying)
                return "test is not possible while the target is being filled; migrate --until "
                       "copied ends that";
            return row.state == S::analyzed && !skips.compare
                       ? "test needs compare first, or a decision that skips it (--skip-gate "
                         "compare --reason TEXT)"
                       : "test needs compare first (state '" + state + "')";
        case Command::migrate:
            if (row.state == S::analyzed)
                return "migrate needs compare and test first, or decisions that skip them";
            if (row.state == S::compared)
                return "migrate needs test first, or a decision that skips it";
            return "migrate needs the phases before it (state '" + state + "')";
        case Command::commit:
            return "commit needs a migration that is ready or switched (state '" + state + "')";
        default:
            return name + " is not possible in state '" + state + "'";
    }
}

bool command_allowed(Command command, const MigrationRow& row, const Skips& skips) {
    const S state = row.state;
    if (state == S::committed) return command == Command::commit;  // says that its goal holds
    if (state == S::holding)
        return command == Command::migrate || command == Command::rollback ||
               command == Command::commit ||
               command == Command::test;  // each resumes or undoes what is open
    if (state == S::switched)
        return command == Command::migrate || command == Command::rollback ||
               command == Command::commit;
    const int at = rank(state);
    switch (command) {
        case Command::pretest:
            return true;
        case Command::analyze:
            return at >= 1 || state == S::aborted;
        case Command::compare:
            return at >= 2 || state == S::aborted;
        case Command::test:
            // It rehearses cutovers: not where none can begin.
            return transition_allowed(state, S::holding) && (at >= 3 || (at == 2 && skips.compare));
        case Command::migrate:
            return at >= 4 || (at == 3 && skips.test) || (at == 2 && skips.compare && skips.test) ||
                   state == S::aborted;
        case Command::rollback:
            return true;  // in `new` its goal holds, in `aborted` mostly
        case Command::commit:
            return state == S::ready;
    }
    return false;
}

/// What each state means for the two movements (redis.md 9 for the directions after a switch).
void set_movements(MigrationRow& row) {
    switch (row.state) {
        case S::created:
        case S::pretested:
        case S::committed:
        case S::aborted:
            row.forward = MovementMode::off;
            row.reverse = MovementMode::off;
            break;
        case S::analyzed:
        case S::compared:
        case S::tested:
            break;  // from compare's start on the target follows; nothing stops that
        case S::copying:
            row.forward = MovementMode::apply;
            row.reverse = MovementMode::off;
            break;
        case S::following:
        case S::ready:
        case S::rolled_back:
            row.forward = MovementMode::apply;
            row.reverse = MovementMode::standby;
            break;
        case S::holding:
            break;  // as before the hold, until C7
        case S::switched:
            row.forward = MovementMode::standby;
            row.reverse = MovementMode::apply;
            break;
    }
}

bool migrating_in(S state) {
    return state == S::copying || state == S::following || state == S::ready ||
           state == S::holding || state == S::switched || state == S::rolled_back;
}

MigrationRow at_authority(MigrationRow row, Side side) {
    row.route.authority = side;
    row.route.writes = side;
    row.route.reads = side;
    row.route.canary_percent = 0;
    row.route.mirror_percent = 0;
    row.route.aa_percent = 0;
    return row;
}

}  // namespace

std::string_view to_string(Command command) {
    return kCommandNames[static_cast<std::size_t>(command)];
}

std::optional<Command> command_from(std::string_view text) {
    for (std::size_t i = 0; i < kCommandNames.size(); ++i) {
        if (kCommandNames[i] == text) return static_cast<Command>(i);
    }
    return std::nullopt;
}

std::vector<Command> allowed_commands(const MigrationRow& row, const Skips& skips) {
    // The one that leads on comes first.
    Command next = Command::pretest;
    switch (row.state) {
        case S::created:
        case S::aborted:
            next = Command::pretest;
            break;
        case S::pretested:
            next = Command::analyze;
            break;
        case S::analyzed:
            next =
                skips.compare ? (skips.test ? Command::migrate : Command::test) : Command::compare;
            break;
        case S::compared:
            next = skips.test ? Command::migrate : Command::test;
            break;
        case S::holding:
            next = row.route.authority == Side::source ? Command::migrate : Command::rollback;
            break;
        case S::switched:
        case S::committed:
            next = Command::commit;
            break;
        default:
            next = Command::migrate;
            break;
    }
    std::vector<Command> out{next};
    for (const Command command :
         {Command::migrate, Command::rollback, Command::commit, Command::pretest, Command::analyze,
          Command::compare, Command::test}) {
        if (command == next || !command_allowed(command, row, skips)) continue;
        if (command == Command::rollback && goal_holds(command, row)) continue;
        if (command == Command::rollback && row.state == S::created) continue;
        out.push_back(command);
    }
    if (row.state == S::committed) out.clear();
    return out;
}

Status check_command(Command command, const MigrationRow& row, const Skips& skips) {
    if (command_allowed(command, row, skips)) return {};
    std::string hint;
    for (const Command allowed : allowed_commands(row, skips)) {
        hint += (hint.empty() ? "allowed now: " : ", ") + std::string(to_string(allowed));
    }
    return fail(ErrorCode::not_allowed, why_not(command, row, skips),
                hint.empty() ? "allowed now: status, report" : hint);
}

bool goal_holds(Command command, const MigrationRow& row) {
    switch (command) {
        case Command::migrate:
            return row.state == S::ready || row.state == S::switched;
        case Command::rollback:
            return row.state == S::created || (row.state == S::aborted && at_rest(row)) ||
                   (row.state == S::rolled_back && row.route.authority == Side::source &&
                    !row.route.hold);
        case Command::commit:
            return row.state == S::committed;
        default:
            return false;
    }
}

bool transition_allowed(S from, S to) {
    return std::any_of(kArrows.begin(), kArrows.end(),
                       [&](const Arrow& arrow) { return arrow.from == from && arrow.to == to; });
}

S state_after(Command phase, S now) {
    if (phase == Command::migrate || phase == Command::rollback || phase == Command::commit)
        return now;
    const S goal = goal_of(phase);
    return rank(goal) > rank(now) && transition_allowed(now, goal) ? goal : now;
}

int current_attempt(const MigrationRow& row) {
    const bool ended = row.state == S::aborted || row.state == S::rolled_back;
    return ended ? row.attempt + 1 : row.attempt;
}

Result<MigrationRow> row_for(const MigrationRow& now, S to, int64_t now_ms) {
    if (!transition_allowed(now.state, to)) {
        return fail(ErrorCode::not_allowed, "a migration cannot go from '" +
                                                std::string(to_string(now.state)) + "' to '" +
                                                std::string(to_string(to)) + "'");
    }
    // The authority moves only in a cutover (row_for_switch); a state that implies another one is a
    // mistake of the caller.
    const bool target_state = to == S::switched || to == S::committed;
    if (to != S::holding && now.state != S::holding &&
        target_state != (now.route.authority == Side::target)) {
        return fail(ErrorCode::not_allowed,
                    "state '" + std::string(to_string(to)) + "' needs a cutover: the " +
                        std::string(to_string(now.route.authority)) + " is authoritative");
    }
    MigrationRow row = now;
    row.state = to;
    set_movements(row);
    row.route.migrating = migrating_in(to);
    if (to != S::aborted) row.attempt = current_attempt(now);
    if (before_copy(to) || to == S::aborted || to == S::committed || to == S::copying)
        row.route.canary_percent = 0;
    if (to != S::compared || now.state == S::holding) row.route.aa_percent = 0;
    if (now.state == S::holding || !may_mirror(row)) row.route.mirror_percent = 0;
    if (to == S::switched) row.switched_ms = now_ms;
    if (to == S::aborted || to == S::committed) {
        row.flag_paused.clear();
        row.forward_flags = {};
        row.reverse_flags = {};
    }
    return row;
}

Status may_mirror(const MigrationRow& row) {
    if (row.route.hold || row.state == S::holding)
        return fail(ErrorCode::not_allowed, "writes are held for a switch", "ask again after it");
    if (row.route.authority == Side::target)
        return fail(ErrorCode::not_allowed, "the target is authoritative: it answers the clients");
    if (row.forward != MovementMode::apply || row.state == S::copying) {
        return fail(
            ErrorCode::not_allowed,
            fmt::format("the target does not follow the source (state '{}')", to_string(row.state)),
            "reads are mirrored from compare on, and again when migrate has copied");
    }
    return {};
}

MigrationRow row_for_compare(const MigrationRow& now, double mirror_percent, double aa_percent) {
    MigrationRow row = now;
    if (row.state == S::aborted) {
        // Data flow from here on, and `aborted` says that none do. G2 was asked just now.
        row.state = S::analyzed;
        row.attempt = current_attempt(now);
    }
    row.forward = MovementMode::apply;
    row.route.mirror_percent = mirror_percent;
    row.route.aa_percent = aa_percent;
    return row;
}

bool at_rest(const MigrationRow& row) {
    return row.forward == MovementMode::off && row.reverse == MovementMode::off;
}

MigrationRow row_at_rest(const MigrationRow& now) {
    MigrationRow row = row_without_mirror(now);
    row.forward = MovementMode::off;
    row.reverse = MovementMode::off;
    return row;
}

MigrationRow row_without_mirror(const MigrationRow& now) {
    MigrationRow row = now;
    row.route.mirror_percent = 0;
    row.route.aa_percent = 0;
    return row;
}

MigrationRow row_for_rehearsal(const MigrationRow& now) {
    MigrationRow row = now;
    if (row.forward == MovementMode::off) row.forward = MovementMode::apply;
    if (row.reverse == MovementMode::off) row.reverse = MovementMode::standby;
    return row;
}

Result<MigrationRow> row_for_canary(const MigrationRow& now, double percent) {
    if (percent < 0 || percent > 100)
        return fail(ErrorCode::usage, "a canary's share is between 0 and 100 %");
    if (percent > 0 && now.state != S::following && now.state != S::ready) {
        return fail(ErrorCode::not_allowed,
                    "reads can move to the target only while it follows (state '" +
                        std::string(to_string(now.state)) + "')");
    }
    MigrationRow row = now;
    row.route.canary_percent = percent;
    return row;
}

MigrationRow row_for_hold(const MigrationRow& now, int64_t deadline_ms) {
    MigrationRow row = now;
    row.state = S::holding;
    row.route.hold = true;
    row.route.hold_deadline_ms = deadline_ms;
    row.route.migrating = true;
    row.route.mirror_percent = 0;
    row.route.aa_percent = 0;
    // The way back is attached before it is needed: a rehearsal begins in states that do not keep
    // it.
    MovementMode& back = now.route.authority == Side::source ? row.reverse : row.forward;
    if (back == MovementMode::off) back = MovementMode::standby;
    return row;
}

MigrationRow row_for_switch(const MigrationRow& now, Side gaining, S to, int64_t now_ms) {
    MigrationRow row = at_authority(now, gaining);
    row.state = to;
    row.route.migrating = migrating_in(to);
    row.forward = gaining == Side::target ? MovementMode::standby : MovementMode::apply;
    row.reverse = gaining == Side::target ? MovementMode::apply : MovementMode::standby;
    if (gaining == Side::target) row.switched_ms = now_ms;
    return row;
}

MigrationRow row_for_abort(const MigrationRow& now, S back_to) {
    MigrationRow row = now;
    row.state = back_to;
    row.route.migrating = migrating_in(back_to);
    return row;
}

MigrationRow row_for_release(const MigrationRow& now) {
    MigrationRow row = now;
    row.route.hold = false;
    row.route.hold_deadline_ms = 0;
    return row;
}

}  // namespace exodus
