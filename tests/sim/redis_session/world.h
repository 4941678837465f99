// A world for the Redis brain without sockets: two small in-memory servers, connections whose bytes
// move in pieces when the test says so, and a clock that only the test moves. Header-only; used by
// the simulator, the unit tests and the fuzzer.
#pragma once

#include <algorithm>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "core/protocol_worker.h"
#include "core/settings.h"
#include "families/redis/process_state.h"
#include "families/redis/traffic_worker.h"
#include "tests/sim/redis_session/fake_server.h"
#include "wire/resp/codec.h"

namespace exodus::redis::sim {

/// Connections, clock and the brain. Every byte moves by a call of this class.
class World final : public WorkerIo {
  public:
    struct Peer {
        bool client = false;
        Side side = Side::source;
        bool connected = false;
        bool closing = false;  ///< the brain closed it; on_closed is to come
        bool closed = false;
        bool reading = true;
        bool above = false;
        std::string to_brain;
        std::string from_brain;
        std::string received;  ///< of a client: what it got
        std::string taken;     ///< of a server that is frozen: in its host's buffers
    };

    /// `own_user`: the source's endpoint has the user "svc".
    explicit World(bool sharing = true, bool target_service = false, bool own_user = false)
        : settings_(make_settings(sharing, target_service, own_user)), state(settings_) {
        brain = std::make_unique<TrafficWorker>(state, *this);
        Route route;
        route.epoch = 1;
        brain->adopt(route);
        servers[1].next_id = 1000;
    }

    // WorkerIo
    ConnId dial(Side side) override {
        const uint64_t id = next_++;
        Peer& peer = peers[id];
        peer.side = side;
        return static_cast<ConnId>(id);
    }
    void send(ConnId conn, std::string_view bytes) override {
        Peer& peer = peers.at(static_cast<uint64_t>(conn));
        if (peer.closing || peer.closed) return;
        peer.from_brain.append(bytes);
        peer.above = peer.above || peer.from_brain.size() > limits::kHighWater_bytes;
    }
    [[nodiscard]] std::size_t unsent_bytes(ConnId conn) const override {
        return peers.at(static_cast<uint64_t>(conn)).from_brain.size();
    }
    void set_reading(ConnId conn, bool on) override {
        peers.at(static_cast<uint64_t>(conn)).reading = on;
    }
    void start_tls(ConnId) override {}
    void close(ConnId conn, CloseMode mode) override {
        Peer& peer = peers.at(static_cast<uint64_t>(conn));
        if (mode == CloseMode::now && !peer.closing) peer.from_brain.clear();
        peer.closing = true;
    }
    TimerId arm_timer(int64_t delay_us) override {
        timers[++timer_] = now_ + delay_us;
        return static_cast<TimerId>(timer_);
    }
    void cancel_timer(TimerId timer) override { timers.erase(static_cast<uint64_t>(timer)); }
    [[nodiscard]] int64_t now_us() const override { return now_; }
    [[nodiscard]] int64_t wall_now_us() const override { return now_ + 1'700'000'000'000'000; }
    bool compare(ExchangePair&& pair) override {
        if (comparator_full) return false;
        compared.push_back(std::move(pair));
        return true;
    }

    // The test's side
    uint64_t connect() {
        const uint64_t id = next_++;
        peers[id].client = true;
        peers[id].connected = true;
        brain->on_accept(static_cast<ConnId>(id), ClientInfo{"sim", ""});
        return id;
    }
    void write(uint64_t client, std::string_view bytes) { peers.at(client).to_brain.append(bytes); }
    std::string& received(uint64_t client) { return peers.at(client).received; }
    [[nodiscard]] bool is_closed(uint64_t client) const { return peers.at(client).closed; }
    void hang_up(uint64_t client) { lose(client, CloseReason::peer); }
    void lose(uint64_t id, CloseReason reason) {
        Peer& peer = peers.at(id);
        if (peer.closed) return;
        peer.closed = true;
        if (!peer.client) servers[static_cast<std::size_t>(peer.side)].conns.erase(id);
        brain->on_closed(static_cast<ConnId>(id), reason);
        brain->on_turn_end();
    }

    /// Moves something for one connection; at most `piece` bytes. False when there was nothing to
    /// do.
    bool move(uint64_t id, std::size_t piece) {
        Peer& peer = peers.at(id);
        if (peer.closed) return false;
        const ConnId conn = static_cast<ConnId>(id);
        FakeServer& server = servers[static_cast<std::size_t>(peer.side)];
        if (peer.closing && peer.from_brain.empty()) {
            lose(id, CloseReason::local);
            return true;
        }
        if (!peer.client && !peer.connected) {
            if (peer.closing) {
                lose(id, CloseReason::local);
            } else if (down[static_cast<std::size_t>(peer.side)]) {
                lose(id, CloseReason::refused);
            } else {
                peer.connected = true;
                server.open(id);
                brain->on_connected(conn);
                brain->on_turn_end();
            }
            return true;
        }
        bool moved = false;
        const bool takes = peer.client || !frozen[static_cast<std::size_t>(peer.side)];
        if (takes && !peer.taken.empty()) {
            server.now_us = now_;
            server.feed(id, std::exchange(peer.taken, {}));
            moved = true;
        }
        if (!peer.from_brain.empty() && !(peer.client && lazy.contains(id))) {
            const std::string part = peer.from_brain.substr(0, piece);
            peer.from_brain.erase(0, part.size());
            if (peer.client) {
                peer.received += part;
            } else if (!takes) {
                peer.taken += part;
            } else {
                server.now_us = now_;
                server.feed(id, part);
            }
            moved = true;
            if (peer.above && peer.from_brain.size() < limits::kLowWater_bytes) {
                peer.above = false;
                if (!peer.closing) brain->on_drained(conn);
                brain->on_turn_end();
            }
        }
        if (!peer.client && server.conns.contains(id)) {
            std::string& out = server.conns.at(id).out;
            peer.to_brain += out;
            out.clear();
        }
        if (!peer.to_brain.empty() && peer.reading && !peer.closing && !peer.closed) {
            const std::string part = peer.to_brain.substr(0, piece);
            peer.to_brain.erase(0, part.size());
            // A copy of its own, so that a sanitizer sees every use after the call.
            const std::unique_ptr<std::string> given = std::make_unique<std::string>(part);
            brain->on_bytes(conn, *given);
            brain->on_turn_end();
            moved = true;
        }
        return moved;
    }

    void advance(int64_t us) {
        now_ += us;
        for (FakeServer& server : servers) server.tick(now_);
        std::vector<uint64_t> due;
        for (const auto& [id, at] : timers) {
            if (at <= now_) due.push_back(id);
        }
        for (const uint64_t id : due) {
            timers.erase(id);
            brain->on_timer(static_cast<TimerId>(id));
            brain->on_turn_end();
        }
    }

    /// Until nothing moves any more, at any number of bytes per step.
    void settle(std::size_t piece = 1 << 20) {
        for (int round = 0; round < 100000; ++round) {
            bool moved = false;
            std::vector<uint64_t> ids;
            for (const auto& [id, peer] : peers) {
                if (!peer.closed) ids.push_back(id);
            }
            for (const uint64_t id : ids) moved = move(id, piece) || moved;
            if (!moved) return;
        }
    }
    /// settle() with time passing: retries and ticks happen.
    void settle_for(int64_t us, std::size_t piece = 1 << 20) {
        for (int64_t spent = 0; spent < us; spent += 10'000) {
            settle(piece);
            advance(10'000);
        }
        settle(piece);
    }
    void route(Side side, bool hold, int64_t deadline_ms = 0) {
        Route next = brain_route_;
        next.epoch = ++epoch_;
        next.authority = next.writes = next.reads = side;
        next.hold = hold;
        next.hold_deadline_ms = deadline_ms;
        next.migrating = true;
        brain_route_ = next;
        brain->adopt(next);
        brain->on_turn_end();
    }
    FakeServer& server(Side side) { return servers[static_cast<std::size_t>(side)]; }

    std::map<uint64_t, Peer> peers;
    std::array<FakeServer, 2> servers;
    std::array<bool, 2> down{false, false};
    std::array<bool, 2> frozen{false, false};  ///< their hosts take all, they do nothing
    std::set<uint64_t> lazy;                   ///< clients that do not read
    std::vector<ExchangePair> compared;
    bool comparator_full = false;
    std::map<uint64_t, int64_t> timers;
    Route brain_route_;

  private:
    static Settings make_settings(bool sharing, bool target_service, bool own_user) {
        Settings settings;
        if (own_user) {
            settings.source.user = "svc";
            settings.source.password = Secret("own");
        }
        if (target_service) {
            settings.family_options["target.auth"] = "service";
            settings.target.user = "svc";
            settings.target.password = Secret("own");
            ClientUser everybody;
            everybody.name = kEverybody;
            everybody.target = {"apps", Secret("shared")};
            settings.interlay.users.push_back(std::move(everybody));
        }
        settings.family_options["interlay.sharing"] = sharing ? "on" : "off";
        return settings;
    }

    Settings settings_;
    uint64_t next_ = 1;
    uint64_t timer_ = 0;
    uint64_t epoch_ = 1;
    int64_t now_ = 1'000'000;

  public:
    ProcessState state;
    std::unique_ptr<TrafficWorker> brain;
};

/// A cutover as workers and servers live it, one moment at a time.
class SimCutover {
  public:
    enum class Moment : uint8_t { open, held, fenced, moved };

    explicit SimCutover(World& world) : world_(world) {}
    [[nodiscard]] Moment moment() const { return moment_; }
    [[nodiscard]] Side authority() const { return world_.brain_route_.writes; }

    /// C1.
    void hold(int64_t deadline_ms = 0) {
        moment_ = Moment::held;
        world_.route(authority(), true, deadline_ms);
    }
    /// C2: may the fence rise?
    [[nodiscard]] bool quiet() const { return world_.brain->quiescence().writes_in_flight == 0; }
    /// C3.
    void fence() {
        world_.server(authority()).fenced = true;
        moment_ = Moment::fenced;
    }
    /// C4 to C7: all data over; the authority moves with the hold up and both sides fenced.
    void move() {
        const Side to = other(authority());
        FakeServer& old = world_.server(authority());
        FakeServer& now = world_.server(to);
        now.data = old.data;
        now.scripts.insert(old.scripts.begin(), old.scripts.end());
        for (const auto& [key, version] : old.versions) now.versions[key] += version + 1;
        moment_ = Moment::moved;
        world_.route(to, true, world_.brain_route_.hold_deadline_ms);
    }
    /// C8, or an abort: the authority's fence is opened, what was held is released.
    void release() {
        world_.server(authority()).fenced = false;
        moment_ = Moment::open;
        world_.route(authority(), false);
    }

  private:
    World& world_;
    Moment moment_ = Moment::open;
};

inline std::string command(std::initializer_list<std::string_view> words) {
    std::string out;
    resp::append_command(out, words);
    return out;
}

/// Sends it, and returns what was answered to it.
inline std::string ask(World& world, uint64_t client, const std::string& request) {
    const std::size_t before = world.received(client).size();
    world.write(client, request);
    world.settle_for(50'000);
    return world.received(client).substr(before);
}

}  // namespace exodus::redis::sim
