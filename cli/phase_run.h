// One run of a phase from the command line: workspace, signals, time limit, progress, the end of a
// spawned interlay.
#pragma once

#include <functional>
#include <string>

#include "cli/cli.h"
#include "cli/outcome.h"
#include "cli/signals.h"
#include "cli/workspace.h"

namespace exodus::cli {

struct PhaseRun {
    Cli& cli;
    Workspace& space;
    PhaseContext& context;
    Signals& signals;
    /// Ends a spawned interlay, then prints the outcome.
    int report(const PhaseOutcome& outcome);
};

struct PhaseRunOptions {
    std::vector<std::string> skip_gate = {};
    bool require_endpoints = true;
    bool read_secrets = true;
    OpenMode mode = OpenMode::existing;  ///< --dry-run makes it read_only
};

int run_phase(Cli& cli, const PhaseRunOptions& options, const std::function<int(PhaseRun&)>& body);

}  // namespace exodus::cli
