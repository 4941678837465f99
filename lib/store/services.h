// The core interfaces on the state file, for the interlay's process. Each object has its own
// connection and is thread-safe. The migration must exist.
#pragma once

#include <memory>
#include <string>

#include "base/clock.h"
#include "base/error.h"
#include "base/limits.h"
#include "core/journal.h"
#include "core/state.h"

namespace exodus {

/// StateSource::changed compares PRAGMA data_version, so changes of every other connection are
/// seen.
Result<std::unique_ptr<StateSource>> open_state_source(const std::string& state_path,
                                                       const std::string& migration);
Result<std::unique_ptr<WorkerRegistry>> open_worker_registry(const std::string& state_path,
                                                             const std::string& migration);
/// `busy`: how long each call waits for the transaction of another process.
Result<std::unique_ptr<Journal>> open_journal(
    const std::string& state_path, const std::string& migration,
    milliseconds busy = milliseconds(limits::kStoreBusy_ms));
/// The samples file `<state>.samples`; made (0600) when absent. `read_only`: error no_input when
/// absent.
Result<std::unique_ptr<DivergenceLog>> open_divergence_log(const std::string& state_path,
                                                           const std::string& migration,
                                                           bool read_only = false);
std::string samples_path(const std::string& state_path);

}  // namespace exodus
