#include "cli/phase_run.h"

#include <condition_variable>
#include <fmt/format.h>
#include <mutex>

#include "base/stop_token.h"
#include "workflow/exit_codes.h"

namespace exodus::cli {

int PhaseRun::report(const PhaseOutcome& outcome) {
    if (space.interlay->spawned()) {
        cli.out.note(Severity::info,
                     fmt::format("ending the interlay that this command started; applications are "
                                 "disconnected at their "
                                 "next request boundary. To keep one running: exodus interlay{}",
                                 space.config_file.empty() ? "" : " -c " + space.config_file));
        space.interlay->finish();
    }
    return report_outcome(cli, outcome, signals.exit_code(outcome.exit_code));
}

int run_phase(Cli& cli, const PhaseRunOptions& options, const std::function<int(PhaseRun&)>& body) {
    if (!options.skip_gate.empty() && cli.globals.reason.empty()) {
        return cli.out.error(cli.command,
                             Error{ErrorCode::usage, "--skip-gate needs --reason TEXT",
                                   "the reason is stored, and shown with what was skipped"});
    }
    // Before anything starts a thread, so that all of them inherit the blocked signals.
    Signals signals([&cli](int) {
        cli.out.note(
            Severity::warn,
            "stopping at the next safe point; the same command goes on later (again: stop now)");
    });
    int exit_code = kDone;
    const OpenMode mode = cli.globals.dry_run ? OpenMode::read_only : options.mode;
    auto space = Workspace::open(cli,
                                 {.mode = mode,
                                  .require_endpoints = options.require_endpoints,
                                  .read_secrets = options.read_secrets,
                                  .busy = milliseconds(limits::kPhaseBusy_ms)},
                                 exit_code);
    if (!space) return exit_code;
    signals.on_second([&space] { space->interlay->end_now(); });
    ProgressPrinter printer(cli.out);
    PhaseContext context = space->phase_context(cli, printer, signals.token());
    context.skip_gate = options.skip_gate;
    PhaseRun run{cli, *space, context, signals};
    exit_code = body(run);
    space->interlay->finish();
    return exit_code;
}

}  // namespace exodus::cli
