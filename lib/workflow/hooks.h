// The operator's scripts: executable files in hooks.d, run before and after phases in the order of
// their names, with what happens in their environment. Never between C1 and C8: clients are held
// then. A script's time is bounded.
#pragma once

#include <map>
#include <stop_token>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/error.h"

namespace exodus {

struct HookEvent {
    std::string phase;    ///< "migrate"
    std::string moment;   ///< "before" | "after"
    std::string outcome;  ///< after: "done", "failed", "stopped"
    std::map<std::string, std::string>
        more;  ///< EXODUS_HOOK_<NAME>: migration, state, authority, epoch; never a secret
};

struct HookResult {
    std::string script;
    int exit_code = 0;   ///< 124: it took too long and was ended
    std::string output;  ///< stdout and stderr, bounded
    int64_t took_ms = 0;
};

/// All it is told is in EXODUS_HOOK_…: EXODUS_STATE and the like are keys of the configuration, and
/// a script that calls exodus must not change them unknowingly.
///
/// Runs the executable files of `directory` (missing: nothing to do) as `script MOMENT PHASE`. A
/// failing script before a phase stops the phase: error `safety` with its name and last line. After
/// a phase all run, failures are in the results. Files that others may write are refused: error
/// `permission`.
Result<std::vector<HookResult>> run_hooks(const std::string& directory, const HookEvent& event,
                                          milliseconds limit, const std::stop_token& stop);

}  // namespace exodus
