// exodus divergences: differences in data (state file) and in answers (samples file): list, show,
// export, rules, re-drive, and what was done about items that both sides had.
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <optional>

#include "base/limits.h"
#include "cli/cli.h"
#include "cli/workspace.h"
#include "core/json_text.h"
#include "workflow/exit_codes.h"
#include "workflow/mover.h"

namespace exodus::cli {

namespace {

struct Flags {
    int64_t min_age_ms = 0;
    std::size_t limit = 100;
    bool ndjson = false;
    bool all = false;
    int64_t id = 0;
    bool values = false;
    std::string action;
};

std::unique_ptr<Workspace> open(Cli& cli, int& exit_code) {
    return Workspace::open(cli, kReading, exit_code);
}

nlohmann::json data_json(const DataDivergenceRow& row) {
    return {{"type", "data"},
            {"id", row.id},
            {"location", row.divergence.location},
            {"key", printable(row.divergence.key)},
            {"kind", row.divergence.kind},
            {"detail", row.divergence.detail},
            {"found", iso8601(row.found_ms)},
            {"resolved", row.resolved_ms == 0 ? "" : iso8601(row.resolved_ms)}};
}

nlohmann::json sample_json(const DivergenceSample& sample, bool values) {
    nlohmann::json out = {
        {"type", "answer"},          {"id", sample.id},         {"at", iso8601(sample.at_ms)},
        {"command", sample.command}, {"reason", sample.reason}, {"outcome", sample.outcome},
        {"noise", sample.aa}};
    if (values) {
        out["request"] = sample.request;
        out["authority_answer"] = sample.left;
        out["other_answer"] = sample.right;
    }
    return out;
}

int hex_digit(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    return -1;
}

/// The bytes of a key that a family printed (\xHH, \\ and \" are escapes); none when it was too
/// long to be printed whole.
std::optional<std::string> raw_key(std::string_view text) {
    if (text.ends_with("…")) return std::nullopt;
    std::string out;
    for (std::size_t i = 0; i < text.size(); ++i) {
        if (text[i] != '\\' || i + 1 >= text.size()) {
            out += text[i];
        } else if (text[i + 1] == 'x' && i + 3 < text.size() && hex_digit(text[i + 2]) >= 0 &&
                   hex_digit(text[i + 3]) >= 0) {
            out += static_cast<char>(hex_digit(text[i + 2]) * 16 + hex_digit(text[i + 3]));
            i += 3;
        } else {
            out += text[++i];
        }
    }
    return out;
}

/// Counts per command and reason; the values of samples only with `show`, because they are the
/// application's data.
int list(Cli& cli, const Flags& flags) {
    int exit_code = kDone;
    auto space = open(cli, exit_code);
    if (!space) return exit_code;
    const int64_t until_ms = flags.min_age_ms == 0 ? INT64_MAX : wall_ms() - flags.min_age_ms;
    auto rows = space->store->divergences(space->row.id, !flags.all, flags.limit, until_ms);
    if (!rows) return cli.out.error(cli.command, rows.error());
    // Counted by the store: what is listed ends at --limit.
    auto open_rows = space->store->count_open_divergences(space->row.id, until_ms);
    if (!open_rows) return cli.out.error(cli.command, open_rows.error());
    auto data = nlohmann::json::array();
    for (const DataDivergenceRow& row : *rows) {
        data.push_back(data_json(row));
        if (flags.ndjson) {
            cli.out.line(json_text(data.back()));
        } else {
            cli.out.line(fmt::format(
                "{:>6}  data    {:<8}  {:<10}  {}  {}{}", row.id, row.divergence.location,
                row.divergence.kind, printable(row.divergence.key),
                printable(row.divergence.detail), row.resolved_ms == 0 ? "" : "  (resolved)"));
        }
    }
    auto answers = nlohmann::json::array();
    uint64_t confirmed = 0;
    if (space->divergences) {
        auto counts = space->divergences->counts();
        if (!counts) return cli.out.error(cli.command, counts.error());
        for (const DivergenceCounts& count : *counts) {
            if (count.outcome == "confirmed" && !count.aa) confirmed += count.count;
            answers.push_back({{"type", "answer_count"},
                               {"command", count.command},
                               {"reason", count.reason},
                               {"outcome", count.outcome},
                               {"noise", count.aa},
                               {"count", count.count}});
            if (flags.ndjson) {
                cli.out.line(json_text(answers.back()));
            } else {
                cli.out.line(fmt::format(
                    "{:>6}  answer  {:<16}  {:<14}  {:<16}  {}", "", count.command, count.reason,
                    count.outcome + (count.aa ? " (noise)" : ""), with_thousands(count.count)));
            }
        }
    }
    if (!flags.ndjson) {
        cli.out.line(
            fmt::format("open differences in the data: {}   confirmed differences in answers: {}",
                        with_thousands(*open_rows), with_thousands(confirmed)));
        if (rows->size() == flags.limit && *open_rows > flags.limit)
            cli.out.line(fmt::format("{} of them are listed; --limit N or export shows more",
                                     with_thousands(flags.limit)));
        if (*open_rows > 0)
            cli.out.line("Next: exodus divergences re-drive   then   exodus compare --recheck");
    }
    return cli.out.result(cli.command, *open_rows + confirmed == 0 ? kDone : kGateNotMet,
                          {{"open_data", *open_rows},
                           {"confirmed_answers", confirmed},
                           {"data", data},
                           {"answers", answers}});
}

int show(Cli& cli, const Flags& flags) {
    int exit_code = kDone;
    auto space = open(cli, exit_code);
    if (!space) return exit_code;
    if (!space->divergences) {
        return cli.out.error(cli.command, Error{ErrorCode::no_input, "there are no samples yet",
                                                "exodus compare collects them"});
    }
    auto samples = space->divergences->samples(limits::kExport_max);
    if (!samples) return cli.out.error(cli.command, samples.error());
    auto list = nlohmann::json::array();
    for (const DivergenceSample& sample : *samples) {
        if (flags.id != 0 && sample.id != flags.id) continue;
        if (list.size() >= flags.limit) break;
        list.push_back(sample_json(sample, true));
        cli.out.line(fmt::format("{:>6}  {}  {}  {}  {}{}", sample.id, iso8601(sample.at_ms),
                                 sample.command, sample.reason, sample.outcome,
                                 sample.aa ? "  (noise: both answers are the authority's)" : ""));
        cli.out.line("        request    " + printable(sample.request));
        cli.out.line("        authority  " + printable(sample.left));
        cli.out.line("        other      " + printable(sample.right));
    }
    if (list.empty()) {
        return cli.out.error(cli.command,
                             Error{ErrorCode::no_input,
                                   flags.id == 0 ? "there are no samples"
                                                 : fmt::format("there is no sample {}", flags.id),
                                   "exodus divergences list"});
    }
    return cli.out.result(cli.command, kDone, {{"samples", list}});
}

int rules(Cli& cli) {
    int exit_code = kDone;
    auto space = open(cli, exit_code);
    if (!space) return exit_code;
    auto list = nlohmann::json::array();
    for (const CompareSettings::Rule& rule : space->settings.compare.rules) {
        list.push_back({{"action", rule.action}, {"commands", rule.commands}});
        cli.out.line(fmt::format("{:<10} {}", rule.action, fmt::join(rule.commands, ", ")));
    }
    cli.out.line(list.empty() ? "no rules in the configuration; the family's own apply "
                                "(exodus.toml(5), [[compare.rule]])"
                              : "these come before the family's own rules");
    return cli.out.result(cli.command, kDone, {{"rules", list}});
}

/// What a repair or a conflict policy did to single items, or left on purpose.
int changes(Cli& cli, const Flags& flags) {
    int exit_code = kDone;
    auto space = open(cli, exit_code);
    if (!space) return exit_code;
    auto counts = space->store->count_item_changes(space->row.id);
    if (!counts) return cli.out.error(cli.command, counts.error());
    auto rows = space->store->item_changes(space->row.id, flags.action, flags.limit);
    if (!rows) return cli.out.error(cli.command, rows.error());
    auto list = nlohmann::json::array();
    for (const ItemChange& row : *rows) {
        list.push_back({{"id", row.id},
                        {"at", iso8601(row.at_ms)},
                        {"direction", row.direction},
                        {"location", row.location},
                        {"key", printable(row.key)},
                        {"side", row.side},
                        {"action", row.action},
                        {"reason", row.reason},
                        {"detail", row.detail}});
        if (flags.ndjson) {
            cli.out.line(json_text(list.back()));
        } else {
            cli.out.line(fmt::format("{:>6}  {:<11}  {}  {:<8}  {}  {}{}", row.id, row.action,
                                     row.side, row.location, printable(row.key),
                                     printable(row.reason),
                                     row.detail.empty() ? "" : "  " + printable(row.detail)));
        }
    }
    if (!flags.ndjson) {
        std::string total;
        for (const auto& [action, count] : *counts) {
            total +=
                fmt::format("{}{} {}", total.empty() ? "" : ", ", with_thousands(count), action);
        }
        cli.out.line(total.empty() ? "nothing was repaired, and no item was on both sides"
                                   : "items: " + total);
    }
    return cli.out.result(cli.command, kDone, {{"counts", *counts}, {"changes", list}});
}

int redrive(Cli& cli) {
    int exit_code = kDone;
    auto space = open(cli, exit_code);
    if (!space) return exit_code;
    auto rows = space->store->divergences(space->row.id, true, limits::kExport_max);
    if (!rows) return cli.out.error(cli.command, rows.error());
    if (rows->empty()) {
        cli.out.line("nothing to do: there is no open difference in the data");
        return cli.out.result(cli.command, kDone, {{"redriven", 0}});
    }
    if (cli.globals.dry_run) {
        cli.out.line(
            fmt::format("dry run: {} items would be copied again", with_thousands(rows->size())));
        return cli.out.result(cli.command, kDone,
                              {{"redriven", 0}, {"would_redrive", rows->size()}});
    }
    const Direction direction =
        space->row.route.authority == Side::source ? Direction::forward : Direction::reverse;
    auto journal = open_journal(space->settings.state_path, space->settings.migration);
    if (!journal) return cli.out.error(cli.command, journal.error());
    auto port = space->interlay->connect();
    if (!port)
        return cli.out.error(cli.command, port.error(),
                             "nothing was copied: the interlay moves the data");
    // The lanes copy what stands in the item-error table; a difference is an item that did not
    // arrive as it should.
    uint64_t too_long = 0;
    for (const DataDivergenceRow& row : *rows) {
        const auto key = raw_key(row.divergence.key);
        if (!key) {
            ++too_long;
            continue;
        }
        ItemError item;
        item.direction = std::string(to_string(direction));
        item.location = row.divergence.location;
        item.key = *key;
        item.reason = "divergence: " + row.divergence.kind;
        item.at_ms = wall_ms();
        if (auto status = (*journal)->add_item_error(item); !status)
            return cli.out.error(cli.command, status.error());
    }
    if (too_long > 0) {
        cli.out.note(
            Severity::warn,
            fmt::format("{} keys are too long to be listed whole and were left out; a repair by "
                        "exodus compare finds them",
                        with_thousands(too_long)));
    }
    auto count = MoverClient(**port).redrive(direction);
    if (!count)
        return cli.out.error(cli.command, count.error(),
                             "the items are listed by exodus errors list");
    cli.out.line(fmt::format("{} items given to the {} lanes again", with_thousands(*count),
                             to_string(direction)));
    cli.out.line("Next: exodus compare --recheck");
    return cli.out.result(cli.command, kDone,
                          {{"redriven", *count}, {"direction", to_string(direction)}});
}

}  // namespace

void add_divergences(Cli& cli) {
    auto flags = std::make_shared<Flags>();
    CLI::App* group = cli.add(
        "divergences",
        "differences between the sides: list, show, export, rules, changes, re-drive", nullptr);
    group->require_subcommand(1);
    CLI::App* sub = cli.add(
        "list", "open differences in the data, and counts of differing answers",
        [&cli, flags] { return list(cli, *flags); }, group);
    add_duration(sub, "--min-age", flags->min_age_ms,
                 "only differences that are at least this old");
    sub->add_option("--limit", flags->limit, "at most this many (default: 100)")->type_name("N");
    sub->add_flag("--ndjson", flags->ndjson, "one JSON object per line");
    sub->add_flag("--all", flags->all, "resolved ones too");
    sub = cli.add(
        "show", "samples of differing answers, with their values",
        [&cli, flags] { return show(cli, *flags); }, group);
    sub->add_option("id", flags->id, "only this sample")->type_name("ID");
    sub->add_option("--limit", flags->limit, "at most this many (default: 100)")->type_name("N");
    sub = cli.add(
        "export", "all differences, one JSON object per line",
        [&cli, flags] {
            flags->ndjson = true;
            flags->limit = limits::kExport_max;
            return list(cli, *flags);
        },
        group);
    sub->add_flag("--all", flags->all, "resolved ones too");
    cli.add(
        "rules", "what is not compared exactly", [&cli] { return rules(cli); }, group);
    sub = cli.add(
        "changes", "what a repair changed, and what a conflict policy decided",
        [&cli, flags] { return changes(cli, *flags); }, group);
    sub->add_option("--action", flags->action,
                    "only these: restored, removed, kept, overwritten, conflict, accepted")
        ->type_name("ACTION");
    sub->add_option("--limit", flags->limit, "at most this many (default: 100)")->type_name("N");
    sub->add_flag("--ndjson", flags->ndjson, "one JSON object per line");
    cli.add(
        "re-drive", "copy the differing items again", [&cli] { return redrive(cli); }, group);
}

}  // namespace exodus::cli
