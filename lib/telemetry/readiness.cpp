#include "telemetry/readiness.h"

#include <nlohmann/json.hpp>

#include "telemetry/limits.h"

namespace exodus {

namespace {

/// Who does not answer; empty when all do that count, or nobody asked them. One that refuses the
/// probe's user answers: applications have their own. The target never counts (workflow.md).
std::string who_is_silent(const nlohmann::json& status) {
    const auto traffic = status.find("traffic");
    if (traffic != status.end() && traffic->is_null()) return "a loop of this process";
    static const nlohmann::json::json_pointer kSilent("/source/health/silent");
    const bool counts = status.value("authority", "") == "source" && status.contains(kSilent);
    return counts && status.at(kSilent) == true ? "the authoritative source" : "";
}

}  // namespace

std::string Readiness::after(const nlohmann::json& status, int64_t now_us) {
    if (status.value("draining", false)) return "draining: it takes no more clients";
    const std::string who = who_is_silent(status);
    if (who.empty()) {
        silent_since_us_ = 0;
        return {};
    }
    if (silent_since_us_ == 0) silent_since_us_ = now_us;
    const int64_t for_us = now_us - silent_since_us_;
    if (for_us < limits::kTelemetryReadySilent_ms * 1000) return {};
    return who + " has not answered for " + std::to_string(for_us / 1'000'000) + " s";
}

}  // namespace exodus
