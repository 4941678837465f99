// A report as sections of text, tables and plots, whatever it is written as. Made of the object of
// workflow/report.h and of the configuration; written as HTML or Markdown.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "config/config.h"

namespace exodus::cli {

struct ReportTable {
    std::vector<std::string> head;
    std::vector<std::vector<std::string>> rows;
    std::vector<bool> numbers;  ///< by column: set right
};

/// Horizontal bars, one for each label.
struct ReportBars {
    std::string title;
    struct Bar {
        std::string label;
        double value = 0;
        std::string text;  ///< the value for people
    };
    std::vector<Bar> bars;
};

/// A line over time.
struct ReportLine {
    std::string title;
    std::string unit;
    std::vector<std::pair<int64_t, double>> points;  ///< Unix ms, value
};

struct ReportText {
    std::string text;
    enum class Tone : uint8_t { plain, good, warn, bad } tone = Tone::plain;
};

using ReportBlock = std::variant<ReportText, ReportTable, ReportBars, ReportLine>;

struct ReportSection {
    std::string title;
    std::vector<ReportBlock> blocks;
};

struct ReportDocument {
    std::string title;
    std::string subtitle;
    std::vector<ReportSection> sections;
};

ReportDocument make_document(const nlohmann::json& report);

/// The rows of the configuration that a report shows: all that was set, and every value that
/// decides something, also at its default. No secret, and no command, which may hold one.
nlohmann::json report_configuration(const std::vector<ConfigValue>& values);

/// One file without anything from elsewhere.
std::string to_html(const ReportDocument& document);
std::string to_markdown(const ReportDocument& document);

}  // namespace exodus::cli
