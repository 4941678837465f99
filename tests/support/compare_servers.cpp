#include "tests/support/compare_servers.h"

#include <algorithm>
#include <cstdlib>
#include <fmt/format.h>
#include <map>
#include <stdexcept>

#include "base/clock.h"
#include "base/digest.h"
#include "tests/support/redis_server.h"

namespace exodus::test {

namespace {

struct Seen {
    std::string type;
    std::string digest;
    std::string expiry;
    bool operator==(const Seen&) const = default;
};

ReplyPtr next_reply(redisContext* context) {
    void* raw = nullptr;
    if (redisGetReply(context, &raw) != REDIS_OK)
        throw std::runtime_error("comparing servers: connection lost");
    return {static_cast<redisReply*>(raw), freeReplyObject};
}

/// The value behind a name in a reply that is a flat map; nullptr when it is not there.
const redisReply* field(const redisReply* map, std::string_view name) {
    for (size_t i = 0; map != nullptr && i + 1 < map->elements; i += 2) {
        if (name == std::string_view(map->element[i]->str, map->element[i]->len))
            return map->element[i + 1];
    }
    return nullptr;
}

/// Last id, and of each group its place and what is pending for whom, how often. Not the counters
/// that a replication stream of 7.0 does not carry (entries-read, lag, times).
std::string groups_of(redisContext* context, const std::string& key) {
    const auto info = send_command(context, {"XINFO", "STREAM", key, "FULL", "COUNT", "0"});
    std::string text = " last " + to_text(field(info.get(), "last-generated-id"));
    const redisReply* groups = field(info.get(), "groups");
    for (size_t g = 0; groups != nullptr && g < groups->elements; ++g) {
        const redisReply* group = groups->element[g];
        text += fmt::format(" group {} at {}:", to_text(field(group, "name")),
                            to_text(field(group, "last-delivered-id")));
        const redisReply* pending = field(group, "pending");
        for (size_t i = 0; pending != nullptr && i < pending->elements; ++i) {
            const redisReply* one = pending->element[i];  // id, consumer, time, count
            text += fmt::format(" {}/{}/{}", to_text(one->element[0]), to_text(one->element[1]),
                                to_text(one->element[3]));
        }
    }
    return text;
}

/// The code of every function library, in the order of names.
std::string libraries(redisContext* context) {
    std::map<std::string, std::string> code;
    const auto list = send_command(context, {"FUNCTION", "LIST", "WITHCODE"});
    for (size_t i = 0; list && i < list->elements; ++i) {
        code[to_text(field(list->element[i], "library_name"))] =
            to_text(field(list->element[i], "library_code"));
    }
    std::string text;
    for (const auto& [name, body] : code) text += name + ": " + body + "\n";
    return text;
}

std::map<std::string, Seen> read_database(redisContext* context, int database) {
    std::map<std::string, Seen> all;
    if (to_text(send_command(context, {"SELECT", std::to_string(database)}).get()) != "OK")
        return all;
    std::string cursor = "0";
    do {
        const auto page = send_command(context, {"SCAN", cursor, "COUNT", "1000"});
        if (!page || page->type != REDIS_REPLY_ARRAY)
            throw std::runtime_error("SCAN: " + to_text(page.get()));
        cursor = to_text(page->element[0]);
        std::vector<std::string> keys;
        for (size_t i = 0; i < page->element[1]->elements; ++i) {
            const redisReply* name = page->element[1]->element[i];
            std::string key(name->str, name->len);
            if (key.rfind("exodus:", 0) != 0) keys.push_back(std::move(key));
        }
        for (const auto& key : keys) {
            redisAppendCommand(context, "TYPE %b", key.data(), key.size());
            redisAppendCommand(context, "DEBUG DIGEST-VALUE %b", key.data(), key.size());
            redisAppendCommand(context, "PEXPIRETIME %b", key.data(), key.size());
        }
        const int64_t soon_ms = wall_ms() + 2000;
        for (const auto& key : keys) {
            Seen seen;
            seen.type = to_text(next_reply(context).get());
            seen.digest = to_text(next_reply(context).get());
            const auto expiry = next_reply(context);
            seen.expiry = to_text(expiry.get());
            // -2: gone since its type was asked for.
            const bool going = seen.type == "none" || expiry->integer == -2 ||
                               (expiry->integer >= 0 && expiry->integer < soon_ms);
            if (!going) all[key] = std::move(seen);
        }
        // DEBUG DIGEST-VALUE knows no consumer groups.
        for (const auto& key : keys) {
            const auto found = all.find(key);
            if (found != all.end() && found->second.type == "stream")
                found->second.digest += groups_of(context, key);
        }
        // DEBUG DIGEST-VALUE hashes the text of a score, which 7.0 prints with 17 digits and 8.0 as
        // short as possible: the same number has two digests. So sorted sets are compared by member
        // and value.
        for (const auto& key : keys) {
            const auto found = all.find(key);
            if (found == all.end() || found->second.type != "zset") continue;
            const auto members = send_command(context, {"ZRANGE", key, "0", "-1", "WITHSCORES"});
            std::string text;
            for (size_t i = 0; members && i + 1 < members->elements; i += 2) {
                text += to_text(members->element[i]) +
                        fmt::format("={:a};", std::strtod(members->element[i + 1]->str, nullptr));
            }
            found->second.digest = sha1_hex(text);
        }
    } while (cursor != "0");
    return all;
}

}  // namespace

ServersCompared compare_servers(redisContext* left, redisContext* right, int databases) {
    ServersCompared result;
    const auto differ = [&](std::string text) {
        ++result.count;
        if (result.differences.size() < 20) result.differences.push_back(std::move(text));
    };
    if (const auto a = libraries(left), b = libraries(right); a != b)
        differ(fmt::format("function libraries: {} | {}", a, b));
    for (int database = 0; database < databases; ++database) {
        const auto a = read_database(left, database);
        const auto b = read_database(right, database);
        result.keys += a.size();
        const int64_t soon_ms = wall_ms() + 2000;
        const auto expiring = [&](const Seen& seen) {
            const int64_t at = std::strtoll(seen.expiry.c_str(), nullptr, 10);
            return at >= 0 && at < soon_ms;
        };
        for (const auto& [key, seen] : a) {
            const auto found = b.find(key);
            if (found == b.end()) {
                if (!expiring(seen))
                    differ(fmt::format("db{} {}: only on the left ({}, expiry {})", database, key,
                                       seen.type, seen.expiry));
            } else if (!(found->second == seen)) {
                differ(fmt::format("db{} {}: {} {} {} | {} {} {}", database, key, seen.type,
                                   seen.digest, seen.expiry, found->second.type,
                                   found->second.digest, found->second.expiry));
            }
        }
        for (const auto& [key, seen] : b) {
            if (!a.contains(key) && !expiring(seen))
                differ(fmt::format("db{} {}: only on the right ({}, expiry {})", database, key,
                                   seen.type, seen.expiry));
        }
    }
    return result;
}

}  // namespace exodus::test
