#include "tests/support/ledger.h"

#include <algorithm>
#include <array>
#include <fmt/format.h>
#include <mutex>
#include <optional>
#include <random>
#include <set>
#include <stdexcept>
#include <utility>

namespace exodus::test {

namespace {

constexpr uint64_t kPerKey = 500;  ///< ids in one list, string or stream before the next key begins
constexpr int kTtlKeys = 64;
constexpr std::size_t kViolations_max = 50;
constexpr const char* kScript =
    "redis.call('HINCRBY', KEYS[1], 'n', 1); redis.call('RPUSH', KEYS[2], ARGV[1]); return ARGV[1]";

enum class Kind { incr, append, lpush, xadd, sadd, hincrby, multi, eval, ttl, get };
constexpr int kKinds = 10;

/// Ids written to keys that keep them, e.g. a list: acknowledged or unknown.
struct IdLog {
    std::vector<std::pair<uint64_t, bool>> ids;  ///< id, acknowledged
    void add(uint64_t id, bool acknowledged) { ids.emplace_back(id, acknowledged); }
};

struct Counter {
    int64_t acknowledged = 0;
    int64_t unknown = 0;
    int64_t last = 0;           ///< last value that a reply showed
    int64_t unknown_since = 0;  ///< unknown increments since then
};

struct TtlState {
    bool certain = false;
    std::string value;
    int64_t expire_ms = -1;  ///< -1: none
};

enum class Outcome { acknowledged, unknown, refused };

bool starts_with(const redisReply* reply, const char* prefix) {
    return std::string_view(reply->str, reply->len).substr(0, std::string_view(prefix).size()) ==
           prefix;
}

}  // namespace

/// What all threads of one kind share: counting, errors, latency. One mutex per thread's own
/// account: never contended.
class Ledger::Account {
  public:
    void violation(std::string text) {
        const std::lock_guard lock(mutex_);
        if (violations_.size() < kViolations_max) violations_.push_back(std::move(text));
    }
    void count(Outcome outcome, int64_t latency_us) {
        const std::lock_guard lock(mutex_);
        summary_.latency_us.record(static_cast<uint64_t>(std::max<int64_t>(latency_us, 0)));
        (outcome == Outcome::acknowledged ? summary_.acknowledged
         : outcome == Outcome::unknown    ? summary_.unknown
                                          : summary_.refused)++;
    }
    void read(int64_t latency_us) {
        const std::lock_guard lock(mutex_);
        summary_.latency_us.record(static_cast<uint64_t>(std::max<int64_t>(latency_us, 0)));
        ++summary_.reads;
    }
    void lost(bool allowed) {
        const std::lock_guard lock(mutex_);
        ++summary_.connections_lost;
        if (!allowed && violations_.size() < kViolations_max)
            violations_.emplace_back("a client connection was lost");
    }
    /// Sorts an answer into what it means for the ledger.
    Outcome judge(const redisReply* reply) {
        if (reply == nullptr) return Outcome::unknown;
        if (reply->type != REDIS_REPLY_ERROR) return Outcome::acknowledged;
        const std::string text(reply->str, reply->len);
        {
            const std::lock_guard lock(mutex_);
            if (summary_.errors.size() < 50 || summary_.errors.contains(text))
                ++summary_.errors[text];
        }
        if (starts_with(reply, "TRYAGAIN exodus:") || starts_with(reply, "EXECABORT"))
            return Outcome::refused;
        if (text.find("exodus: connection to") != std::string::npos) {
            return text.find("outcome unknown") != std::string::npos ? Outcome::unknown
                                                                     : Outcome::refused;
        }
        if (starts_with(reply, "LOADING") || starts_with(reply, "ERR exodus:"))
            return Outcome::refused;
        violation("undocumented error: " + text);
        return Outcome::unknown;
    }
    void add_to(LedgerSummary& total, std::vector<std::string>& all) const {
        const std::lock_guard lock(mutex_);
        total.acknowledged += summary_.acknowledged;
        total.unknown += summary_.unknown;
        total.refused += summary_.refused;
        total.reads += summary_.reads;
        total.connections_lost += summary_.connections_lost;
        for (const auto& [text, n] : summary_.errors) total.errors[text] += n;
        total.latency_us.merge(summary_.latency_us);
        all.insert(all.end(), violations_.begin(), violations_.end());
    }
    Histogram take_latency() {
        const std::lock_guard lock(mutex_);
        return std::exchange(summary_.latency_us, Histogram{});
    }

  private:
    mutable std::mutex mutex_;
    LedgerSummary summary_;
    std::vector<std::string> violations_;
};

namespace {

/// Logged in and in its database, or empty after the deadline or when stopping.
ContextPtr open_client(const LedgerOptions& options, int database,
                       const std::atomic<bool>& stopping) {
    ContextPtr context(nullptr, redisFree);
    eventually(
        milliseconds(30'000),
        [&] {
            if (stopping) return true;
            try {
                context = connect_to(options.port, milliseconds(20'000));
            } catch (const std::runtime_error&) {
                return false;
            }
            if (!options.user.empty() &&
                to_text(
                    send_command(context.get(), {"AUTH", options.user, options.password}).get()) !=
                    "OK") {
                context.reset();
                return false;
            }
            if (to_text(send_command(context.get(), {"SELECT", std::to_string(database)}).get()) !=
                "OK") {
                context.reset();
                return false;
            }
            return true;
        },
        milliseconds(50));
    return context;
}

}  // namespace

class Ledger::Writer {
  public:
    Writer(const LedgerOptions& options, int number, Switches& switches)
        : options_(options),
          number_(number),
          switches_(switches),
          random_(options.seed * 1000 + static_cast<uint64_t>(number)) {}

    Account account;

    void run() {
        ContextPtr context(nullptr, redisFree);
        const int batch = number_ % 2 == 1 ? options_.pipeline : 1;
        while (!switches_.stopping) {
            if (!context || context->err != 0) {
                if (context) account.lost(options_.reconnect);
                context = open_client(options_, database(), switches_.stopping);
                if (!context) {
                    if (!switches_.stopping) account.violation("could not connect for 30 s");
                    return;
                }
            }
            if (!switches_.enter()) return;
            one_batch(context.get(), batch);
            switches_.leave();
            if (options_.pause_us > 0)
                std::this_thread::sleep_for(std::chrono::microseconds(options_.pause_us));
        }
    }

    void check(redisContext* context, std::vector<std::string>& found) const {
        const auto note = [&](const std::string& text) {
            if (found.size() < kViolations_max) found.push_back(text);
        };
        send_command(context, {"SELECT", std::to_string(database())});
        check_counter(context, {"GET", key("incr")}, incr_, "INCR", note);
        check_counter(context, {"HGET", key("hincrby"), "n"}, hincrby_, "HINCRBY", note);
        for (const auto& [k, log] : append_) {
            check_log(k, log, split(to_text(send_command(context, {"GET", k}).get())), true, note);
        }
        for (const auto& [k, log] : lpush_) {
            auto ids = list(context, k);
            std::reverse(ids.begin(), ids.end());
            check_log(k, log, ids, true, note);
        }
        for (const auto& [k, log] : xadd_) {
            std::vector<std::string> ids;
            const auto reply = send_command(context, {"XRANGE", k, "-", "+"});
            for (size_t i = 0; reply && i < reply->elements; ++i) {
                ids.push_back(to_text(reply->element[i]->element[1]->element[1]));
            }
            check_log(k, log, ids, true, note);
        }
        for (const auto& [k, log] : sadd_) {
            std::vector<std::string> ids;
            const auto reply = send_command(context, {"SMEMBERS", k});
            for (size_t i = 0; reply && i < reply->elements; ++i)
                ids.push_back(to_text(reply->element[i]));
            check_log(k, log, ids, false, note);
        }
        check_atomic(context, multi_, {"GET", key("mcount")}, "MULTI", note);
        check_atomic(context, eval_, {"HGET", key("ecount"), "n"}, "EVAL", note);
        for (int i = 0; i < kTtlKeys; ++i) {
            const TtlState& state = ttl_[static_cast<std::size_t>(i)];
            if (!state.certain) continue;
            const std::string k = ttl_key(i);
            const std::string value = to_text(send_command(context, {"GET", k}).get());
            const std::string expiry = to_text(send_command(context, {"PEXPIRETIME", k}).get());
            if (value != state.value)
                note(fmt::format("{}: value {} instead of {}", k, value, state.value));
            if (expiry != std::to_string(state.expire_ms)) {
                note(fmt::format("{}: expiry {} instead of {}", k, expiry, state.expire_ms));
            }
        }
    }

  private:
    struct Pending {
        Kind kind;
        uint64_t id;
        std::string key;
        int replies;  ///< MULTI has four
        TtlState wanted;
        int ttl_index = 0;
    };

    [[nodiscard]] int database() const { return number_ % std::max(options_.databases, 1); }
    [[nodiscard]] std::string key(const std::string& name) const {
        return fmt::format("led:{{{}}}:{}", number_, name);
    }
    [[nodiscard]] std::string ttl_key(int index) const { return key(fmt::format("ttl:{}", index)); }
    [[nodiscard]] std::string log_key(const char* name, uint64_t id) const {
        return key(fmt::format("{}:{}", name, id / kPerKey / static_cast<uint64_t>(kKinds)));
    }

    static void append(redisContext* context, const std::vector<std::string>& words) {
        std::vector<const char*> arguments;
        std::vector<size_t> sizes;
        for (const auto& word : words) {
            arguments.push_back(word.data());
            sizes.push_back(word.size());
        }
        redisAppendCommandArgv(context, static_cast<int>(words.size()), arguments.data(),
                               sizes.data());
    }

    Pending send_one(redisContext* context) {
        const auto kind = static_cast<Kind>(random_() % static_cast<uint64_t>(kKinds));
        const uint64_t id = next_id_++;
        const std::string text = std::to_string(id);
        Pending pending{kind, id, {}, 1, {}, 0};
        switch (kind) {
            case Kind::incr:
                append(context, {"INCR", key("incr")});
                break;
            case Kind::get:
                append(context, {"GET", key("incr")});
                break;
            case Kind::hincrby:
                append(context, {"HINCRBY", key("hincrby"), "n", "1"});
                break;
            case Kind::append:
                pending.key = log_key("append", id);
                append(context, {"APPEND", pending.key, text + ";"});
                break;
            case Kind::lpush:
                pending.key = log_key("lpush", id);
                append(context, {"LPUSH", pending.key, text});
                break;
            case Kind::xadd:
                pending.key = log_key("xadd", id);
                append(context, {"XADD", pending.key, "*", "id", text});
                break;
            case Kind::sadd:
                pending.key = log_key("sadd", id);
                append(context, {"SADD", pending.key, text});
                break;
            case Kind::multi:
                pending.key = log_key("mlist", id);
                pending.replies = 4;
                append(context, {"MULTI"});
                append(context, {"INCR", key("mcount")});
                append(context, {"RPUSH", pending.key, text});
                append(context, {"EXEC"});
                break;
            case Kind::eval:
                pending.key = log_key("elist", id);
                append(context, {"EVAL", kScript, "2", key("ecount"), pending.key, text});
                break;
            case Kind::ttl: {
                pending.ttl_index = static_cast<int>(random_() % kTtlKeys);
                pending.key = ttl_key(pending.ttl_index);
                const TtlState& now = ttl_[static_cast<std::size_t>(pending.ttl_index)];
                const int64_t at =
                    wall_ms() + 3'600'000 + static_cast<int64_t>(random_() % 1'000'000);
                const uint64_t choice = now.certain ? random_() % 4 : 0;
                pending.wanted = now;
                pending.wanted.certain = true;
                if (choice == 0) {
                    pending.wanted.value = text;
                    pending.wanted.expire_ms = at;
                    append(context, {"SET", pending.key, text, "PXAT", std::to_string(at)});
                } else if (choice == 1) {
                    pending.wanted.expire_ms = at;
                    append(context, {"PEXPIREAT", pending.key, std::to_string(at)});
                } else if (choice == 2) {
                    pending.wanted.expire_ms = at;
                    append(context, {"GETEX", pending.key, "PXAT", std::to_string(at)});
                } else {
                    pending.wanted.expire_ms = -1;
                    append(context, {"PERSIST", pending.key});
                }
                // The next request of the same batch must build on what this one wants.
                ttl_[static_cast<std::size_t>(pending.ttl_index)] = pending.wanted;
                break;
            }
        }
        return pending;
    }

    void one_batch(redisContext* context, int size) {
        std::vector<Pending> batch;
        const int64_t sent_us = steady_us();
        for (int i = 0; i < size; ++i) batch.push_back(send_one(context));
        for (const Pending& pending : batch) {
            ReplyPtr reply(nullptr, freeReplyObject);
            for (int i = 0; i < pending.replies; ++i) {
                void* raw = nullptr;
                if (context->err != 0 || redisGetReply(context, &raw) != REDIS_OK) raw = nullptr;
                reply.reset(static_cast<redisReply*>(raw));
                if (!reply) break;
            }
            settle(pending, reply.get(), steady_us() - sent_us);
        }
    }

    void settle(const Pending& pending, const redisReply* reply, int64_t latency_us) {
        const Outcome outcome = account.judge(reply);
        if (pending.kind == Kind::get) {
            if (outcome == Outcome::acknowledged) check_read(to_text(reply));
            account.read(latency_us);
            return;
        }
        account.count(outcome, latency_us);
        if (pending.kind == Kind::ttl) {
            if (outcome != Outcome::acknowledged)
                ttl_[static_cast<std::size_t>(pending.ttl_index)].certain = false;
            return;
        }
        if (outcome == Outcome::refused) return;
        const bool acknowledged = outcome == Outcome::acknowledged;
        switch (pending.kind) {
            case Kind::incr:
                count(incr_, reply, acknowledged, "INCR");
                break;
            case Kind::hincrby:
                count(hincrby_, reply, acknowledged, "HINCRBY");
                break;
            case Kind::append:
                append_[pending.key].add(pending.id, acknowledged);
                break;
            case Kind::lpush:
                lpush_[pending.key].add(pending.id, acknowledged);
                break;
            case Kind::xadd:
                xadd_[pending.key].add(pending.id, acknowledged);
                break;
            case Kind::sadd:
                sadd_[pending.key].add(pending.id, acknowledged);
                break;
            case Kind::multi:
                multi_[pending.key].add(pending.id, acknowledged);
                break;
            case Kind::eval:
                eval_[pending.key].add(pending.id, acknowledged);
                break;
            case Kind::ttl:
            case Kind::get:
                break;
        }
    }

    void count(Counter& counter, const redisReply* reply, bool acknowledged, const char* what) {
        if (!acknowledged) {
            ++counter.unknown;
            ++counter.unknown_since;
            return;
        }
        ++counter.acknowledged;
        const int64_t low = counter.last + 1;
        const int64_t high = low + counter.unknown_since;
        if (reply->integer < low || reply->integer > high) {
            account.violation(fmt::format("{} of writer {} answered {}, expected {} to {}", what,
                                          number_, reply->integer, low, high));
        }
        counter.last = reply->integer;
        counter.unknown_since = 0;
    }

    void check_read(const std::string& text) {
        const int64_t value = text == "(nil)" ? 0 : std::strtoll(text.c_str(), nullptr, 10);
        if (value < incr_.last || value > incr_.last + incr_.unknown_since) {
            account.violation(fmt::format(
                "GET of writer {} answered {}, expected {} to {}: a stale or foreign read", number_,
                value, incr_.last, incr_.last + incr_.unknown_since));
        }
    }

    template <class Note>
    static void check_counter(redisContext* context, const std::vector<std::string>& request,
                              const Counter& counter, const char* what, const Note& note) {
        const std::string text = to_text(send_command(context, request).get());
        const int64_t value = text == "(nil)" ? 0 : std::strtoll(text.c_str(), nullptr, 10);
        if (value < counter.acknowledged || value > counter.acknowledged + counter.unknown) {
            note(fmt::format("{} {}: {} but {} acknowledged, {} unknown", what, request.at(1), text,
                             counter.acknowledged, counter.unknown));
        }
    }

    static std::vector<std::string> split(const std::string& text) {
        std::vector<std::string> parts;
        std::size_t from = 0;
        for (std::size_t at; (at = text.find(';', from)) != std::string::npos; from = at + 1) {
            parts.push_back(text.substr(from, at - from));
        }
        return parts;
    }

    static std::vector<std::string> list(redisContext* context, const std::string& k) {
        std::vector<std::string> ids;
        const auto reply = send_command(context, {"LRANGE", k, "0", "-1"});
        for (size_t i = 0; reply && i < reply->elements; ++i)
            ids.push_back(to_text(reply->element[i]));
        return ids;
    }

    template <class Note>
    static uint64_t check_log(const std::string& k, const IdLog& log,
                              const std::vector<std::string>& found, bool ordered,
                              const Note& note) {
        std::map<uint64_t, bool> known;
        for (const auto& [id, acknowledged] : log.ids) known.emplace(id, acknowledged);
        std::set<uint64_t> seen;
        uint64_t previous = 0;
        for (const auto& text : found) {
            const uint64_t id = std::strtoull(text.c_str(), nullptr, 10);
            if (!known.contains(id))
                note(fmt::format("{}: id {} was never sent or was refused", k, text));
            if (!seen.insert(id).second) note(fmt::format("{}: id {} applied twice", k, id));
            if (ordered && !seen.empty() && id < previous)
                note(fmt::format("{}: id {} after {}", k, id, previous));
            previous = id;
        }
        uint64_t missing = 0;
        for (const auto& [id, acknowledged] : known) {
            if (acknowledged && !seen.contains(id) && missing++ < 3) {
                note(fmt::format("{}: acknowledged id {} is missing", k, id));
            }
        }
        if (missing > 3)
            note(
                fmt::format("{}: {} acknowledged ids are missing of {}", k, missing, known.size()));
        return seen.size();
    }

    template <class Note>
    void check_atomic(redisContext* context, const std::map<std::string, IdLog>& logs,
                      const std::vector<std::string>& counter, const char* what,
                      const Note& note) const {
        uint64_t elements = 0;
        for (const auto& [k, log] : logs)
            elements += check_log(k, log, list(context, k), true, note);
        const std::string text = to_text(send_command(context, counter).get());
        const uint64_t value = text == "(nil)" ? 0 : std::strtoull(text.c_str(), nullptr, 10);
        if (value != elements) {
            note(fmt::format("{} of writer {} was torn: counter {}, {} list elements", what,
                             number_, text, elements));
        }
    }

    const LedgerOptions& options_;
    int number_;
    Switches& switches_;
    std::mt19937_64 random_;
    uint64_t next_id_ = 1;
    Counter incr_;
    Counter hincrby_;
    std::map<std::string, IdLog> append_, lpush_, xadd_, sadd_, multi_, eval_;
    std::array<TtlState, kTtlKeys> ttl_{};
};

/// One producer and one BLPOP consumer on a queue of their own.
class Ledger::Popper {
  public:
    Popper(const LedgerOptions& options, int number, Switches& switches)
        : options_(options), queue_(fmt::format("led:queue:{}", number)), switches_(switches) {}

    Account account;

    void produce() {
        ContextPtr context(nullptr, redisFree);
        uint64_t id = 1;
        while (connected(context)) {
            if (!switches_.enter()) return;
            const int64_t sent_us = steady_us();
            const auto reply = send_command(context.get(), {"RPUSH", queue_, std::to_string(id)});
            switches_.leave();
            const Outcome outcome = account.judge(reply.get());
            account.count(outcome, steady_us() - sent_us);
            if (outcome != Outcome::refused) produced_.add(id, outcome == Outcome::acknowledged);
            ++id;
            // A queue that changes faster than two servers can be read is no use to a
            // demonstration.
            std::this_thread::sleep_for(std::max(std::chrono::microseconds(3000),
                                                 3 * std::chrono::microseconds(options_.pause_us)));
        }
    }

    void consume() {
        ContextPtr context(nullptr, redisFree);
        while (connected(context)) {
            const auto reply = send_command(context.get(), {"BLPOP", queue_, "1"});
            const Outcome outcome = account.judge(reply.get());
            if (outcome == Outcome::acknowledged && reply->type == REDIS_REPLY_ARRAY &&
                reply->elements == 2) {
                consumed_.push_back(std::strtoull(reply->element[1]->str, nullptr, 10));
            } else if (outcome == Outcome::unknown) {
                ++unknown_pops_;
            }
        }
    }

    void check(redisContext* context, std::vector<std::string>& found) const {
        const auto note = [&](const std::string& text) {
            if (found.size() < kViolations_max) found.push_back(text);
        };
        send_command(context, {"SELECT", "0"});
        std::map<uint64_t, int> times;
        for (const uint64_t id : consumed_) ++times[id];
        const auto rest = send_command(context, {"LRANGE", queue_, "0", "-1"});
        for (size_t i = 0; rest && i < rest->elements; ++i)
            ++times[std::strtoull(rest->element[i]->str, nullptr, 10)];
        uint64_t missing = 0;
        for (const auto& [id, acknowledged] : produced_.ids) {
            const int n = times.contains(id) ? times.at(id) : 0;
            if (n > 1) note(fmt::format("{}: id {} delivered {} times", queue_, id, n));
            if (acknowledged && n == 0) ++missing;
        }
        if (missing > unknown_pops_) {
            note(fmt::format(
                "{}: {} acknowledged ids neither delivered nor waiting, {} pops unknown", queue_,
                missing, unknown_pops_));
        }
    }

  private:
    bool connected(ContextPtr& context) {
        if (switches_.stopping) return false;
        if (context && context->err == 0) return true;
        if (context) account.lost(options_.reconnect);
        context = open_client(options_, 0, switches_.stopping);
        return context != nullptr && !switches_.stopping;
    }

    const LedgerOptions& options_;
    std::string queue_;
    Switches& switches_;
    IdLog produced_;
    std::vector<uint64_t> consumed_;
    uint64_t unknown_pops_ = 0;
};

bool Ledger::Switches::enter() {
    while (true) {
        ++active;
        if (stopping) return --active, false;
        if (!paused) return true;
        --active;
        sleep_ms(1);
    }
}

void Ledger::pause(bool paused) {
    switches_.paused = paused;
    while (paused && switches_.active != 0) sleep_ms(1);
}

Ledger::Ledger(LedgerOptions options) : options_(std::move(options)) {
    for (int i = 0; i < options_.writers; ++i)
        writers_.push_back(std::make_unique<Writer>(options_, i, switches_));
    for (int i = 0; i < options_.poppers; ++i)
        poppers_.push_back(std::make_unique<Popper>(options_, i, switches_));
}

Ledger::~Ledger() { stop(); }

void Ledger::start() {
    for (auto& writer : writers_) threads_.emplace_back([&w = *writer] { w.run(); });
    for (auto& popper : poppers_) {
        threads_.emplace_back([&p = *popper] { p.produce(); });
        threads_.emplace_back([&p = *popper] { p.consume(); });
    }
}

void Ledger::stop() {
    switches_.stopping = true;
    for (auto& thread : threads_) thread.join();
    threads_.clear();
}

LedgerSummary Ledger::summary() const {
    LedgerSummary total;
    std::vector<std::string> ignored;
    for (const auto& writer : writers_) writer->account.add_to(total, ignored);
    for (const auto& popper : poppers_) popper->account.add_to(total, ignored);
    return total;
}

std::vector<std::string> Ledger::violations() const {
    LedgerSummary ignored;
    std::vector<std::string> all;
    for (const auto& writer : writers_) writer->account.add_to(ignored, all);
    for (const auto& popper : poppers_) popper->account.add_to(ignored, all);
    return all;
}

Histogram Ledger::take_latency() {
    Histogram all;
    for (const auto& writer : writers_) all.merge(writer->account.take_latency());
    return all;
}

std::vector<std::string> Ledger::check(int port, const std::string& user,
                                       const std::string& password) const {
    std::vector<std::string> found = violations();
    const auto context = connect_to(port, milliseconds(20'000));
    if (!user.empty()) {
        const std::string answer =
            to_text(send_command(context.get(), {"AUTH", user, password}).get());
        if (answer != "OK") found.push_back("checking: AUTH " + answer);
    }
    for (const auto& writer : writers_) writer->check(context.get(), found);
    for (const auto& popper : poppers_) popper->check(context.get(), found);
    return found;
}

}  // namespace exodus::test
