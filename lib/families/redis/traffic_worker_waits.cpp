// What a worker asks servers on behalf of clients: offsets of replicas for WAIT, whether a login is
// wanted.
#include "base/limits.h"
#include "families/redis/traffic_worker.h"

namespace exodus::redis {

void TrafficWorker::wait_for_replicas(ClientSession& session, Side side, int64_t replicas,
                                      int64_t deadline_us) {
    replica_waits_.add(session, side, replicas, deadline_us);
    poll_replicas();
}

void TrafficWorker::poll_replicas() {
    for (const auto& done : replica_waits_.expired(io_.now_us()))
        done.session->on_replicas(done.count);
    for (const Side side : {Side::source, Side::target}) {
        if (!replica_waits_.wants_poll(side)) continue;
        LinkKey key;
        key.side = side;
        key.identity = kService;
        BackendLink* link = shared_link(*slot(key));
        if (link == nullptr || link->state != BackendLink::State::ready) continue;
        Expected entry;
        entry.sent_us = io_.now_us();
        entry.job = Job::replicas;
        expect(*link, entry);
        send(*link, "*2\r\n$4\r\nINFO\r\n$11\r\nreplication\r\n");
        replica_waits_.poll_sent(side);
    }
    if (!replica_waits_.empty() && replica_timer_ == TimerId::none)
        replica_timer_ = io_.arm_timer(limits::kRedisReplicaPoll_us);
}

/// More replicas than there can be, for one millisecond: the server asks all of them for their
/// offset (REPLCONF GETACK), which they tell once a second otherwise. On a connection that nobody
/// else waits behind; the one for RESP3 serves, because the answer is the same there.
void TrafficWorker::ask_for_acks(Side side) {
    LinkKey key;
    key.side = side;
    key.resp = 3;
    key.identity = kService;
    BackendLink* link = shared_link(*slot(key));
    if (link == nullptr || link->state != BackendLink::State::ready || !link->fifo.empty()) return;
    Expected entry;
    entry.job = Job::swallow;
    entry.sent_us = io_.now_us();
    expect(*link, entry);
    send(*link, "*3\r\n$4\r\nWAIT\r\n$7\r\n1000000\r\n$1\r\n1\r\n");
}

void TrafficWorker::on_replica_info(Side side, const resp::ReplyFrame& frame) {
    const auto reply = resp::parse_reply(frame.value);
    if (!reply || !reply->is_string()) {
        // Without the right to INFO nothing is known: nobody is told that replicas have his writes.
        replica_waits_.poll_lost(side);
        count("replica_offsets_refused");
        return;
    }
    for (const auto& done : replica_waits_.answered(side, parse_replica_offsets(reply->text)))
        done.session->on_replicas(done.count);
    if (replica_waits_.wants_acks(side)) ask_for_acks(side);
}

void TrafficWorker::learn_login_rule_early() {
    LinkKey key;
    key.side = route_.writes;
    shared_link(*slot(key));
}

/// A reply to a client that has not logged in says whether the server wants a login (it may have
/// changed its mind since the connection was made).
void TrafficWorker::learn_login_rule(const BackendLink& link, const Expected& entry,
                                     const resp::ReplyFrame& frame) {
    auto& required = state_.login_required[static_cast<std::size_t>(link.key.side)];
    const bool now = required.load(std::memory_order_relaxed);
    if (frame.is_error()) {
        if (!now && frame.value.starts_with("-NOAUTH")) required.store(true);
    } else if (now && entry.row != nullptr && entry.row->effect != resp::Effect::connection) {
        required.store(false);
    }
}

}  // namespace exodus::redis
