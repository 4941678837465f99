// Where pretest and analyze read a copy of the traffic from: packets of an interface, a capture
// file, MONITOR, a log.
#pragma once

#include <memory>
#include <string>

#include "cli/workspace.h"
#include "workflow/phase_context.h"

namespace exodus::cli {

/// `kind` as --tap has it. Errors: usage for an unknown kind, no_input, permission.
Result<std::unique_ptr<TapSource>> make_tap(const std::string& kind, const Workspace& space,
                                            bool accept_monitor_cost);

/// A file that analyze --capture wrote, or packets (pcap). Errors: no_input.
Result<std::unique_ptr<TapSource>> make_capture(const std::string& file, const Workspace& space);

}  // namespace exodus::cli
