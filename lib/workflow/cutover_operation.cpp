// What all steps of a cutover use: its row and journal, the clock of its steps, the mover.
#include "workflow/cutover_operation.h"

#include <algorithm>
#include <thread>
#include <utility>

#include "base/limits.h"
#include "core/json_text.h"
#include "workflow/cutover_text.h"
#include "workflow/machine.h"

namespace exodus {

using nlohmann::json;

CutoverOperation::CutoverOperation(const Settings& settings, CutoverPorts& ports, MigrationRow row,
                                   RunRow run)
    : settings_(settings),
      ports_(ports),
      store_(ports.store),
      row_(std::move(row)),
      run_(std::move(run)),
      detail_(json::parse(run_.detail, nullptr, false)),
      kind_(run_.phase == "cutover.switch" ? CutoverKind::hand_to_target
                                           : CutoverKind::hand_to_source),
      losing_(kind_ == CutoverKind::hand_to_target ? Side::source : Side::target),
      gaining_(other(losing_)),
      ending_(losing_ == Side::source ? Direction::forward : Direction::reverse),
      back_(losing_ == Side::source ? Direction::reverse : Direction::forward),
      workers_(store_, row_.id, ports.control) {
    if (!detail_.is_object()) detail_ = json::object();
}

json CutoverOperation::detail_of(const MigrationRow& row, const CutoverRequest& request) {
    const bool to_target = request.kind == CutoverKind::hand_to_target;
    const MigrationState success = request.success_state.value_or(
        to_target ? MigrationState::switched : MigrationState::rolled_back);
    return {{"back_to", std::string(to_string(row.state))},
            {"success", std::string(to_string(success))},
            {"rehearse", request.rehearse_only},
            {"command", request.command},
            {"reason", request.reason},
            {"hold_timeout_ms", request.hold_timeout_ms}};
}

bool CutoverOperation::rehearsed() const {
    const std::string success = detail_.value("success", "");
    return rehearsal() || (!success.empty() && success == detail_.value("back_to", ""));
}

void CutoverOperation::point(std::string_view name) const {
    if (ports_.fault) ports_.fault(name);
}

void CutoverOperation::progress(std::string_view step, const std::string& text) const {
    if (ports_.progress) ports_.progress(step, text);
}

void CutoverOperation::event(const char* severity, const char* code,
                             const std::string& text) const {
    // An event that cannot be stored must not end a cutover; what happened is in the journal and
    // the epoch log as well.
    (void)store_.add_event(row_.id, severity, code, text, "{}");
}

void CutoverOperation::enter(const char* step) {
    const int64_t now = wall_us();
    if (entered_us_ > 0) detail_["steps"][step_] = now - entered_us_;
    step_ = step;
    entered_us_ = now;
}

StepMark CutoverOperation::mark(const char* step, bool done, const json& note) const {
    return StepMark{run_.id, step, done, json_text(note)};
}

Status CutoverOperation::load_steps() {
    auto steps = store_.steps(run_.id);
    if (!steps) return tl::unexpected(std::move(steps).error());
    steps_ = std::move(*steps);
    return {};
}

bool CutoverOperation::is_done(std::string_view step) const {
    return std::any_of(steps_.begin(), steps_.end(),
                       [&](const StepRow& row) { return row.step == step && row.done; });
}

json CutoverOperation::note_of(std::string_view step) const {
    for (const StepRow& row : steps_) {
        if (row.step != step) continue;
        json note = json::parse(row.note, nullptr, false);
        if (note.is_object()) return note;
    }
    return json::object();
}

milliseconds CutoverOperation::hold_left() const {
    // The abort itself needs a moment before the clients' own limit.
    const int64_t reserve =
        std::min<int64_t>(detail_.value("hold_timeout_ms", int64_t{0}) / 10, 200);
    return milliseconds(std::max<int64_t>(row_.route.hold_deadline_ms - reserve - wall_ms(), 0));
}

Deadline CutoverOperation::deadline() const { return Deadline::in(hold_left()); }

void CutoverOperation::nap() {
    std::this_thread::sleep_for(std::chrono::microseconds(limits::kCutoverPoll_us));
}

Result<bool> CutoverOperation::proven() {
    EXODUS_TRY(load_steps());
    return is_done("C6");
}

Status CutoverOperation::reread() {
    auto now = store_.find_migration(row_.name);
    if (!now) return tl::unexpected(std::move(now).error());
    row_ = std::move(*now);
    return {};
}

Status CutoverOperation::change(MigrationRow wanted, std::vector<StepMark> marks,
                                const std::string& status, const std::string& reason,
                                std::optional<DecisionRow> decision) {
    Transition transition;
    transition.row = std::move(wanted);
    transition.command = detail_.value("command", run_.phase);
    transition.reason = reason;
    transition.owner = run_.owner;
    transition.decision = std::move(decision);
    transition.steps = std::move(marks);
    run_.status = status;
    run_.detail = json_text(detail_);
    transition.run = run_;
    auto now = store_.transition(row_, transition);
    if (!now) return tl::unexpected(std::move(now).error());
    row_ = std::move(*now);
    return {};
}

Result<json> CutoverOperation::mover(const char* op, Direction direction, json request) {
    return workers_.mover(op, direction, std::move(request), deadline());
}

bool CutoverOperation::switched() const {
    return run_.status == "switched" || run_.status == "done";
}

}  // namespace exodus
