// Builds the command tree with the global options, parses, and runs the chosen command.
#include <cstdio>
#include <exception>
#include <fmt/format.h>
#include <signal.h>
#include <sys/stat.h>

#include "base/log.h"
#include "base/values.h"
#include "cli/cli.h"
#include "workflow/exit_codes.h"

namespace exodus::cli {

namespace {

constexpr const char* kFooter =
    "Exit codes: 0 done, 1 could not finish (run again), 2 gate not met or differences, 3 not "
    "allowed now,\n"
    "4 approval missing, 5 stopped by a safety rule, 64 usage, 69 unreachable, 75 locked, 78 "
    "configuration.\n"
    "More: exodus man, exodus man COMMAND, exodus man exodus.toml";

void add_globals(Cli& cli) {
    CLI::App& app = cli.app;
    Globals& g = cli.globals;
    app.add_option("-c,--config", g.config, "configuration file (default: exodus.toml)")
        ->type_name("FILE");
    cli.add_setting(&app, "--state", "state", "state file (default: exodus.db)", "FILE");
    cli.add_setting(&app, "-m,--migration", "migration", "name of the migration", "NAME");
    app.add_flag("--json", g.json,
                 "one JSON object per line on stdout; the last has \"type\":\"result\"");
    app.add_flag("-q,--quiet", g.quiet, "no progress and no notes");
    app.add_flag("-v,--verbose", g.verbose, "more log on stderr; twice: everything");
    app.add_option("--color", g.color, "auto, always or never; NO_COLOR is respected")
        ->check(CLI::IsMember({"auto", "always", "never"}))
        ->type_name("WHEN");
    app.add_flag("--no-input", g.no_input,
                 "never ask; what would be asked counts as not confirmed");
    app.add_flag("-y,--yes", g.yes,
                 "yes to questions; never enough for a switch, a rollback or a commit");
    app.add_option("--confirm", g.confirm,
                   "confirms a switch, a rollback or a commit by the migration's name")
        ->type_name("NAME");
    app.add_option("--reason", g.reason, "why; stored with the decision")->type_name("TEXT");
    app.add_flag("--dry-run", g.dry_run, "says what would be done; opens the state read-only");
    add_duration(&app, "--timeout", g.timeout_ms,
                 "stop a phase at a safe point after this time (exit code 1)");
    add_duration(&app, "--lock-timeout", g.lock_timeout_ms,
                 "wait this long for another command to end");
    app.add_option("--log-format", g.log_format, "text or json")
        ->check(CLI::IsMember({"text", "json"}))
        ->type_name("FORMAT");
}

ColorMode color_mode(const std::string& text) {
    if (text == "always") return ColorMode::always;
    return text == "never" ? ColorMode::never : ColorMode::automatic;
}

/// The innermost command that was named, for messages and for its help.
CLI::App* named_command(CLI::App& app) {
    CLI::App* at = &app;
    for (;;) {
        const auto chosen = at->get_subcommands();
        if (chosen.empty()) return at;
        at = chosen.front();
    }
}

std::string path_of(const CLI::App& root, const CLI::App* command) {
    std::string out;
    for (const CLI::App* at = command; at != nullptr && at != &root; at = at->get_parent()) {
        out = out.empty() ? at->get_name() : at->get_name() + " " + out;
    }
    return out;
}

/// What was probably meant by a word that nothing knows.
std::string suggestion_for(const CLI::App& root, CLI::App* command, const std::string& word) {
    std::vector<std::string> known;
    if (word.starts_with("-")) {
        for (const CLI::App* at : {static_cast<const CLI::App*>(command), &root}) {
            for (const CLI::Option* option : at->get_options()) {
                for (const std::string& name : option->get_lnames()) known.push_back("--" + name);
            }
        }
    } else {
        for (const CLI::App* sub : command->get_subcommands([](const CLI::App*) { return true; })) {
            known.push_back(sub->get_name());
        }
    }
    const auto meant = nearest(word.substr(0, word.find('=')), known);
    return meant ? fmt::format("did you mean {}?", *meant) : std::string{};
}

int usage_error(Cli& cli, const CLI::ParseError& failure, const std::vector<std::string>& words) {
    for (const std::string& word : words) {
        if (word == "--json") cli.globals.json = true;
    }
    cli.out.setup(cli.globals.json, false, ColorMode::automatic);
    CLI::App* command = named_command(cli.app);
    const std::string path = path_of(cli.app, command);
    std::string message = failure.what();
    std::string hint;
    if (dynamic_cast<const CLI::ExtrasError*>(&failure) != nullptr) {
        const auto rest = cli.app.remaining(true);
        const std::string word = rest.empty() ? "" : rest.front();
        message = word.starts_with("-") ? fmt::format("unknown option {}", printable(word))
                  : command == &cli.app ? fmt::format("unknown command {}", printable(word))
                                        : fmt::format("unexpected argument {}", printable(word));
        hint = suggestion_for(cli.app, command, word);
    }
    if (!hint.empty()) hint += "  ";
    hint += fmt::format("exodus {}{}--help shows what is there", path, path.empty() ? "" : " ");
    return cli.out.finish(cli.out.error(path, Error{ErrorCode::usage, message, hint},
                                        "nothing was changed: the command line is wrong"));
}

}  // namespace

CLI::App* Cli::add(const std::string& name, const std::string& help, std::function<int()> action,
                   CLI::App* parent) {
    CLI::App* sub = (parent != nullptr ? parent : &app)->add_subcommand(name, help);
    sub->fallthrough();
    sub->get_formatter()->column_width(34);
    sub->footer(
        fmt::format("Global options: exodus --help. The manual: exodus man {}", path_of(app, sub)));
    if (action) {
        sub->callback([this, sub, action = std::move(action)] {
            command = path_of(app, sub);
            run = action;
        });
    }
    return sub;
}

CLI::Option* Cli::add_setting(CLI::App* sub, const std::string& flag, const std::string& key,
                              const std::string& help, const std::string& value_name) {
    return sub
        ->add_option_function<std::string>(
            flag, [this, key](const std::string& text) { settings[key] = text; }, help)
        ->type_name(value_name);
}

CLI::Option* add_duration(CLI::App* command, const std::string& flag, std::optional<int64_t>& ms,
                          const std::string& help) {
    return command
        ->add_option_function<std::string>(
            flag,
            [&ms, flag](const std::string& text) {
                ms = parse_duration_ms(text);
                if (!ms) {
                    throw CLI::ValidationError(
                        flag, fmt::format("'{}' is not a duration; write 200ms, 3s, 10m or 24h",
                                          printable(text)));
                }
            },
            help)
        ->type_name("DURATION");
}

CLI::Option* add_duration(CLI::App* command, const std::string& flag, int64_t& ms,
                          const std::string& help) {
    return command
        ->add_option_function<std::string>(
            flag,
            [&ms, flag](const std::string& text) {
                const auto value = parse_duration_ms(text);
                if (!value) {
                    throw CLI::ValidationError(
                        flag, fmt::format("'{}' is not a duration; write 200ms, 3s, 10m or 24h",
                                          printable(text)));
                }
                ms = *value;
            },
            help)
        ->type_name("DURATION");
}

CLI::Option* add_list(CLI::App* command, const std::string& flag, std::vector<std::string>& list,
                      const std::string& help, const std::string& value_name) {
    return command->add_option(flag, list, help)
        ->delimiter(',')
        ->allow_extra_args(false)
        ->type_name(value_name);
}

int run(int argc, char** argv) {
    ::signal(SIGPIPE, SIG_IGN);
    ::umask(0077);  // everything exodus writes may describe data; it is the operator's alone
    Cli cli;
    for (int i = 1; i < argc; ++i) cli.words.emplace_back(argv[i]);
    cli.app.set_version_flag("--version", "exodus " EXODUS_VERSION);
    cli.app.require_subcommand(0, 1);
    cli.app.footer(kFooter);
    cli.app.get_formatter()->column_width(34);
    add_globals(cli);
    add_init(cli);
    add_phases(cli);
    add_interlay(cli);
    add_status(cli);
    add_decisions(cli);
    add_divergences(cli);
    add_errors(cli);
    add_events(cli);
    add_report(cli);
    add_ctl(cli);
    add_config(cli);
    add_completion(cli);
    add_man(cli);
    try {
        cli.app.parse(argc, argv);
    } catch (const CLI::CallForHelp&) {
        fmt::print("{}", named_command(cli.app)->help());
        return cli.out.finish(kDone);
    } catch (const CLI::CallForVersion&) {
        fmt::print("exodus {}\n", EXODUS_VERSION);
        return cli.out.finish(kDone);
    } catch (const CLI::ParseError& failure) {
        return usage_error(cli, failure, cli.words);
    }
    cli.out.setup(cli.globals.json, cli.globals.quiet, color_mode(cli.globals.color));
    const char* level = cli.globals.verbose >= 2   ? "trace"
                        : cli.globals.verbose == 1 ? "info"
                                                   : "warn";
    if (auto status =
            setup_log(cli.globals.log_format == "json" ? LogFormat::json : LogFormat::text, level);
        !status) {
        return cli.out.finish(cli.out.error("", status.error()));
    }
    if (!cli.run) {
        CLI::App* command = named_command(cli.app);
        if (cli.globals.json) {
            return cli.out.finish(
                cli.out.error("", Error{ErrorCode::usage, "no command given", "exodus --help"}));
        }
        fmt::print(stderr, "{}", command->help());
        return kUsage;
    }
    try {
        return cli.out.finish(cli.run());
    } catch (const std::exception& failure) {
        // No exception should come this far; if one does, the operator must still learn what
        // stands.
        return cli.out.finish(cli.out.error(
            cli.command,
            Error{ErrorCode::internal, fmt::format("unexpected failure: {}", failure.what()),
                  "exodus status shows what stands; please report this"},
            "what was durable before stays; run the command again to go on"));
    }
}

}  // namespace exodus::cli
