// The kinds of evidence, the JSON fields that gates read, and what each kind depends on. Phases
// write them with WorkflowStore::add_evidence; further fields are welcome (report and status show
// them), gates ignore them.
#pragma once

#include <string>
#include <string_view>

#include "core/settings.h"
#include "store/records.h"

namespace exodus {

namespace evidence_kind {
// G1
/// {"checks":[{"id","severity":"pass|info|warn|fail","text"}]}
inline constexpr const char* kPretestChecks = "pretest.checks";
/// {"source":"pcap:eth0","connections":N,"requests":N,"unparsed":N,"loss":share}: requests that the
/// family's session understood. A pretest without a tap writes none; the gate then wants --ack tap.
inline constexpr const char* kPretestTap = "pretest.tap";
/// {"exodus_writes":N,"events_stored":true}: writes of exodus that the source saw (0), and whether
/// an event that was written to the state file could be read back.
inline constexpr const char* kPretestUntouched = "pretest.untouched";
// G2
/// {"plan":{…}}; the plan's hash goes to the context first (set_context), so that later evidence
/// depends on it.
inline constexpr const char* kPlan = "analyze.plan";
/// {"requests":N,"duration_ms":N,"findings":[{"id","severity","text"}]}: severity fail is a
/// critical finding.
inline constexpr const char* kTraffic = "analyze.traffic";
// G3
/// {"classes":[{"class":"GET","comparisons":N,"confirmed":K,"unresolved":U,"dropped":D,"open":O,"aa_comparisons":N,"aa_confirmed":K}]}
inline constexpr const char* kCompareReads = "compare.reads";
/// VerifyResult:
/// {"source_keys","target_keys","compared","missing","extra","different","unresolved"}
inline constexpr const char* kCompareData = "compare.data";
// G4
/// {"total":N,"passed":N,"failed":["name: why"]}
inline constexpr const char* kSmoke = "test.smoke";
/// {"switches":N,"rollbacks":N,"hold_us":[…],"hold_p99_us":N,"hold_limit_ms":N,"equal_after_each":bool}
inline constexpr const char* kRehearsal = "test.rehearsal";
/// {"drills":[{"name":"crash at C3","passed":bool,"text"}],"equal_after_all":bool}
inline constexpr const char* kDrills = "test.drills";
// G5
/// {"lag_ms_max":N,"for_ms":N,"repairs_open":N,"failed_items":N,"retention_ms":N,"eta_ms":N}: the
/// lag's maximum over the last for_ms. retention_ms 0: the source keeps its log without a bound (or
/// the movement spools it).
inline constexpr const char* kFollow = "follow.lag";
// G6
/// {"lag_ms":N,"repairs_open":N,"failed_items":N,"reverse_stage":"standby","reverse_proven_ms":N
/// (Unix ms),
///  "sessions_ready":bool,"capacity_ok":bool,"problems":["text"]}; asked anew just before a switch.
inline constexpr const char* kReadiness = "switch.readiness";
// G7, written by the cutover itself
/// {"epoch":N,"workers":N,"fence_proven":bool,"end_position":"…","applied":bool,"unresolved":N}
inline constexpr const char* kStandstill = "cutover.standstill";
/// {"kind":"switch|rollback","outcome":"done|aborted|rehearsed","rehearsal":bool,"hold_us":N,
///  "steps":{"C1":us}}; "rehearsal": by test, and taken back (older rows do not say it).
inline constexpr const char* kCutover = "cutover.report";
// G8
/// {"reverse_lag_ms":N,"reverse_stage":"following","repairs_open":N}
inline constexpr const char* kCommitLag = "commit.lag";
/// VerifyResult as compare.data, target against source after the switch.
inline constexpr const char* kCommitVerify = "commit.verify";
/// {"given_up":["text"]}: what a commit whose gate was skipped did not prove, and what it ends.
inline constexpr const char* kCommitGivenUp = "commit.given_up";
/// {"residue":["text"]}: what of exodus is left on a server, and what is to be done by hand.
inline constexpr const char* kCommitResidue = "commit.residue";
// Rollback before the switch; no gate asks for it
/// As commit.residue.
inline constexpr const char* kRollbackResidue = "rollback.residue";
}  // namespace evidence_kind

/// Which parts of the context a kind depends on; a change of another part leaves it valid.
struct EvidenceDependence {
    bool config = true;
    bool plan = false;
    bool lineage = false;
    bool schema = true;
    bool tool = true;
    int64_t age_ms_max = 0;  ///< 0: the setting (24 h)
};
EvidenceDependence dependence_of(std::string_view kind);

/// Why a row no longer counts ("older than 24 h", "the configuration changed"); empty when it does.
std::string why_stale(const EvidenceRow& row, const EvidenceContext& now, int64_t now_ms,
                      const GateSettings& settings);

/// VerifyResult as the JSON of compare.data and commit.verify.
std::string verify_json(const VerifyResult& result);

}  // namespace exodus
