#include "families/redis/replica_waits.h"

#include <algorithm>
#include <string>
#include <utility>

#include "families/redis/client.h"
#include "wire/resp/value.h"

namespace exodus::redis {

namespace {

/// "state=online,offset=123" → the text behind "offset=".
std::string_view part(std::string_view line, std::string_view name) {
    while (!line.empty()) {
        const auto comma = line.find(',');
        const std::string_view item = line.substr(0, comma);
        if (item.starts_with(name)) return item.substr(name.size());
        if (comma == std::string_view::npos) break;
        line.remove_prefix(comma + 1);
    }
    return {};
}

}  // namespace

ReplicaOffsets parse_replica_offsets(std::string_view info) {
    ReplicaOffsets out;
    const Info fields = Info::parse(info);
    out.is_primary = fields.get("role") == "master";
    out.offset = fields.integer("master_repl_offset");
    for (const auto& [name, line] : fields.all()) {
        if (!name.starts_with("slave") || part(line, "state=") != "online") continue;
        int64_t offset = 0;
        if (resp::parse_int(part(line, "offset="), offset)) out.acknowledged.push_back(offset);
    }
    return out;
}

void ReplicaWaits::add(ClientSession& session, Side side, int64_t replicas, int64_t deadline_us) {
    auto found = std::find_if(waiters_.begin(), waiters_.end(),
                              [&](const Waiter& waiter) { return waiter.session == &session; });
    if (found == waiters_.end()) found = waiters_.insert(waiters_.end(), Waiter{});
    if (found->session == &session && found->side == side) return;
    *found = Waiter{&session, side, replicas, deadline_us, -1, 0, false, false};
}

int64_t ReplicaWaits::remove(const ClientSession& session) {
    int64_t count = 0;
    std::erase_if(waiters_, [&](const Waiter& waiter) {
        if (waiter.session != &session) return false;
        count = waiter.count;
        return true;
    });
    return count;
}

bool ReplicaWaits::wants_poll(Side side) const {
    return !polling_[static_cast<std::size_t>(side)] &&
           std::any_of(waiters_.begin(), waiters_.end(),
                       [side](const Waiter& waiter) { return waiter.side == side; });
}

bool ReplicaWaits::wants_acks(Side side) const {
    return std::any_of(waiters_.begin(), waiters_.end(), [side](const Waiter& waiter) {
        return waiter.side == side && waiter.offset >= 0;
    });
}

void ReplicaWaits::poll_sent(Side side) {
    polling_[static_cast<std::size_t>(side)] = true;
    for (Waiter& waiter : waiters_) waiter.asked = waiter.asked || waiter.side == side;
}

std::vector<ReplicaWaits::Done> ReplicaWaits::answered(Side side, const ReplicaOffsets& now) {
    polling_[static_cast<std::size_t>(side)] = false;
    std::vector<Done> done;
    std::erase_if(waiters_, [&](Waiter& waiter) {
        if (waiter.side != side || !waiter.asked) return false;
        if (!now.is_primary) {
            done.push_back({waiter.session, kNotPrimary});
            return true;
        }
        if (waiter.offset < 0) waiter.offset = now.offset;
        waiter.count = std::count_if(now.acknowledged.begin(), now.acknowledged.end(),
                                     [&](int64_t offset) { return offset >= waiter.offset; });
        if (waiter.count < waiter.replicas) return false;
        // Who asks for none wants to know how many there are: replicas get one chance to tell.
        const bool all = waiter.count == static_cast<int64_t>(now.acknowledged.size());
        if (waiter.replicas <= 0 && !all && !std::exchange(waiter.second_look, true)) return false;
        done.push_back({waiter.session, waiter.count});
        return true;
    });
    return done;
}

std::vector<ReplicaWaits::Done> ReplicaWaits::expired(int64_t now_us) {
    std::vector<Done> done;
    std::erase_if(waiters_, [&](const Waiter& waiter) {
        if (waiter.deadline_us == 0 || waiter.deadline_us > now_us) return false;
        done.push_back({waiter.session, waiter.count});
        return true;
    });
    return done;
}

}  // namespace exodus::redis
