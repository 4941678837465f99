// exodus errors: items (keys, rows, documents) that could not be moved: list, export, copy again.
#include <fmt/format.h>

#include "base/limits.h"
#include "cli/cli.h"
#include "cli/workspace.h"
#include "core/json_text.h"
#include "workflow/exit_codes.h"
#include "workflow/mover.h"

namespace exodus::cli {

namespace {

struct Flags {
    std::string direction;
    std::size_t limit = 100;
    bool ndjson = false;
};

nlohmann::json item_json(const ItemError& item) {
    return {{"id", item.id},
            {"direction", item.direction},
            {"location", item.location},
            {"key", printable(item.key)},
            {"reason", item.reason},
            {"attempts", item.attempts},
            {"at", iso8601(item.at_ms)}};
}

std::unique_ptr<Workspace> open(Cli& cli, int& exit_code) {
    return Workspace::open(cli, kReading, exit_code);
}

int list(Cli& cli, const Flags& flags) {
    int exit_code = kDone;
    auto space = open(cli, exit_code);
    if (!space) return exit_code;
    auto total = space->store->count_item_errors(space->row.id, flags.direction);
    if (!total) return cli.out.error(cli.command, total.error());
    auto items = nlohmann::json::array();
    for (const char* direction : {"forward", "reverse"}) {
        if (!flags.direction.empty() && flags.direction != direction) continue;
        auto rows = space->store->item_errors(space->row.id, direction, flags.limit);
        if (!rows) return cli.out.error(cli.command, rows.error());
        for (const ItemError& item : *rows) {
            if (items.size() >= flags.limit) break;
            items.push_back(item_json(item));
            if (flags.ndjson) {
                cli.out.line(json_text(items.back()));
            } else {
                cli.out.line(fmt::format("{:>6}  {:<7}  {:<8}  {}  {}  (tried {}×)", item.id,
                                         item.direction, item.location, printable(item.key),
                                         printable(item.reason), item.attempts));
            }
        }
    }
    if (!flags.ndjson) {
        const std::string where = flags.direction.empty() ? "" : " " + flags.direction;
        cli.out.line(*total == 0
                         ? fmt::format("no item failed to move{}", where)
                         : fmt::format("{} item{} failed to move{}; exodus errors re-drive copies "
                                       "them again",
                                       with_thousands(*total), *total == 1 ? "" : "s", where));
    }
    return cli.out.result(cli.command, *total == 0 ? kDone : kGateNotMet,
                          {{"total", *total}, {"items", items}});
}

int redrive(Cli& cli, const Flags& flags) {
    int exit_code = kDone;
    auto space = open(cli, exit_code);
    if (!space) return exit_code;
    const auto direction =
        flags.direction.empty()
            ? (space->row.route.authority == Side::source ? Direction::forward : Direction::reverse)
            : (flags.direction == "reverse" ? Direction::reverse : Direction::forward);
    auto total = space->store->count_item_errors(space->row.id, to_string(direction));
    if (total && *total == 0) {
        cli.out.line(fmt::format("nothing to do: no item failed to move {}", to_string(direction)));
        return cli.out.result(cli.command, kDone, {{"redriven", 0}});
    }
    if (cli.globals.dry_run) {
        cli.out.line("dry run: nothing was copied");
        return cli.out.result(cli.command, kDone, {{"redriven", 0}});
    }
    auto port = space->interlay->connect();
    if (!port)
        return cli.out.error(cli.command, port.error(),
                             "nothing was copied: the interlay moves the data");
    auto count = MoverClient(**port).redrive(direction);
    if (!count) return cli.out.error(cli.command, count.error());
    cli.out.line(fmt::format(
        "{} item{} given to the {} lanes again; exodus errors list shows what still fails",
        with_thousands(*count), *count == 1 ? "" : "s", to_string(direction)));
    return cli.out.result(cli.command, kDone,
                          {{"redriven", *count}, {"direction", to_string(direction)}});
}

}  // namespace

void add_errors(Cli& cli) {
    auto flags = std::make_shared<Flags>();
    CLI::App* group =
        cli.add("errors", "items that could not be moved: list, export, re-drive", nullptr);
    group->require_subcommand(1);
    const auto common = [&](CLI::App* sub) {
        sub->add_option("--direction", flags->direction, "forward or reverse")
            ->check(CLI::IsMember({"forward", "reverse"}))
            ->type_name("DIRECTION");
    };
    CLI::App* list_command = cli.add(
        "list", "what could not be moved, and why", [&cli, flags] { return list(cli, *flags); },
        group);
    common(list_command);
    list_command->add_option("--limit", flags->limit, "at most this many (default: 100)")
        ->type_name("N");
    CLI::App* export_command = cli.add(
        "export", "all of them, one JSON object per line",
        [&cli, flags] {
            flags->ndjson = true;
            flags->limit = limits::kExport_max;
            return list(cli, *flags);
        },
        group);
    common(export_command);
    CLI::App* again = cli.add(
        "re-drive", "copy them again", [&cli, flags] { return redrive(cli, *flags); }, group);
    common(again);
}

}  // namespace exodus::cli
