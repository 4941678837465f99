#include "cli/report_document.h"

#include <algorithm>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include "base/clock.h"
#include "base/values.h"
#include "cli/output.h"

namespace exodus::cli {

namespace {

using nlohmann::json;
using Rows = std::vector<std::vector<std::string>>;

constexpr std::size_t kBars_max = 20;

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
std::string share(double value) { return value == 0 ? "0" : fmt::format("{:.2g} %", 100 * value); }
const json& member(const json& from, const char* field) {
    static const json kNothing;
    const auto found = from.find(field);
    return found == from.end() ? kNothing : *found;
}

ReportText plain(std::string text) { return {std::move(text)}; }
ReportText verdict(bool good, std::string text) {
    return {std::move(text), good ? ReportText::Tone::good : ReportText::Tone::bad};
}

ReportSection summary(const json& report) {
    ReportSection out{"Summary", {}};
    const bool target = text_of(report, "authority") == "target";
    const std::string state = text_of(report, "state");
    out.blocks.emplace_back(ReportText{
        fmt::format("The {} is authoritative. State: {}.", text_of(report, "authority"), state),
        ReportText::Tone::good});
    Rows rows;
    for (const json& end : member(report, "endpoints"))
        rows.push_back({text_of(end, "side"), text_of(end, "address"), text_of(end, "version"),
                        text_of(end, "user"), end.value("tls", false) ? "yes" : "no"});
    out.blocks.emplace_back(
        ReportTable{{"side", "address", "server", "user of exodus", "TLS"}, std::move(rows), {}});
    const json& data = member(report, "data");
    if (data.is_object()) {
        const uint64_t wrong = count_of(data, "missing") + count_of(data, "extra") +
                               count_of(data, "different") + count_of(data, "unresolved");
        out.blocks.emplace_back(verdict(
            wrong == 0 && count_of(data, "compared") > 0,
            fmt::format("Last comparison of all data, {}: {} of {} items compared, {} "
                        "missing, {} extra, {} different, {} unresolved.",
                        moment(data.value("at_ms", int64_t{0})), number(data, "compared"),
                        number(data, "source_keys"), number(data, "missing"), number(data, "extra"),
                        number(data, "different"), number(data, "unresolved"))));
    }
    const json& switches = member(report, "switches");
    int64_t longest = 0;
    std::size_t done = 0;
    for (const json& row : switches) {
        longest = std::max(longest, row.value("hold_us", int64_t{0}));
        if (text_of(row, "outcome") == "done" && text_of(row, "what") != "rehearsal") ++done;
    }
    if (!switches.empty())
        out.blocks.emplace_back(plain(fmt::format(
            "{} hand-overs of the authority among the last {} tries and rehearsals; writes waited "
            "{} at the longest.",
            done, switches.size(), span_of_us(static_cast<double>(longest)))));
    if (!target && state != "committed")
        out.blocks.emplace_back(plain("The source has everything; nothing was given up."));
    return out;
}

ReportSection left(const json& report) {
    ReportSection out{"Left to do by hand", {}};
    const json& texts = member(report, "left");
    if (texts.empty()) out.blocks.emplace_back(verdict(true, "Nothing."));
    for (const json& text : texts) out.blocks.emplace_back(verdict(false, text.get<std::string>()));
    return out;
}

ReportSection timeline(const json& report) {
    Rows rows;
    for (const json& row : member(report, "timeline")) {
        const bool took = row.contains("took_ms");
        rows.push_back({moment(row.value("at_ms", int64_t{0})), text_of(row, "what"),
                        text_of(row, "outcome"),
                        took ? human_duration(row.value("took_ms", int64_t{0})) : "",
                        text_of(row, "by"), text_of(row, "via"), text_of(row, "reason")});
    }
    return {"Timeline: phases, decisions and their owners",
            {ReportTable{{"at (UTC)", "what", "outcome", "took", "by", "via", "reason"},
                         std::move(rows),
                         {false, false, false, true}}}};
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

ReportSection workload(const json& report) {
    ReportSection out{"Workload", {}};
    const json& traffic = member(report, "traffic");
    if (!traffic.is_object()) {
        out.blocks.emplace_back(plain("Not analyzed."));
        return out;
    }
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
            plan.push_back({name, value.is_string() ? value.get<std::string>() : value.dump()});
    }
    out.blocks.emplace_back(ReportTable{{"plan", ""}, std::move(plan), {}});
    for (const json& writer : member(traffic, "strays"))
        out.blocks.emplace_back(
            verdict(false, "writes beside the interlay: " + writer.get<std::string>()));
    return out;
}

ReportSection findings(const json& report) {
    const json& found = member(report, "findings");
    ReportSection out{"Compatibility findings", {}};
    out.blocks.emplace_back(
        verdict(count_of(found, "fail") == 0 && count_of(found, "pass") > 0,
                fmt::format("{} failures, {} warnings, {} remarks, {} checks passed.",
                            count_of(found, "fail"), count_of(found, "warn"),
                            count_of(found, "info"), count_of(found, "pass"))));
    Rows rows;
    for (const json& row : member(found, "list"))
        rows.push_back({text_of(row, "severity"), text_of(row, "id"), text_of(row, "subject"),
                        text_of(row, "text"), text_of(row, "hint")});
    if (!rows.empty())
        out.blocks.emplace_back(
            ReportTable{{"severity", "check", "of", "found", "what to do"}, std::move(rows), {}});
    return out;
}

ReportSection comparison(const json& report) {
    ReportSection out{"Comparison of answers", {}};
    const json& compare = member(report, "compare");
    if (!compare.is_object()) {
        out.blocks.emplace_back(plain("Not compared."));
        return out;
    }
    out.blocks.emplace_back(verdict(
        count_of(compare, "confirmed") == 0 && count_of(compare, "reads") > 0,
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
    if (const json& smoke = member(report, "smoke"); smoke.is_object())
        out.blocks.emplace_back(
            verdict(member(smoke, "failed").empty(),
                    fmt::format("Smoke test: {} of {} requests as expected.",
                                count_of(smoke, "passed"), count_of(smoke, "total"))));
    if (const json& rehearsal = member(report, "rehearsal"); rehearsal.is_object()) {
        out.blocks.emplace_back(verdict(
            rehearsal.value("equal_after_each", false),
            fmt::format("Rehearsal: {} switches and {} rollbacks, both sides {} after each.",
                        count_of(rehearsal, "switches"), count_of(rehearsal, "rollbacks"),
                        rehearsal.value("equal_after_each", false) ? "equal" : "NOT equal")));
    }
    Rows rows;
    for (const json& drill : member(member(report, "drills"), "drills"))
        rows.push_back({text_of(drill, "name"), drill.value("passed", false) ? "passed" : "FAILED",
                        text_of(drill, "text")});
    if (!rows.empty()) out.blocks.emplace_back(ReportTable{{"drill", "", ""}, std::move(rows), {}});
    if (out.blocks.empty()) out.blocks.emplace_back(plain("Not tested."));
    return out;
}

std::string hand_over_of(const json& row) {
    const std::string kind = text_of(row, "kind");
    if (text_of(row, "what") != "rehearsal" || kind.empty()) return text_of(row, "what");
    return "rehearsed " + kind;
}

ReportSection switches(const json& report) {
    ReportSection out{"Switches, rollbacks and rehearsals", {}};
    const json& all = member(report, "switches");
    if (all.empty()) {
        out.blocks.emplace_back(plain("None."));
        return out;
    }
    static constexpr std::pair<const char*, const char*> kSteps[] = {
        {"C1", "hold"},     {"C2", "drain"},        {"C3", "fence"},  {"C4", "end position"},
        {"C5", "catch up"}, {"C6", "arm way back"}, {"C7", "switch"}, {"C8", "release"}};
    ReportTable table{
        {"at (UTC)", "what", "outcome", "writes waited"}, {}, {false, false, false, true}};
    for (const auto& [step, name] : kSteps) {
        table.head.push_back(fmt::format("{} {}", step, name));
        table.numbers.push_back(true);
    }
    ReportBars holds{"How long writes waited", {}};
    std::vector<std::string> aborted;
    for (const json& row : all) {
        const double hold = static_cast<double>(row.value("hold_us", int64_t{0}));
        const std::string what = hand_over_of(row);
        std::vector<std::string> cells{moment(row.value("at_ms", int64_t{0})), what,
                                       text_of(row, "outcome"), span_of_us(hold)};
        const json& took = member(row, "steps_us");
        for (const auto& [step, name] : kSteps)
            cells.push_back(took.contains(step) ? span_of_us(took.value(step, 0.0)) : "");
        table.rows.push_back(std::move(cells));
        if (!text_of(row, "why").empty())
            aborted.push_back(fmt::format("The {} at {} was aborted at {}: {}", what,
                                          moment(row.value("at_ms", int64_t{0})),
                                          text_of(row, "failed_step"), text_of(row, "why")));
        holds.bars.push_back(
            {fmt::format("{} {}", moment(row.value("at_ms", int64_t{0})).substr(11), what), hold,
             span_of_us(hold)});
    }
    out.blocks.emplace_back(std::move(holds));
    out.blocks.emplace_back(std::move(table));
    for (const std::string& text : aborted) out.blocks.emplace_back(plain(text));
    return out;
}

ReportSection configuration(const json& report) {
    Rows rows;
    for (const json& value : member(report, "configuration"))
        rows.push_back({text_of(value, "key"), text_of(value, "value"), text_of(value, "origin")});
    return {"Versions and configuration",
            {plain(fmt::format("exodus {}; configuration {}. Passwords and tokens are not in it.",
                               text_of(report, "version"),
                               text_of(report, "config_hash").substr(0, 12))),
             ReportTable{{"key", "value", "from"}, std::move(rows), {}}}};
}

}  // namespace

ReportDocument make_document(const json& report) {
    ReportDocument out;
    out.title = "Migration " + text_of(report, "migration");
    out.subtitle =
        fmt::format("{}, strategy {}, attempt {}, epoch {}; written {} UTC by exodus {}",
                    text_of(report, "family"), text_of(report, "strategy"),
                    count_of(report, "attempt"), count_of(report, "epoch"),
                    moment(report.value("made_ms", int64_t{0})), text_of(report, "version"));
    out.sections = {summary(report),  left(report),     timeline(report),
                    workload(report), findings(report), comparison(report),
                    tests(report),    switches(report), configuration(report)};
    const json& changes = member(report, "changes");
    if (!changes.empty()) {
        Rows rows;
        for (const auto& [action, count] : changes.items())
            rows.push_back({action, with_thousands(count.get<uint64_t>())});
        out.sections.push_back(
            {"Items kept, repaired or removed by policy",
             {ReportTable{{"action", "items"}, std::move(rows), {false, true}}}});
    }
    return out;
}

}  // namespace exodus::cli
