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
            const bool going =
                seen.type == "none" || (expiry->integer >= 0 && expiry->integer < soon_ms);
            if (!going) all[key] = std::move(seen);
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
                    differ(fmt::format("db{} {}: only on the left", database, key));
            } else if (!(found->second == seen)) {
                differ(fmt::format("db{} {}: {} {} {} | {} {} {}", database, key, seen.type,
                                   seen.digest, seen.expiry, found->second.type,
                                   found->second.digest, found->second.expiry));
            }
        }
        for (const auto& [key, seen] : b) {
            if (!a.contains(key) && !expiring(seen))
                differ(fmt::format("db{} {}: only on the right", database, key));
        }
    }
    return result;
}

}  // namespace exodus::test
