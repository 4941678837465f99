// The requirements of G1–G8 (workflow.md, "Gates"); those of G3 are in gate_rules_compare.cpp.
#include "workflow/gate_rules.h"

#include <algorithm>
#include <array>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "base/limits.h"
#include "workflow/evidence.h"
#include "workflow/machine.h"

namespace exodus {

using nlohmann::json;
namespace kind = evidence_kind;

GateRules::GateRules(Gate gate, const GateInput& input) : in_(input) { report_.gate = gate; }

Status GateRules::apply() {
    switch (report_.gate) {
        case Gate::pretest:
            return pretest();
        case Gate::analyze:
            return analyze();
        case Gate::compare:
            return compare();
        case Gate::test:
            return test();
        case Gate::follow:
            return follow();
        case Gate::switch_over:
            return switch_over();
        case Gate::cutover:
            return cutover();
        case Gate::commit:
            return commit();
    }
    return fail(ErrorCode::internal, "unknown gate");
}

GateReport GateRules::report() const {
    constexpr std::array kWorstFirst{GateVerdict::fail, GateVerdict::missing, GateVerdict::stale,
                                     GateVerdict::inconclusive};
    GateReport report = report_;
    report.verdict = report.rows.empty() ? GateVerdict::missing : GateVerdict::pass;
    for (const GateVerdict verdict : kWorstFirst) {
        const bool found = std::any_of(report.rows.begin(), report.rows.end(),
                                       [&](const GateRow& row) { return row.verdict == verdict; });
        if (!found) continue;
        report.verdict = verdict;
        break;
    }
    return report;
}

void GateRules::add(std::string requirement, std::string found, GateVerdict verdict,
                    std::string hint) {
    report_.rows.push_back({std::move(requirement), std::move(found), verdict, std::move(hint)});
}

void GateRules::add(std::string requirement, std::string found, bool passed, std::string hint) {
    add(std::move(requirement), std::move(found), passed ? GateVerdict::pass : GateVerdict::fail,
        passed ? std::string() : std::move(hint));
}

Status GateRules::with_evidence(const char* name, const std::string& requirement,
                                const std::string& hint, const Judge& judge) {
    auto row = in_.store.latest_evidence(in_.row.id, name);
    if (!row) return tl::unexpected(std::move(row).error());
    if (!*row) {
        add(requirement, "no evidence", GateVerdict::missing, hint);
        return {};
    }
    const std::string stale = why_stale(**row, in_.context, in_.now_ms, in_.settings.gates);
    if (!stale.empty()) {
        add(requirement, "the evidence no longer counts: " + stale, GateVerdict::stale, hint);
        return {};
    }
    try {
        return judge(json::parse((*row)->data));
    } catch (const json::exception& error) {
        add(requirement, std::string("the evidence cannot be read: ") + error.what(),
            GateVerdict::fail, hint);
        return {};
    }
}

Result<std::string> GateRules::acknowledged(const std::string& check) {
    auto row = in_.store.latest_decision(in_.row.id, current_attempt(in_.row), {"ack"}, check);
    if (!row) return tl::unexpected(std::move(row).error());
    if (!*row || (*row)->config_hash != in_.context.config_hash) return std::string();
    return owner_name((*row)->owner) + ": " + (*row)->reason;
}

Result<std::optional<DecisionRow>> GateRules::approval(std::string_view subject) {
    auto row = in_.store.latest_decision(in_.row.id, current_attempt(in_.row),
                                         {"approve", "deny", "confirm"}, subject);
    if (!row) return row;
    // An approval is for what was configured when it was given.
    if (*row && (*row)->kind != "deny" && (*row)->config_hash != in_.context.config_hash)
        return std::optional<DecisionRow>();
    return row;
}

Status GateRules::pretest() {
    const std::string again = "exodus pretest";
    EXODUS_TRY(with_evidence(
        kind::kPretestChecks, "every check passes", again, [&](const json& data) -> Status {
            uint64_t passed = 0;
            for (const json& check : data.at("checks")) {
                const std::string id = check.at("id").get<std::string>();
                const std::string severity = check.at("severity").get<std::string>();
                if (severity == "pass" || severity == "info") {
                    ++passed;
                    continue;
                }
                const std::string text = check.value("text", "");
                if (severity == "warn") {
                    auto ack = acknowledged(id);
                    if (!ack) return tl::unexpected(std::move(ack).error());
                    add("check " + id,
                        ack->empty() ? "warning: " + text : "warning, acknowledged by " + *ack,
                        !ack->empty(),
                        "solve it, or accept it: exodus pretest --ack " + id + " --reason TEXT");
                } else {
                    add("check " + id, text, false, check.value("hint", again));
                }
            }
            add("every other check passes", fmt::format("{} passed", passed), passed > 0, again);
            return {};
        }));
    auto tap_ack = acknowledged("tap");
    if (!tap_ack) return tl::unexpected(std::move(tap_ack).error());
    if (!tap_ack->empty()) {
        add("the tap saw parsable traffic", "not asked for: acknowledged by " + *tap_ack,
            GateVerdict::pass);
    } else {
        EXODUS_TRY(with_evidence(
            kind::kPretestTap, "the tap saw parsable traffic",
            "exodus pretest --tap …, or accept it: --ack tap --reason TEXT",
            [&](const json& data) -> Status {
                const auto requests = data.at("requests").get<uint64_t>();
                const auto unparsed = data.value("unparsed", uint64_t{0});
                // A tap joins connections in the middle: some bytes before the first
                // boundary are expected.
                add("the tap saw parsable traffic",
                    fmt::format("{} requests understood, {} not", requests, unparsed),
                    requests > 0 && unparsed * 100 <= requests,
                    "exodus pretest --tap … while applications work");
                const double loss = data.value("loss", 0.0);
                if (loss > limits::kTapLoss_max) {
                    add("the tap lost nothing", fmt::format("{:.2g} %", loss * 100),
                        GateVerdict::inconclusive, "exodus pretest --tap … once more");
                }
                return {};
            }));
    }
    return with_evidence(
        kind::kPretestUntouched, "the source saw no exodus write", again,
        [&](const json& data) -> Status {
            const auto writes = data.at("exodus_writes").get<uint64_t>();
            add("the source saw no exodus write", fmt::format("{} writes", writes), writes == 0,
                "report this: it must not happen");
            const bool stored = data.value("events_stored", false);
            add("events are recorded",
                stored ? "one was stored and read back" : "the one written was not found", stored,
                again);
            return {};
        });
}

Status GateRules::analyze() {
    const std::string again = "exodus analyze";
    EXODUS_TRY(with_evidence(kind::kPlan, "a plan exists", again, [&](const json& data) -> Status {
        const bool there = data.at("plan").is_object() && !data.at("plan").empty();
        add("a plan exists", there ? "plan " + in_.context.plan_hash.substr(0, 12) : "it is empty",
            there, again);
        return {};
    }));
    return with_evidence(
        kind::kTraffic, "enough traffic was observed", again, [&](const json& data) -> Status {
            const GateSettings& want = in_.settings.gates;
            const auto requests = data.at("requests").get<uint64_t>();
            const auto duration_ms = data.at("duration_ms").get<int64_t>();
            add("enough traffic was observed",
                fmt::format("{} requests in {:.1f} s", requests, double(duration_ms) / 1000.0),
                requests > 0 && (requests >= want.analyze_requests_min ||
                                 duration_ms >= want.analyze_duration_ms),
                fmt::format("observe {} requests or {} s", want.analyze_requests_min,
                            want.analyze_duration_ms / 1000));
            uint64_t critical = 0;
            for (const json& finding : data.value("findings", json::array())) {
                if (finding.at("severity").get<std::string>() != "fail") continue;
                ++critical;
                add("no critical finding: " + finding.at("id").get<std::string>(),
                    finding.value("text", ""), false,
                    finding.value("hint", "solve it and run exodus analyze again"));
            }
            if (critical == 0)
                add("no critical compatibility finding in observed traffic", "none",
                    GateVerdict::pass);
            return {};
        });
}

Status GateRules::test() {
    const std::string again = "exodus test";
    EXODUS_TRY(
        with_evidence(kind::kSmoke, "smoke tests pass", again, [&](const json& data) -> Status {
            const auto total = data.at("total").get<uint64_t>();
            const auto passed = data.at("passed").get<uint64_t>();
            add("smoke tests pass", fmt::format("{} of {}", passed, total),
                passed == total && total > 0, again + " --smoke FILE");
            return {};
        }));
    EXODUS_TRY(
        with_evidence(kind::kRehearsal, "switch and rollback were rehearsed", again,
                      [&](const json& data) -> Status {
                          const auto switches = data.at("switches").get<uint64_t>();
                          const auto rollbacks = data.at("rollbacks").get<uint64_t>();
                          add("switch and rollback were rehearsed",
                              fmt::format("{} switches, {} rollbacks", switches, rollbacks),
                              switches > 0 && rollbacks > 0, again + " --drill switch,rollback");
                          const auto p99_us = data.at("hold_p99_us").get<int64_t>();
                          const int64_t limit_ms = in_.settings.cutover.hold_timeout_ms;
                          add("pause p99 ≤ half of the hold limit",
                              fmt::format("{:.1f} ms of {} ms", double(p99_us) / 1000.0, limit_ms),
                              p99_us <= limit_ms * 1000 / 2,
                              "look at `exodus status --history` for the slowest step");
                          const bool equal = data.at("equal_after_each").get<bool>();
                          add("source and target equal after each", equal ? "equal" : "differences",
                              equal, "exodus divergences");
                          return {};
                      }));
    return with_evidence(
        kind::kDrills, "crash drills pass", again, [&](const json& data) -> Status {
            uint64_t passed = 0;
            for (const json& drill : data.at("drills")) {
                if (drill.at("passed").get<bool>()) {
                    ++passed;
                } else {
                    add("drill " + drill.at("name").get<std::string>(),
                        drill.value("text", "failed"), false, again + " --drill crash");
                }
            }
            add("crash drills pass", fmt::format("{} passed", passed), passed > 0,
                again + " --drill crash");
            // Each drill looked only at the keys that it touched: nothing else of it proves that
            // all data survived.
            const std::string all = "source and target equal after all drills";
            const auto equal = data.find("equal_after_all");
            if (equal == data.end()) {
                add(all, "not verified", GateVerdict::inconclusive, again + " --drill crash");
            } else {
                add(all, equal->get<bool>() ? "equal" : "differences", equal->get<bool>(),
                    "exodus divergences");
            }
            return {};
        });
}

Status GateRules::follow() {
    return with_evidence(
        kind::kFollow, kFollowRequirement, "exodus migrate", [&](const json& data) -> Status {
            const GateSettings& want = in_.settings.gates;
            const auto lag_ms = data.at("lag_ms_max").get<int64_t>();
            const auto for_ms = data.at("for_ms").get<int64_t>();
            add(fmt::format("lag ≤ {} ms for {:.3g} s", want.ready_lag_ms,
                            double(want.ready_lag_for_ms) / 1000.0),
                fmt::format("at most {} ms for {:.3g} s", lag_ms, double(for_ms) / 1000.0),
                lag_ms <= want.ready_lag_ms && for_ms >= want.ready_lag_for_ms,
                "wait, or lower the load or the throttle");
            const auto repairs = data.at("repairs_open").get<uint64_t>();
            add("nothing left to repair", fmt::format("{} open", repairs), repairs == 0,
                "wait until repairs are done");
            const auto failed = data.value("failed_items", uint64_t{0});
            add("every item was moved", fmt::format("{} failed", failed), failed == 0,
                "exodus errors; exodus errors re-drive");
            const auto retention_ms = data.value("retention_ms", int64_t{0});
            const auto eta_ms = data.value("eta_ms", int64_t{0});
            add("the source keeps its log > 4 × ETA",
                retention_ms == 0
                    ? "no bound"
                    : fmt::format("{} s kept, ETA {} s", retention_ms / 1000, eta_ms / 1000),
                retention_ms == 0 || retention_ms > 4 * eta_ms,
                "raise the log retention of the source");
            return {};
        });
}

Status GateRules::workers_current() {
    auto workers = in_.store.workers(in_.row.id);
    if (!workers) return tl::unexpected(std::move(workers).error());
    const std::string requirement = "every registered worker follows the current epoch";
    if (workers->empty()) {
        add(requirement, "no interlay is registered", GateVerdict::missing, "exodus interlay");
        return {};
    }
    uint64_t behind = 0;
    for (const WorkerRow& worker : *workers) {
        if (worker.epoch < in_.row.route.epoch) ++behind;
    }
    add(requirement,
        fmt::format("{} workers, {} behind epoch {}", workers->size(), behind, in_.row.route.epoch),
        behind == 0, "exodus status --workers");
    return {};
}

Status GateRules::switch_over() {
    auto compared = evaluate(Gate::compare, in_);
    if (!compared) return tl::unexpected(std::move(compared).error());
    add("gate compare holds, for this data",
        compared->verdict == GateVerdict::skipped ? "skipped by " + compared->skipped_by
                                                  : std::string(to_string(compared->verdict)),
        compared->open(), "exodus compare");
    EXODUS_TRY(workers_current());
    EXODUS_TRY(with_evidence(
        kind::kReadiness, kReadinessRequirement, "exodus migrate --switch measures them",
        [&](const json& data) -> Status {
            const auto lag_ms = data.at("lag_ms").get<int64_t>();
            add(fmt::format("lag ≤ {} ms", in_.settings.cutover.max_lag_ms),
                fmt::format("{} ms", lag_ms), lag_ms <= in_.settings.cutover.max_lag_ms,
                "wait, or raise --max-lag");
            const auto repairs = data.at("repairs_open").get<uint64_t>();
            add("nothing left to repair", fmt::format("{} open", repairs), repairs == 0,
                "wait until repairs are done");
            const auto failed = data.value("failed_items", uint64_t{0});
            add("every item was moved", fmt::format("{} failed", failed), failed == 0,
                "exodus errors");
            const auto proven_ms = data.at("reverse_proven_ms").get<int64_t>();
            const int64_t age_ms = in_.now_ms - proven_ms;
            add("the way back is armed, written through and read back",
                proven_ms == 0 ? "never proven" : fmt::format("proven {} s ago", age_ms / 1000),
                proven_ms > 0 && age_ms <= limits::kProveAge_ms_max,
                "look at the reverse stream: exodus status");
            const bool sessions = data.at("sessions_ready").get<bool>();
            add("every session can work on the other side",
                sessions ? "logins, scripts and connections are there" : "not ready", sessions,
                "exodus status --workers");
            const bool capacity = data.at("capacity_ok").get<bool>();
            add("sequences and capacity", capacity ? "enough" : "not enough", capacity,
                "look at the findings of analyze");
            for (const json& problem : data.value("problems", json::array())) {
                add("no open problem", problem.get<std::string>(), false, "solve it");
            }
            return {};
        }));
    if (!in_.settings.migrate.manual_approval) {
        add("approval", "manual approval is off by configuration", GateVerdict::pass);
        return {};
    }
    auto decision = approval("switch");
    if (!decision) return tl::unexpected(std::move(decision).error());
    if (!*decision) {
        add(kApprovalRequirement, "none for this attempt and configuration", GateVerdict::missing,
            "exodus approve switch --reason TEXT");
        return {};
    }
    const DecisionRow& by = **decision;
    add(kApprovalRequirement, by.kind + " by " + owner_name(by.owner) + ": " + by.reason,
        by.kind == "deny" ? GateVerdict::fail : GateVerdict::pass,
        by.kind == "deny" ? "exodus approve switch --reason TEXT" : "");
    return {};
}

Status GateRules::cutover() {
    return with_evidence(kind::kStandstill, "both sides stand still", "run the same command again",
                         [&](const json& data) -> Status {
                             const auto epoch = data.at("epoch").get<uint64_t>();
                             add("all workers drained at this epoch",
                                 fmt::format("epoch {} of {}", epoch, in_.row.route.epoch),
                                 epoch == in_.row.route.epoch, "");
                             add("the losing side is fenced: a probe write is refused",
                                 data.at("fence_proven").get<bool>() ? "refused" : "not proven",
                                 data.at("fence_proven").get<bool>(), "");
                             add("applied ≥ end position",
                                 data.at("applied").get<bool>()
                                     ? data.at("end_position").get<std::string>()
                                     : "not reached",
                                 data.at("applied").get<bool>(), "");
                             const auto unresolved = data.at("unresolved").get<uint64_t>();
                             add("the re-check queue is empty", fmt::format("{} open", unresolved),
                                 unresolved == 0, "");
                             return {};
                         });
}

Status GateRules::commit_proofs() {
    EXODUS_TRY(with_evidence(
        kind::kCommitLag, kReverseRequirement, "exodus commit measures it",
        [&](const json& data) -> Status {
            const auto lag_ms = data.at("reverse_lag_ms").get<int64_t>();
            add(fmt::format("reverse lag ≤ {} ms", in_.settings.gates.ready_lag_ms),
                fmt::format("{} ms", lag_ms), lag_ms <= in_.settings.gates.ready_lag_ms,
                "wait, or look at the reverse stream");
            return {};
        }));
    return full_verify(kind::kCommitVerify, kFinalVerifyRequirement);
}

Status GateRules::commit() {
    const int64_t since_ms = in_.now_ms - in_.row.switched_ms;
    const int64_t watch_ms = in_.settings.cutover.watch_ms;
    const bool over = in_.row.switched_ms > 0 && since_ms >= watch_ms;
    // A window that is open is no failure.
    add(kWatchRequirement,
        in_.row.switched_ms == 0
            ? "no switch yet"
            : fmt::format("{} s of {} s since the switch", since_ms / 1000, watch_ms / 1000),
        over                      ? GateVerdict::pass
        : in_.row.switched_ms > 0 ? GateVerdict::missing
                                  : GateVerdict::fail,
        over ? "" : "wait, or shorten it: --watch");
    auto skip = skip_decision(in_.store, in_.row, Gate::commit);
    if (!skip) return tl::unexpected(std::move(skip).error());
    if (*skip) {
        const DecisionRow& by = **skip;
        add("the way back follows; final verify",
            fmt::format("given up by {}: {}", owner_name(by.owner), by.reason),
            GateVerdict::skipped);
    } else {
        EXODUS_TRY(commit_proofs());
    }
    auto decision = approval("commit");
    if (!decision) return tl::unexpected(std::move(decision).error());
    const bool there = *decision && (*decision)->kind != "deny";
    add(kApprovalRequirement,
        !*decision ? "no typed confirmation"
                   : (*decision)->kind + " by " + owner_name((*decision)->owner),
        there ? GateVerdict::pass : (*decision ? GateVerdict::fail : GateVerdict::missing),
        there ? "" : "exodus commit --confirm " + in_.row.name + " --reason TEXT");
    return {};
}

}  // namespace exodus
