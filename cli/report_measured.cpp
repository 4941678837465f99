// The sections of a report about what was measured, and where each number comes from.
#include <algorithm>
#include <fmt/format.h>

#include "base/clock.h"
#include "base/values.h"
#include "cli/output.h"
#include "cli/report_sections.h"
#include "core/json_text.h"

namespace exodus::cli::report_part {

using nlohmann::json;

namespace {

constexpr std::size_t kBars_max = 20;

std::string share(double value) { return value == 0 ? "0" : fmt::format("{:.2g} %", 100 * value); }

/// Of a hash as people compare it.
std::string short_hash(const std::string& hash) {
    return hash.empty() ? "unknown" : hash.substr(0, 12);
}

/// What is wrong with a piece of evidence today; empty when nothing is.
std::string doubt(const json& report, const json& one) {
    std::string out;
    if (one.value("earlier_attempt", false))
        out = fmt::format("it is of attempt {}, not of attempt {}", count_of(one, "attempt"),
                          count_of(report, "attempt"));
    if (const std::string stale = text_of(one, "stale"); !stale.empty())
        out += fmt::format("{}it no longer counts: {}", out.empty() ? "" : "; ", stale);
    return out;
}

void add_commands(const json& traffic, ReportSection& out) {
    std::vector<std::pair<std::string, json>> commands;
    for (const auto& [name, row] : member(traffic, "commands").items())
        commands.emplace_back(name, row);
    std::stable_sort(commands.begin(), commands.end(), [](const auto& a, const auto& b) {
        return count_of(a.second, "requests") > count_of(b.second, "requests");
    });
    ReportBars mix{"Requests by command", {}};
    Rows rows;
    for (const auto& [name, row] : commands) {
        if (mix.bars.size() < kBars_max)
            mix.bars.push_back(
                {name, static_cast<double>(count_of(row, "requests")), number(row, "requests")});
        const auto latency = [&, &from = row](const char* field) {
            return span_of_us(static_cast<double>(count_of(from, field)));
        };
        rows.push_back({name, number(row, "requests"), number(row, "errors"), latency("p50_us"),
                        latency("p95_us"), latency("p99_us"), latency("p999_us")});
    }
    if (rows.empty()) return;
    out.blocks.emplace_back(std::move(mix));
    out.blocks.emplace_back(
        ReportTable{{"command", "requests", "errors", "p50", "p95", "p99", "p99.9"},
                    std::move(rows),
                    {false, true, true, true, true, true, true}});
}

/// Distributions, types and listed keys of a profile, as the family gives them.
void add_profile(const json& profile, ReportSection& out) {
    Rows spreads;
    for (const auto& [name, value] : profile.items()) {
        if (!value.is_object() || !value.contains("p99")) continue;
        spreads.push_back({name, number(value, "count"), number(value, "p50"), number(value, "p95"),
                           number(value, "p99"), number(value, "max")});
    }
    if (!spreads.empty())
        out.blocks.emplace_back(
            ReportTable{{"of the data", "values", "p50", "p95", "p99", "largest"},
                        std::move(spreads),
                        {false, true, true, true, true, true}});
    ReportBars types{"Items by type", {}};
    for (const auto& [name, row] : member(profile, "types").items())
        types.bars.push_back(
            {name, static_cast<double>(count_of(row, "keys")),
             fmt::format("{}, {}", number(row, "keys"), format_bytes(count_of(row, "bytes")))});
    if (!types.bars.empty()) out.blocks.emplace_back(std::move(types));
}

}  // namespace

const json& member(const json& from, const char* field) {
    static const json kNothing;
    const auto found = from.find(field);
    return found == from.end() ? kNothing : *found;
}
uint64_t count_of(const json& from, const char* field) { return from.value(field, uint64_t{0}); }
std::string text_of(const json& from, const char* field) {
    return from.value(field, std::string());
}
std::string number(const json& from, const char* field) {
    return with_thousands(count_of(from, field));
}
std::string moment(int64_t at_ms) {
    std::string text = iso8601(at_ms).substr(0, 19);
    text[10] = ' ';
    return text;
}
std::string span_of_us(double us) {
    if (us < 1'000) return fmt::format("{:.0f} µs", us);
    return us < 1e6 ? fmt::format("{:.1f} ms", us / 1e3) : fmt::format("{:.2f} s", us / 1e6);
}
ReportText plain(std::string text) { return {std::move(text)}; }

ReportText gate_text(const json& gate) {
    const std::string verdict = text_of(gate, "verdict");
    const std::string why = text_of(gate, "why");
    return {fmt::format("Gate {}: {}{}", text_of(gate, "gate"), verdict,
                        why.empty() ? "." : ": " + why),
            verdict == "PASS"   ? ReportText::Tone::good
            : verdict == "FAIL" ? ReportText::Tone::bad
                                : ReportText::Tone::warn};
}

void add_gate(const json& report, std::string_view name, ReportSection& out) {
    for (const json& gate : member(report, "gates")) {
        if (text_of(gate, "gate") == name) out.blocks.emplace_back(gate_text(gate));
    }
}

void add_origin(const json& report, std::initializer_list<std::string_view> kinds,
                ReportSection& out) {
    for (const json& one : member(report, "evidence")) {
        const std::string kind = text_of(one, "kind");
        if (std::find(kinds.begin(), kinds.end(), kind) == kinds.end()) continue;
        out.blocks.emplace_back(plain(
            fmt::format("{}: measured {} UTC in attempt {}, by exodus {}, with "
                        "configuration {}.",
                        kind, moment(one.value("at_ms", int64_t{0})), count_of(one, "attempt"),
                        text_of(one, "version"), short_hash(text_of(one, "config_hash")))));
        if (const std::string text = doubt(report, one); !text.empty())
            out.blocks.emplace_back(
                ReportText{fmt::format("{}: {}.", kind, text), ReportText::Tone::warn});
    }
}

ReportSection workload(const json& report) {
    ReportSection out{"Workload", {}};
    const json& traffic = member(report, "traffic");
    if (!traffic.is_object()) {
        out.blocks.emplace_back(plain("Not analyzed."));
        return out;
    }
    add_gate(report, "analyze", out);
    add_origin(report, {"analyze.plan", "analyze.traffic"}, out);
    out.blocks.emplace_back(
        plain(fmt::format("{} requests in {}.", number(traffic, "requests"),
                          human_duration(traffic.value("duration_ms", int64_t{0})))));
    ReportLine rate{"Requests per second", "/s", {}};
    for (const json& point : member(traffic, "series"))
        rate.points.emplace_back(point.value("at_ms", int64_t{0}),
                                 point.value("requests_per_s", 0.0));
    if (rate.points.size() > 1) out.blocks.emplace_back(std::move(rate));
    add_commands(traffic, out);
    const json& analyze = member(report, "analyze");
    if (!analyze.is_object()) return out;
    add_profile(member(analyze, "profile"), out);
    Rows plan;
    for (const auto& [name, value] : member(analyze, "plan").items()) {
        if (value.is_primitive())
            plan.push_back({name, value.is_string() ? value.get<std::string>() : json_text(value)});
    }
    out.blocks.emplace_back(ReportTable{{"plan", ""}, std::move(plan), {}});
    for (const json& writer : member(traffic, "strays"))
        out.blocks.emplace_back(ReportText{
            "writes beside the interlay: " + writer.get<std::string>(), ReportText::Tone::bad});
    return out;
}

ReportSection findings(const json& report) {
    const json& found = member(report, "findings");
    ReportSection out{"Compatibility findings", {}};
    add_gate(report, "pretest", out);
    add_gate(report, "analyze", out);
    add_origin(report, {"pretest.checks", "pretest.tap", "pretest.untouched", "analyze.traffic"},
               out);
    out.blocks.emplace_back(plain(fmt::format(
        "{} failures, {} warnings, {} remarks, {} checks passed.", count_of(found, "fail"),
        count_of(found, "warn"), count_of(found, "info"), count_of(found, "pass"))));
    Rows rows;
    for (const json& row : member(found, "list"))
        rows.push_back({text_of(row, "severity"), text_of(row, "id"), text_of(row, "subject"),
                        text_of(row, "text"), text_of(row, "hint")});
    if (!rows.empty())
        out.blocks.emplace_back(
            ReportTable{{"severity", "check", "of", "found", "what to do"}, std::move(rows), {}});
    if (const uint64_t more = count_of(found, "more"); more > 0)
        out.blocks.emplace_back(
            ReportText{fmt::format("{} more are not listed here.", with_thousands(more)),
                       ReportText::Tone::warn});
    return out;
}

ReportSection comparison(const json& report) {
    ReportSection out{"Comparison of answers", {}};
    const json& compare = member(report, "compare");
    if (!compare.is_object()) {
        out.blocks.emplace_back(plain("Not compared."));
        return out;
    }
    add_gate(report, "compare", out);
    add_origin(report, {"compare.reads"}, out);
    out.blocks.emplace_back(plain(
        fmt::format("{} mirrored reads, {} confirmed divergences: {} with an interval from {} to "
                    "{}; noise (one side against itself) {}.",
                    number(compare, "reads"), number(compare, "confirmed"),
                    share(compare.value("rate", 0.0)), share(compare.value("lower", 0.0)),
                    share(compare.value("upper", 0.0)), share(compare.value("noise", 0.0)))));
    Rows rows;
    for (const json& row : member(report, "classes"))
        rows.push_back(
            {text_of(row, "class"), number(row, "comparisons"), number(row, "confirmed"),
             number(row, "unresolved"),
             fmt::format("{} … {}", share(row.value("lower", 0.0)), share(row.value("upper", 0.0))),
             share(row.value("noise", 0.0))});
    if (!rows.empty())
        out.blocks.emplace_back(
            ReportTable{{"class", "comparisons", "confirmed", "unresolved", "interval", "noise"},
                        std::move(rows),
                        {false, true, true, true, true, true}});
    return out;
}

ReportSection tests(const json& report) {
    ReportSection out{"Tests before the switch", {}};
    const bool tested = member(report, "smoke").is_object() ||
                        member(report, "rehearsal").is_object() ||
                        member(report, "drills").is_object();
    add_gate(report, "test", out);
    if (!tested) out.blocks.emplace_back(plain("Not tested."));
    add_origin(report, {"test.smoke", "test.rehearsal", "test.drills"}, out);
    if (const json& smoke = member(report, "smoke"); smoke.is_object())
        out.blocks.emplace_back(
            plain(fmt::format("Smoke test: {} of {} requests as expected.",
                              count_of(smoke, "passed"), count_of(smoke, "total"))));
    if (const json& rehearsal = member(report, "rehearsal"); rehearsal.is_object()) {
        out.blocks.emplace_back(
            plain(fmt::format("Rehearsal: {} switches and {} rollbacks, both sides {} after each.",
                              count_of(rehearsal, "switches"), count_of(rehearsal, "rollbacks"),
                              rehearsal.value("equal_after_each", false) ? "equal" : "NOT equal")));
    }
    Rows rows;
    for (const json& drill : member(member(report, "drills"), "drills"))
        rows.push_back({text_of(drill, "name"), drill.value("passed", false) ? "passed" : "FAILED",
                        text_of(drill, "text")});
    if (!rows.empty()) out.blocks.emplace_back(ReportTable{{"drill", "", ""}, std::move(rows), {}});
    return out;
}

ReportSection evidence(const json& report) {
    Rows rows;
    const std::string present = text_of(report, "config_hash");
    bool differs = false;
    for (const json& one : member(report, "evidence")) {
        const bool other = one.value("other_config", false);
        differs = differs || other;
        const std::string text = doubt(report, one);
        rows.push_back({text_of(one, "kind"), moment(one.value("at_ms", int64_t{0})),
                        number(one, "attempt"), text_of(one, "version"),
                        short_hash(text_of(one, "config_hash")) + (other ? " (another)" : ""),
                        text.empty() ? "yes" : "no: " + text});
    }
    ReportSection out{"Evidence: when, in which attempt, with which configuration", {}};
    if (rows.empty()) {
        out.blocks.emplace_back(plain("None."));
        return out;
    }
    out.blocks.emplace_back(
        differs ? ReportText{fmt::format("Some of it was measured with another configuration than "
                                         "the present one, {}.",
                                         short_hash(present)),
                             ReportText::Tone::warn}
                : plain(fmt::format("All of it was measured with configuration {}.",
                                    short_hash(present))));
    out.blocks.emplace_back(
        ReportTable{{"evidence", "at (UTC)", "attempt", "exodus", "configuration", "counts now"},
                    std::move(rows),
                    {}});
    return out;
}

}  // namespace exodus::cli::report_part
