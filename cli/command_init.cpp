// exodus init FAMILY: writes a commented exodus.toml and registers the migration in the state file.
// Run again, it keeps the file that is there and only adds what is missing.
#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/load.h"
#include "families/registry.h"
#include "store/workflow_store.h"
#include "workflow/exit_codes.h"

namespace exodus::cli {

namespace {

struct InitFlags {
    std::string family;
    std::string from;
    std::string to;
    std::string file = "exodus.toml";
};

/// Made with O_EXCL: a configuration that is there is never overwritten.
Status write_new(const std::string& path, const std::string& text) {
    const int fd = ::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0) {
        return fail(ErrorCode::cannot_create,
                    fmt::format("cannot write {}: {}", path, std::strerror(errno)),
                    "name a place that can be written with -o FILE");
    }
    std::size_t done = 0;
    while (done < text.size()) {
        const ssize_t wrote = ::write(fd, text.data() + done, text.size() - done);
        if (wrote < 0 && errno == EINTR) continue;
        if (wrote <= 0) break;
        done += static_cast<std::size_t>(wrote);
    }
    const bool good = done == text.size() && ::fsync(fd) == 0;
    const int error = errno;
    ::close(fd);
    if (good) return {};
    ::unlink(path.c_str());
    return fail(ErrorCode::cannot_create,
                fmt::format("cannot write {}: {}", path, std::strerror(error)));
}

int init(Cli& cli, const InitFlags& flags) {
    const auto names = family_names();
    if (std::find(names.begin(), names.end(), flags.family) == names.end()) {
        return cli.out.error("init", Error{ErrorCode::usage,
                                           fmt::format("'{}' is not a family of this version",
                                                       printable(flags.family)),
                                           fmt::format("known: {}", fmt::join(names, ", "))});
    }
    const bool exists = ::access(flags.file.c_str(), F_OK) == 0;
    if (exists && (!flags.from.empty() || !flags.to.empty())) {
        return cli.out.error(
            "init",
            Error{ErrorCode::cannot_create,
                  fmt::format("{} is there already and is never overwritten", flags.file),
                  fmt::format("edit it, or write another with -o FILE; without --from and --to, "
                              "init registers the migration that it describes")});
    }
    if (!exists) {
        if (flags.from.empty() || flags.to.empty()) {
            return cli.out.error(
                "init",
                Error{ErrorCode::usage,
                      "--from URI and --to URI are needed to write a configuration",
                      "for example: exodus init redis --from redis://a:6379 --to redis://b:6379"});
        }
        std::vector<ConfigError> errors =
            check_uri("--from", flags.from, flags.family, all_schemes());
        const auto more = check_uri("--to", flags.to, flags.family, all_schemes());
        errors.insert(errors.end(), more.begin(), more.end());
        if (!errors.empty()) {
            std::string message;
            for (const ConfigError& error : errors)
                message += (message.empty() ? "" : "; ") + error.key + ": " + error.message;
            return cli.out.error("init",
                                 Error{ErrorCode::usage, message, errors.front().suggestion});
        }
        const auto named = cli.settings.find("migration");
        const std::string text =
            config_template({named == cli.settings.end() ? "migration" : named->second,
                             flags.family, flags.from, flags.to});
        if (cli.globals.dry_run) {
            cli.out.line(text);
            return cli.out.result("init", kDone,
                                  {{"headline", "dry run: nothing was written"}, {"text", text}});
        }
        if (auto status = write_new(flags.file, text); !status)
            return cli.out.error("init", status.error());
    }
    cli.globals.config = flags.file;
    auto loaded = load(cli, {.require_endpoints = true, .read_secrets = false});
    if (!loaded) return report_config_errors(cli, loaded.error());
    const Settings& settings = loaded->settings;
    if (settings.family != flags.family) {
        return cli.out.error("init", Error{ErrorCode::config,
                                           fmt::format("{} describes a migration of family {}",
                                                       flags.file, settings.family),
                                           fmt::format("exodus init {}", settings.family)});
    }
    if (cli.globals.dry_run) {
        cli.out.line("dry run: nothing was written");
        return cli.out.result("init", kDone, {{"headline", "dry run: nothing was written"}});
    }
    const bool had_state = ::access(settings.state_path.c_str(), F_OK) == 0;
    auto store = WorkflowStore::open(settings.state_path, OpenMode::create);
    if (!store)
        return cli.out.error("init", store.error(),
                             exists ? "nothing was changed" : flags.file + " was written");
    const bool known = (*store)->find_migration(settings.migration).has_value();
    auto row = (*store)->create_migration(settings, current_owner());
    if (!row) return cli.out.error("init", row.error());
    cli.out.line(fmt::format("{} {}", exists ? "kept   " : "wrote  ", flags.file));
    cli.out.line(fmt::format("{} {}   migration {}, state {}",
                             known       ? "kept   "
                             : had_state ? "added to"
                                         : "wrote  ",
                             settings.state_path, row->name, to_string(row->state)));
    cli.out.line(fmt::format("authoritative: {}   ({})",
                             cli.out.bold(to_string(row->route.authority)),
                             settings.endpoint(row->route.authority).address()));
    const std::string config = flags.file == "exodus.toml" ? "" : " -c " + flags.file;
    cli.out.line(
        fmt::format("Next: give the passwords in {0} if there are any, then exodus{1} config "
                    "check, then exodus{1} "
                    "pretest",
                    flags.file, config));
    return cli.out.result(
        "init", kDone,
        {{"headline",
          known ? "the migration is registered already" : "the migration is registered"},
         {"file", flags.file},
         {"state_file", settings.state_path},
         {"migration", row->name},
         {"state", to_string(row->state)},
         {"authority", to_string(row->route.authority)},
         {"epoch", row->route.epoch},
         {"next", {"exodus" + config + " config check", "exodus" + config + " pretest"}}});
}

}  // namespace

void add_init(Cli& cli) {
    auto flags = std::make_shared<InitFlags>();
    CLI::App* sub = cli.add("init", "write a commented exodus.toml and register the migration",
                            [&cli, flags] { return init(cli, *flags); });
    sub->add_option("family", flags->family, "redis")->required()->type_name("FAMILY");
    sub->add_option("--from", flags->from, "URI of the source, without a password")
        ->type_name("URI");
    sub->add_option("--to", flags->to, "URI of the target, without a password")->type_name("URI");
    sub->add_option("-o,--output", flags->file, "file to write (default: exodus.toml)")
        ->type_name("FILE");
}

}  // namespace exodus::cli
