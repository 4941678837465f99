#include "tests/real/stream-exact/mover.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <doctest/doctest.h>
#include <fmt/format.h>
#include <sstream>

#include "tests/support/compare_servers.h"

namespace exodus::test {

FileJournal::FileJournal(std::string path) : path_(std::move(path)) {
    std::istringstream lines(read_file(path_));
    for (std::string line; std::getline(lines, line);) {
        const auto tab = line.find('\t');
        if (tab != std::string::npos) positions_[line.substr(0, tab)] = line.substr(tab + 1);
    }
}

void FileJournal::store() {
    std::string text;
    for (const auto& [key, value] : positions_) text += key + "\t" + value + "\n";
    write_file(path_ + ".new", text);
    std::rename((path_ + ".new").c_str(), path_.c_str());
}

Status FileJournal::save_position(std::string_view direction, std::string_view name,
                                  std::string_view value) {
    const std::lock_guard lock(mutex_);
    positions_[fmt::format("{}/{}", direction, name)] = value;
    store();
    return {};
}

Result<std::optional<std::string>> FileJournal::load_position(std::string_view direction,
                                                              std::string_view name) {
    const std::lock_guard lock(mutex_);
    const auto found = positions_.find(fmt::format("{}/{}", direction, name));
    if (found == positions_.end()) return std::optional<std::string>{};
    return found->second;
}

Status FileJournal::erase_positions(std::string_view direction) {
    const std::lock_guard lock(mutex_);
    std::erase_if(positions_, [&](const auto& entry) {
        return entry.first.starts_with(std::string(direction) + "/");
    });
    store();
    return {};
}

Status FileJournal::add_item_error(const ItemError& error) {
    const std::lock_guard lock(mutex_);
    errors_.push_back(error);
    return {};
}

Result<std::vector<ItemError>> FileJournal::item_errors(std::string_view direction,
                                                        std::size_t limit) {
    const std::lock_guard lock(mutex_);
    std::vector<ItemError> found;
    for (const auto& error : errors_) {
        if (error.direction == direction && found.size() < limit) found.push_back(error);
    }
    return found;
}

Status FileJournal::resolve_item_error(std::string_view direction, std::string_view location,
                                       std::string_view key) {
    const std::lock_guard lock(mutex_);
    std::erase_if(errors_, [&](const ItemError& error) {
        return error.direction == direction && error.location == location && error.key == key;
    });
    return {};
}

Status FileJournal::add_event(std::string_view severity, std::string_view code,
                              std::string_view text) {
    const std::lock_guard lock(mutex_);
    events_.push_back(fmt::format("{} {}: {}", severity, code, text));
    return {};
}

std::vector<std::string> FileJournal::events() {
    const std::lock_guard lock(mutex_);
    return events_;
}

Settings settings_between(int source_port, int target_port) {
    Settings settings;
    settings.family = "redis";
    for (const Side side : {Side::source, Side::target}) {
        Endpoint& endpoint = side == Side::source ? settings.source : settings.target;
        endpoint.side = side;
        endpoint.family = "redis";
        endpoint.host = "127.0.0.1";
        endpoint.port = static_cast<uint16_t>(side == Side::source ? source_port : target_port);
    }
    return settings;
}

Mover::Mover(const Settings& settings_in, const std::string& directory,
             const redis::MovementTuning& tuning, std::unique_ptr<Dialer> dial)
    : settings(settings_in),
      dialer(std::move(dial)),
      journal(directory + "/journal"),
      context{settings, *dialer, journal, directory} {
    forward = redis::make_redis_movement(context, Direction::forward, tuning);
    reverse = redis::make_redis_movement(context, Direction::reverse, tuning);
}

Mover::~Mover() {
    forward->stop();
    reverse->stop();
}

bool Mover::caught_up(Movement& movement, milliseconds timeout) {
    // Asked anew each time: attaching to an origin without a backlog gives it a new replication id.
    return eventually(timeout, [&] {
        const auto end = movement.end_position();
        return end && movement.applied_through(*end).value_or(false);
    });
}

Writer::Writer(int port, Options options) : options_(options), random_(options.seed), port_(port) {
    if (port == 0) return;
    thread_ = std::thread([this] {
        ContextPtr context(nullptr, redisFree);
        while (!stop_) {
            try {
                if (!context || context->err != 0) context = connect_to(port_);
                one(context.get());
            } catch (const std::exception&) {
                sleep_ms(20);  // the server restarts
            }
            if (options_.pause_us > 0)
                std::this_thread::sleep_for(std::chrono::microseconds(options_.pause_us));
        }
    });
}

void Writer::stop() {
    stop_ = true;
    if (thread_.joinable()) thread_.join();
}

std::string Writer::key(const char* type) {
    return fmt::format("{}:{}", type, pick(static_cast<uint64_t>(options_.keys)));
}

void Writer::one(redisContext* context) {
    if (pick(4) == 0)
        send_command(context,
                     {"SELECT", std::to_string(pick(static_cast<uint64_t>(options_.databases)))});
    if (pick(12) == 0) {
        send_command(context, {"MULTI"});
        for (uint64_t i = 0; i < 2 + pick(4); ++i) send_command(context, command());
        send_command(context, {"EXEC"});
    } else {
        send_command(context, command());
    }
    ++count_;
}

std::vector<std::string> Writer::command() {
    const std::string n = std::to_string(pick(1000));
    const std::string m = "m" + std::to_string(pick(30));
    const std::string soon = std::to_string(50 + pick(pick(3) == 0 ? 200 : 3000));
    const std::string any = key(std::array{"s", "l", "h", "z", "e", "c"}[pick(6)]);
    switch (pick(58)) {
        case 0:
            return {"SET", key("s"), "v" + n};
        case 1:
            return {"SET", key("c"), n, "PX", soon};
        case 2:
            return {"SETEX", key("s"), "1", "x" + n};
        case 3:
            return {"MSET", key("s"), n, key("c"), n, key("s"), n};
        case 4:
        case 5:
            return {"INCR", key("c")};
        case 6:
            return {"INCRBYFLOAT", key("c"), "0.5"};
        case 7:
            return {"APPEND", key("s"), n};
        case 8:
        case 9:
        case 10:
            return {"PEXPIRE", any, soon};
        case 11:
            return {"PERSIST", any};
        case 12:
            return {"GETEX", key("s"), "PX", soon};
        case 13:
            return {"GETDEL", key("s")};
        case 14:
            return {"DEL", any, key("s")};
        case 15:
            return {"UNLINK", any};
        case 16:
            return {"SETRANGE", key("s"), std::to_string(pick(40)), n};
        case 17:
            return {"SETBIT", key("s"), std::to_string(pick(400)), "1"};
        case 18:
        case 19:
            return {"LPUSH", key("l"), n, m};
        case 20:
        case 21:
            return {"RPUSH", key("l"), n};
        case 22:
            return {"LPOP", key("l"), std::to_string(1 + pick(3))};
        case 23:
            return {"RPOP", key("l")};
        case 24:
            return {"LMOVE", key("l"), key("l"), "LEFT", "RIGHT"};
        case 25:
            return {"LTRIM", key("l"), "0", "20"};
        case 26:
        case 27:
            return {"SADD", key("e"), n, m};
        case 28:
            return {"SPOP", key("e"), std::to_string(1 + pick(3))};
        case 29:
            return {"SREM", key("e"), m};
        case 30:
            return {"SMOVE", key("e"), key("e"), m};
        case 31:
            return {"SUNIONSTORE", key("e"), key("e"), key("e")};
        case 32:
            return {"SINTERSTORE", key("e"), key("e"), key("e")};
        case 33:
        case 34:
            return {"HSET", key("h"), m, n};
        case 35:
            return {"HINCRBY", key("h"), "n" + n.substr(0, 1), "3"};
        case 36:
            return {"HINCRBYFLOAT", key("h"), "f", "0.25"};
        case 37:
            return {"HDEL", key("h"), m};
        case 38:
        case 39:
            return {"ZADD", key("z"), n, m};
        case 40:
            return {"ZINCRBY", key("z"), "1.5", m};
        case 41:
            return {"ZPOPMIN", key("z"), "2"};
        case 42:
            return {"ZUNIONSTORE", key("z"), "2", key("z"), key("z")};
        case 43:
            return {"ZRANGESTORE", key("z"), key("z"), "0", "5"};
        case 44:
            return {"RENAME", any, any.substr(0, 2) + std::to_string(pick(40))};
        case 45:
            return {"COPY", any, any.substr(0, 2) + std::to_string(pick(40)), "REPLACE"};
        case 46:
            return {"COPY",
                    any,
                    any,
                    "DB",
                    std::to_string(pick(static_cast<uint64_t>(options_.databases))),
                    "REPLACE"};
        case 47:
            return {"MOVE", any, std::to_string(pick(static_cast<uint64_t>(options_.databases)))};
        case 48:
            return {"BITOP", "OR", key("s"), key("s"), key("s")};
        case 49:
            return {"PFADD", key("p"), n};
        case 50:
            return {"PFMERGE", key("p"), key("p"), key("p")};
        case 51:
            return {"XADD", key("x"), "MAXLEN", "~", "50", "*", "f", n};
        case 52:
            return {"XADD", key("x"), "*", "f", n, "g", m};
        case 53: {
            const std::string stream = key("x");
            if (pick(2) == 0)
                return {"XGROUP", "CREATE", stream, "g" + std::to_string(pick(2)), "0", "MKSTREAM"};
            return {"XREADGROUP",
                    "GROUP",
                    "g" + std::to_string(pick(2)),
                    "c" + std::to_string(pick(3)),
                    "COUNT",
                    "3",
                    "STREAMS",
                    stream,
                    ">"};
        }
        case 54: {
            const std::string stream = key("x");
            if (pick(2) == 0) return {"XTRIM", stream, "MAXLEN", std::to_string(pick(30))};
            return {"XAUTOCLAIM", stream, "g0",    "c" + std::to_string(pick(3)),
                    "0",          "0",    "COUNT", "2"};
        }
        case 55:
            return {"EVAL",
                    "local t=redis.call('TIME'); redis.call('SET',KEYS[1],t[1]..t[2]); "
                    "redis.call('RPUSH',KEYS[2],t[2]); "
                    "if ARGV[1]=='1' then redis.call('PEXPIRE',KEYS[2],200) end return 1",
                    "2",
                    key("s"),
                    key("l"),
                    std::to_string(pick(3))};
        case 56:
            if (options_.flushes && pick(40) == 0) return {"FLUSHDB"};
            return {"SORT", key("l"), "ALPHA", "STORE", key("l")};
        default:
            if (options_.swaps && pick(40) == 0) return {"SWAPDB", "0", "1"};
            return {"GEOADD", key("z"), "13.36", "38.11", m};
    }
}

std::string differences(RedisServer& left, RedisServer& right, int databases) {
    const auto a = left.connect();
    const auto b = right.connect();
    const ServersCompared compared = compare_servers(a.get(), b.get(), databases);
    std::string text;
    for (const auto& difference : compared.differences) text += difference + "\n";
    return text;
}

uint64_t calls_of(RedisServer& server, const std::string& verb) {
    const std::string all = server.text({"INFO", "commandstats"});
    const std::string before = "cmdstat_" + verb + ":calls=";
    const auto at = all.find(before);
    return at == std::string::npos ? 0 : std::stoull(all.substr(at + before.size()));
}

uint64_t reads_of(RedisServer& server) {
    return calls_of(server, "dump") + calls_of(server, "getrange");
}

bool has_event(Mover& mover, const std::string& text) {
    const auto events = mover.journal.events();
    return std::any_of(events.begin(), events.end(), [&](const std::string& event) {
        return event.find(text) != std::string::npos;
    });
}

void write_some(RedisServer& server, uint64_t seed, int count) {
    Writer writer(0, {.seed = seed});
    const auto context = server.connect();
    for (int i = 0; i < count; ++i) writer.one(context.get());
}

void require_equal(Mover& mover, Movement& movement, RedisServer& origin,
                   RedisServer& destination) {
    const bool caught = mover.caught_up(movement, milliseconds(25'000));
    const MovementStatus status = movement.status();
    std::string events;
    for (const auto& event : mover.journal.events()) events += event + "\n";
    INFO("end " << movement.end_position().value_or(Position{}).text << " repairs "
                << status.repairs_open << " lag " << status.lag_bytes << "\n"
                << events << "stage " << to_string(status.stage) << " blocked: " << status.blocked
                << " degraded: " << status.degraded << " applied " << status.applied.text);
    REQUIRE(caught);
    CHECK(differences(origin, destination) == "");
}

void switch_over(Movement& there, Movement& back, RedisServer& destination) {
    const auto handed = there.hand_over();
    INFO((handed ? "" : handed.error().message));
    REQUIRE(handed.has_value());
    CHECK(destination.text({"KEYS", "exodus:*"}) == "[]");
    const auto armed = back.arm();
    INFO((armed ? "" : armed.error().message));
    REQUIRE(armed.has_value());
    const auto proven = back.prove(milliseconds(3'000));
    INFO((proven ? "" : proven.error().message));
    REQUIRE(proven.has_value());
    REQUIRE(back.set_mode(MovementMode::apply).has_value());
}

}  // namespace exodus::test
