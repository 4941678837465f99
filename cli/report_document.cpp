#include "cli/report_document.h"

#include <algorithm>
#include <fmt/format.h>

#include "base/values.h"
#include "cli/output.h"
#include "cli/report_sections.h"

namespace exodus::cli {

namespace {

using nlohmann::json;
using namespace report_part;

ReportSection summary(const json& report) {
    ReportSection out{"Summary", {}};
    out.blocks.emplace_back(
        plain(fmt::format("The {} is authoritative. State: {}.", text_of(report, "authority"),
                          text_of(report, "state"))));
    Rows rows;
    for (const json& end : member(report, "endpoints"))
        rows.push_back({text_of(end, "side"), text_of(end, "address"), text_of(end, "version"),
                        text_of(end, "user"), end.value("tls", false) ? "yes" : "no"});
    out.blocks.emplace_back(
        ReportTable{{"side", "address", "server", "user of exodus", "TLS"}, std::move(rows), {}});
    const json& data = member(report, "data");
    if (data.is_object()) {
        out.blocks.emplace_back(plain(
            fmt::format("Last comparison of all data, {}: {} of {} items compared, {} "
                        "missing, {} extra, {} different, {} unresolved.",
                        moment(data.value("at_ms", int64_t{0})), number(data, "compared"),
                        number(data, "source_keys"), number(data, "missing"), number(data, "extra"),
                        number(data, "different"), number(data, "unresolved"))));
        add_origin(report, {"compare.data", "commit.verify"}, out);
    }
    for (const json& fence : member(report, "fences"))
        out.blocks.emplace_back(
            plain(fmt::format("The {} is fenced since {} UTC: only exodus may write there.",
                              text_of(fence, "side"), moment(fence.value("at_ms", int64_t{0})))));
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
    return out;
}

ReportSection left(const json& report) {
    ReportSection out{"Left to do by hand", {}};
    const json& texts = member(report, "left");
    if (texts.empty()) out.blocks.emplace_back(plain("Nothing that the state file knows of."));
    for (const json& text : texts)
        out.blocks.emplace_back(ReportText{text.get<std::string>(), ReportText::Tone::bad});
    return out;
}

ReportSection gates(const json& report) {
    ReportSection out{"Gates", {}};
    if (text_of(report, "config_hash").empty())
        out.blocks.emplace_back(
            ReportText{"The configuration could not be read: the gates below were asked with "
                       "default limits.",
                       ReportText::Tone::warn});
    for (const json& gate : member(report, "gates")) out.blocks.emplace_back(gate_text(gate));
    return out;
}

/// "1,204 (compare.data, 2026-11-30 00:12:01 UTC)", or that it is not known.
std::string counted(const json& value, const std::string& text) {
    if (!value.is_object()) return "not known";
    return fmt::format("{}{} ({}, {} UTC)", value.value("complete", true) ? "" : "about ", text,
                       text_of(value, "from"), moment(value.value("at_ms", int64_t{0})));
}

ReportSection migrated(const json& report) {
    const json& what = member(report, "migrated");
    const json& items = member(what, "items");
    const json& bytes = member(what, "bytes");
    const json& databases = member(what, "databases");
    const json& scope = member(what, "scope");
    const auto patterns = [&](const char* field, const char* none) -> std::string {
        if (!scope.is_object()) return "not known: the configuration could not be read";
        std::string out;
        for (const json& pattern : member(scope, field))
            out += (out.empty() ? "" : ", ") + pattern.get<std::string>();
        return out.empty() ? none : out;
    };
    const auto text = [](const json& value) {
        return value.is_object() ? number(value, "count") : std::string();
    };
    return {"What was migrated",
            {ReportTable{
                {"", ""},
                {{"items", counted(items, text(items))},
                 {"bytes", counted(bytes, bytes.is_object() ? format_bytes(count_of(bytes, "count"))
                                                            : std::string())},
                 {"databases in use", counted(databases, text(databases))},
                 {"moved by the copy in all", "not known: the state file keeps no total"},
                 {"included", patterns("include", "everything")},
                 {"excluded", patterns("exclude", "nothing")}},
                {}}}};
}

ReportSection timeline(const json& report) {
    Rows rows;
    for (const json& row : member(report, "timeline")) {
        const bool took = row.contains("took_ms");
        // As it was typed; a hand-over is not what was typed.
        std::string what = text_of(row, "what");
        if (const std::string command = text_of(row, "command"); !command.empty())
            what = command.starts_with(what) ? command : fmt::format("{} ({})", what, command);
        rows.push_back({moment(row.value("at_ms", int64_t{0})), text_of(row, "kind"), what,
                        text_of(row, "outcome"),
                        took ? human_duration(row.value("took_ms", int64_t{0})) : "",
                        text_of(row, "by"), text_of(row, "via"), text_of(row, "reason")});
    }
    return {"Timeline: phases, decisions and their owners",
            {ReportTable{{"at (UTC)", "kind", "what", "outcome", "took", "by", "via", "reason"},
                         std::move(rows),
                         {false, false, false, false, true}}}};
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
    if (count_of(report, "switches_left_out") > 0)
        out.blocks.emplace_back(plain(
            fmt::format("{} older ones are not listed.", number(report, "switches_left_out"))));
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
    out.sections = {summary(report),  left(report),     gates(report),    migrated(report),
                    timeline(report), workload(report), findings(report), comparison(report),
                    tests(report),    switches(report), evidence(report), configuration(report)};
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
