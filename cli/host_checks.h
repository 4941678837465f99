// What pretest checks on this host: whether an interlay could begin to listen here, and with which
// certificate.
#pragma once

#include <vector>

#include "cli/workspace.h"
#include "workflow/phases/pretest.h"

namespace exodus::cli {

/// `space` outlives them.
std::vector<HostCheck> host_checks(const Workspace& space);

}  // namespace exodus::cli
