// What a command works with: settings, state file, family, connections, the way to the interlay.
// Opened once per command, closed at its end; the order of members is the order of construction.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "cli/cli.h"
#include "cli/interlay_access.h"
#include "cli/load.h"
#include "cli/progress.h"
#include "core/dialer.h"
#include "core/family.h"
#include "store/services.h"
#include "store/workflow_store.h"
#include "workflow/phase_context.h"

namespace exodus::cli {

struct WorkspaceOptions {
    OpenMode mode = OpenMode::existing;
    bool require_endpoints = true;
    bool read_secrets = true;
    /// status must work when the configuration does not: what can be told of it is used, the errors
    /// become a warning.
    bool tolerate_config_errors = false;
    milliseconds busy{limits::kStoreBusy_ms};  ///< of the state file
};

/// For commands that only look into the state file.
inline constexpr WorkspaceOptions kReading{.mode = OpenMode::read_only,
                                           .require_endpoints = false,
                                           .read_secrets = false,
                                           .tolerate_config_errors = true};

class Workspace {
  public:
    /// Opens everything; on an error reports it and returns the exit code instead.
    static std::unique_ptr<Workspace> open(Cli& cli, const WorkspaceOptions& options,
                                           int& exit_code);

    Settings settings;
    std::string config_file;
    std::unique_ptr<Family> family;
    std::unique_ptr<Dialer> dialer;
    std::unique_ptr<WorkflowStore> store;
    std::unique_ptr<Journal> journal;
    std::unique_ptr<DivergenceLog> divergences;  ///< null when there is no samples file yet
    std::unique_ptr<InterlayProcess> interlay;
    MigrationRow row;       ///< as it stood when the command began
    std::string directory;  ///< the family's own files: <state>.d
    bool config_good = true;

    /// For run_*(). References point into this object and `cli`.
    /// `own`: another way to the interlay than a process beside this one.
    PhaseContext phase_context(Cli& cli, ProgressPrinter& progress, std::stop_token stop,
                               InterlayAccess* own = nullptr);
};

/// Asks on the terminal, or checks --confirm and --reason.
Status confirm(Cli& cli, const ConfirmRequest& request);

}  // namespace exodus::cli
