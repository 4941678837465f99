#include "cli/outcome.h"

#include <algorithm>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include "workflow/exit_codes.h"

namespace exodus::cli {

namespace {

std::string verdict_text(const Output& out, GateVerdict verdict) {
    std::string text(to_string(verdict));
    for (char& c : text) c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
    if (verdict == GateVerdict::pass) return out.good(text);
    if (verdict == GateVerdict::skipped || verdict == GateVerdict::inconclusive)
        return out.warn(text);
    return out.bad(text);
}

void print_gate(Output& out, const GateReport& gate) {
    out.line(
        fmt::format("gate {} ({}): {}{}", number_of(gate.gate), to_string(gate.gate),
                    verdict_text(out, gate.verdict),
                    gate.skipped_by.empty() ? "" : "  skipped by " + printable(gate.skipped_by)));
    for (const GateRow& row : gate.rows) {
        out.line(fmt::format("  {:<12}  {}", verdict_text(out, row.verdict),
                             printable(row.requirement)));
        if (!row.found.empty())
            out.line(fmt::format("                found: {}", printable(row.found)));
        if (row.verdict != GateVerdict::pass && !row.hint.empty()) {
            out.line(fmt::format("                to do: {}", printable(row.hint)));
        }
    }
}

std::string severity_text(const Output& out, Severity severity) {
    const std::string text(to_string(severity));
    if (severity == Severity::fail) return out.bad(text);
    if (severity == Severity::warn) return out.warn(text);
    return severity == Severity::pass ? out.good(text) : text;
}

/// One cause can fail every check of a side: its text stands once, with the other checks' names.
void print_findings(Output& out, const std::vector<Finding>& findings, bool passes) {
    const auto same = [](const Finding& a, const Finding& b) {
        return a.severity != Severity::pass && a.severity == b.severity && a.subject == b.subject &&
               a.text == b.text && a.hint == b.hint;
    };
    for (std::size_t i = 0; i < findings.size(); ++i) {
        const Finding& finding = findings[i];
        if (finding.severity == Severity::pass && !passes) continue;
        const auto here = findings.begin() + static_cast<std::ptrdiff_t>(i);
        if (std::any_of(findings.begin(), here, [&](const Finding& f) { return same(f, finding); }))
            continue;
        out.line(fmt::format("{:<5} {:<28} {:<8} {}", severity_text(out, finding.severity),
                             finding.id, finding.subject, printable(finding.text)));
        std::string also;
        std::for_each(here + 1, findings.end(), [&](const Finding& f) {
            if (same(f, finding) && f.id != finding.id) also += (also.empty() ? "" : ", ") + f.id;
        });
        if (!also.empty()) out.line("      also: " + also);
        if (!finding.hint.empty() && finding.severity != Severity::pass) {
            out.line(fmt::format("      to do: {}", printable(finding.hint)));
        }
    }
}

nlohmann::json outcome_json(const PhaseOutcome& outcome) {
    nlohmann::json json = {{"phase", outcome.phase},     {"headline", outcome.headline},
                           {"details", outcome.details}, {"stands", outcome.stands},
                           {"next", outcome.next},       {"numbers", outcome.numbers}};
    if (!outcome.stands.empty()) {
        json["state"] = to_string(outcome.state);
        json["authority"] = to_string(outcome.authority);
        json["epoch"] = outcome.epoch;
    }
    json["gates"] = nlohmann::json::array();
    for (const GateReport& gate : outcome.gates) json["gates"].push_back(to_json(gate));
    json["findings"] = nlohmann::json::array();
    for (const Finding& finding : outcome.findings) json["findings"].push_back(to_json(finding));
    if (outcome.error) json["error"] = to_json(*outcome.error);
    return json;
}

}  // namespace

nlohmann::json to_json(const GateReport& report) {
    nlohmann::json rows = nlohmann::json::array();
    for (const GateRow& row : report.rows) {
        rows.push_back({{"requirement", row.requirement},
                        {"found", row.found},
                        {"verdict", to_string(row.verdict)},
                        {"hint", row.hint}});
    }
    return {{"gate", to_string(report.gate)},       {"number", number_of(report.gate)},
            {"verdict", to_string(report.verdict)}, {"open", report.open()},
            {"skipped_by", report.skipped_by},      {"rows", rows}};
}

int report_outcome(Cli& cli, const PhaseOutcome& outcome, int exit_code) {
    Output& out = cli.out;
    out.clear_progress();
    if (out.json()) return out.result(cli.command, exit_code, outcome_json(outcome));
    const bool good = outcome.exit_code == kDone;
    const bool passes = cli.globals.verbose > 0 || outcome.phase == "pretest";
    print_findings(out, outcome.findings, passes);
    for (const GateReport& gate : outcome.gates) {
        if (!gate.open() || cli.globals.verbose > 0 || cli.globals.dry_run) print_gate(out, gate);
    }
    for (const std::string& line : outcome.details) out.line(printable(line));
    const std::string headline = fmt::format("{}: {}", outcome.phase, printable(outcome.headline));
    out.line(good ? out.bold(headline) : out.bad(headline));
    if (outcome.error) {
        if (outcome.headline.find(outcome.error->message) == std::string::npos) {
            out.line("  why: " + printable(outcome.error->message));
        }
        if (!outcome.error->hint.empty()) out.line("  to do: " + printable(outcome.error->hint));
    }
    // Nothing stands in an outcome whose state could not be read.
    if (!outcome.stands.empty()) {
        out.line("stands: " + printable(outcome.stands));
        out.line(fmt::format("authoritative: {}   state: {}   epoch: {}",
                             out.bold(to_string(outcome.authority)), to_string(outcome.state),
                             outcome.epoch));
    }
    print_next(out, outcome.next);
    return exit_code;
}

void print_next(Output& out, const std::vector<std::string>& next) {
    if (!next.empty()) out.line("Next: " + next.front());
    if (next.size() > 1) {
        out.line(fmt::format("also possible: {}", fmt::join(next.begin() + 1, next.end(), ", ")));
    }
}

}  // namespace exodus::cli
