#include "cli/load.h"

#include <cstdlib>
#include <fmt/format.h>
#include <unistd.h>

#include "families/registry.h"
#include "workflow/exit_codes.h"

namespace exodus::cli {

namespace {

std::optional<std::string> environment(std::string_view name) {
    const char* value = std::getenv(std::string(name).c_str());
    if (value == nullptr) return std::nullopt;
    return std::string(value);
}

/// Errors of a family begin with the key that they are about; its line is where it was written.
ConfigError with_line(const Error& error, const std::string& file,
                      const std::vector<ConfigValue>& values) {
    ConfigError out{file, 0, "", error.message, error.hint};
    const std::string key = error.message.substr(0, error.message.find(' '));
    for (const ConfigValue& value : values) {
        if (value.key != key || value.origin == "default") continue;
        const auto colon = value.origin.rfind(':');
        if (value.origin.starts_with(file + ":") && colon != std::string::npos)
            out.line = std::atoi(value.origin.c_str() + colon + 1);
        else
            out.file = value.origin;
    }
    return out;
}

}  // namespace

std::string config_path(const Cli& cli) {
    if (!cli.globals.config.empty()) return cli.globals.config;
    if (auto named = environment("EXODUS_CONFIG"); named && !named->empty()) return *named;
    return ::access("exodus.toml", F_OK) == 0 ? "exodus.toml" : "";
}

std::vector<SchemeInfo> all_schemes() {
    std::vector<SchemeInfo> out;
    for (const std::string_view name : family_names()) {
        const auto family = make_family(name);
        for (const auto& [scheme, tls] : family->schemes()) {
            out.push_back({std::string(name), std::string(scheme), tls, family->default_port()});
        }
    }
    return out;
}

tl::expected<Loaded, std::vector<ConfigError>> load(Cli& cli, const LoadOptions& options) {
    ConfigInput input;
    input.file = config_path(cli);
    input.flags = cli.settings;
    input.environment = environment;
    input.schemes = all_schemes();
    input.require_endpoints = options.require_endpoints;
    input.read_secrets = options.read_secrets;
    std::vector<ConfigValue> own_values;
    std::vector<ConfigValue>& values = options.values != nullptr ? *options.values : own_values;
    auto settings = load_settings(input, &values);
    if (!settings) {
        std::vector<ConfigError> errors = std::move(settings.error());
        if (input.file.empty()) {
            errors.insert(errors.begin(),
                          {"", 0, "", "there is no exodus.toml here, and no --config was given",
                           "exodus init FAMILY --from URI --to URI writes one"});
        }
        return tl::unexpected(std::move(errors));
    }
    if (!settings->family.empty() && options.require_endpoints) {
        std::vector<ConfigError> errors;
        for (const Error& error : make_family(settings->family)->validate(*settings)) {
            errors.push_back(with_line(error, input.file, values));
        }
        if (!errors.empty()) return tl::unexpected(std::move(errors));
    }
    return Loaded{std::move(*settings), input.file};
}

int report_config_errors(Cli& cli, const std::vector<ConfigError>& errors) {
    auto list = nlohmann::json::array();
    std::string text;
    for (const ConfigError& error : errors) {
        list.push_back({{"file", error.file},
                        {"line", error.line},
                        {"key", error.key},
                        {"message", error.message},
                        {"suggestion", error.suggestion}});
        if (!text.empty()) text += '\n';
        text += "  " + printable(error.text());
    }
    const std::string headline = fmt::format("the configuration has {} error{}", errors.size(),
                                             errors.size() == 1 ? "" : "s");
    if (!cli.out.json()) {
        cli.out.clear_progress();
        fmt::print(stderr, "exodus {}: {}\n{}\n  nothing was changed\n", cli.command, headline,
                   text);
        return kConfig;
    }
    return cli.out.result(cli.command, kConfig,
                          {{"headline", headline},
                           {"stands", "nothing was changed"},
                           {"error", {{"code", "config"}, {"message", headline}, {"hint", ""}}},
                           {"errors", list}});
}

}  // namespace exodus::cli
