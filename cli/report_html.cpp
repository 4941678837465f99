// The report as one HTML file: its own style, plots as SVG, nothing from elsewhere, readable on
// paper.
#include <algorithm>
#include <fmt/format.h>

#include "base/clock.h"
#include "cli/output.h"
#include "cli/report_document.h"

namespace exodus::cli {

namespace {

constexpr const char* kStyle = R"(
:root { color-scheme: light dark; --text: #1c2430; --soft: #566173; --ground: #fff; --edge: #d5dbe3; --bar: #1d5bbf; --good: #146c2e; --warn: #8a5300; --bad: #a8201a; }
@media (prefers-color-scheme: dark) { :root { --text: #e6eaf0; --soft: #a3adbb; --ground: #12161c; --edge: #333c48; --bar: #7fb0ff; --good: #6fd08c; --warn: #f0b45a; --bad: #ff9c94; } }
@media print { :root { color-scheme: light; } section { break-inside: avoid-page; } }
body { margin: 0 auto; max-width: 72rem; padding: 1.5rem; font: 15px/1.5 system-ui, sans-serif; color: var(--text); background: var(--ground); }
h1 { margin: 0; font-size: 1.8rem; } h2 { margin: 2rem 0 .5rem; font-size: 1.2rem; border-bottom: 1px solid var(--edge); }
.sub { color: var(--soft); margin: .2rem 0 0; } .good { color: var(--good); } .warn { color: var(--warn); } .bad { color: var(--bad); font-weight: 600; }
.wide { overflow-x: auto; } table { border-collapse: collapse; margin: .5rem 0 1rem; font-size: .9rem; }
th, td { text-align: left; vertical-align: top; padding: .25rem .75rem .25rem 0; border-bottom: 1px solid var(--edge); overflow-wrap: break-word; }
td:first-child { min-width: 7rem; } td:last-child { min-width: 9rem; }
th { color: var(--soft); font-weight: 600; } .n { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums; }
figure { margin: .5rem 0 1rem; } figcaption { color: var(--soft); font-weight: 600; font-size: .9rem; }
svg { max-width: 100%; height: auto; } svg text { fill: var(--text); font: 12px system-ui, sans-serif; } rect.bar { fill: var(--bar); } polyline { fill: none; stroke: var(--bar); stroke-width: 1.5; } line { stroke: var(--edge); }
)";

std::string safe(const std::string& text) {
    std::string out;
    for (const char c : printable(text)) {
        switch (c) {
            case '&':
                out += "&amp;";
                break;
            case '<':
                out += "&lt;";
                break;
            case '>':
                out += "&gt;";
                break;
            case '"':
                out += "&quot;";
                break;
            default:
                out += c;
        }
    }
    return out;
}

/// Class and mark, since colour alone is not seen by everybody and not on every paper.
std::pair<const char*, const char*> look_of(ReportText::Tone tone) {
    switch (tone) {
        case ReportText::Tone::good:
            return {" class=\"good\"", "✓ "};
        case ReportText::Tone::warn:
            return {" class=\"warn\"", "! "};
        case ReportText::Tone::bad:
            return {" class=\"bad\"", "✕ "};
        case ReportText::Tone::plain:
            break;
    }
    return {"", ""};
}

void write(const ReportText& text, std::string& out) {
    const auto [tone, mark] = look_of(text.tone);
    out += fmt::format("<p{}>{}{}</p>\n", tone, mark, safe(text.text));
}

void write(const ReportTable& table, std::string& out) {
    const auto is_number = [&](std::size_t i) {
        return i < table.numbers.size() && table.numbers[i];
    };
    out += "<div class=\"wide\"><table><thead><tr>";
    for (std::size_t i = 0; i < table.head.size(); ++i)
        out += fmt::format("<th scope=\"col\"{}>{}</th>", is_number(i) ? " class=\"n\"" : "",
                           safe(table.head[i]));
    out += "</tr></thead><tbody>\n";
    for (const auto& row : table.rows) {
        out += "<tr>";
        for (std::size_t i = 0; i < row.size(); ++i)
            out += fmt::format("<td{}>{}</td>", is_number(i) ? " class=\"n\"" : "", safe(row[i]));
        out += "</tr>\n";
    }
    out += "</tbody></table></div>\n";
}

void write(const ReportBars& bars, std::string& out) {
    constexpr int kRow = 20;
    constexpr int kLabel = 190;
    constexpr int kBar = 420;
    double most = 0;
    for (const auto& bar : bars.bars) most = std::max(most, bar.value);
    const auto height = static_cast<int>(bars.bars.size()) * kRow;
    out += fmt::format(
        "<figure><figcaption>{0}</figcaption><svg role=\"img\" aria-label=\"{0}\" width=\"{1}\" "
        "height=\"{2}\" viewBox=\"0 0 {1} {2}\">",
        safe(bars.title), kLabel + kBar + 170, height);
    int y = 0;
    for (const auto& bar : bars.bars) {
        const double width = most > 0 ? bar.value / most * kBar : 0;
        out += fmt::format(
            "<text x=\"{}\" y=\"{}\" text-anchor=\"end\">{}</text><rect class=\"bar\" x=\"{}\" "
            "y=\"{}\" width=\"{:.1f}\" height=\"{}\"/><text x=\"{:.1f}\" y=\"{}\">{}</text>",
            kLabel - 8, y + 14, safe(bar.label), kLabel, y + 3, std::max(width, 1.0), kRow - 6,
            kLabel + width + 6, y + 14, safe(bar.text));
        y += kRow;
    }
    out += "</svg></figure>\n";
}

void write(const ReportLine& line, std::string& out) {
    constexpr int kWidth = 780;
    constexpr int kHeight = 140;
    constexpr int kLeft = 70;
    double most = 0;
    for (const auto& point : line.points) most = std::max(most, point.second);
    const int64_t from = line.points.front().first;
    const auto span = static_cast<double>(std::max<int64_t>(1, line.points.back().first - from));
    std::string path;
    for (const auto& [at_ms, value] : line.points)
        path += fmt::format("{:.1f},{:.1f} ",
                            kLeft + static_cast<double>(at_ms - from) / span * (kWidth - kLeft),
                            most > 0 ? kHeight - value / most * (kHeight - 10) : kHeight);
    out += fmt::format(
        "<figure><figcaption>{0}</figcaption><svg role=\"img\" aria-label=\"{0}\" width=\"{1}\" "
        "height=\"{2}\" viewBox=\"0 0 {1} {2}\"><line x1=\"{3}\" y1=\"{4}\" x2=\"{1}\" y2=\"{4}\"/>"
        "<text x=\"{5}\" y=\"14\" text-anchor=\"end\">{6:.0f} {7}</text>"
        "<text x=\"{5}\" y=\"{4}\" text-anchor=\"end\">0</text><polyline points=\"{8}\"/>"
        "<text x=\"{3}\" y=\"{9}\">{10}</text><text x=\"{1}\" y=\"{9}\" "
        "text-anchor=\"end\">{11}</text></svg></figure>\n",
        safe(line.title), kWidth, kHeight + 20, kLeft, kHeight, kLeft - 8, most, safe(line.unit),
        path, kHeight + 16, iso8601(from).substr(11, 8),
        iso8601(line.points.back().first).substr(11, 8));
}

}  // namespace

std::string to_html(const ReportDocument& document) {
    std::string out = fmt::format(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta "
        "name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<meta "
        "http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src "
        "'unsafe-inline'\">\n<title>{0}</title>\n<style>{1}</style>\n</head>\n<body>\n<header>"
        "<h1>{0}</h1><p class=\"sub\">{2}</p></header>\n<main>\n",
        safe(document.title), kStyle, safe(document.subtitle));
    for (const ReportSection& section : document.sections) {
        out += fmt::format("<section>\n<h2>{}</h2>\n", safe(section.title));
        for (const ReportBlock& block : section.blocks)
            std::visit([&](const auto& one) { write(one, out); }, block);
        out += "</section>\n";
    }
    return out + "</main>\n</body>\n</html>\n";
}

}  // namespace exodus::cli
