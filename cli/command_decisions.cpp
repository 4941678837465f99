// exodus approve and deny: the human checkpoint, stored with its owner and reason.
#include "cli/cli.h"
#include "cli/phase_run.h"
#include "workflow/phases/approve.h"

namespace exodus::cli {

void add_decisions(Cli& cli) {
    for (const bool approve : {true, false}) {
        auto gate = std::make_shared<std::string>();
        CLI::App* sub = cli.add(
            approve ? "approve" : "deny",
            approve ? "approve a gate, such as the switch" : "take an approval back, or refuse it",
            [&cli, gate, approve] {
                return run_phase(cli, {.require_endpoints = false, .read_secrets = false},
                                 [&](PhaseRun& run) {
                                     return run.report(approve ? run_approve(run.context, *gate)
                                                               : run_deny(run.context, *gate));
                                 });
            });
        sub->add_option("gate", *gate, "the gate: switch, or the name of a phase")
            ->required()
            ->type_name("GATE");
        sub->footer("Needs the global option --reason TEXT. The manual: exodus man " +
                    sub->get_name());
    }
}

}  // namespace exodus::cli
