#include "workflow/phases/analyze.h"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <fmt/format.h>
#include <fstream>

#include "base/digest.h"
#include "base/limits.h"
#include "base/values.h"
#include "workflow/gate_text.h"
#include "workflow/runner.h"
#include "workflow/traffic_delta.h"

namespace exodus {

using nlohmann::json;

namespace {

/// How often throughput is noted and the source is asked for writers that bypass the interlay.
constexpr int64_t kSample_ms = 10'000;
constexpr std::size_t kSeries_max = 8'640;  ///< a day of samples

struct Observed {
    TrafficStats stats;
    uint64_t restarts = 0;  ///< of the interlay
    int64_t duration_ms = 0;
    json series = json::array();  ///< [{"at_ms","requests_per_s","bytes_per_s"}]
    std::vector<std::string> strays;
};

/// The interlay's ends of its connections to the source.
Result<std::vector<std::string>> backend_addresses(PhaseRun& run) {
    auto port = run.interlay();
    if (!port) return tl::unexpected(port.error());
    auto answer = (*port)->call(
        {{"op", control_op::kBackends}, {"side", std::string(to_string(Side::source))}},
        milliseconds(limits::kControlTimeout_ms));
    if (!answer) return tl::unexpected(answer.error());
    std::vector<std::string> out;
    for (const json& address : answer->value("addresses", json::array())) {
        if (address.is_string()) out.push_back(address.get<std::string>());
    }
    return out;
}

Status look_for_strays(PhaseRun& run, std::vector<std::string>& strays) {
    const auto cannot = [&](const Error& error) -> Status {
        const std::string text = "writers beside the interlay cannot be listed: " + error.message;
        run.note(Severity::warn, text);
        return {};
    };
    auto ours = backend_addresses(run);
    if (!ours) return cannot(ours.error());
    auto found = run.inspector().stray_writers(*ours);
    if (!found) return cannot(found.error());
    if (found->empty()) return {};
    // A connection that the interlay opened between both questions is not a stranger's.
    auto again = backend_addresses(run);
    if (!again) return cannot(again.error());
    for (std::string& writer : *found) {
        if (strays.size() >= limits::kPhaseSamples_max) break;
        const std::string address = writer.substr(0, writer.find(' '));
        if (std::find(again->begin(), again->end(), address) != again->end()) continue;
        if (std::find(strays.begin(), strays.end(), writer) == strays.end())
            strays.push_back(std::move(writer));
    }
    return {};
}

void note_load(PhaseRun& run) {
    if (auto noted = run.inspector().note_load(); !noted)
        run.note(Severity::warn, "the source's own counters: " + noted.error().message);
}

/// With a path: the interlay writes requests there. Without: it ends, and says what it wrote.
Result<json> capture(PhaseRun& run, const std::string& path) {
    auto port = run.interlay();
    if (!port) return tl::unexpected(port.error());
    json request = {{"op", control_op::kCapture}};
    // The interlay's working directory may be another one.
    std::error_code ignored;
    if (!path.empty()) request["path"] = std::filesystem::absolute(path, ignored).string();
    return (*port)->call(request, milliseconds(limits::kControlTimeout_ms));
}

void end_capture(PhaseRun& run, const std::string& path) {
    const auto written = capture(run, "");
    if (!written) {
        run.note(Severity::warn, "the capture is not complete: " + written.error().message);
        return;
    }
    const auto dropped = written->value("dropped", uint64_t{0});
    run.outcome.numbers["capture"] = *written;
    run.detail(fmt::format("capture   {} requests in {}{}",
                           grouped(written->value("written", uint64_t{0})), path,
                           dropped == 0 ? "" : fmt::format(", {} left out", grouped(dropped))));
}

Status knob(PhaseRun& run, const char* name, const std::string& value) {
    auto port = run.interlay();
    if (!port) return tl::unexpected(port.error());
    auto set = (*port)->call({{"op", control_op::kKnob}, {"name", name}, {"value", value}},
                             milliseconds(limits::kControlTimeout_ms));
    if (!set) return tl::unexpected(set.error());
    return {};
}

Result<Observed> observe(PhaseRun& run, const AnalyzeOptions& options) {
    const int64_t duration = run.settings().gates.analyze_duration_ms;
    auto begin = run.traffic();
    if (!begin) return tl::unexpected(begin.error());
    Observed seen;
    TrafficStats last = *begin;
    TrafficSince since(std::move(*begin));
    const int64_t started = wall_ms();
    int64_t sampled = started;
    note_load(run);
    EXODUS_TRY(look_for_strays(run, seen.strays));
    while (true) {
        auto now = run.traffic();
        if (!now) return tl::unexpected(now.error());
        const int64_t at = wall_ms();
        seen.duration_ms = at - started;
        since.look(*now);
        seen.stats = since.seen();
        const uint64_t requests = totals(seen.stats).requests;
        Progress line;
        line.step = "profiling traffic";
        line.done = requests;
        line.unit = "requests";
        line.rate = 1000.0 * static_cast<double>(requests) /
                    static_cast<double>(std::max<int64_t>(1, seen.duration_ms));
        line.eta_ms = std::max<int64_t>(0, duration - seen.duration_ms);
        if (requests == 0) line.waiting_for = "the first request through the interlay";
        run.progress(std::move(line));
        const bool enough = options.requests_min > 0 && requests >= options.requests_min;
        const bool over = seen.duration_ms >= duration || enough;
        if (at - sampled >= kSample_ms || over) {
            const TrafficStats step = traffic_between(last, *now);
            const double seconds = static_cast<double>(std::max<int64_t>(1, at - sampled)) / 1000;
            if (seen.series.size() < kSeries_max) {
                seen.series.push_back(
                    {{"at_ms", at},
                     {"requests_per_s", static_cast<double>(totals(step).requests) / seconds},
                     {"bytes_per_s",
                      static_cast<double>(step.bytes_from_clients + step.bytes_to_clients) /
                          seconds}});
            }
            last = std::move(*now);
            sampled = at;
            EXODUS_TRY(look_for_strays(run, seen.strays));
        }
        if (over) {
            // The source first: what it counted is answered, and counted here, when its end is
            // read.
            note_load(run);
            EXODUS_TRY(run.pause());
            auto end = run.traffic();
            if (!end) return tl::unexpected(end.error());
            since.look(std::move(*end));
            seen.stats = since.seen();
            seen.restarts = since.restarts();
            return seen;
        }
        EXODUS_TRY(run.pause());
    }
}

Result<Observed> read_capture(PhaseRun& run, const AnalyzeOptions& options) {
    Progress line;
    line.step = "reading " + options.from_capture->describe();
    run.progress(std::move(line));
    Observed seen;
    const int64_t started = wall_ms();
    auto report = options.from_capture->run([&] { return run.context().family.make_tap_session(); },
                                            options.duration, run.context().stop, seen.stats);
    if (!report)
        return fail(std::move(report.error()), "reading " + options.from_capture->describe());
    EXODUS_TRY(run.may_go_on());
    seen.duration_ms = report->span_ms > 0 ? report->span_ms : wall_ms() - started;
    run.outcome.numbers["capture"] = {
        {"connections", report->connections}, {"packets", report->packets}, {"lost", report->lost}};
    return seen;
}

void describe(PhaseRun& run, const Observed& seen) {
    const TrafficTotals sum = totals(seen.stats);
    const double seconds = static_cast<double>(std::max<int64_t>(1, seen.duration_ms)) / 1000;
    const auto ms = [](uint64_t us) { return static_cast<double>(us) / 1000; };
    const double reads = sum.requests == 0
                             ? 0
                             : 100.0 * static_cast<double>(sum.requests - sum.writes) /
                                   static_cast<double>(sum.requests);
    run.detail(fmt::format("traffic   {} requests in {} ({:.0f}/s), {:.1f} % reads, {} errors",
                           grouped(sum.requests), span_text(seen.duration_ms),
                           static_cast<double>(sum.requests) / seconds, reads,
                           grouped(sum.errors)));
    if (!seen.series.empty()) {
        const auto peak = [&](const char* name) {
            double most = 0;
            for (const json& row : seen.series) most = std::max(most, row.at(name).get<double>());
            return most;
        };
        run.outcome.numbers["peak"] = {{"requests_per_s", peak("requests_per_s")},
                                       {"bytes_per_s", peak("bytes_per_s")}};
        run.detail(fmt::format("peak      {:.0f} requests/s, {}/s (of {} each)",
                               peak("requests_per_s"),
                               format_bytes(static_cast<uint64_t>(peak("bytes_per_s"))),
                               span_text(std::min(kSample_ms, seen.duration_ms))));
    }
    run.detail(
        fmt::format("latency   p50 {:.2f} ms   p95 {:.2f} ms   p99 {:.2f} ms   p99.9 {:.2f} ms",
                    ms(sum.latency_us.percentile(0.5)), ms(sum.latency_us.percentile(0.95)),
                    ms(sum.latency_us.percentile(0.99)), ms(sum.latency_us.percentile(0.999))));
    run.outcome.numbers["requests"] = sum.requests;
    run.outcome.numbers["writes"] = sum.writes;
    run.outcome.numbers["errors"] = sum.errors;
    run.outcome.numbers["duration_ms"] = seen.duration_ms;
    run.outcome.numbers["latency_us"] = {{"p50", sum.latency_us.percentile(0.5)},
                                         {"p95", sum.latency_us.percentile(0.95)},
                                         {"p99", sum.latency_us.percentile(0.99)},
                                         {"p999", sum.latency_us.percentile(0.999)}};
    run.outcome.numbers["series"] = seen.series;
}

/// Whole or not at all: a script must never read half a plan.
Status write_file(const std::string& path, const std::string& text) {
    const std::string temporary = path + ".part";
    {
        std::ofstream out(temporary, std::ios::binary | std::ios::trunc);
        out << text << '\n';
        out.flush();
        if (!out) return fail(ErrorCode::cannot_create, temporary + ": cannot be written");
    }
    if (std::rename(temporary.c_str(), path.c_str()) != 0) {
        const int why = errno;
        std::error_code ignored;
        std::filesystem::remove(temporary, ignored);
        return fail_errno(path, why);
    }
    return {};
}

json finding_rows(const std::vector<Finding>& findings) {
    json rows = json::array();
    for (const Finding& finding : findings) {
        rows.push_back({{"id", finding.id},
                        {"severity", std::string(to_string(finding.severity))},
                        {"subject", finding.subject},
                        {"text", finding.text},
                        {"hint", finding.hint}});
    }
    return rows;
}

Status body(PhaseRun& run, const AnalyzeOptions& options) {
    EXODUS_TRY(run.store_context());
    EXODUS_TRY(run.demand(Gate::pretest));
    Result<Observed> seen = Observed{};
    if (options.from_capture != nullptr) {
        seen = read_capture(run, options);
    } else {
        auto port = run.interlay();
        if (!port) return tl::unexpected(port.error());
        // A new epoch: what is profiled is what the source answers through this route, without
        // mirroring.
        EXODUS_TRY(run.transition(row_without_mirror(run.row()),
                                  "analyze: forward everything to the authority"));
        EXODUS_TRY(run.wait_for_workers(milliseconds(limits::kInterlaySilent_ms_max)));
        static_cast<void>(
            knob(run, "observe", "1"));  // families without observations do not know the knob
        if (!options.capture_file.empty()) {
            if (auto begun = capture(run, options.capture_file); !begun)
                return fail(std::move(begun.error()), "--capture");
        }
        seen = observe(run, options);
        static_cast<void>(knob(run, "observe", "0"));
        if (!options.capture_file.empty()) end_capture(run, options.capture_file);
    }
    if (!seen) return tl::unexpected(seen.error());
    describe(run, *seen);

    Progress line;
    line.step = "profiling data";
    line.waiting_for = fmt::format("sampled keys, at most {}", span_text(limits::kProfile_ms_max));
    run.progress(std::move(line));
    auto profile = run.inspector().profile_data(limits::kProfile_ms_max);
    if (!profile) return fail(std::move(profile.error()), "profiling the data");
    EXODUS_TRY(run.may_go_on());

    seen->stats.counters[kObservedMs] = static_cast<uint64_t>(seen->duration_ms);
    if (seen->restarts > 0) {
        seen->stats.counters[kInterlayRestarts] = seen->restarts;
        run.note(Severity::warn,
                 "the interlay began anew meanwhile: what passed in the second "
                 "before that is not counted");
    }
    run.outcome.findings = run.inspector().judge_traffic(seen->stats);
    for (const std::string& writer : seen->strays) {
        run.outcome.findings.push_back(
            {"traffic.stray_writer", Severity::warn, "source",
             "writes beside the interlay: " + writer,
             "let it connect to the interlay; the fence of the switch will stop it"});
    }
    auto plan = run.inspector().plan(seen->stats, *profile);
    if (!plan) return fail(std::move(plan.error()), "making the plan");
    for (std::string& text : run.inspector().report(seen->stats, *profile, *plan))
        run.detail(std::move(text));
    const json rows = finding_rows(run.outcome.findings);
    EXODUS_TRY(run.store().put_findings(run.row().id, "analyze", run.outcome.findings));
    // The plan's hash comes first: evidence that follows depends on it.
    EvidenceContext now;
    now.plan_hash = sha256_hex(plan->dump());
    EXODUS_TRY(run.store().set_context(run.row().id, now));
    EXODUS_TRY(run.evidence(evidence_kind::kPlan, EvidenceVerdict::pass,
                            {{"plan", *plan}, {"profile", *profile}}));
    const bool critical =
        std::any_of(run.outcome.findings.begin(), run.outcome.findings.end(),
                    [](const Finding& finding) { return finding.severity == Severity::fail; });
    json commands = json::object();
    for (const auto& [name, command] : seen->stats.commands) {
        commands[name] = {{"requests", command.requests},
                          {"errors", command.errors},
                          {"bytes_in", command.bytes_in},
                          {"bytes_out", command.bytes_out},
                          {"p50_us", command.latency_us.percentile(0.5)},
                          {"p95_us", command.latency_us.percentile(0.95)},
                          {"p99_us", command.latency_us.percentile(0.99)},
                          {"p999_us", command.latency_us.percentile(0.999)}};
    }
    EXODUS_TRY(run.evidence(evidence_kind::kTraffic,
                            critical ? EvidenceVerdict::fail : EvidenceVerdict::pass,
                            {{"requests", totals(seen->stats).requests},
                             {"duration_ms", seen->duration_ms},
                             {"findings", rows},
                             {"commands", commands},
                             {"series", seen->series},
                             {"strays", seen->strays}}));
    run.outcome.numbers["plan"] = *plan;
    run.outcome.numbers["profile"] = *profile;
    run.outcome.numbers["commands"] = std::move(commands);
    json observations = json::object();
    for (const auto& [name, text] : seen->stats.observations)
        observations[name] = json::parse(text, nullptr, false);
    run.outcome.numbers["observations"] = std::move(observations);
    run.outcome.numbers["clients"] = {{"now", seen->stats.clients_now},
                                      {"total", seen->stats.clients_total},
                                      {"pipeline_depth", to_json(seen->stats.pipeline_depth)}};
    if (!options.plan_file.empty()) {
        EXODUS_TRY(write_file(options.plan_file, plan->dump(2)));
        run.detail("plan      written to " + options.plan_file);
    }
    EXODUS_TRY(run.demand_own(Gate::analyze));
    const MigrationState next = state_after(Command::analyze, run.row().state);
    if (next != run.row().state) EXODUS_TRY(run.enter(next, "gate G2 holds"));
    run.outcome.headline = "analyze passed: the traffic is profiled and the plan is made";
    return {};
}

}  // namespace

PhaseOutcome run_analyze(PhaseContext& context, const AnalyzeOptions& options) {
    PhaseFrame frame;
    frame.plan = {"forward all traffic to the source through the interlay",
                  "profile traffic and data", "store the plan"};
    frame.gates = {Gate::pretest};
    Settings settings = context.settings;
    if (options.duration.count() > 0) settings.gates.analyze_duration_ms = options.duration.count();
    if (options.requests_min > 0) settings.gates.analyze_requests_min = options.requests_min;
    PhaseContext mine = context.with(settings);
    return run_phase(mine, Command::analyze, "analyze", frame,
                     [&](PhaseRun& run) { return body(run, options); });
}

}  // namespace exodus
