// Stopping all writers of one side, whether or not they pass the interlay (step C3). A fence does
// not expire. Runs on a workflow thread in the phase command's process; blocks within its deadline.
#pragma once

#include <string>

#include "base/clock.h"
#include "base/error.h"

namespace exodus {

class Fence {
  public:
    virtual ~Fence() = default;
    /// What must be durable to lift the fence after a crash, read before anything is changed. The
    /// family's own text. Not to be asked again before lift(): what it read then would be the
    /// fence.
    virtual Result<std::string> prepare(Deadline deadline) = 0;
    /// Raises it; idempotent. `prepared` is what prepare() returned, by then durable.
    virtual Status raise(const std::string& prepared, Deadline deadline) = 0;
    /// A write as each application would do it must be refused. Error `safety` names who still
    /// could write.
    virtual Status prove(const std::string& prepared, Deadline deadline) = 0;
    /// Restores exactly what was there; idempotent. Clients wait for it.
    virtual Status lift(const std::string& prepared, Deadline deadline) = 0;
    /// Makes what lift() restored outlive a restart of the servers. Clients no longer wait.
    virtual Status keep(Deadline deadline) = 0;
};

}  // namespace exodus
