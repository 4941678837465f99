// Reading the configuration for a command: file, environment and flags to Settings, checked by the
// family.
#pragma once

#include <string>
#include <tl/expected.hpp>
#include <vector>

#include "cli/cli.h"
#include "config/config.h"

namespace exodus::cli {

struct LoadOptions {
    bool require_endpoints = true;
    bool read_secrets = true;
    std::vector<ConfigValue>* values = nullptr;
};

struct Loaded {
    Settings settings;
    std::string file;  ///< empty: none was read
};

tl::expected<Loaded, std::vector<ConfigError>> load(Cli& cli, const LoadOptions& options);
/// Prints all of them; exit code 78.
int report_config_errors(Cli& cli, const std::vector<ConfigError>& errors);
/// The schemes of all families.
std::vector<SchemeInfo> all_schemes();
/// --config, $EXODUS_CONFIG, ./exodus.toml when it exists, or empty.
std::string config_path(const Cli& cli);

}  // namespace exodus::cli
