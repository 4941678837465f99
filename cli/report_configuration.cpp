// Which values of the configuration a report shows, and what of them.
#include <algorithm>
#include <array>
#include <string_view>

#include "cli/report_document.h"

namespace exodus::cli {

namespace {

/// Where the keys are that decide what moves, how it is judged and how long clients wait: without
/// their defaults an auditor cannot tell what a gate has asked for.
constexpr std::array<std::string_view, 5> kDeciding{"migrate.", "compare.", "cutover.", "scope.",
                                                    "gates."};

bool decides(std::string_view key) {
    return std::any_of(kDeciding.begin(), kDeciding.end(),
                       [&](std::string_view table) { return key.starts_with(table); });
}

/// Also the family's own: their words may hold a token, as those of password_command may.
bool is_command(std::string_view key) { return key.ends_with("command"); }

}  // namespace

nlohmann::json report_configuration(const std::vector<ConfigValue>& values) {
    auto out = nlohmann::json::array();
    for (const ConfigValue& value : values) {
        const bool by_default = value.origin == "default";
        if (by_default && (!decides(value.key) || value.value.empty())) continue;
        std::string text = is_command(value.key) && !by_default ? "(set)" : value.value;
        // Defaults stand as in the file; everything else without the quotes of TOML.
        if (by_default && text.size() > 1 && text.front() == '"' && text.back() == '"')
            text = text.substr(1, text.size() - 2);
        out.push_back({{"key", value.key}, {"value", text}, {"origin", value.origin}});
    }
    return out;
}

}  // namespace exodus::cli
