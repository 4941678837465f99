#include "families/redis/profile.h"

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <thread>

#include "base/histogram.h"
#include "base/limits.h"
#include "core/traffic_stats.h"
#include "families/redis/text.h"

namespace exodus::redis {

namespace {

using nlohmann::json;

struct BigKey {
    uint64_t bytes = 0;
    int db = 0;
    std::string type;
    std::string key;
    bool operator<(const BigKey& other) const { return bytes > other.bytes; }
};

struct Counts {
    std::map<std::string, std::pair<uint64_t, uint64_t>> types;  ///< keys, bytes
    Histogram bytes;
    Histogram name_bytes;
    Histogram ttl_s;
    uint64_t keys = 0;
    uint64_t without_ttl = 0;
    uint64_t total_bytes = 0;
    uint64_t above_big = 0;
    std::vector<BigKey> big;  ///< a heap, the smallest first

    void add(int db, std::string_view name, std::string_view type, int64_t memory, int64_t ttl_ms) {
        if (type == "none") return;
        const auto size = static_cast<uint64_t>(std::max<int64_t>(0, memory));
        ++keys;
        auto& of_type = types[std::string(type)];
        ++of_type.first;
        of_type.second += size;
        bytes.record(size);
        name_bytes.record(name.size());
        total_bytes += size;
        if (size > limits::kCanonicalBigKey_bytes) ++above_big;
        if (ttl_ms < 0) ++without_ttl;
        if (ttl_ms >= 0) ttl_s.record(static_cast<uint64_t>(ttl_ms / 1000));
        if (big.size() == limits::kProfileBigKeys_max) {
            if (big.front().bytes >= size) return;
            std::pop_heap(big.begin(), big.end());
            big.pop_back();
        }
        big.push_back({size, db, std::string(type), escape_key(name)});
        std::push_heap(big.begin(), big.end());
    }
};

/// One SCAN step of a database; the new cursor.
Result<std::string> step(Client& client, int db, const std::string& cursor, Counts& counts) {
    auto reply = client.ask({"SCAN", cursor, "COUNT", std::to_string(limits::kVerifyScan_count)});
    if (!reply) return tl::unexpected<Error>(std::move(reply).error());
    const auto names = (*reply)[1];
    for (std::size_t i = 0; i < names.size(); ++i) {
        client.append({"TYPE", names[i].text()});
        client.append({"MEMORY", "USAGE", names[i].text(), "SAMPLES", "5"});
        client.append({"PTTL", names[i].text()});
    }
    if (names.size() > 0) {
        auto facts = client.read_all(names.size() * 3);
        if (!facts) return tl::unexpected<Error>(std::move(facts).error());
        for (std::size_t i = 0; i < names.size(); ++i) {
            const auto& memory = (*facts)[3 * i + 1];
            if (memory.is_error()) return tl::unexpected<Error>(error_of(memory, "MEMORY USAGE"));
            if (names[i].text().starts_with("exodus:")) continue;
            counts.add(db, names[i].text(), (*facts)[3 * i].text(), memory.integer(),
                       (*facts)[3 * i + 2].integer());
        }
    }
    return std::string((*reply)[0].text());
}

json to_json_object(Counts& counts, bool complete, uint64_t total) {
    json types = json::object();
    for (const auto& [type, numbers] : counts.types) {
        types[type] = {{"keys", numbers.first}, {"bytes", numbers.second}};
    }
    std::sort_heap(counts.big.begin(), counts.big.end());
    json big = json::array();
    for (const auto& key : counts.big) {
        big.push_back({{"db", key.db}, {"key", key.key}, {"type", key.type}, {"bytes", key.bytes}});
    }
    const auto share = [&](uint64_t part) {
        return counts.keys == 0 ? 0.0
                                : static_cast<double>(part) / static_cast<double>(counts.keys);
    };
    return {{"keys", total},
            {"sampled", counts.keys},
            {"complete", complete},
            {"sampled_bytes", counts.total_bytes},
            {"mean_bytes", counts.bytes.mean()},
            {"types", std::move(types)},
            {"value_bytes", to_json(counts.bytes)},
            {"name_bytes", to_json(counts.name_bytes)},
            {"ttl_s", to_json(counts.ttl_s)},
            {"without_ttl_share", share(counts.without_ttl)},
            {"above_8mib", counts.above_big},
            {"big_keys", std::move(big)}};
}

}  // namespace

Result<json> profile_keys(Client& client, int64_t time_ms_max) {
    const auto deadline = Deadline::in(milliseconds(time_ms_max));
    auto keyspace = client.info("keyspace");
    if (!keyspace) return tl::unexpected<Error>(std::move(keyspace).error());
    const auto databases = keyspace->keyspace();
    uint64_t total = 0;
    for (const auto& [db, keys] : databases) total += keys;
    Counts counts;
    bool complete = true;
    for (const auto& [db, keys] : databases) {
        EXODUS_TRY(client.select(db));
        // Each database gets its share, so that a large first one does not hide the others.
        const auto wanted =
            total == 0
                ? 0
                : static_cast<std::size_t>(static_cast<double>(limits::kProfileKeys_max) *
                                           static_cast<double>(keys) / static_cast<double>(total)) +
                      1;
        const std::size_t from = counts.keys;
        std::string cursor = "0";
        do {
            const int64_t began = steady_us();
            auto next = step(client, db, cursor, counts);
            if (!next) return tl::unexpected<Error>(std::move(next).error());
            cursor = std::move(*next);
            if (cursor == "0") break;
            if (counts.keys - from >= wanted || deadline.passed()) {
                complete = false;
                break;
            }
            // The server works while we wait for it: resting in proportion keeps its core mostly
            // free.
            const auto busy = steady_us() - began;
            std::this_thread::sleep_for(std::chrono::microseconds(static_cast<int64_t>(
                static_cast<double>(busy) * (1 / limits::kProfileCpuShare - 1))));
        } while (true);
    }
    EXODUS_TRY(client.select(0));
    json result = to_json_object(counts, complete, total);
    auto memory = client.info("memory");
    if (!memory) return tl::unexpected<Error>(std::move(memory).error());
    result["used_memory_bytes"] = memory->integer("used_memory");
    result["dataset_bytes"] = memory->integer("used_memory_dataset");
    result["databases"] = databases.size();
    return result;
}

}  // namespace exodus::redis
