// TOML file, environment and flags to Settings: the one place that reads a configuration. Reports
// every error at once, each with its line and what was probably meant. Called by cli; must never
// print, and never put a secret into a message.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <tl/expected.hpp>
#include <vector>

#include "core/settings.h"

namespace exodus {

/// One thing that is wrong. `line` is 0 when it does not come from a line of the file (flag,
/// environment, missing key).
struct ConfigError {
    std::string file;  ///< path, "flag --x", "environment" or empty
    int line = 0;
    std::string key;         ///< dotted, "interlay.listen"
    std::string message;     ///< what is wrong
    std::string suggestion;  ///< what to write instead, or empty

    /// "exodus.toml:12: interlay.lissten: unknown key; did you mean interlay.listen?"
    [[nodiscard]] std::string text() const;
};

/// A URI scheme of a family, from Family::schemes().
struct SchemeInfo {
    std::string family;
    std::string scheme;
    bool tls = false;
    uint16_t default_port = 0;
};

struct ConfigInput {
    std::string file;                          ///< empty: none
    std::map<std::string, std::string> flags;  ///< dotted key -> text, lists comma-separated
    /// Reads one variable of the environment; nothing when it is not set.
    std::function<std::optional<std::string>(std::string_view)> environment;
    std::vector<SchemeInfo> schemes;
    bool require_endpoints = true;  ///< false: source and target may be missing (status, events, …)
    bool read_secrets = true;       ///< false: password sources are checked for form but not read
};

/// Where each value came from, for `exodus config show`.
struct ConfigValue {
    std::string key;
    std::string value;   ///< as text; sources of secrets are shown, secrets never
    std::string origin;  ///< "default", "exodus.toml:12", "EXODUS_INTERLAY_HTTP", "flag"
};

/// Errors come in the order of the file, then the rest. `values`, when given, is filled also when
/// there are errors.
tl::expected<Settings, std::vector<ConfigError>> load_settings(
    const ConfigInput& input, std::vector<ConfigValue>* values = nullptr);

/// A key of the file as documentation: what `config show`, the template and the man-page test read.
struct ConfigKeyInfo {
    std::string_view key;
    std::string_view kind;          ///< "duration", "text", "list", …
    std::string_view default_text;  ///< as one would write it in TOML; empty: none
    std::string_view help;
};
std::vector<ConfigKeyInfo> config_keys();

/// "interlay.http" -> "EXODUS_INTERLAY_HTTP".
std::string environment_name(std::string_view key);

struct TemplateInput {
    std::string migration;
    std::string family;
    std::string source_uri;
    std::string target_uri;
};
/// The commented exodus.toml that `exodus init` writes. Every key is in it; those with a default
/// are commented out.
std::string config_template(const TemplateInput& input);

/// Checks an endpoint's URI as `exodus init` gets it; the message never repeats a password.
std::vector<ConfigError> check_uri(std::string_view key, std::string_view uri,
                                   std::string_view family, const std::vector<SchemeInfo>& schemes);

}  // namespace exodus
