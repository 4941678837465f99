// Sentences about gates, states and commands that outcomes and status share: one wording for one
// fact.
#pragma once

#include <string>
#include <vector>

#include "core/movement.h"
#include "core/state.h"
#include "workflow/gates.h"
#include "workflow/machine.h"

namespace exodus {

/// "12,345"
std::string grouped(uint64_t number);
/// "0.08 s", "12 ms", "3 min", "2 h 10 min"
std::string span_text(int64_t ms);
/// One line per requirement that does not hold: "full verify: 2 missing (run exodus compare
/// again)".
std::vector<std::string> failed_lines(const GateReport& report);
/// "PASS", "FAIL", "MISSING", "STALE", "INCONCLUSIVE", "SKIPPED"
std::string verdict_word(GateVerdict verdict);
/// What a state means for the traffic: "source answers everything; the target follows".
std::string state_text(const MigrationRow& row);
/// "source ──stream──▶ target  lag 0.08 s"
std::string data_flow_text(const MigrationRow& row, const MovementStatus& forward,
                           const MovementStatus& reverse);
/// "armed, idle (checked 12 s ago)"
std::string way_back_text(const MigrationRow& row, const MovementStatus& forward,
                          const MovementStatus& reverse, int64_t now_ms);
struct WayBack {
    bool open = false;  ///< a rollback is possible now and loses nothing
    std::string loses;  ///< what a return to the source would lose now; empty: nothing
};
/// Who answers now; what was not asked counts as answering.
struct Answering {
    bool interlay = true;
    bool source = true;
    bool target = true;
};
WayBack way_back_now(const MigrationRow& row, const MovementStatus& reverse,
                     const Answering& answering, int64_t now_ms);
/// "41,220,118 of 41,220,118 keys   missing 0   extra 0   different 0"
std::string verify_text(const VerifyResult& result);
/// "12 of the target kept, 3 changes of the source to them dropped"; empty when there is nothing to
/// say.
std::string conflicts_text(const MovementStatus& status);

}  // namespace exodus
