// How the sections of a report read the object, and the sections that tell of what was measured.
// Used by report_document.cpp and report_measured.cpp only.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "cli/report_document.h"

namespace exodus::cli::report_part {

using Rows = std::vector<std::vector<std::string>>;

/// Null when there is none.
const nlohmann::json& member(const nlohmann::json& from, const char* field);
uint64_t count_of(const nlohmann::json& from, const char* field);
std::string text_of(const nlohmann::json& from, const char* field);
std::string number(const nlohmann::json& from, const char* field);  ///< 1,284,019
std::string moment(int64_t at_ms);                                  ///< "2026-11-30 00:12:01", UTC
std::string span_of_us(double us);
ReportText plain(std::string text);

/// "Gate compare: PASS". The only verdicts of a report are those of the gates.
ReportText gate_text(const nlohmann::json& gate);
void add_gate(const nlohmann::json& report, std::string_view name, ReportSection& out);
/// When these were measured, in which attempt, with what; and plainly when that is not this
/// attempt, or counts no longer.
void add_origin(const nlohmann::json& report, std::initializer_list<std::string_view> kinds,
                ReportSection& out);

ReportSection workload(const nlohmann::json& report);
ReportSection findings(const nlohmann::json& report);
ReportSection comparison(const nlohmann::json& report);
ReportSection tests(const nlohmann::json& report);
ReportSection evidence(const nlohmann::json& report);

}  // namespace exodus::cli::report_part
