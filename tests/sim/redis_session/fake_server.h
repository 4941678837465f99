// Enough of a Redis server for the simulator: strings, lists, transactions, blocking pops, Pub/Sub,
// logins and a fence. One command at a time, atomically, in the order of arrival. Header-only.
#pragma once

#include <algorithm>
#include <cstdint>
#include <deque>
#include <map>
#include <set>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/digest.h"
#include "wire/resp/codec.h"
#include "wire/resp/command_table.h"

namespace exodus::redis::sim {

using Args = std::vector<std::string>;

struct Data {
    std::map<int, std::map<std::string, std::string>> strings;
    std::map<int, std::map<std::string, std::deque<std::string>>> lists;
    bool operator==(const Data&) const = default;
};

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
        int64_t redirect = -1;  ///< of CLIENT TRACKING: -1 off, 0 on without one
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
    std::set<std::string> no_select;  ///< users without the right to SELECT
    /// Writes are refused, inside MULTI already when they are queued, as after ACL SETUSER -@write.
    bool fenced = false;
    std::vector<std::string> strays;  ///< writes that met the fence: each one fails its test
    std::set<std::string> scripts;
    std::map<std::string, uint64_t> versions;
    std::map<uint64_t, Conn> conns;
    int64_t next_id = 7;
    int64_t now_us = 0;
    std::vector<std::string> log;
    bool paused = false;                ///< CLIENT PAUSE WRITE, as far as SET goes
    std::vector<std::string> slow_log;  ///< as with slowlog-log-slower-than 0: "name: COMMAND"

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
    static constexpr const char* kNoPermission =
        "-NOPERM this user has no permissions to run the command\r\n";

    bool refused(const std::string& name, const Args& args) {
        const resp::CommandRow* row = resp::find_command(args[0], args.size() > 1 ? args[1] : "");
        if (!fenced || row == nullptr || !row->writes() || name == "PUBLISH") return false;
        strays.push_back(name + (args.size() > 1 ? " " + args[1] : ""));
        return true;
    }

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
        slow_log.push_back(conn.name + ": " + name);
        if (paused && name == "SET") {
            conn.blocked = args;
            conn.blocked.insert(conn.blocked.begin(), "PAUSED");
            return {};
        }
        if (need_auth && conn.user.empty() && name != "AUTH" && name != "HELLO" && name != "QUIT" &&
            name != "RESET") {
            return "-NOAUTH Authentication required.\r\n";
        }
        if (conn.in_multi && name != "EXEC" && name != "DISCARD" && name != "MULTI" &&
            name != "WATCH" && name != "RESET") {
            if (refused(name, args)) {
                conn.abort_multi = true;
                return kNoPermission;
            }
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
            const bool aborted = std::exchange(conn.abort_multi, false);
            if (name == "DISCARD") return "+OK\r\n";
            if (aborted) return "-EXECABORT Transaction discarded because of previous errors.\r\n";
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
            if (name != "BLPOP" && refused(name, args)) return kNoPermission;
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
        if (name == "EVAL" && args[1] == "loop") {  // for ever; others are answered meanwhile
            conn.blocked = {"EVAL", ""};
            return {};
        }
        if (name == "EVAL" || name == "EVALSHA") {
            const std::string sha = name == "EVAL" ? sha1_hex(args[1]) : args[1];
            if (name == "EVAL") scripts.insert(sha);
            if (!scripts.contains(sha)) return "-NOSCRIPT No matching script. Please use EVAL.\r\n";
            return plain(conn, "INCR", {"INCR", args[3]});
        }
        if (name == "INFO") return bulk("role:master\r\nmaster_repl_offset:10\r\n");
        if (name == "WAITAOF") return "*2\r\n:0\r\n:0\r\n";  // nothing is synced, ever
        if (name == "SELECT") {
            if (no_select.contains(conn.user)) return kNoPermission;
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
            conn.in_multi = conn.abort_multi = false;
            conn.queue.clear();
            conn.watched.clear();
            conn.channels.clear();
            conn.redirect = -1;
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
            const bool open = two && args[at] == "default" && !need_auth;  // nopass: anything goes
            if (!open && (found == users.end() || found->second != args[at + 1])) {
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
        if (sub == "PAUSE") paused = true;
        if (sub == "UNPAUSE") {
            paused = false;
            for (auto& [key, each] : conns) {
                (void)key;
                if (each.blocked.empty() || each.blocked[0] != "PAUSED") continue;
                const Args held(each.blocked.begin() + 1, each.blocked.end());
                unblock(each, answer(each, held));
            }
        }
        if (sub == "INFO" || sub == "LIST") {
            std::string text;
            for (const auto& [key, each] : conns) {
                (void)key;
                const bool wanted =
                    sub == "INFO"
                        ? each.id == conn.id
                        : args.size() < 4 || std::find(args.begin() + 3, args.end(),
                                                       std::to_string(each.id)) != args.end();
                if (wanted)
                    text += "id=" + std::to_string(each.id) + " name=" + each.name +
                            " db=" + std::to_string(each.db) + "\n";
            }
            return bulk(text);
        }
        if (sub == "ID") return number(conn.id);
        if (sub == "TRACKING") {
            const bool on = upper(args[2]) == "ON";
            const int64_t to = on && args.size() > 4 ? std::stoll(args[4]) : 0;
            const bool known = std::any_of(conns.begin(), conns.end(), [to](const auto& entry) {
                return entry.second.id == to;
            });
            if (on && args.size() > 4 && !known)
                return "-ERR The client ID you want redirect to does not exist\r\n";
            conn.redirect = on ? to : -1;
            return "+OK\r\n";
        }
        if (sub == "GETREDIR") return number(conn.redirect);
        if (sub == "TRACKINGINFO")
            return (conn.resp == 3 ? "%1\r\n" : "*2\r\n") + bulk("redirect") +
                   number(conn.redirect);
        if (sub == "SETNAME") {
            conn.name = args[2];
            return "+OK\r\n";
        }
        if (sub == "GETNAME") return conn.name.empty() ? "$-1\r\n" : bulk(conn.name);
        if (sub == "KILL") return number(0);  // only ids of nobody get here
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

}  // namespace exodus::redis::sim
