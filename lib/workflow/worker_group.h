// All registered interlay processes of a migration as a cutover sees them: every one must answer.
// One whose process is gone on this host is dropped with an event; a silent living one, or one on
// another host, is never excluded.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/error.h"
#include "core/control.h"
#include "core/endpoint.h"
#include "core/movement.h"
#include "store/workflow_store.h"

namespace exodus {

/// False only when the process is certainly gone: same host, and no such pid or another start time.
bool worker_may_live(const WorkerRow& worker);

class WorkerGroup {
  public:
    using Connect = std::function<std::unique_ptr<ControlPort>(const std::string& path)>;
    WorkerGroup(WorkflowStore& store, int64_t migration, Connect connect);
    ~WorkerGroup();

    /// Reads the registrations again and drops the dead. Returns how many are left.
    Result<std::size_t> refresh();
    /// Tells all to read the state file now; best effort, since they poll it anyway.
    void look_now();
    /// True when all follow `epoch` (or a later one) and, when `drained`, have no write in flight.
    /// `waiting_for` says what is missing. Never an error for a worker that does not answer: that
    /// is "not yet".
    Result<bool> standing(uint64_t epoch, bool drained, Deadline deadline,
                          std::string& waiting_for);
    /// As each identity that it has seen, every worker sends a write to `side`, which must be
    /// refused.
    Status probe_fence(Side side, Deadline deadline);

    /// A mover operation at the process that has the mover. `mover_id()` tells whether it is still
    /// the same process.
    Result<nlohmann::json> mover(const char* op, Direction direction, nlohmann::json request,
                                 Deadline deadline);
    Result<nlohmann::json> mover_status(Deadline deadline);
    [[nodiscard]] const std::string& mover_id() const { return mover_id_; }
    [[nodiscard]] std::size_t size() const { return workers_.size(); }

  private:
    struct Member;
    Result<nlohmann::json> call(Member& member, const nlohmann::json& request, Deadline deadline);
    Status find_mover(Deadline deadline);

    WorkflowStore& store_;
    int64_t migration_;
    Connect connect_;
    std::vector<std::unique_ptr<Member>> workers_;
    std::string mover_id_;
};

}  // namespace exodus
