// From what was written to what is meant: URIs to endpoints, password sources to secrets, and the
// checks that look at more than one key. Second half of load_settings; used by config.cpp only.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "config/config.h"
#include "config/keys.h"

namespace exodus {

struct ResolveContext {
    const ConfigInput& input;
    SettingsDraft& draft;
    std::vector<ConfigError>& errors;
    std::function<ConfigError(std::string_view key)>
        place;  ///< an error with file and line of the key

    void error(std::string_view key, std::string message, std::string suggestion = {}) const;
};

void resolve(const ResolveContext& context);

/// SHA-256 over what evidence depends on: endpoints, scope, decisions, compare rules, family
/// options. Not over where the interlay listens, throttles, time limits and the gates' numbers,
/// because changing those makes no measurement wrong.
std::string settings_hash(const Settings& settings);

}  // namespace exodus
