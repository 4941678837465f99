// The seven phases as commands: options into the phase's own options, then run_*(), then the
// outcome.
#include <fmt/format.h>

#include "base/values.h"
#include "cli/cli.h"
#include "cli/host_checks.h"
#include "cli/outcome.h"
#include "cli/phase_run.h"
#include "cli/tap.h"
#include "cli/whole_file.h"
#include "workflow/exit_codes.h"
#include "workflow/phases/analyze.h"
#include "workflow/phases/commit.h"
#include "workflow/phases/compare.h"
#include "workflow/phases/migrate.h"
#include "workflow/phases/pretest.h"
#include "workflow/phases/rollback.h"
#include "workflow/phases/test.h"

namespace exodus::cli {

namespace {

struct PretestFlags {
    std::string tap;
    std::string acl_file;
    int64_t duration_ms = 10'000;
    bool accept_monitor_cost = false;
    bool list = false;
    PretestOptions options;
};

int list_of_checks(Cli& cli, PhaseRun& run, PretestOptions& options) {
    options.host_checks = host_checks(run.space);
    auto list = nlohmann::json::array();
    for (const CheckInfo& check : list_checks(run.context, options)) {
        list.push_back({{"id", check.id}, {"title", check.title}});
        cli.out.line(fmt::format("{:<32} {}", check.id, check.title));
    }
    return cli.out.result(cli.command, kDone, {{"checks", list}});
}

void add_pretest(Cli& cli) {
    auto flags = std::make_shared<PretestFlags>();
    CLI::App* sub =
        cli.add("pretest", "check both endpoints, and parse a copy of the traffic", [&cli, flags] {
            if (flags->list) {
                return run_phase(
                    cli, {.read_secrets = false, .mode = OpenMode::read_only},
                    [&](PhaseRun& run) { return list_of_checks(cli, run, flags->options); });
            }
            return run_phase(cli, {}, [&](PhaseRun& run) {
                std::unique_ptr<TapSource> tap;
                if (!flags->tap.empty()) {
                    auto made = make_tap(flags->tap, run.space, flags->accept_monitor_cost);
                    if (!made) return cli.out.error(cli.command, made.error());
                    tap = std::move(*made);
                    cli.out.note(Severity::info, "tap: " + tap->describe());
                }
                flags->options.host_checks = host_checks(run.space);
                if (!flags->acl_file.empty()) {
                    flags->options.users_out = [file = flags->acl_file](const Secret& requests) {
                        return write_whole(file, requests.reveal());
                    };
                }
                flags->options.tap = tap.get();
                flags->options.tap_duration = milliseconds(flags->duration_ms);
                return run.report(run_pretest(run.context, flags->options));
            });
        });
    sub->add_option("--tap", flags->tap,
                    "copy of the traffic: pcap:IFACE, pcap-file:FILE, monitor, or log:FILE")
        ->type_name("KIND");
    add_duration(sub, "--duration", flags->duration_ms, "how long the tap listens (default: 10s)");
    sub->add_flag("--accept-monitor-cost", flags->accept_monitor_cost,
                  "MONITOR slows the source down; needed for --tap monitor");
    sub->add_flag("--accept-full-sync", flags->options.accept_full_sync,
                  "an endpoint may fork and write out all its data once; see redis.psync");
    add_list(sub, "--only", flags->options.only, "run only these checks", "CHECK");
    add_list(sub, "--skip", flags->options.skip, "leave these checks out", "CHECK");
    add_list(sub, "--ack", flags->options.ack, "accept the warning of these checks; needs --reason",
             "CHECK");
    sub->add_option("--acl-out", flags->acl_file,
                    "write the ACL SETUSER lines that the target lacks here, with password hashes")
        ->type_name("FILE");
    sub->add_flag("--list", flags->list, "list the checks and end");
}

struct AnalyzeFlags {
    int64_t duration_ms = 0;
    std::string from_capture;
    AnalyzeOptions options;
};

void add_analyze(Cli& cli) {
    auto flags = std::make_shared<AnalyzeFlags>();
    CLI::App* sub =
        cli.add("analyze", "forward and profile the traffic, make the plan", [&cli, flags] {
            return run_phase(cli, {}, [&](PhaseRun& run) {
                std::unique_ptr<TapSource> tap;
                if (!flags->from_capture.empty()) {
                    auto made = make_capture(flags->from_capture, run.space);
                    if (!made) return cli.out.error(cli.command, made.error());
                    tap = std::move(*made);
                }
                flags->options.from_capture = tap.get();
                flags->options.duration = milliseconds(flags->duration_ms);
                return run.report(run_analyze(run.context, flags->options));
            });
        });
    cli.add_setting(sub, "--listen", "interlay.listen", "addresses of the interlay", "ADDR");
    add_duration(sub, "--duration", flags->duration_ms,
                 "how long to observe (default: gates.analyze_duration)");
    sub->add_option("--min-samples", flags->options.requests_min, "requests to observe at least")
        ->type_name("N");
    sub->add_option("--capture", flags->options.capture_file,
                    "write the observed workload here, for test --replay")
        ->type_name("FILE");
    sub->add_option("--from-capture", flags->from_capture,
                    "profile a capture (of --capture, or of packets) instead of live traffic")
        ->type_name("FILE");
    sub->add_option("--out", flags->options.plan_file, "write the plan as JSON here")
        ->type_name("FILE");
}

struct CompareFlags {
    std::string mode = "both";
    std::string mirror;
    std::string aa;
    int64_t duration_ms = 0;
    std::vector<std::string> skip_gate;
    bool recheck = false;
    bool resume = false;
    CompareOptions options;
};

/// A share of 0 … 100 with or without a percent sign.
CLI::Option* add_share(CLI::App* sub, const std::string& flag, std::optional<double>& share,
                       const std::string& help) {
    return sub
        ->add_option_function<std::string>(
            flag,
            [&share, flag](const std::string& text) {
                share = parse_percent(text);
                if (!share)
                    throw CLI::ValidationError(
                        flag, fmt::format("'{}' is not a percentage", printable(text)));
            },
            help)
        ->type_name("PERCENT");
}

void add_skip_gate(CLI::App* sub, std::vector<std::string>& text,
                   const std::vector<std::string>& gates = {"compare", "test"},
                   const char* help =
                       "go on without compare or test; needs --reason, shown until "
                       "commit") {
    sub->add_option("--skip-gate", text, help)
        ->check(CLI::IsMember(gates))
        ->allow_extra_args(false)
        ->type_name("PHASE");
}

void add_compare(Cli& cli) {
    auto flags = std::make_shared<CompareFlags>();
    CLI::App* sub = cli.add(
        "compare", "mirror reads to the target and compare, verify all data", [&cli, flags] {
            return run_phase(cli, {.skip_gate = flags->skip_gate}, [&](PhaseRun& run) {
                CompareOptions& o = flags->options;
                o.mode = flags->mode == "reads"  ? CompareMode::reads
                         : flags->mode == "data" ? CompareMode::data
                                                 : CompareMode::both;
                if (flags->recheck) o.mode = CompareMode::data;
                o.reads_duration_max = milliseconds(flags->duration_ms);
                return run.report(run_compare(run.context, o));
            });
        });
    add_share(sub, "--mirror-percent", flags->options.mirror_percent,
              "share of comparable reads to mirror");
    sub->add_option("--budget", flags->options.budget, "tolerated share of confirmed differences")
        ->check(CLI::Range(0.0, 1.0))
        ->type_name("SHARE");
    sub->add_option("--confidence", flags->options.confidence,
                    "confidence of the bound, such as 0.99")
        ->check(CLI::Range(0.5, 0.999999))
        ->type_name("SHARE");
    add_share(sub, "--aa-percent", flags->options.aa_percent,
              "share of reads sent to the source twice, for its noise");
    sub->add_option("--min-samples", flags->options.samples_min, "comparisons to make at least")
        ->type_name("N");
    add_duration(sub, "--duration", flags->duration_ms,
                 "give up waiting for samples after this time (inconclusive)");
    sub->add_option("--mode", flags->mode, "reads, data or both (default)")
        ->check(CLI::IsMember({"reads", "data", "both"}))
        ->type_name("MODE");
    CLI::Option* recheck = sub->add_flag("--recheck", flags->recheck,
                                         "only verify the data again, with what was found before");
    recheck->excludes(sub->get_option("--mode"));
    CLI::Option* restart = sub->add_flag("--restart", flags->options.restart,
                                         "forget what an interrupted run has counted, and copy "
                                         "everything anew; before migrate only");
    sub->add_flag("--resume", flags->resume, "go on with an interrupted run (the default)")
        ->excludes(restart);
    add_skip_gate(sub, flags->skip_gate);
}

struct TestFlags {
    std::vector<std::string> drills;
    std::vector<std::string> skip_gate;
    TestOptions options;
};

void add_test(Cli& cli) {
    auto flags = std::make_shared<TestFlags>();
    CLI::App* sub =
        cli.add("test", "smoke requests, replay, rehearsed switch and rollback, crash drill",
                [&cli, flags] {
                    return run_phase(cli, {.skip_gate = flags->skip_gate}, [&](PhaseRun& run) {
                        if (!flags->drills.empty()) {
                            const auto wanted = [&](const char* name) {
                                return std::find(flags->drills.begin(), flags->drills.end(),
                                                 name) != flags->drills.end();
                            };
                            flags->options.drill_switch = wanted("switch");
                            flags->options.drill_rollback = wanted("rollback");
                            flags->options.drill_crash = wanted("crash");
                        }
                        return run.report(run_test(run.context, flags->options));
                    });
                });
    sub->add_option("--smoke", flags->options.smoke_file,
                    "file of requests with their expected replies")
        ->type_name("FILE");
    CLI::Option* replay = sub->add_option("--replay", flags->options.replay_file,
                                          "workload written by analyze --capture")
                              ->type_name("FILE");
    sub->add_option("--speed", flags->options.replay_speed,
                    "2: twice as fast as captured; 0: as fast as it goes")
        ->check(CLI::NonNegativeNumber)
        ->needs(replay)
        ->type_name("FACTOR");
    add_list(sub, "--drill", flags->drills, "only these drills: switch, rollback, crash", "DRILL")
        ->check(CLI::IsMember({"switch", "rollback", "crash"}));
    sub->add_option("--target-namespace", flags->options.target_namespace,
                    "where replayed writes go on the target; without it only reads are replayed")
        ->type_name("NAME");
    add_duration(sub, "--hold-timeout", flags->options.hold_timeout_ms,
                 "how long a rehearsal may hold writes");
    add_skip_gate(sub, flags->skip_gate);
}

struct MigrateFlags {
    std::string strategy;
    std::string until;
    bool switch_over = false;
    std::optional<double> canary;
    std::string activate;
    std::vector<std::string> throttle;
    bool pause = false;
    bool resume = false;
    std::vector<std::string> skip_gate;
    MigrateOptions options;
};

Status fill(MigrateFlags& flags) {
    MigrateOptions& o = flags.options;
    if (flags.strategy == "big-bang") o.strategy = Strategy::big_bang;
    if (flags.strategy == "canary") o.strategy = Strategy::canary;
    if (flags.strategy == "blue-green") o.strategy = Strategy::blue_green;
    for (const std::string& word : flags.throttle) {
        const auto equals = word.find('=');
        if (equals == std::string::npos || equals == 0) {
            return fail(ErrorCode::usage,
                        fmt::format("--throttle '{}' is not KEY=VALUE", printable(word)),
                        "write for example --throttle bytes_per_s=50MiB");
        }
        o.throttle[word.substr(0, equals)] = word.substr(equals + 1);
    }
    const bool any_goal = flags.switch_over || flags.canary || !flags.activate.empty() ||
                          flags.pause || flags.resume || !flags.until.empty() ||
                          !flags.strategy.empty();
    if (!any_goal && !flags.throttle.empty()) o.goal = MigrateGoal::throttle;
    if (flags.until == "copied") o.goal = MigrateGoal::copied;
    if (flags.pause) o.goal = MigrateGoal::pause;
    if (flags.resume) o.goal = MigrateGoal::resume;
    if (flags.canary) {
        o.goal = MigrateGoal::canary;
        o.canary_percent = *flags.canary;
    }
    if (!flags.activate.empty()) {
        o.goal = MigrateGoal::activate;
        o.activate = flags.activate == "source" ? Side::source : Side::target;
    }
    if (flags.switch_over) o.goal = MigrateGoal::switched;
    return {};
}

void add_migrate(Cli& cli) {
    auto flags = std::make_shared<MigrateFlags>();
    CLI::App* sub = cli.add("migrate", "copy, follow, and switch when asked", [&cli, flags] {
        if (auto status = fill(*flags); !status) return cli.out.error(cli.command, status.error());
        return run_phase(cli, {.skip_gate = flags->skip_gate}, [&](PhaseRun& run) {
            return run.report(run_migrate(run.context, flags->options));
        });
    });
    sub->add_option("--strategy", flags->strategy, "big-bang, canary or blue-green")
        ->check(CLI::IsMember({"big-bang", "canary", "blue-green"}))
        ->type_name("STRATEGY");
    CLI::Option* until =
        sub->add_option("--until", flags->until, "stop at copied or ready (default)")
            ->check(CLI::IsMember({"copied", "ready"}))
            ->type_name("POINT");
    CLI::Option* over =
        sub->add_flag("--switch", flags->switch_over, "switch: the target becomes authoritative");
    CLI::Option* canary = add_share(sub, "--canary-reads", flags->canary,
                                    "let the target answer this share of reads; 0 ends it");
    CLI::Option* activate =
        sub->add_option("--activate", flags->activate, "blue-green: source or target")
            ->check(CLI::IsMember({"source", "target"}))
            ->type_name("SIDE");
    add_duration(sub, "--hold-timeout", flags->options.hold_timeout_ms,
                 "how long the switch may hold writes");
    add_duration(sub, "--max-lag", flags->options.max_lag_ms,
                 "do not start the switch above this lag");
    add_list(sub, "--throttle", flags->throttle, "limit of the copy, such as bytes_per_s=50MiB",
             "KEY=VALUE");
    CLI::Option* pause =
        sub->add_flag("--pause", flags->pause, "the copy rests; changes are still followed");
    CLI::Option* resume = sub->add_flag("--resume", flags->resume, "the copy goes on");
    // One goal at a time: what is left out would silently not happen.
    const std::vector<CLI::Option*> goals = {until, over, canary, activate, pause, resume};
    for (std::size_t i = 0; i < goals.size(); ++i) {
        for (std::size_t j = i + 1; j < goals.size(); ++j) goals[i]->excludes(goals[j]);
    }
    add_skip_gate(sub, flags->skip_gate);
}

void add_rollback(Cli& cli) {
    auto options = std::make_shared<RollbackOptions>();
    CLI::App* sub = cli.add("rollback", "all traffic to the source, nothing lost", [&cli, options] {
        return run_phase(cli, {}, [&](PhaseRun& run) {
            return run.report(run_rollback(run.context, *options));
        });
    });
    add_duration(sub, "--hold-timeout", options->hold_timeout_ms, "how long writes may be held");
    sub->add_flag("--give-up", options->give_up,
                  "after a rollback: end both movements, remove what exodus left");
}

struct CommitFlags {
    std::vector<std::string> skip_gate;
    CommitOptions options;
};

void add_commit(Cli& cli) {
    auto flags = std::make_shared<CommitFlags>();
    CLI::App* sub = cli.add("commit", "the target is authoritative for good", [&cli, flags] {
        return run_phase(cli, {.skip_gate = flags->skip_gate}, [&](PhaseRun& run) {
            return run.report(run_commit(run.context, flags->options));
        });
    });
    add_duration(sub, "--watch", flags->options.watch_ms,
                 "how long the target must have been watched (default: cutover.watch)");
    CLI::Option* keep = sub->add_flag("--keep-reverse", flags->options.keep_reverse,
                                      "the reverse stream goes on feeding the source");
    add_skip_gate(sub, flags->skip_gate, {"commit"},
                  "commit without a way back and without the final verify; needs --reason");
    sub->get_option("--skip-gate")->excludes(keep);
}

}  // namespace

void add_phases(Cli& cli) {
    add_pretest(cli);
    add_analyze(cli);
    add_compare(cli);
    add_test(cli);
    add_migrate(cli);
    add_rollback(cli);
    add_commit(cli);
}

}  // namespace exodus::cli
