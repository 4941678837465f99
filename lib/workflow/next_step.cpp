#include "workflow/next_step.h"

#include <algorithm>
#include <fmt/format.h>

#include "workflow/gate_text.h"

namespace exodus {

namespace {

using S = MigrationState;

bool is_switched(const MigrationRow& row) { return row.state == S::switched; }

/// States that lead on only while the data moves.
bool relies_on_data(const MigrationRow& row) {
    switch (row.state) {
        case S::copying:
        case S::following:
        case S::ready:
        case S::rolled_back:
        case S::switched:
            return true;
        case S::analyzed:
        case S::compared:
        case S::tested:
            return row.forward == MovementMode::apply;
        default:
            return false;
    }
}

bool needs_data(Command command) {
    return command == Command::compare || command == Command::test || command == Command::migrate ||
           command == Command::commit;
}

/// What tells about an obstacle or removes it; empty when nothing is in the way.
std::vector<std::string> ways_out(const MigrationRow& row, const Obstacles& in_the_way) {
    std::vector<std::string> out;
    if (!relies_on_data(row)) return out;
    if (in_the_way.failed_items > 0) out.emplace_back("exodus errors");
    if (!in_the_way.blocked.empty()) out.emplace_back("exodus events");
    const bool waiting = in_the_way.silent || in_the_way.waits;
    if (out.empty() && waiting && (row.state == S::ready || is_switched(row)))
        out.emplace_back("exodus status --watch");
    return out;
}

}  // namespace

Direction feeding(const MigrationRow& row) {
    return row.route.authority == Side::source ? Direction::forward : Direction::reverse;
}

MovementStatus last_seen(const MigrationRow& row, Direction direction) {
    const bool forward = direction == Direction::forward;
    const MovementFlags& flags = forward ? row.forward_flags : row.reverse_flags;
    MovementStatus out;
    out.degraded = flags.degraded;
    out.blocked = flags.blocked;
    return out;
}

Obstacles obstacles_of(const MigrationRow& row, const MovementStatus& forward,
                       const MovementStatus& reverse) {
    const MovementStatus& feed = feeding(row) == Direction::forward ? forward : reverse;
    Obstacles out;
    out.blocked = feed.blocked;
    if (out.blocked.empty() && feed.stage == MovementStage::failed)
        out.blocked = "the movement failed";
    // A switch needs the way back as well.
    if (out.blocked.empty() && row.state == S::ready && !reverse.blocked.empty())
        out.blocked = "the way back: " + reverse.blocked;
    out.failed_items = feed.failed_items;
    out.waits = !feed.degraded.empty();
    return out;
}

std::string blocked_text(const Obstacles& obstacles) {
    if (!obstacles.blocked.empty()) return "blocked: " + obstacles.blocked;
    if (obstacles.failed_items > 0)
        return fmt::format("blocked: {} items could not be moved", grouped(obstacles.failed_items));
    return {};
}

std::vector<std::string> next_commands(const MigrationRow& row, const Skips& skips,
                                       const Obstacles& in_the_way) {
    std::vector<std::string> out = ways_out(row, in_the_way);
    const bool stuck = !out.empty();
    if (is_switched(row)) {
        // Nothing but the target's own word is left when the source cannot be brought back.
        const bool lost = in_the_way.silent || !in_the_way.blocked.empty();
        if (lost) out.emplace_back("exodus commit --skip-gate commit --reason TEXT");
        if (lost || in_the_way.failed_items > 0) return out;
    }
    if (row.state == S::ready && row.route.authority == Side::source && !stuck) {
        if (!in_the_way.compare_open) {
            out.emplace_back("exodus compare");
        } else {
            if (in_the_way.approval_missing)
                out.emplace_back("exodus approve switch --reason TEXT");
            out.emplace_back("exodus migrate --switch");
        }
    }
    const bool rests = row.state == S::copying && !row.flag_paused.empty();
    if (rests && !stuck) out.emplace_back("exodus migrate --resume");
    for (const Command command : allowed_commands(row, skips)) {
        // At `ready` a plain migrate has reached its goal; the switch is the next step.
        if (command == Command::migrate && (row.state == S::ready || rests)) continue;
        if (stuck && !is_switched(row) && needs_data(command)) continue;
        std::string line = "exodus " + std::string(to_string(command));
        if (std::find(out.begin(), out.end(), line) == out.end()) out.push_back(std::move(line));
    }
    // The target goes on following until the next attempt, or until this.
    if (row.state == S::rolled_back) out.emplace_back("exodus rollback --give-up");
    return out;
}

}  // namespace exodus
