// A world for the Redis brain without sockets: two small in-memory servers, connections whose bytes
// move in pieces when the test says so, and a clock that only the test moves. Header-only; used by
// the simulator, the unit tests and the fuzzer.
#pragma once

#include <algorithm>
#include <deque>
#include <map>
#include <memory>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "base/digest.h"
#include "core/protocol_worker.h"
#include "core/settings.h"
#include "families/redis/process_state.h"
#include "families/redis/traffic_worker.h"
#include "wire/resp/codec.h"
#include "wire/resp/command_table.h"

namespace exodus::redis::sim {

using Args = std::vector<std::string>;

struct Data {
    std::map<int, std::map<std::string, std::string>> strings;
    std::map<int, std::map<std::string, std::deque<std::string>>> lists;
    bool operator==(const Data&) const = default;
};

/// Enough of a Redis server. One command at a time, atomically, in the order of arrival.
class FakeServer {
  public:
    struct Conn {
        int64_t id = 0;
        resp::RequestScanner scanner;
        std::string out;
        int db = 0;
        int resp = 2;
        std::string user;  ///< empty: default
        std::string name;
        bool in_multi = false;
        bool abort_multi = false;
        std::vector<Args> queue;
        std::map<std::string, uint64_t> watched;
        std::set<std::string> channels;
        bool reply_off = false;
        bool skip_next = false;
        bool skip = false;
        Args blocked;
        int64_t blocked_until_us = 0;
        std::deque<Args> pending;  ///< arrived behind a blocking command
        bool closed = false;
    };

    Data data;
    std::map<std::string, std::string> users{{"ann", "secret"}, {"bob", "pass"}};
    bool need_auth = false;
    bool fenced = false;  ///< every write from here on is a failure of the test
    std::vector<std::string> strays;
    std::set<std::string> scripts;
    std::map<std::string, uint64_t> versions;
    std::map<uint64_t, Conn> conns;
    int64_t next_id = 7;
    int64_t now_us = 0;
    std::vector<std::string> log;

    Conn& open(uint64_t key) {
        Conn& conn = conns[key];
        conn.id = next_id++;
        return conn;
    }

    void feed(uint64_t key, std::string_view bytes) {
        Conn& conn = conns.at(key);
        conn.scanner.set_limits({512ULL * 1024 * 1024, 64ULL * 1024 * 1024});
        const std::string copy(bytes);
        conn.scanner.feed(copy);
        for (;;) {
            const auto event = conn.scanner.next();
            if (event == resp::RequestEvent::frame) {
                std::vector<std::string_view> views;
                resp::split_arguments(conn.scanner.frame().bytes, views);
                Args args(views.begin(), views.end());
                if (!conn.blocked.empty()) {
                    conn.pending.push_back(std::move(args));
                } else {
                    run(conn, std::move(args));
                }
                continue;
            }
            if (event == resp::RequestEvent::error) {
                conn.out += conn.scanner.error().reply;
                conn.closed = true;
            }
            return;
        }
    }

    /// Timeouts of blocking commands.
    void tick(int64_t now) {
        now_us = now;
        for (auto& [key, conn] : conns) {
            if (!conn.blocked.empty() && conn.blocked_until_us != 0 &&
                now >= conn.blocked_until_us) {
                unblock(conn, conn.resp == 3 ? "_\r\n" : "*-1\r\n");
            }
        }
    }

  private:
    static std::string upper(std::string text) {
        for (char& c : text) c = static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
        return text;
    }
    static std::string bulk(std::string_view text) {
        std::string out;
        resp::append_bulk(out, text);
        return out;
    }
    static std::string number(int64_t value) { return ":" + std::to_string(value) + "\r\n"; }
    void touch(int db, const std::string& key) { ++versions[std::to_string(db) + "/" + key]; }

    void run(Conn& conn, Args args) {
        const bool was_skip = conn.skip;
        const std::string reply = checked(conn, args);
        const bool silent = conn.reply_off || was_skip;
        if (!silent || upper(args[0]) == "CLIENT") conn.out += reply;
        conn.skip = conn.skip_next;
        conn.skip_next = false;
    }

    /// Arguments as a fuzzer sends them: too few, or no numbers.
    std::string checked(Conn& conn, const Args& args) {
        const resp::CommandRow* row = resp::find_command(args[0], args.size() > 1 ? args[1] : "");
        const auto size = static_cast<int>(args.size());
        if (row != nullptr && (row->arity < 0 ? size < -row->arity : size != row->arity))
            return "-ERR wrong number of arguments\r\n";
        try {
            return answer(conn, args);
        } catch (const std::logic_error&) {
            return "-ERR value is not a number\r\n";
        }
    }

    void unblock(Conn& conn, const std::string& reply) {
        conn.blocked.clear();
        conn.out += reply;
        while (conn.blocked.empty() && !conn.pending.empty()) {
            Args args = std::move(conn.pending.front());
            conn.pending.pop_front();
            run(conn, std::move(args));
        }
    }

    void serve(int db, const std::string& key) {
        for (bool again = true; again;) {
            again = false;
            auto& list = data.lists[db][key];
            for (auto& [id, conn] : conns) {
                if (list.empty()) break;
                if (conn.blocked.empty() || conn.db != db || conn.blocked[1] != key) continue;
                const std::string value = list.front();
                list.pop_front();
                unblock(conn, "*2\r\n" + bulk(key) + bulk(value));
                again = true;
                break;
            }
        }
        if (data.lists[db][key].empty()) data.lists[db].erase(key);
    }

    std::string answer(Conn& conn, const Args& args) {
        const std::string name = upper(args[0]);
        if (need_auth && conn.user.empty() && name != "AUTH" && name != "HELLO" && name != "QUIT" &&
            name != "RESET") {
            return "-NOAUTH Authentication required.\r\n";
        }
        if (conn.in_multi && name != "EXEC" && name != "DISCARD" && name != "MULTI" &&
            name != "WATCH" && name != "RESET") {
            conn.queue.push_back(args);
            return "+QUEUED\r\n";
        }
        if (name == "MULTI") {
            if (conn.in_multi) return "-ERR MULTI calls can not be nested\r\n";
            conn.in_multi = true;
            return "+OK\r\n";
        }
        if (name == "DISCARD" || name == "EXEC") {
            if (!conn.in_multi) return "-ERR " + name + " without MULTI\r\n";
            conn.in_multi = false;
            const auto queue = std::exchange(conn.queue, {});
            const auto watched = std::exchange(conn.watched, {});
            if (name == "DISCARD") return "+OK\r\n";
            for (const auto& [key, version] : watched) {
                if (versions[key] != version) return conn.resp == 3 ? "_\r\n" : "*-1\r\n";
            }
            std::string out = "*" + std::to_string(queue.size()) + "\r\n";
            for (const Args& each : queue) out += answer(conn, each);
            return out;
        }
        if (name == "WATCH") {
            for (std::size_t i = 1; i < args.size(); ++i) {
                const std::string key = std::to_string(conn.db) + "/" + args[i];
                conn.watched[key] = versions[key];
            }
            return "+OK\r\n";
        }
        return plain(conn, name, args);
    }

    std::string plain(Conn& conn, const std::string& name, const Args& args) {
        auto& strings = data.strings[conn.db];
        const resp::CommandRow* row = resp::find_command(args[0], args.size() > 1 ? args[1] : "");
        if (row == nullptr) return "-ERR unknown command\r\n";
        if (row->writes() && name != "PUBLISH") {
            log.push_back(name + (args.size() > 1 ? " " + args[1] : ""));
            if (fenced && name != "BLPOP") strays.push_back(log.back());
        }
        if (name == "PING") return args.size() > 1 ? bulk(args[1]) : "+PONG\r\n";
        if (name == "GET") {
            const auto found = strings.find(args[1]);
            return found == strings.end() ? (conn.resp == 3 ? "_\r\n" : "$-1\r\n")
                                          : bulk(found->second);
        }
        if (name == "SET") {
            strings[args[1]] = args[2];
            touch(conn.db, args[1]);
            return "+OK\r\n";
        }
        if (name == "INCR") {
            std::string& value = strings[args[1]];
            const int64_t next = (value.empty() ? 0 : std::stoll(value)) + 1;
            value = std::to_string(next);
            touch(conn.db, args[1]);
            return number(next);
        }
        if (name == "APPEND") {
            strings[args[1]] += args[2];
            touch(conn.db, args[1]);
            return number(static_cast<int64_t>(strings[args[1]].size()));
        }
        if (name == "RPUSH") {
            auto& list = data.lists[conn.db][args[1]];
            list.push_back(args[2]);
            const auto size = static_cast<int64_t>(list.size());
            touch(conn.db, args[1]);
            serve(conn.db, args[1]);
            return number(size);
        }
        if (name == "BLPOP") {
            auto& list = data.lists[conn.db][args[1]];
            if (!list.empty()) {
                if (fenced) strays.push_back("BLPOP " + args[1]);
                const std::string value = list.front();
                list.pop_front();
                if (list.empty()) data.lists[conn.db].erase(args[1]);
                return "*2\r\n" + bulk(args[1]) + bulk(value);
            }
            data.lists[conn.db].erase(args[1]);
            conn.blocked = args;
            const double timeout = std::stod(args[2]);
            conn.blocked_until_us = timeout > 0 ? now_us + static_cast<int64_t>(timeout * 1e6) : 0;
            return {};
        }
        if (name == "EVAL" || name == "EVALSHA") {
            const std::string sha = name == "EVAL" ? sha1_hex(args[1]) : args[1];
            if (name == "EVAL") scripts.insert(sha);
            if (!scripts.contains(sha)) return "-NOSCRIPT No matching script. Please use EVAL.\r\n";
            return plain(conn, "INCR", {"INCR", args[3]});
        }
        if (name == "SELECT") {
            if (args[1].size() > 2 || args[1] > "9") return "-ERR DB index is out of range\r\n";
            conn.db = std::stoi(args[1]);
            return "+OK\r\n";
        }
        if (name == "AUTH" || name == "HELLO") return login(conn, name, args);
        if (name == "RESET") {
            const int64_t id = conn.id;
            auto pending = conn.pending;
            conn.db = 0;
            conn.resp = 2;
            conn.user.clear();
            conn.name.clear();
            conn.in_multi = false;
            conn.queue.clear();
            conn.watched.clear();
            conn.channels.clear();
            conn.reply_off = conn.skip_next = conn.skip = false;
            conn.id = id;
            return "+RESET\r\n";
        }
        if (name == "CLIENT") return client(conn, args);
        if (name == "SUBSCRIBE" || name == "UNSUBSCRIBE")
            return subscribe(conn, name == "SUBSCRIBE", args);
        if (name == "PUBLISH") {
            int64_t count = 0;
            for (auto& [id, other] : conns) {
                if (!other.channels.contains(args[1])) continue;
                ++count;
                (void)id;
                other.out += (other.resp == 3 ? ">3\r\n" : "*3\r\n") + bulk("message") +
                             bulk(args[1]) + bulk(args[2]);
            }
            return number(count);
        }
        return "+OK\r\n";
    }

    std::string login(Conn& conn, const std::string& name, const Args& args) {
        std::size_t at = 1;
        if (name == "HELLO") {
            if (args.size() > 1 && args[1] != "2" && args[1] != "3")
                return "-NOPROTO unsupported protocol version\r\n";
            at = 3;
            const bool auth = args.size() > 4 && upper(args[2]) == "AUTH";
            if (!auth && need_auth && conn.user.empty())
                return "-NOAUTH HELLO must be called with the client already authenticated\r\n";
            if (!auth) at = args.size();
        }
        if (at < args.size()) {
            const bool two = args.size() > at + 1;
            const auto found = users.find(two ? args[at] : "");
            if (found == users.end() || found->second != args[at + 1]) {
                return "-WRONGPASS invalid username-password pair or user is disabled.\r\n";
            }
            conn.user = args[at];
        }
        if (name == "AUTH") return "+OK\r\n";
        if (args.size() > 1) conn.resp = std::stoi(args[1]);
        return (conn.resp == 3 ? "%2\r\n" : "*4\r\n") + bulk("proto") + number(conn.resp) +
               bulk("id") + number(conn.id);
    }

    std::string client(Conn& conn, const Args& args) {
        const std::string sub = upper(args[1]);
        const bool silent = conn.reply_off || conn.skip;
        if (sub == "REPLY") {
            const std::string mode = upper(args[2]);
            if (mode == "OFF") conn.reply_off = true;
            if (mode == "SKIP" && !conn.reply_off) conn.skip_next = true;
            if (mode != "ON") return {};
            conn.reply_off = false;
            return "+OK\r\n";
        }
        if (silent) return {};
        if (sub == "ID") return number(conn.id);
        if (sub == "SETNAME") {
            conn.name = args[2];
            return "+OK\r\n";
        }
        if (sub == "GETNAME") return conn.name.empty() ? "$-1\r\n" : bulk(conn.name);
        if (sub == "UNBLOCK") {
            for (auto& [key, other] : conns) {
                if (std::to_string(other.id) != args[2] || other.blocked.empty()) continue;
                (void)key;
                unblock(other, other.resp == 3 ? "_\r\n" : "*-1\r\n");
                return ":1\r\n";
            }
            return ":0\r\n";
        }
        return "+OK\r\n";
    }

    std::string subscribe(Conn& conn, bool on, const Args& args) {
        std::string out;
        Args list(args.begin() + 1, args.end());
        if (!on && list.empty()) list.assign(conn.channels.begin(), conn.channels.end());
        for (const std::string& channel : list) {
            if (on) {
                conn.channels.insert(channel);
            } else {
                conn.channels.erase(channel);
            }
            out += (conn.resp == 3 ? ">3\r\n" : "*3\r\n") + bulk(on ? "subscribe" : "unsubscribe") +
                   bulk(channel) + number(static_cast<int64_t>(conn.channels.size()));
        }
        return out;
    }
};

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
    };

    explicit World(bool sharing = true, bool target_service = false)
        : settings_(make_settings(sharing, target_service)), state(settings_) {
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
        if (!peer.from_brain.empty() && !(peer.client && lazy.contains(id))) {
            const std::string part = peer.from_brain.substr(0, piece);
            peer.from_brain.erase(0, part.size());
            if (peer.client) {
                peer.received += part;
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
    std::set<uint64_t> lazy;  ///< clients that do not read
    std::vector<ExchangePair> compared;
    std::map<uint64_t, int64_t> timers;
    Route brain_route_;

  private:
    static Settings make_settings(bool sharing, bool target_service) {
        Settings settings;
        if (target_service) {
            settings.family_options["target.auth"] = "service";
            settings.target.user = "svc";
            settings.target.password = Secret("own");
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

inline std::string command(std::initializer_list<std::string_view> words) {
    std::string out;
    resp::append_command(out, words);
    return out;
}

}  // namespace exodus::redis::sim
