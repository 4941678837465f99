#include "workflow/gate_text.h"

#include <algorithm>
#include <fmt/format.h>

#include "base/limits.h"
#include "workflow/limits.h"

namespace exodus {

std::string grouped(uint64_t number) {
    std::string digits = std::to_string(number);
    for (auto at = static_cast<std::ptrdiff_t>(digits.size()) - 3; at > 0; at -= 3) {
        digits.insert(static_cast<std::size_t>(at), ",");
    }
    return digits;
}

std::string span_text(int64_t ms) {
    if (ms < 1'000) return fmt::format("{} ms", ms);
    if (ms < 60'000) return fmt::format("{:.3g} s", static_cast<double>(ms) / 1000);
    const int64_t minutes = ms / 60'000;
    if (minutes < 60) return fmt::format("{} min", minutes);
    return minutes % 60 == 0 ? fmt::format("{} h", minutes / 60)
                             : fmt::format("{} h {} min", minutes / 60, minutes % 60);
}

std::vector<std::string> failed_lines(const GateReport& report) {
    std::vector<std::string> out;
    if (report.open()) return out;
    for (const GateRow& row : report.rows) {
        if (row.verdict == GateVerdict::pass || row.verdict == GateVerdict::skipped) continue;
        std::string line = fmt::format("{}: {}", row.requirement, row.found);
        if (!row.hint.empty()) line += fmt::format(" ({})", row.hint);
        out.push_back(std::move(line));
    }
    return out;
}

std::string verdict_word(GateVerdict verdict) {
    std::string word(to_string(verdict));
    std::transform(word.begin(), word.end(), word.begin(),
                   [](unsigned char c) { return static_cast<char>(std::toupper(c)); });
    return word;
}

std::string state_text(const MigrationRow& row) {
    if (row.route.authority == Side::target && row.state < MigrationState::switched) {
        return "a rehearsed switch was interrupted: target answers everything until the authority "
               "is given back";
    }
    switch (row.state) {
        case MigrationState::created:
            return "source answers everything; nothing was looked at yet";
        case MigrationState::pretested:
            return "source answers everything; both endpoints were checked";
        case MigrationState::analyzed:
            return "source answers everything; traffic was profiled and the plan is made";
        case MigrationState::compared:
            return "source answers everything; the target follows and answered alike";
        case MigrationState::tested:
            return "source answers everything; switch and rollback were rehearsed";
        case MigrationState::copying:
            return "source answers everything; the target is being filled";
        case MigrationState::following:
            return "source answers everything; the target follows";
        case MigrationState::ready:
            return "source answers everything; the target follows and is ready for the switch";
        case MigrationState::holding:
            return "writes are held for a switch of the authority";
        case MigrationState::switched:
            return row.reverse_flags.blocked.empty()
                       ? "target answers everything; rollback loses nothing, since the reverse "
                         "stream feeds the source"
                       : "target answers everything; the way back is blocked";
        case MigrationState::committed:
            return "target answers everything, for good";
        case MigrationState::rolled_back:
            return "source answers everything, with every write made meanwhile";
        case MigrationState::aborted:
            return "source answers everything; nothing of exodus moves data";
    }
    return {};
}

namespace {

std::string lag_text(const MovementStatus& status) {
    if (!status.lag_ms) return "not yet caught up";
    return fmt::format("lag {:.2f} s", static_cast<double>(*status.lag_ms) / 1000);
}

std::string flow(std::string_view from, std::string_view to, const MovementStatus& status) {
    switch (status.stage) {
        case MovementStage::filling:
            return fmt::format("{} ──copy──▶ {}  {} of ~{}  {}", from, to,
                               grouped(status.items_done), grouped(status.items_total_estimate),
                               lag_text(status));
        case MovementStage::repairing:
            return fmt::format("{} ──repair──▶ {}  {} open  {}", from, to,
                               grouped(status.repairs_open), lag_text(status));
        case MovementStage::following:
            return fmt::format("{} ──stream──▶ {}  {}", from, to, lag_text(status));
        default:
            return fmt::format("{} ──▶ {}  {}", from, to, to_string(status.stage));
    }
}

}  // namespace

std::string data_flow_text(const MigrationRow& row, const MovementStatus& forward,
                           const MovementStatus& reverse) {
    if (row.forward == MovementMode::apply) return flow("source", "target", forward);
    if (row.reverse == MovementMode::apply) return flow("target", "source", reverse);
    return "none";
}

std::string way_back_text(const MigrationRow& row, const MovementStatus& forward,
                          const MovementStatus& reverse, int64_t now_ms) {
    if (row.state == MigrationState::committed) return "closed";
    const bool switched = row.route.authority == Side::target;
    if (switched && row.reverse != MovementMode::apply)
        return "none: the reverse stream does not run";
    if (switched && !reverse.blocked.empty()) return "blocked: " + reverse.blocked;
    if (switched) {
        return reverse.lag_ms ? fmt::format("open, the source follows with {}", lag_text(reverse))
                              : "open, the source has not yet caught up";
    }
    if (row.reverse == MovementMode::off) return "not needed yet: the source is the authority";
    (void)forward;
    if (reverse.stage != MovementStage::standby)
        return fmt::format("not armed: {}", to_string(reverse.stage));
    if (reverse.proven_ms == 0) return "attached, not yet proven";
    return fmt::format("armed, idle (checked {} ago)",
                       span_text(std::max<int64_t>(0, now_ms - reverse.proven_ms)));
}

WayBack way_back_now(const MigrationRow& row, const MovementStatus& reverse,
                     const Answering& answering, int64_t now_ms) {
    if (row.state == MigrationState::committed)
        return {false, "everything written since the switch: the migration is final"};
    if (row.route.authority == Side::source) {
        // A switch needs the stream back; before it, nothing is written anywhere else.
        const bool proven =
            reverse.proven_ms != 0 && now_ms - reverse.proven_ms <= limits::kProveAge_ms_max;
        const bool armed =
            row.state != MigrationState::ready ||
            (reverse.stage == MovementStage::standby && proven && reverse.blocked.empty());
        return {armed, ""};
    }
    if (row.reverse != MovementMode::apply)
        return {false, "everything written since the switch: no stream feeds the source"};
    const std::string behind = reverse.lag_ms
                                   ? fmt::format("the last {}", span_text(*reverse.lag_ms))
                                   : std::string("what it has not yet caught up with");
    if (!answering.interlay) return {false, behind + ", until an interlay runs"};
    if (!answering.source) return {false, behind + ", until the source answers"};
    // It is the target that has to be fenced and drained.
    if (!answering.target) return {false, behind + ", until the target answers"};
    if (!reverse.blocked.empty())
        return {false,
                "what the source did not get since its stream is blocked: " + reverse.blocked};
    // A connection that is made anew in a moment is no news.
    if (!reverse.degraded.empty() &&
        reverse.lag_ms.value_or(limits::kWayBackTrouble_ms) >= limits::kWayBackTrouble_ms)
        return {false, behind + ": " + reverse.degraded};
    if (reverse.failed_items > 0)
        return {false, fmt::format("{} items that could not be moved (exodus errors)",
                                   grouped(reverse.failed_items))};
    if (reverse.stage != MovementStage::following && reverse.stage != MovementStage::repairing)
        return {false, fmt::format("{}: the stream to the source is {}", behind,
                                   to_string(reverse.stage))};
    return {true, ""};
}

std::string verify_text(const VerifyResult& result) {
    std::string text =
        fmt::format("{} of {} keys   missing {}   extra {}   different {}",
                    grouped(result.compared), grouped(result.source_keys), grouped(result.missing),
                    grouped(result.extra), grouped(result.different));
    if (result.unresolved != 0) text += fmt::format("   unresolved {}", grouped(result.unresolved));
    if (result.kept != 0)
        text += fmt::format("   kept by the conflict policy {}", grouped(result.kept));
    return text;
}

std::string conflicts_text(const MovementStatus& status) {
    std::string text;
    const auto add = [&text](const std::string& part) {
        text += (text.empty() ? "" : "   ") + part;
    };
    if (status.items_kept != 0)
        add(fmt::format("{} of the target kept, {} changes of the source to them dropped",
                        grouped(status.items_kept), grouped(status.changes_dropped)));
    if (status.items_equal + status.items_restored + status.items_removed != 0)
        add(fmt::format("repaired: {} equal, {} restored, {} removed", grouped(status.items_equal),
                        grouped(status.items_restored), grouped(status.items_removed)));
    if (!text.empty()) text += "   (exodus divergences changes)";
    return text;
}

}  // namespace exodus
