#include "families/redis/verify_record.h"

#include <nlohmann/json.hpp>

#include "base/clock.h"
#include "base/limits.h"
#include "core/json_text.h"
#include "families/redis/journal_text.h"

namespace exodus::redis {

namespace {

using nlohmann::json;

json to_list(const std::set<KeyName>& keys) {
    json list = json::array();
    for (const auto& key : keys) list.push_back({key.db, to_hex(key.name)});
    return list;
}

std::set<KeyName> keys_from(const json& list) {
    std::set<KeyName> keys;
    for (const auto& key : list)
        keys.insert({key.at(0).get<int>(), from_hex(key.at(1).get<std::string>())});
    return keys;
}

}  // namespace

Result<bool> VerifyRecord::load(const VerifyIdentity& identity, VerifyRun& run) {
    auto text = load_text(journal_, record_, "cursor");
    if (!text) return tl::unexpected<Error>(std::move(text).error());
    if (!*text) return false;
    const auto value = json::parse(**text, nullptr, false);
    if (value.is_discarded()) return false;
    try {
        const bool same = value.at("config") == identity.config_hash &&
                          value.value("lineage", std::string()) == identity.lineage &&
                          value.at("authority") == identity.authority_run_id &&
                          value.at("other") == identity.other_run_id &&
                          wall_ms() - value.at("at").get<int64_t>() < identity.age_ms_max;
        if (!same) {
            EXODUS_TRY(erase());
            return false;
        }
        VerifyRun stored;
        stored.cursor.second_pass = value.at("second_pass").get<bool>();
        stored.cursor.db_index = value.at("db_index").get<std::size_t>();
        stored.cursor.scan = value.at("scan").get<std::string>();
        stored.cursor.dbs = value.at("dbs").get<std::vector<int>>();
        stored.result.source_keys = value.at("authority_keys").get<uint64_t>();
        stored.result.target_keys = value.at("other_keys").get<uint64_t>();
        stored.result.compared = value.at("compared").get<uint64_t>();
        stored.result.missing = value.at("missing").get<uint64_t>();
        stored.result.extra = value.at("extra").get<uint64_t>();
        stored.result.different = value.at("different").get<uint64_t>();
        stored.result.unresolved = value.at("unresolved").get<uint64_t>();
        stored.result.kept = value.at("kept").get<uint64_t>();
        for (const auto& row : value.at("samples"))
            stored.result.samples.push_back({row.at(0), row.at(1), row.at(2), row.at(3)});
        stored.candidates = keys_from(value.at("candidates"));
        stored.open = keys_from(value.at("open"));
        run = std::move(stored);
    } catch (const json::exception& error) {
        return fail(ErrorCode::data,
                    std::string("the stored cursor of verify is damaged: ") + error.what());
    }
    return true;
}

Status VerifyRecord::save(const VerifyIdentity& identity, const VerifyRun& run) {
    json samples = json::array();
    for (const auto& row : run.result.samples)
        samples.push_back({row.location, row.key, row.kind, row.detail});
    const json value{{"at", wall_ms()},
                     {"config", identity.config_hash},
                     {"lineage", identity.lineage},
                     {"authority", identity.authority_run_id},
                     {"other", identity.other_run_id},
                     {"second_pass", run.cursor.second_pass},
                     {"db_index", run.cursor.db_index},
                     {"scan", run.cursor.scan},
                     {"dbs", run.cursor.dbs},
                     {"authority_keys", run.result.source_keys},
                     {"other_keys", run.result.target_keys},
                     {"compared", run.result.compared},
                     {"missing", run.result.missing},
                     {"extra", run.result.extra},
                     {"different", run.result.different},
                     {"unresolved", run.result.unresolved},
                     {"kept", run.result.kept},
                     {"samples", std::move(samples)},
                     {"candidates", to_list(run.candidates)},
                     {"open", to_list(run.open)}};
    return save_text(journal_, record_, "cursor", json_text(value));
}

Status VerifyRecord::erase() { return journal_.erase_positions(record_); }

Status VerifyRecord::forget() {
    EXODUS_TRY(erase());
    return journal_.erase_positions(open_record_);
}

Status VerifyRecord::save_open(std::set<KeyName> keys) {
    EXODUS_TRY(journal_.erase_positions(open_record_));
    if (keys.empty()) return {};
    while (keys.size() > limits::kVerifyCandidates_max) keys.erase(std::prev(keys.end()));
    return save_text(journal_, open_record_, "keys", json_text(to_list(keys)));
}

Result<std::set<KeyName>> VerifyRecord::load_open() {
    auto text = load_text(journal_, open_record_, "keys");
    if (!text) return tl::unexpected<Error>(std::move(text).error());
    if (!*text) return std::set<KeyName>{};
    try {
        return keys_from(json::parse(**text));
    } catch (const json::exception&) {
        return fail(ErrorCode::data, "the stored open rows are damaged");
    }
}

}  // namespace exodus::redis
