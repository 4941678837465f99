// The command line as a value: global options, the tree of commands, and what the chosen command
// runs. Made by main, filled by one add_*() per command group.
#pragma once

#include <CLI/CLI.hpp>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "cli/output.h"

namespace exodus::cli {

struct Globals {
    std::string config;  ///< empty: $EXODUS_CONFIG, then ./exodus.toml when it exists
    bool json = false;
    bool quiet = false;
    int verbose = 0;
    std::string color = "auto";
    bool no_input = false;
    bool yes = false;
    std::string confirm;
    std::string reason;
    bool dry_run = false;
    int64_t timeout_ms = 0;
    int64_t lock_timeout_ms = 0;
    std::string log_format = "text";
};

struct Cli {
    CLI::App app{"Moves live database workloads without downtime.", "exodus"};
    Globals globals;
    /// Flags that are settings: dotted key -> text, as ConfigInput::flags.
    std::map<std::string, std::string> settings;
    std::vector<std::string> words;  ///< argv without the program, for the command log
    std::string command;             ///< "migrate", "config show"
    std::function<int()> run;        ///< of the chosen command
    Output out;

    /// A subcommand whose callback chooses `action`.
    CLI::App* add(const std::string& name, const std::string& help, std::function<int()> action,
                  CLI::App* parent = nullptr);
    /// A flag that sets a key of the configuration.
    CLI::Option* add_setting(CLI::App* command, const std::string& flag, const std::string& key,
                             const std::string& help, const std::string& value_name);
};

/// "10m" and so on into milliseconds; a usage error otherwise.
CLI::Option* add_duration(CLI::App* command, const std::string& flag, int64_t& ms,
                          const std::string& help);
CLI::Option* add_duration(CLI::App* command, const std::string& flag, std::optional<int64_t>& ms,
                          const std::string& help);
/// Comma-separated, may be repeated.
CLI::Option* add_list(CLI::App* command, const std::string& flag, std::vector<std::string>& list,
                      const std::string& help, const std::string& value_name);

void add_init(Cli& cli);
void add_phases(Cli& cli);
void add_interlay(Cli& cli);
void add_status(Cli& cli);
void add_decisions(Cli& cli);
void add_divergences(Cli& cli);
void add_errors(Cli& cli);
void add_events(Cli& cli);
void add_report(Cli& cli);
void add_ctl(Cli& cli);
void add_config(Cli& cli);
void add_completion(Cli& cli);
void add_man(Cli& cli);

/// The whole program; main only calls it.
int run(int argc, char** argv);

}  // namespace exodus::cli
