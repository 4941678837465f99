// The report as Markdown: plots become tables.
#include <fmt/format.h>

#include "base/clock.h"
#include "cli/output.h"
#include "cli/report_document.h"

namespace exodus::cli {

namespace {

/// One line, without what Markdown or HTML would read as markup.
std::string cell(const std::string& text) {
    std::string out;
    for (const char c : printable(text)) {
        if (std::string_view("|\\`*_<>[]#&").find(c) != std::string_view::npos) out += '\\';
        out += c;
    }
    return out;
}

void write(const ReportText& text, std::string& out) {
    const bool attention =
        text.tone == ReportText::Tone::bad || text.tone == ReportText::Tone::warn;
    const char* mark = attention ? "**!** " : "";
    out += fmt::format("{}{}\n\n", mark, cell(text.text));
}

void write(const ReportTable& table, std::string& out) {
    const auto line = [&](const std::vector<std::string>& cells) {
        out += '|';
        for (const std::string& text : cells) out += fmt::format(" {} |", cell(text));
        out += '\n';
    };
    line(table.head);
    out += '|';
    for (std::size_t i = 0; i < table.head.size(); ++i)
        out += i < table.numbers.size() && table.numbers[i] ? " ---: |" : " --- |";
    out += '\n';
    for (const auto& row : table.rows) line(row);
    out += '\n';
}

void write(const ReportBars& bars, std::string& out) {
    ReportTable table{{bars.title, ""}, {}, {false, true}};
    for (const auto& bar : bars.bars) table.rows.push_back({bar.label, bar.text});
    write(table, out);
}

void write(const ReportLine& line, std::string& out) {
    ReportTable table{{line.title, line.unit}, {}, {false, true}};
    for (const auto& [at_ms, value] : line.points)
        table.rows.push_back({iso8601(at_ms), fmt::format("{:.0f}", value)});
    write(table, out);
}

}  // namespace

std::string to_markdown(const ReportDocument& document) {
    std::string out = fmt::format("# {}\n\n{}\n\n", cell(document.title), cell(document.subtitle));
    for (const ReportSection& section : document.sections) {
        out += fmt::format("## {}\n\n", cell(section.title));
        for (const ReportBlock& block : section.blocks)
            std::visit([&](const auto& one) { write(one, out); }, block);
    }
    return out;
}

}  // namespace exodus::cli
