// exodus config check|show: what the configuration says, where each value comes from, and every
// error in it.
#include <fmt/format.h>

#include "cli/cli.h"
#include "cli/load.h"
#include "families/registry.h"
#include "workflow/exit_codes.h"

namespace exodus::cli {

namespace {

int check(Cli& cli) {
    auto loaded = load(cli, {.require_endpoints = true, .read_secrets = true});
    if (!loaded) return report_config_errors(cli, loaded.error());
    cli.out.line(fmt::format("{}: good",
                             cli.out.bold(loaded->file.empty() ? "configuration" : loaded->file)));
    cli.out.line(fmt::format("  migration {}   family {}", loaded->settings.migration,
                             loaded->settings.family));
    cli.out.line(fmt::format("  source    {}", loaded->settings.source.address()));
    cli.out.line(fmt::format("  target    {}", loaded->settings.target.address()));
    cli.out.line(fmt::format("  hash      {}", loaded->settings.config_hash));
    cli.out.line();
    cli.out.line("Next: exodus pretest");
    return cli.out.result("config check", kDone,
                          {{"headline", "the configuration is good"},
                           {"file", loaded->file},
                           {"migration", loaded->settings.migration},
                           {"family", loaded->settings.family},
                           {"config_hash", loaded->settings.config_hash},
                           {"next", {"exodus pretest"}}});
}

int show(Cli& cli, bool all) {
    std::vector<ConfigValue> values;
    auto loaded = load(cli, {.require_endpoints = false, .read_secrets = false, .values = &values});
    auto list = nlohmann::json::array();
    for (const ConfigValue& value : values) {
        list.push_back({{"key", value.key}, {"value", value.value}, {"origin", value.origin}});
        if (!all && value.origin == "default") continue;
        cli.out.line(fmt::format("{:<34} {:<40} {}", value.key, printable(value.value),
                                 cli.out.dim("# " + value.origin)));
    }
    if (!loaded) return report_config_errors(cli, loaded.error());
    if (!all) cli.out.line(cli.out.dim("# defaults are left out; --all shows them"));
    return cli.out.result("config show", kDone,
                          {{"values", list}, {"config_hash", loaded->settings.config_hash}});
}

}  // namespace

void add_config(Cli& cli) {
    CLI::App* config = cli.add("config", "check or show the configuration", nullptr);
    config->require_subcommand(1);
    cli.add(
        "check", "read the configuration and its secrets, and report every error",
        [&cli] { return check(cli); }, config);
    auto all = std::make_shared<bool>(false);
    CLI::App* sub = cli.add(
        "show", "every value and where it comes from", [&cli, all] { return show(cli, *all); },
        config);
    sub->add_flag("--all", *all, "defaults too");
}

}  // namespace exodus::cli
