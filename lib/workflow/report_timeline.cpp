// The timeline of the report: who did what when and why, from every table that remembers it.
#include <algorithm>
#include <array>
#include <fmt/format.h>
#include <string_view>

#include "base/limits.h"
#include "workflow/report_parts.h"

namespace exodus::report {

using nlohmann::json;

namespace {

/// Events that a person or the mover caused and no other table tells. The others (state.changed,
/// decision.…) would say twice what stands in a row of its own.
constexpr std::array<std::string_view, 5> kEvents{"route.mirror", "canary.", "mover.blocked",
                                                  "mover.degraded", "worker.dropped"};

bool is_told(const EventRow& event) {
    return std::any_of(kEvents.begin(), kEvents.end(), [&](std::string_view code) {
        return std::string_view(event.code).starts_with(code);
    });
}

json row_of(int64_t at_ms, const char* kind, std::string what, std::string outcome,
            const Owner& owner, std::string reason) {
    return {{"at_ms", at_ms},
            {"kind", kind},
            {"what", std::move(what)},
            {"outcome", outcome},
            {"by", owner_name(owner)},
            {"via", owner.channel},
            {"reason", std::move(reason)}};
}

/// The command in whose time something was done by the same process; null when none is stored.
const CommandRow* command_of(const std::vector<CommandRow>& commands, const Owner& owner,
                             int64_t at_ms) {
    const auto found =
        std::find_if(commands.begin(), commands.end(), [&](const CommandRow& command) {
            return command.owner.pid == owner.pid && command.owner.host == owner.host &&
                   command.started_ms <= at_ms &&
                   (command.ended_ms == 0 || at_ms <= command.ended_ms);
        });
    return found == commands.end() ? nullptr : &*found;
}

class Timeline {
  public:
    Timeline(WorkflowStore& store, int64_t migration) : store_(store), migration_(migration) {}

    Result<json> read() {
        auto commands = store_.commands(migration_, limits::kReportRows_max);
        if (!commands) return tl::unexpected(std::move(commands.error()));
        commands_ = std::move(*commands);
        EXODUS_TRY(runs());
        EXODUS_TRY(decisions());
        EXODUS_TRY(epochs());
        other_commands();
        // All of these come newest first: what has the same time keeps its order.
        std::reverse(rows_.begin(), rows_.end());
        EXODUS_TRY(events());
        std::stable_sort(rows_.begin(), rows_.end(), [](const json& a, const json& b) {
            return a.at("at_ms").get<int64_t>() < b.at("at_ms").get<int64_t>();
        });
        return json(rows_);
    }

  private:
    Status runs() {
        auto runs = store_.runs(migration_, limits::kReportRows_max);
        if (!runs) return tl::unexpected(std::move(runs.error()));
        for (const RunRow& run : *runs) {
            const json detail = object_of(run.detail);
            json row =
                row_of(run.started_ms, run.phase.starts_with("cutover.") ? "hand-over" : "phase",
                       run.phase, detail.value("outcome", run.status), run.owner,
                       detail.value("reason", ""));
            row["attempt"] = run.attempt;
            if (run.ended_ms != 0) row["took_ms"] = run.ended_ms - run.started_ms;
            if (const CommandRow* command = command_of(commands_, run.owner, run.started_ms)) {
                row["command"] = command->command;
                shown_.push_back(command->id);
            }
            rows_.push_back(std::move(row));
        }
        return {};
    }

    Status decisions() {
        auto decisions = store_.decisions(migration_, limits::kReportRows_max);
        if (!decisions) return tl::unexpected(std::move(decisions.error()));
        for (const DecisionRow& decision : *decisions) {
            json row = row_of(decision.at_ms, "decision", decision.kind + " " + decision.subject,
                              "", decision.owner, decision.reason);
            row["attempt"] = decision.attempt;
            rows_.push_back(std::move(row));
            if (const CommandRow* command = command_of(commands_, decision.owner, decision.at_ms))
                shown_.push_back(command->id);
        }
        return {};
    }

    /// Changes of the authority, and those of the route alone: canary steps, mirroring, standby.
    Status epochs() {
        auto epochs = store_.epochs(migration_, limits::kReportRows_max);
        if (!epochs) return tl::unexpected(std::move(epochs.error()));
        for (std::size_t i = 0; i < epochs->size(); ++i) {
            const EpochRow& now = (*epochs)[i];
            if (i + 1 == epochs->size()) continue;  // the migration's own beginning
            const EpochRow& before = (*epochs)[i + 1];
            const bool moved = before.authority != now.authority;
            // The hold and its end belong to a hand-over, which has a row.
            const bool route = now.from == now.to && !now.hold && !before.hold;
            if (!moved && !route) continue;
            rows_.push_back(
                {{"at_ms", now.at_ms},
                 {"kind", moved ? "authority" : "route"},
                 {"what", moved ? fmt::format("authority to the {}", to_string(now.authority))
                                : std::string("route changed")},
                 {"outcome", fmt::format("epoch {}", now.epoch)},
                 {"by", now.by},
                 {"via", now.command},
                 {"reason", now.reason}});
        }
        return {};
    }

    Status events() {
        for (int64_t last = 0;;) {
            auto page = store_.events_since(migration_, last, limits::kReportRows_max);
            if (!page) return tl::unexpected(std::move(page.error()));
            for (const EventRow& event : *page) {
                last = event.id;
                if (is_told(event))
                    rows_.push_back({{"at_ms", event.at_ms},
                                     {"kind", "event"},
                                     {"what", event.code},
                                     {"outcome", event.severity},
                                     {"by", ""},
                                     {"via", ""},
                                     {"reason", event.text}});
            }
            if (page->size() < limits::kReportRows_max) return {};
        }
    }

    /// Pauses, throttles and what was refused: they began no phase and left no decision.
    void other_commands() {
        for (const CommandRow& command : commands_) {
            if (std::find(shown_.begin(), shown_.end(), command.id) != shown_.end()) continue;
            json row =
                row_of(command.started_ms, "command", command.command,
                       command.ended_ms == 0 ? std::string("not ended")
                                             : fmt::format("exit code {}", command.exit_code),
                       command.owner, command.headline);
            if (command.ended_ms != 0) row["took_ms"] = command.ended_ms - command.started_ms;
            rows_.push_back(std::move(row));
        }
    }

    WorkflowStore& store_;
    int64_t migration_;
    std::vector<CommandRow> commands_;
    std::vector<int64_t> shown_;  ///< commands of which a phase or a decision tells
    std::vector<json> rows_;
};

}  // namespace

Result<json> timeline(WorkflowStore& store, int64_t migration) {
    return Timeline(store, migration).read();
}

}  // namespace exodus::report
