#include "workflow/phases/test.h"

#include <algorithm>
#include <fmt/format.h>

#include "base/limits.h"
#include "workflow/gate_text.h"
#include "workflow/phases/follow.h"
#include "workflow/phases/rehearsal.h"
#include "workflow/request_file.h"

namespace exodus {

using nlohmann::json;

namespace {

Status run_smoke(PhaseRun& run, const TestOptions& options) {
    if (options.smoke_file.empty()) {
        run.note(Severity::info,
                 "no smoke file given (--smoke FILE); evidence of an earlier run counts");
        return {};
    }
    auto requests = read_request_file(options.smoke_file);
    if (!requests) return tl::unexpected(requests.error());
    std::vector<std::string> failed;
    uint64_t done = 0;
    for (const FileRequest& request : *requests) {
        EXODUS_TRY(run.may_go_on());
        Progress line;
        line.step = "smoke tests";
        line.done = ++done;
        line.total = requests->size();
        line.unit = "requests";
        run.progress(std::move(line));
        auto reply = run.inspector().execute(Side::target, request.request);
        if (!reply && reply.error().code == ErrorCode::unreachable)
            return fail(std::move(reply.error()), "smoke tests");
        const std::string why = judge_reply(request, reply);
        if (!why.empty())
            failed.push_back(fmt::format("line {}, {}: {}", request.line, request.request, why));
    }
    const json data = {{"total", requests->size()},
                       {"passed", requests->size() - failed.size()},
                       {"failed", failed}};
    run.outcome.numbers["smoke"] = data;
    run.detail(fmt::format("smoke     {} of {} passed", requests->size() - failed.size(),
                           requests->size()));
    for (const std::string& text : failed) run.detail("          " + text);
    return run.evidence(evidence_kind::kSmoke,
                        failed.empty() ? EvidenceVerdict::pass : EvidenceVerdict::fail, data);
}

/// Replays at the captured pace. Writes would make the target differ from the source, so they need
/// a namespace of their own.
Status run_replay(PhaseRun& run, const TestOptions& options) {
    if (options.replay_file.empty()) return {};
    auto requests = read_request_file(options.replay_file);
    if (!requests) return tl::unexpected(requests.error());
    uint64_t sent = 0;
    uint64_t skipped = 0;
    uint64_t done = 0;
    std::vector<std::string> failed;
    uint64_t failures = 0;
    Histogram latency;
    const int64_t started_us = steady_us();
    for (const FileRequest& request : *requests) {
        ++done;
        if (request.may_write && options.target_namespace.empty()) {
            ++skipped;
            continue;
        }
        if (options.replay_speed > 0) {
            const auto due_us =
                started_us + static_cast<int64_t>(static_cast<double>(request.at_ms) * 1000 /
                                                  options.replay_speed);
            while (steady_us() < due_us) {
                EXODUS_TRY(run.pause(milliseconds(
                    std::clamp<int64_t>((due_us - steady_us()) / 1000, 1, limits::kPhasePoll_ms))));
            }
        }
        EXODUS_TRY(run.may_go_on());
        const int64_t before_us = steady_us();
        auto reply = options.target_namespace.empty()
                         ? run.inspector().execute(Side::target, request.request)
                         : run.inspector().execute_in(options.target_namespace, Side::target,
                                                      request.request);
        if (!reply && (reply.error().code == ErrorCode::unreachable ||
                       reply.error().code == ErrorCode::not_allowed)) {
            return fail(std::move(reply.error()), "replay");
        }
        // The text itself is no request: the file is damaged, not the target.
        if (!reply && request.timed &&
            (reply.error().code == ErrorCode::usage || reply.error().code == ErrorCode::data)) {
            return fail(ErrorCode::data,
                        fmt::format("{}: line {}: {}", options.replay_file, request.line,
                                    reply.error().message),
                        "the file is damaged or was cut: capture again");
        }
        latency.record(static_cast<uint64_t>(std::max<int64_t>(0, steady_us() - before_us)));
        ++sent;
        const std::string why = judge_reply(request, reply);
        if (!why.empty()) {
            ++failures;
            if (failed.size() < limits::kPhaseSamples_max)
                failed.push_back(fmt::format("line {}: {}", request.line, why));
        }
        Progress line;
        line.step = "replaying";
        line.done = done;
        line.total = requests->size();
        line.unit = "requests";
        line.rate = static_cast<double>(sent) * 1e6 /
                    static_cast<double>(std::max<int64_t>(1, steady_us() - started_us));
        run.progress(std::move(line));
    }
    run.outcome.numbers["replay"] = {{"requests", requests->size()},
                                     {"sent", sent},
                                     {"skipped_writes", skipped},
                                     {"errors", failures},
                                     {"samples", failed},
                                     {"p50_us", latency.percentile(0.5)},
                                     {"p99_us", latency.percentile(0.99)}};
    run.detail(fmt::format("replay    {} sent, {} error replies, {} writes skipped, p99 {:.2f} ms",
                           grouped(sent), grouped(failures), grouped(skipped),
                           static_cast<double>(latency.percentile(0.99)) / 1000));
    if (skipped > 0)
        run.note(Severity::info,
                 run.inspector().has_namespaces()
                     ? "writes are replayed only with --target-namespace"
                     : "writes are not replayed: nothing would keep them apart from "
                       "the migration's data");
    return {};
}

Status body(PhaseRun& run, const TestOptions& options) {
    if (!options.target_namespace.empty() && !run.inspector().has_namespaces())
        return fail(ErrorCode::config,
                    fmt::format("the family {} has no namespace that would keep replayed writes "
                                "apart from the migration's data",
                                run.context().family.name()),
                    "leave --target-namespace out: reads are replayed, writes are not");
    EXODUS_TRY(run.store_context());
    EXODUS_TRY(run.demand(Gate::compare));
    EXODUS_TRY(run_smoke(run, options));
    EXODUS_TRY(run_replay(run, options));
    if (options.drill_switch || options.drill_rollback || options.drill_crash)
        EXODUS_TRY(rehearse(run, options));
    EXODUS_TRY(run.demand_own(Gate::test));
    const MigrationState next = state_after(Command::test, run.row().state);
    if (next != run.row().state) EXODUS_TRY(run.enter(next, "gate G4 holds"));
    run.outcome.headline =
        "test passed: switch, rollback and crashes were rehearsed, both sides are equal";
    return {};
}

}  // namespace

PhaseOutcome run_test(PhaseContext& context, const TestOptions& options) {
    PhaseFrame frame;
    frame.plan = {
        "run the smoke requests against the target", "replay the captured workload",
        "rehearse a switch and a rollback under the present load; clients wait for each pause",
        "crash the cutover on purpose and resume it", "verify all data after each"};
    frame.gates = {Gate::compare};
    Settings settings = context.settings;
    settings.cutover.hold_timeout_ms =
        options.hold_timeout_ms.value_or(settings.cutover.hold_timeout_ms);
    PhaseContext mine = context.with(settings);
    return run_phase(mine, Command::test, "test", frame,
                     [&](PhaseRun& run) { return body(run, options); });
}

}  // namespace exodus
