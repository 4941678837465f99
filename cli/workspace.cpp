#include "cli/workspace.h"

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <fmt/format.h>
#include <poll.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include "families/registry.h"
#include "net/dialer.h"
#include "workflow/exit_codes.h"

namespace exodus::cli {

namespace {

constexpr std::size_t kAnswer_bytes_max = 4096;  // what a terminal gives as one line
constexpr int kAnswerPoll_ms = 100;

/// What a spawned interlay gets of this command's way to log.
std::vector<std::string> log_flags(const Globals& globals) {
    std::vector<std::string> flags{"--log-format", globals.log_format};
    flags.insert(flags.end(), static_cast<std::size_t>(globals.verbose), "-v");
    return flags;
}

/// A line from the terminal; nothing when there will be none (Ctrl-D). A read that blocks would
/// outlive the signal that asks to stop.
Result<std::optional<std::string>> read_answer(const ConfirmRequest& request) {
    std::string line;
    while (line.size() < kAnswer_bytes_max) {
        if (request.may_go_on) EXODUS_TRY(request.may_go_on());
        pollfd input{STDIN_FILENO, POLLIN, 0};
        const int ready = ::poll(&input, 1, kAnswerPoll_ms);
        if (ready == 0 || (ready < 0 && errno == EINTR)) continue;
        char c = 0;
        if (ready < 0 || ::read(STDIN_FILENO, &c, 1) != 1) return std::optional<std::string>();
        if (c == '\n') return std::optional(std::move(line));
        line += c;
    }
    return std::optional<std::string>();
}

/// For commands that open the state read-only: nothing can be made durable, and saying so is better
/// than losing it.
class ReadOnlyJournal final : public Journal {
  public:
    Status save_position(std::string_view, std::string_view, std::string_view) override {
        return refuse();
    }
    Result<std::optional<std::string>> load_position(std::string_view, std::string_view) override {
        return std::optional<std::string>{};
    }
    Status erase_positions(std::string_view) override { return refuse(); }
    Status add_item_error(const ItemError&) override { return refuse(); }
    Result<std::vector<ItemError>> item_errors(std::string_view, std::size_t) override {
        return std::vector<ItemError>{};
    }
    Status resolve_item_error(std::string_view, std::string_view, std::string_view) override {
        return refuse();
    }
    Status add_item_changes(const std::vector<ItemChange>&) override { return refuse(); }
    Status replace_item_changes(std::string_view, const std::vector<std::string>&,
                                const std::vector<ItemChange>&) override {
        return refuse();
    }
    Status add_event(std::string_view, std::string_view, std::string_view) override {
        return refuse();
    }

  private:
    static Status refuse() { return fail(ErrorCode::not_allowed, "the state is open read-only"); }
};

/// State path and name of a configuration that has errors elsewhere.
Settings salvage(Cli& cli, const std::vector<ConfigValue>& values) {
    Settings out;
    for (const ConfigValue& value : values) {
        if (value.key == "state" && value.origin != "default") out.state_path = value.value;
        if (value.key == "migration" && value.origin != "default") out.migration = value.value;
        if (value.key == "interlay.control" && value.origin != "default")
            out.interlay.control = value.value;
    }
    if (out.interlay.control.empty()) out.interlay.control = out.state_path + ".sock";
    out.family = std::string(family_names().front());
    (void)cli;
    return out;
}

/// The only migration of the file is meant when nobody named one.
Result<MigrationRow> find_row(Cli& cli, WorkflowStore& store, Settings& settings,
                              const std::string& config_file) {
    auto row = store.find_migration(settings.migration);
    if (row || row.error().code != ErrorCode::no_input) return row;
    auto all = store.migrations();
    if (!all) return tl::unexpected(all.error());
    const bool named = cli.settings.contains("migration") || !config_file.empty();
    if (!named && all->size() == 1) {
        settings.migration = all->front().name;
        return all->front();
    }
    std::string names;
    for (const MigrationRow& one : *all) names += (names.empty() ? "" : ", ") + one.name;
    return fail(
        ErrorCode::no_input,
        fmt::format("{} has no migration named '{}'", store.path(), printable(settings.migration)),
        names.empty() ? "exodus init registers it" : fmt::format("it has: {}", names));
}

/// EXODUS_CRASH_AT=POINT and EXODUS_STOP_AT=POINT (exodus-workflow(7), "Crash points"): the process
/// dies there as by kill -9, or stops there until SIGCONT; for drills and tests.
std::function<void(std::string_view)> crash_point() {
    const auto named = [](const char* variable) {
        const char* point = std::getenv(variable);
        return std::string(point == nullptr ? "" : point);
    };
    const std::string crash = named("EXODUS_CRASH_AT");
    const std::string stop = named("EXODUS_STOP_AT");
    if (crash.empty() && stop.empty()) return nullptr;
    return [crash, stop](std::string_view reached) {
        if (reached == crash) ::kill(::getpid(), SIGKILL);
        if (reached == stop) ::kill(::getpid(), SIGSTOP);
    };
}

Error explain_open(Error error, const std::string& path) {
    if (error.code == ErrorCode::no_input && error.hint.empty()) {
        error.hint = fmt::format(
            "exodus init FAMILY makes it; or name another with --state (looked for {})", path);
    }
    return error;
}

}  // namespace

std::unique_ptr<Workspace> Workspace::open(Cli& cli, const WorkspaceOptions& options,
                                           int& exit_code) {
    auto space = std::make_unique<Workspace>();
    std::vector<ConfigValue> values;
    auto loaded = load(cli, {options.require_endpoints, options.read_secrets, &values});
    if (!loaded) {
        if (!options.tolerate_config_errors) {
            exit_code = report_config_errors(cli, loaded.error());
            return nullptr;
        }
        for (const ConfigError& error : loaded.error()) {
            cli.out.note(Severity::warn, "configuration: " + printable(error.text()));
        }
        space->settings = salvage(cli, values);
        space->config_good = false;
    } else {
        space->settings = std::move(loaded->settings);
        space->config_file = loaded->file;
    }
    Settings& settings = space->settings;
    const auto failed = [&](const Error& error) {
        exit_code = cli.out.error(cli.command, error);
        return nullptr;
    };
    auto store = WorkflowStore::open(settings.state_path, options.mode, options.busy);
    if (!store) return failed(explain_open(store.error(), settings.state_path));
    space->store = std::move(*store);
    auto row = find_row(cli, *space->store, settings, space->config_file);
    if (!row) return failed(row.error());
    space->row = *row;
    if (settings.family.empty()) settings.family = row->family;
    space->family = make_family(settings.family);
    if (!space->family) {
        return failed(Error{ErrorCode::config,
                            fmt::format("family '{}' is not part of this version", row->family),
                            ""});
    }
    if (space->config_good && settings.family != row->family) {
        return failed(
            Error{ErrorCode::config,
                  fmt::format("migration {} is of family {}, but the configuration says {}",
                              row->name, row->family, settings.family),
                  "use the migration's own configuration, or another --state"});
    }
    space->dialer = make_dialer();
    space->directory = settings.state_path + ".d";
    if (options.mode == OpenMode::read_only) {
        space->journal = std::make_unique<ReadOnlyJournal>();
    } else {
        auto journal = open_journal(settings.state_path, settings.migration, options.busy);
        if (!journal) return failed(journal.error());
        space->journal = std::move(*journal);
        if (::mkdir(space->directory.c_str(), 0700) != 0 && errno != EEXIST) {
            return failed(Error{
                ErrorCode::cannot_create,
                fmt::format("cannot make {}: {}", space->directory, std::strerror(errno)),
                "make the directory of the state file writable, or name another with --state"});
        }
    }
    if (auto log = open_divergence_log(settings.state_path, settings.migration,
                                       options.mode == OpenMode::read_only)) {
        space->divergences = std::move(*log);
    }
    space->interlay = std::make_unique<InterlayProcess>(cli.out, settings, space->config_file,
                                                        cli.settings, log_flags(cli.globals));
    return space;
}

PhaseContext Workspace::phase_context(Cli& cli, ProgressPrinter& printer, std::stop_token stop,
                                      InterlayAccess* own) {
    PhaseContext context{
        .settings = settings,
        .family = *family,
        .dialer = *dialer,
        .store = *store,
        .journal = *journal,
        .divergences = divergences.get(),
        .interlay = own != nullptr ? *own : *interlay,
        .directory = directory,
        .owner = current_owner(),
        .reason = cli.globals.reason,
        .skip_gate = {},
        .tool_version = EXODUS_VERSION,
        .command_line = cli.words,
        .lock_timeout = milliseconds(cli.globals.lock_timeout_ms),
        .timeout = milliseconds(cli.globals.timeout_ms),
        .dry_run = cli.globals.dry_run,
        .stop = std::move(stop),
        .progress = [&printer](const Progress& progress) { printer.show(progress); },
        .note = [&cli](const Note& note) { cli.out.note(note.severity, printable(note.text)); },
        .confirm = [&cli](const ConfirmRequest& request) { return confirm(cli, request); },
        .fault = crash_point()};
    return context;
}

Status confirm(Cli& cli, const ConfirmRequest& request) {
    const Globals& g = cli.globals;
    const std::string how =
        request.by_name
            ? fmt::format("exodus {} --confirm {} --reason TEXT", cli.command, request.migration)
            : fmt::format("the same command with --yes, or --confirm {} --reason TEXT",
                          request.migration);
    if (!g.confirm.empty()) {
        if (g.confirm != request.migration) {
            return fail(ErrorCode::approval_missing,
                        fmt::format("--confirm says '{}', but the migration is '{}'",
                                    printable(g.confirm), request.migration),
                        how);
        }
        if (g.reason.empty()) {
            return fail(ErrorCode::approval_missing,
                        fmt::format("a {} by --confirm needs --reason TEXT", request.action), how);
        }
        return {};
    }
    if (!request.by_name && g.yes) return {};
    const bool can_ask =
        !g.no_input && !g.json && ::isatty(STDIN_FILENO) == 1 && ::isatty(STDERR_FILENO) == 1;
    if (!can_ask) {
        return fail(
            ErrorCode::approval_missing,
            fmt::format("the {} is not confirmed, and there is nobody to ask", request.action),
            how);
    }
    cli.out.clear_progress();
    fmt::print(stderr, "\n{}\n{}: ", request.consequence,
               request.by_name
                   ? fmt::format("Type the migration's name to go on [{}]", request.migration)
                   : "Go on? [y/N]");
    std::fflush(stderr);
    const auto typed = read_answer(request);
    if (!typed) return tl::unexpected(typed.error());
    if (!request.by_name) {
        if (*typed == "y" || *typed == "yes") return {};
        return fail(ErrorCode::approval_missing, "the answer was not yes", how);
    }
    if (*typed != request.migration) {
        return fail(
            ErrorCode::approval_missing,
            fmt::format("the {} was not confirmed: what was typed is not the migration's name",
                        request.action),
            how);
    }
    return {};
}

}  // namespace exodus::cli
