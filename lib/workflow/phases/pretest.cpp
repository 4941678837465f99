#include "workflow/phases/pretest.h"

#include <algorithm>
#include <fmt/format.h>
#include <set>

#include "base/limits.h"
#include "core/consent.h"
#include "workflow/gate_text.h"
#include "workflow/runner.h"
#include "workflow/traffic_delta.h"

namespace exodus {

using nlohmann::json;

namespace {

bool named(const std::vector<std::string>& names, const std::string& id) {
    return std::find(names.begin(), names.end(), id) != names.end();
}

Status check_names(const std::vector<CheckInfo>& checks, const PretestOptions& options) {
    for (const auto* names : {&options.only, &options.skip}) {
        for (const std::string& name : *names) {
            const bool known = std::any_of(checks.begin(), checks.end(),
                                           [&](const CheckInfo& c) { return c.id == name; });
            if (!known)
                return fail(ErrorCode::usage, "there is no check " + name,
                            "exodus pretest --list shows all");
        }
    }
    return {};
}

/// Findings of checks that this run did not repeat, from the last evidence that still counts.
Result<json> earlier_checks(PhaseRun& run, const std::set<std::string>& repeated) {
    json kept = json::array();
    auto latest = run.store().latest_evidence(run.row().id, evidence_kind::kPretestChecks);
    if (!latest) return tl::unexpected(latest.error());
    auto now = run.store().context(run.row().id);
    if (!now) return tl::unexpected(now.error());
    if (!latest->has_value() || !why_stale(**latest, *now, wall_ms(), run.settings().gates).empty())
        return kept;
    const json data = json::parse((*latest)->data, nullptr, false);
    if (!data.is_object() || !data.contains("checks")) return kept;
    for (const json& check : data["checks"]) {
        if (!repeated.contains(check.value("check", ""))) kept.push_back(check);
    }
    return kept;
}

/// Of the family, then of this host.
std::vector<CheckInfo> checks_of(const Inspector& inspector, const PretestOptions& options) {
    std::vector<CheckInfo> checks = inspector.checks();
    for (const HostCheck& check : options.host_checks) checks.push_back(check.info);
    return checks;
}

std::vector<Finding> run_check(PhaseRun& run, const PretestOptions& options,
                               const std::string& id) {
    for (const HostCheck& check : options.host_checks) {
        if (check.info.id == id) return check.run();
    }
    return run.inspector().run(id);
}

Status run_checks(PhaseRun& run, const PretestOptions& options) {
    const auto checks = checks_of(run.inspector(), options);
    EXODUS_TRY(check_names(checks, options));
    json rows = json::array();
    std::set<std::string> repeated;
    uint64_t done = 0;
    for (const CheckInfo& check : checks) {
        if (!options.only.empty() && !named(options.only, check.id)) continue;
        EXODUS_TRY(run.may_go_on());
        Progress now;
        now.step = "checking";
        now.done = ++done;
        now.total = options.only.empty() ? checks.size() : options.only.size();
        now.unit = "checks";
        run.progress(std::move(now));
        repeated.insert(check.id);
        std::vector<Finding> findings;
        if (named(options.skip, check.id)) {
            // A check that was not run proves nothing: it counts like a warning that somebody must
            // accept by name.
            findings.push_back({check.id, Severity::warn, "both",
                                check.title + ": not run, skipped by --skip",
                                "exodus pretest --ack " + check.id + " --reason TEXT"});
        } else {
            findings = run_check(run, options, check.id);
        }
        if (findings.empty())
            findings.push_back({check.id, Severity::pass, "both", check.title, ""});
        for (Finding& finding : findings) {
            json row = {{"check", check.id},
                        {"id", finding.id},
                        {"severity", std::string(to_string(finding.severity))},
                        {"subject", finding.subject},
                        {"text", finding.text}};
            // What the gate tells to do; without one it says to run pretest again.
            if (!finding.hint.empty()) row["hint"] = finding.hint;
            rows.push_back(std::move(row));
            run.outcome.findings.push_back(std::move(finding));
        }
    }
    auto kept = earlier_checks(run, repeated);
    if (!kept) return tl::unexpected(kept.error());
    if (!options.only.empty()) rows.insert(rows.end(), kept->begin(), kept->end());
    EXODUS_TRY(run.store().put_findings(run.row().id, "pretest", run.outcome.findings));
    EvidenceVerdict verdict = EvidenceVerdict::pass;
    for (const json& row : rows) {
        if (row["severity"] == "fail") verdict = EvidenceVerdict::fail;
        if (row["severity"] == "warn" && verdict == EvidenceVerdict::pass)
            verdict = EvidenceVerdict::warn;
    }
    return run.evidence(evidence_kind::kPretestChecks, verdict, {{"checks", rows}});
}

Status hand_out_users(PhaseRun& run, const PretestOptions& options) {
    const auto requests = run.inspector().missing_users();
    if (!requests) return tl::unexpected<Error>(requests.error());
    EXODUS_TRY(options.users_out(*requests));
    const std::string_view text = requests->reveal();
    run.detail(
        fmt::format("users     {} requests that make what the target lacks; they hold "
                    "password hashes",
                    std::count(text.begin(), text.end(), '\n')));
    return {};
}

Status run_tap(PhaseRun& run, const PretestOptions& options) {
    Progress now;
    now.step = "tapping " + options.tap->describe();
    now.waiting_for = fmt::format("traffic, at most {}", span_text(options.tap_duration.count()));
    run.progress(std::move(now));
    TrafficStats stats;
    auto report = options.tap->run([&] { return run.context().family.make_tap_session(); },
                                   options.tap_duration, run.context().stop, stats);
    if (!report) return fail(std::move(report.error()), "tapping " + options.tap->describe());
    EXODUS_TRY(run.may_go_on());
    const TrafficTotals sum = totals(stats);
    uint64_t unparsed = report->lost;
    for (const auto& [reason, count] : stats.protocol_errors) unparsed += count;
    if (report->unreadable) {
        run.note(Severity::warn,
                 "the tapped traffic is encrypted or of another protocol and cannot be read");
    }
    run.outcome.numbers["tap"] = {{"source", options.tap->describe()},
                                  {"connections", report->connections},
                                  {"packets", report->packets},
                                  {"bytes", report->bytes},
                                  {"lost", report->lost},
                                  {"loss", report->loss},
                                  {"requests", sum.requests},
                                  {"unparsed", unparsed},
                                  {"unreadable", report->unreadable}};
    run.detail(fmt::format("tap       {} requests on {} connections, {} not understood",
                           grouped(sum.requests), grouped(report->connections), grouped(unparsed)));
    const bool lossy = report->loss > limits::kTapLoss_max;
    if (lossy) {
        run.note(
            Severity::warn,
            fmt::format("the tap lost {:.2f} % of the traffic, more than {:.1f} %: what it saw "
                        "proves nothing; tap a shorter time, or a quieter interface",
                        report->loss * 100, limits::kTapLoss_max * 100));
    }
    const auto verdict =
        sum.requests == 0 || lossy ? EvidenceVerdict::inconclusive : EvidenceVerdict::pass;
    return run.evidence(evidence_kind::kPretestTap, verdict, run.outcome.numbers["tap"]);
}

/// The source must carry nothing of exodus, and an event that we write must be found again where
/// status, report and telemetry read them.
Status prove_untouched(PhaseRun& run) {
    auto residue = run.inspector().residue(Side::source);
    if (!residue && residue.error().code == ErrorCode::unreachable) {
        run.note(Severity::warn,
                 "the source cannot be asked for traces of exodus: " + residue.error().message);
        return {};  // no evidence: the gate says that it is missing
    }
    if (!residue) return tl::unexpected(residue.error());
    auto event = run.store().add_event(run.row().id, "info", "pretest.events",
                                       "pretest checks that events are recorded");
    if (!event) return tl::unexpected(event.error());
    auto seen = run.store().events_since(run.row().id, *event - 1, 1);
    if (!seen) return tl::unexpected(seen.error());
    const bool stored = !seen->empty() && seen->front().id == *event;
    const auto verdict = residue->empty() && stored ? EvidenceVerdict::pass : EvidenceVerdict::fail;
    return run.evidence(evidence_kind::kPretestUntouched, verdict,
                        {{"exodus_writes", residue->size()}, {"events_stored", stored}});
}

Status note_endpoints(PhaseRun& run) {
    for (const Side side : {Side::source, Side::target}) {
        const Endpoint& endpoint = run.settings().endpoint(side);
        const EndpointHealth health = run.inspector().health(side);
        EXODUS_TRY(run.store().put_endpoint(
            run.row().id, EndpointRow{side, run.settings().family, endpoint.address(),
                                      endpoint.user, endpoint.tls.enabled, health.version}));
        run.detail(
            fmt::format("{:<9} {}  {}", to_string(side), endpoint.address(),
                        health.reachable ? health.version : "does not answer: " + health.error));
    }
    return {};
}

/// Until rollback: the movements of both directions read it when they attach.
Status accept_full_sync(PhaseRun& run) {
    const Owner& owner = run.context().owner;
    const std::string who = owner_name(owner);
    Journal& journal = run.context().journal;
    for (const Direction direction : {Direction::forward, Direction::reverse})
        EXODUS_TRY(journal.save_position(to_string(direction), kFullSyncConsent, who));
    return journal.add_event("info", "full-sync",
                             who + " accepts that an endpoint sends everything once");
}

Status body(PhaseRun& run, const PretestOptions& options) {
    if (!options.ack.empty() && run.context().reason.empty())
        return fail(ErrorCode::usage, "--ack needs a reason", "--reason TEXT");
    EXODUS_TRY(note_endpoints(run));
    const Status context = run.store_context();
    if (!context)
        run.note(Severity::warn,
                 context.error().message);  // the checks say what is wrong, with hints
    if (options.accept_full_sync) EXODUS_TRY(accept_full_sync(run));
    EXODUS_TRY(run_checks(run, options));
    if (options.users_out) EXODUS_TRY(hand_out_users(run, options));
    if (options.tap != nullptr) EXODUS_TRY(run_tap(run, options));
    EXODUS_TRY(prove_untouched(run));
    for (const std::string& check : options.ack) {
        EXODUS_TRY(acknowledge(run.store(), run.row(), check, run.context().reason,
                               run.context().owner, run.settings().config_hash));
    }
    std::map<std::string, int> by_severity;
    for (const Finding& finding : run.outcome.findings)
        ++by_severity[std::string(to_string(finding.severity))];
    run.outcome.numbers["findings"] = by_severity;
    EXODUS_TRY(run.demand_own(Gate::pretest));
    const MigrationState next = state_after(Command::pretest, run.row().state);
    if (next != run.row().state) EXODUS_TRY(run.enter(next, "gate G1 holds"));
    run.outcome.headline = fmt::format("pretest passed: {} checks, {} warnings acknowledged",
                                       run.outcome.findings.size(), by_severity["warn"]);
    return {};
}

}  // namespace

PhaseOutcome run_pretest(PhaseContext& context, const PretestOptions& options) {
    PhaseFrame frame;
    frame.recovers = false;  // pretest touches no traffic; a hold that stands must not be ended by
                             // a look at endpoints
    frame.plan = {"run all checks on both endpoints", "read traffic from the tap",
                  "store findings and evidence for G1"};
    frame.gates = {Gate::pretest};
    return run_phase(context, Command::pretest, "pretest", frame,
                     [&](PhaseRun& run) { return body(run, options); });
}

std::vector<CheckInfo> list_checks(PhaseContext& context, const PretestOptions& options) {
    return checks_of(*context.family.make_inspector(context.family_context()), options);
}

}  // namespace exodus
