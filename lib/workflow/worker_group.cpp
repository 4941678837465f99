#include "workflow/worker_group.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>
#include <unistd.h>

#include "base/limits.h"

namespace exodus {

using nlohmann::json;

namespace {

/// Field 22 of /proc/PID/stat, counted after the command's closing bracket, since the name may hold
/// anything; 0 when gone, none when what is there cannot be read.
std::optional<int64_t> start_time_of(int64_t pid) {
    std::ifstream file("/proc/" + std::to_string(pid) + "/stat");
    std::string line;
    if (!std::getline(file, line)) return 0;
    const auto bracket = line.rfind(')');
    if (bracket == std::string::npos) return std::nullopt;
    std::istringstream fields(line.substr(bracket + 1));
    std::string state;
    fields >> state;
    if (state == "Z" || state == "X") return 0;  // dead, only not yet waited for
    std::string word;
    for (int field = 4; field <= 22; ++field) fields >> word;
    int64_t start = 0;
    const char* end = word.data() + word.size();
    const auto read = std::from_chars(word.data(), end, start);
    if (read.ec != std::errc() || read.ptr != end) return std::nullopt;
    return start;
}

std::string host_name() {
    std::array<char, 256> host{};
    return ::gethostname(host.data(), host.size() - 1) == 0 ? host.data() : "";
}

std::string describe(const WorkerRow& worker) {
    return "interlay " + worker.id.substr(0, 8) + " (pid " + std::to_string(worker.pid) + " on " +
           worker.host + ")";
}

}  // namespace

bool worker_may_live(const WorkerRow& worker) {
    if (worker.host != host_name()) return true;
    const auto start = start_time_of(worker.pid);
    if (!start) return true;
    return *start != 0 && (worker.pid_start == 0 || *start == worker.pid_start);
}

struct WorkerGroup::Member {
    WorkerRow row;
    std::unique_ptr<ControlPort> port;
};

WorkerGroup::WorkerGroup(WorkflowStore& store, int64_t migration, Connect connect)
    : store_(store), migration_(migration), connect_(std::move(connect)) {}
WorkerGroup::~WorkerGroup() = default;

Result<std::size_t> WorkerGroup::refresh() {
    auto rows = store_.workers(migration_);
    if (!rows) return tl::unexpected(std::move(rows).error());
    std::vector<std::unique_ptr<Member>> members;
    for (WorkerRow& row : *rows) {
        if (!worker_may_live(row)) {
            EXODUS_TRY(store_.remove_worker(migration_, row.id));
            auto event = store_.add_event(migration_, "warn", "worker.dropped",
                                          describe(row) + " is gone and was dropped");
            if (!event) return tl::unexpected(std::move(event).error());
            continue;
        }
        const auto known = std::find_if(workers_.begin(), workers_.end(), [&](const auto& member) {
            return member && member->row.id == row.id;
        });
        std::unique_ptr<Member> member =
            known == workers_.end() ? std::make_unique<Member>() : std::move(*known);
        if (member->row.control != row.control) member->port.reset();
        member->row = std::move(row);
        members.push_back(std::move(member));
    }
    workers_ = std::move(members);
    return workers_.size();
}

Result<json> WorkerGroup::call(Member& member, const json& request, Deadline deadline) {
    if (!member.port) member.port = connect_(member.row.control);
    if (!member.port)
        return fail(ErrorCode::unreachable, describe(member.row) + " has no usable control socket");
    const milliseconds timeout =
        std::clamp(deadline.left(), milliseconds(1), milliseconds(limits::kCutoverCall_ms));
    auto answer = member.port->call(request, timeout);
    if (!answer && answer.error().code == ErrorCode::unreachable) member.port.reset();
    return answer;
}

void WorkerGroup::look_now() {
    for (const auto& member : workers_) {
        (void)call(*member, json{{"op", control_op::kLookNow}},
                   Deadline::in(milliseconds(limits::kCutoverCall_ms / 4)));
    }
}

Result<bool> WorkerGroup::standing(uint64_t epoch, bool drained, Deadline deadline,
                                   std::string& waiting_for) {
    auto count = refresh();
    if (!count) return tl::unexpected(std::move(count).error());
    waiting_for.clear();
    for (const auto& member : workers_) {
        const auto answer = call(*member, json{{"op", control_op::kQuiescence}}, deadline);
        if (!answer) {
            waiting_for = describe(member->row) + " does not answer: " + answer.error().message;
            return false;
        }
        // The socket's path is its successor's by now: nobody can ask it what it has in flight.
        if (answer->value("pid", member->row.pid) != member->row.pid) {
            waiting_for = describe(member->row) + " was taken over and is not drained yet";
            return false;
        }
        const uint64_t at = answer->value("epoch", uint64_t{0});
        const uint64_t in_flight = answer->value("writes_in_flight", uint64_t{1});
        if (at < epoch) {
            waiting_for = describe(member->row) + " is at epoch " + std::to_string(at) + " of " +
                          std::to_string(epoch);
            return false;
        }
        if (drained && in_flight > 0) {
            const std::string blocker = answer->value("blocker", "");
            waiting_for = describe(member->row) + " waits for " + std::to_string(in_flight) +
                          " writes in flight" + (blocker.empty() ? "" : ", the oldest: " + blocker);
            return false;
        }
    }
    return true;
}

Status WorkerGroup::probe_fence(Side side, Deadline deadline) {
    for (const auto& member : workers_) {
        const int64_t left = std::max<int64_t>(deadline.left().count(), 1);
        const auto answer = call(*member,
                                 json{{"op", control_op::kProbe},
                                      {"side", std::string(to_string(side))},
                                      {"timeout_ms", std::min(left, limits::kCutoverCall_ms)}},
                                 deadline);
        if (!answer)
            return fail(Error(answer.error()),
                        "proving the fence through " + describe(member->row));
    }
    return {};
}

Status WorkerGroup::find_mover(Deadline deadline) {
    std::string why = "no interlay is registered";
    for (const auto& member : workers_) {
        const auto answer = call(*member, json{{"op", control_op::kMover}}, deadline);
        if (answer) {
            mover_id_ = member->row.id;
            return {};
        }
        why = describe(member->row) + ": " + answer.error().message;
    }
    mover_id_.clear();
    return fail(ErrorCode::unreachable, "no interlay with a mover answers: " + why,
                "start one: exodus interlay");
}

Result<json> WorkerGroup::mover(const char* op, Direction direction, json request,
                                Deadline deadline) {
    request["op"] = op;
    request["direction"] = std::string(to_string(direction));
    for (int attempt = 0;; ++attempt) {
        const auto at = std::find_if(workers_.begin(), workers_.end(), [&](const auto& member) {
            return member->row.id == mover_id_;
        });
        if (at != workers_.end()) {
            auto answer = call(**at, request, deadline);
            if (answer || answer.error().code != ErrorCode::unreachable || attempt > 0)
                return answer;
        }
        if (attempt > 1) return fail(ErrorCode::unreachable, "the mover does not answer");
        auto count = refresh();
        if (!count) return tl::unexpected(std::move(count).error());
        EXODUS_TRY(find_mover(deadline));
    }
}

Result<json> WorkerGroup::mover_status(Deadline deadline) {
    auto count = refresh();
    if (!count) return tl::unexpected(std::move(count).error());
    return mover(control_op::kMover, Direction::forward, json::object(), deadline);
}

}  // namespace exodus
