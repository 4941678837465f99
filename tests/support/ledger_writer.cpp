#include "tests/support/ledger_writer.h"

#include <algorithm>
#include <fmt/format.h>
#include <utility>

namespace exodus::test {

namespace {

constexpr uint64_t kPerKey = 5'000;  ///< ids of a writer before its next list, string or stream
constexpr const char* kScript =
    "redis.call('HINCRBY', KEYS[1], 'n', 1); redis.call('RPUSH', KEYS[2], ARGV[1]); return ARGV[1]";

void send(redisContext* context, const std::vector<std::string>& words) {
    std::vector<const char*> arguments;
    std::vector<size_t> sizes;
    for (const auto& word : words) {
        arguments.push_back(word.data());
        sizes.push_back(word.size());
    }
    redisAppendCommandArgv(context, static_cast<int>(words.size()), arguments.data(), sizes.data());
}

/// Empty when the connection is lost.
ReplyPtr receive(redisContext* context) {
    void* raw = nullptr;
    if (context->err != 0 || redisGetReply(context, &raw) != REDIS_OK) raw = nullptr;
    return {static_cast<redisReply*>(raw), [](void* reply) { freeReplyObject(reply); }};
}

std::vector<std::string> split(const std::string& text) {
    std::vector<std::string> parts;
    std::size_t from = 0;
    for (std::size_t at; (at = text.find(';', from)) != std::string::npos; from = at + 1)
        parts.push_back(text.substr(from, at - from));
    return parts;
}

bool is_nil(const redisReply* reply) { return reply != nullptr && reply->type == REDIS_REPLY_NIL; }

}  // namespace

LedgerWriter::LedgerWriter(const LedgerOptions& options, int number, LedgerSwitches& switches)
    : account(options.reconnect),
      options_(options),
      number_(number),
      switches_(switches),
      random_(options.seed * 1000 + static_cast<uint64_t>(number)) {}

void LedgerWriter::run() {
    ContextPtr context(nullptr, redisFree);
    const int batch = number_ % 2 == 1 ? options_.pipeline : 1;
    while (!switches_.stopping) {
        if (!context || context->err != 0) {
            if (context) account.lost();
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

std::string LedgerWriter::key(const std::string& name) const {
    return fmt::format("led:{{{}}}:{}", number_, name);
}

std::string LedgerWriter::log_key(const char* name, uint64_t id) const {
    return key(fmt::format("{}:{}", name, id / kPerKey));
}

// --- what is sent

LedgerWriter::Operation LedgerWriter::next_operation() {
    Operation op;
    op.kind = static_cast<Kind>(random_() % (static_cast<uint64_t>(Kind::last_of_kinds) + 1));
    op.id = next_id_++;
    const std::string text = std::to_string(op.id);
    auto& requests = op.requests;
    const auto transaction = [&](std::vector<std::vector<std::string>> queued) {
        op.multi_at = requests.size();
        requests.push_back({"MULTI"});
        requests.insert(requests.end(), queued.begin(), queued.end());
        requests.push_back({"EXEC"});
    };
    switch (op.kind) {
        case Kind::incr:
            requests = {{"INCR", key("incr")}};
            break;
        case Kind::get:
            requests = {{"GET", key("incr")}};
            break;
        case Kind::hincrby:
            requests = {{"HINCRBY", key("hincrby"), "n", "1"}};
            break;
        case Kind::append:
            op.key = log_key("append", op.id);
            requests = {{"APPEND", op.key, text + ";"}};
            break;
        case Kind::lpush:
            op.key = log_key("lpush", op.id);
            requests = {{"LPUSH", op.key, text}};
            break;
        case Kind::xadd:
            op.key = log_key("xadd", op.id);
            requests = {{"XADD", op.key, "*", "id", text}};
            break;
        case Kind::sadd:
            op.key = log_key("sadd", op.id);
            requests = {{"SADD", op.key, text}};
            break;
        case Kind::eval:
            op.key = log_key("elist", op.id);
            requests = {{"EVAL", kScript, "2", key("ecount"), op.key, text}};
            break;
        case Kind::multi:
            op.key = log_key("mlist", op.id);
            transaction({{"INCR", key("mcount")}, {"RPUSH", op.key, text}});
            break;
        case Kind::multi_eval:
            op.key = log_key("elist", op.id);
            transaction({{"EVAL", kScript, "2", key("ecount"), op.key, text}});
            break;
        case Kind::multi_databases:
            op.key = log_key("dlist", op.id);
            transaction({{"SELECT", std::to_string(other_database())},
                         {"INCR", key("dcount")},
                         {"SELECT", std::to_string(database())},
                         {"RPUSH", op.key, text}});
            break;
        case Kind::watch:
            op.key = log_key("wlist", op.id);
            requests = {{"WATCH", key("wcount")}, {"GET", key("wcount")}};
            transaction({{"INCR", key("wcount")}, {"RPUSH", op.key, text}});
            break;
        case Kind::watch_touched:
            op.key = log_key("tlist", op.id);
            requests = {{"WATCH", key("touched")}, {"INCR", key("touched")}};
            transaction({{"RPUSH", op.key, text}});
            break;
        case Kind::expiring:
            make_expiring(op);
            break;
    }
    return op;
}

void LedgerWriter::make_expiring(Operation& op) {
    op.ttl_index = static_cast<int>(random_() % kExpiring);
    op.key = key(fmt::format("ttl:{}", op.ttl_index));
    Expiring& now = expiring_[static_cast<std::size_t>(op.ttl_index)];
    const int64_t ahead_ms = 3'600'000 + static_cast<int64_t>(random_() % 1'000) * 1'000;
    const int64_t at = wall_ms() + ahead_ms;
    now.written_by = op.id;
    const uint64_t choice = now.certain ? random_() % 5 : 0;
    // The next request of the same batch builds on what this one wants.
    if (choice == 0) {
        now.certain = true;
        now.value = std::to_string(op.id);
        op.requests = {{"SET", op.key, now.value, "PXAT", std::to_string(at)}};
    } else if (choice == 1) {
        op.requests = {{"PEXPIREAT", op.key, std::to_string(at)}};
    } else if (choice == 2) {
        op.requests = {{"GETEX", op.key, "PXAT", std::to_string(at)}};
    } else if (choice == 3) {
        op.relative_ms = ahead_ms;
        op.requests = {{"EXPIRE", op.key, std::to_string(ahead_ms / 1000)}};
    } else {
        op.requests = {{"PERSIST", op.key}};
    }
    now.expire_ms_min = now.expire_ms_max = choice == 4 ? -1 : at;
}

void LedgerWriter::one_batch(redisContext* context, int size) {
    std::vector<Operation> batch;
    const int64_t sent_us = steady_us();
    for (int i = 0; i < size; ++i) {
        batch.push_back(next_operation());
        batch.back().sent_ms = wall_ms();
        if (size == 1) break;
        for (const auto& request : batch.back().requests) send(context, request);
    }
    for (const Operation& op : batch) {
        std::vector<ReplyPtr> replies;
        for (const auto& request : op.requests) {
            // One at a time: a transaction stays open while its client waits for each answer.
            if (size == 1) send(context, request);
            replies.push_back(receive(context));
        }
        settle(op, replies, steady_us() - sent_us);
    }
}

// --- what was answered

Outcome LedgerWriter::judge_exec(const Operation& op, const redisReply* reply, std::size_t queued,
                                 bool refused_before) {
    if (refused_before && reply != nullptr && reply->type == REDIS_REPLY_ERROR &&
        std::string_view(reply->str, reply->len).starts_with("EXECABORT")) {
        return Outcome::refused;  // as documented for a transaction that was refused in part
    }
    if (is_nil(reply)) {
        if (op.kind == Kind::watch) {
            account.watch_broken();
        } else if (op.kind != Kind::watch_touched) {
            account.violation("EXEC answered nil, but nothing was watched");
        }
        return Outcome::refused;
    }
    const Outcome outcome = account.judge(reply, "EXEC");
    if (outcome != Outcome::acknowledged) return outcome;
    if (refused_before) account.violation("EXEC ran although a part of it was refused");
    if (reply->type != REDIS_REPLY_ARRAY || reply->elements != queued) {
        account.violation("EXEC answered " + to_text(reply));
        return Outcome::unknown;
    }
    for (size_t i = 0; i < reply->elements; ++i) {
        if (account.judge(reply->element[i], "a request inside EXEC") == Outcome::acknowledged)
            continue;
        account.violation("EXEC ran in part: " + to_text(reply->element[i]));
        return Outcome::unknown;
    }
    return Outcome::acknowledged;
}

/// Of all replies, those before EXEC's included.
Outcome LedgerWriter::judge(const Operation& op, const std::vector<ReplyPtr>& replies) {
    bool refused = false;
    bool unknown = false;
    bool touched = false;
    for (std::size_t i = 0; i + 1 < replies.size(); ++i) {
        const redisReply* reply = replies[i].get();
        const std::string& verb = op.requests[i].front();
        const bool queued = i > op.multi_at && op.multi_at != kNoMulti;
        const Outcome outcome = account.judge(reply, queued ? verb + " inside MULTI" : verb);
        refused = refused || (queued && outcome == Outcome::refused);
        unknown = unknown || outcome == Outcome::unknown;
        if (verb == "INCR" && !queued && outcome != Outcome::refused)
            count(touched_, reply, outcome == Outcome::acknowledged, "INCR of a watched key");
        touched = touched || (verb == "INCR" && !queued && outcome == Outcome::acknowledged);
        if (outcome != Outcome::acknowledged) continue;
        const std::string text = to_text(reply);
        const char* expected = queued ? "QUEUED" : verb == "MULTI" || verb == "WATCH" ? "OK" : "";
        if (*expected != '\0' && text != expected)
            account.violation(fmt::format("{} answered {} instead of {}", verb, text, expected));
    }
    const redisReply* last = replies.back().get();
    if (op.multi_at == kNoMulti) return account.judge(last, op.requests.back().front());
    // A connection lost inside it: nothing is known but what EXEC itself says.
    const std::size_t queued = op.requests.size() - op.multi_at - 2;
    const Outcome outcome = judge_exec(op, last, queued, refused || unknown);
    if (touched && outcome == Outcome::acknowledged)
        account.violation("EXEC ran although what it watched had changed");
    return outcome;
}

void LedgerWriter::settle(const Operation& op, const std::vector<ReplyPtr>& replies,
                          int64_t latency_us) {
    const Outcome outcome = judge(op, replies);
    const redisReply* reply = replies.back().get();
    if (op.kind == Kind::get) {
        if (outcome == Outcome::acknowledged && !incr_.may_be(number_of(to_text(reply)))) {
            account.violation(
                fmt::format("GET of writer {} answered {}, expected {} to {}: a stale or foreign "
                            "read",
                            number_, to_text(reply), incr_.last, incr_.last + incr_.unknown_since));
        }
        account.read(latency_us);
        return;
    }
    if (op.kind == Kind::watch_touched && is_nil(reply)) {
        account.read(latency_us);  // as it must be
        return;
    }
    account.count(outcome, latency_us);
    if (op.kind == Kind::expiring) return settle_expiring(op, outcome);
    if (outcome == Outcome::refused) return;
    const bool acknowledged = outcome == Outcome::acknowledged;
    switch (op.kind) {
        case Kind::incr:
            return count(incr_, reply, acknowledged, "INCR");
        case Kind::hincrby:
            return count(hincrby_, reply, acknowledged, "HINCRBY");
        case Kind::append:
            return append_[op.key].add(op.id, acknowledged);
        case Kind::lpush:
            return lpush_[op.key].add(op.id, acknowledged);
        case Kind::xadd:
            return xadd_[op.key].add(op.id, acknowledged);
        case Kind::sadd:
            return sadd_[op.key].add(op.id, acknowledged);
        case Kind::multi:
            return multi_.lists[op.key].add(op.id, acknowledged);
        case Kind::multi_databases:
            return multi_databases_.lists[op.key].add(op.id, acknowledged);
        case Kind::eval:
        case Kind::multi_eval:
            return eval_.lists[op.key].add(op.id, acknowledged);
        case Kind::watch:
            return watch_.lists[op.key].add(op.id, acknowledged);
        case Kind::watch_touched:
            return touched_lists_[op.key].add(op.id, acknowledged);
        case Kind::expiring:
        case Kind::get:
            return;
    }
}

void LedgerWriter::settle_expiring(const Operation& op, Outcome outcome) {
    Expiring& state = expiring_[static_cast<std::size_t>(op.ttl_index)];
    if (outcome != Outcome::acknowledged) {
        state.certain = false;
    } else if (op.relative_ms > 0 && state.written_by == op.id) {
        state.expire_ms_min = op.sent_ms + op.relative_ms;
        state.expire_ms_max = wall_ms() + op.relative_ms;
    }
}

void LedgerWriter::count(Counter& counter, const redisReply* reply, bool acknowledged,
                         const char* what) {
    if (!acknowledged) return counter.add_unknown();
    const int64_t low = counter.last + 1;
    const int64_t high = low + counter.unknown_since;
    if (!counter.add(reply->integer)) {
        account.violation(fmt::format("{} of writer {} answered {}, expected {} to {}", what,
                                      number_, reply->integer, low, high));
    }
}

// --- what must be there

void LedgerWriter::check(redisContext* context, std::vector<std::string>& found) const {
    const LedgerNote note = [&](const std::string& text) {
        if (found.size() < kViolations_max) found.push_back(text);
    };
    const auto text = [&](const std::vector<std::string>& words) {
        return to_text(send_command(context, words).get());
    };
    const auto name = [&](const char* what) {
        return fmt::format("{} of writer {}", what, number_);
    };
    text({"SELECT", std::to_string(other_database())});
    const std::string count_elsewhere = text({"GET", key("dcount")});
    text({"SELECT", std::to_string(database())});
    incr_.check(name("INCR"), text({"GET", key("incr")}), note);
    hincrby_.check(name("HINCRBY"), text({"HGET", key("hincrby"), "n"}), note);
    touched_.check(name("INCR of a watched key"), text({"GET", key("touched")}), note);
    for (const auto& [k, log] : append_) log.check(k, split(text({"GET", k})), true, note);
    for (const auto& [k, log] : lpush_) {
        auto ids = list_of(context, k);
        std::reverse(ids.begin(), ids.end());
        log.check(k, ids, true, note);
    }
    for (const auto& [k, log] : xadd_) {
        std::vector<std::string> ids;
        const auto reply = send_command(context, {"XRANGE", k, "-", "+"});
        for (size_t i = 0; reply && i < reply->elements; ++i)
            ids.push_back(to_text(reply->element[i]->element[1]->element[1]));
        log.check(k, ids, true, note);
    }
    for (const auto& [k, log] : sadd_) {
        std::vector<std::string> ids;
        const auto reply = send_command(context, {"SMEMBERS", k});
        for (size_t i = 0; reply && i < reply->elements; ++i)
            ids.push_back(to_text(reply->element[i]));
        log.check(k, ids, false, note);
    }
    for (const auto& [k, log] : touched_lists_) log.check(k, list_of(context, k), true, note);
    multi_.check(context, name("MULTI"), text({"GET", key("mcount")}), note);
    multi_databases_.check(context, name("MULTI over two databases"), count_elsewhere, note);
    eval_.check(context, name("EVAL"), text({"HGET", key("ecount"), "n"}), note);
    watch_.check(context, name("WATCH"), text({"GET", key("wcount")}), note);
    for (int i = 0; i < kExpiring; ++i) {
        expiring_[static_cast<std::size_t>(i)].check(context, key(fmt::format("ttl:{}", i)), note);
    }
}

}  // namespace exodus::test
