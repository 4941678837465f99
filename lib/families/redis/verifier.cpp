#include "families/redis/verifier.h"

#include <algorithm>
#include <charconv>
#include <nlohmann/json.hpp>
#include <set>
#include <thread>

#include "base/limits.h"
#include "families/redis/journal_text.h"
#include "families/redis/pair_reader.h"
#include "families/redis/scope.h"
#include "families/redis/text.h"

namespace exodus::redis {

namespace {

using nlohmann::json;

/// How far round 0 is; durable, so that a killed verification goes on where it was.
struct Cursor {
    bool second_pass = false;  ///< false: scanning the authority; true: scanning the other side
    std::size_t db_index = 0;
    std::string scan = "0";
    std::vector<int> dbs;
};

class RedisVerifier final : public Verifier {
  public:
    RedisVerifier(const FamilyContext& context, Direction direction, AppliedThrough applied)
        : settings_(context.settings),
          journal_(context.journal),
          scope_(context.settings.scope),
          pair_(context, origin_of(direction), std::move(applied)),
          record_("verify:" + std::string(to_string(direction))),
          open_record_("verify-open:" + std::string(to_string(direction))) {}

    Result<VerifyResult> run(const OnProgress& progress) override {
        on_progress_ = progress;
        EXODUS_TRY(pair_.connect());
        EXODUS_TRY(begin());
        while (cursor_.db_index < cursor_.dbs.size()) {
            EXODUS_TRY(scan_database(cursor_.dbs[cursor_.db_index]));
            ++cursor_.db_index;
            cursor_.scan = "0";
            if (cursor_.db_index == cursor_.dbs.size() && !cursor_.second_pass) {
                cursor_.second_pass = true;
                cursor_.db_index = 0;
            }
            EXODUS_TRY(save(true));
        }
        EXODUS_TRY(settle());
        EXODUS_TRY(save_open());
        EXODUS_TRY(journal_.erase_positions(record_));
        report(0);
        VerifyResult result = result_;
        if (direction_ == Direction::reverse) std::swap(result.source_keys, result.target_keys);
        return result;
    }

    Result<VerifyResult> final_check(const std::vector<std::string>& touched_keys) override {
        EXODUS_TRY(pair_.connect());
        auto keys = open_keys();
        if (!keys) return tl::unexpected<Error>(std::move(keys).error());
        for (const auto& text : touched_keys) {
            const auto colon = text.find(':');
            int db = 0;
            const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), db);
            if (error != std::errc() || colon == std::string::npos || end != text.data() + colon) {
                return fail(ErrorCode::internal, "a touched key is not \"<db>:<name>\"");
            }
            std::string name = text.substr(colon + 1);
            if (scope_.contains(name)) keys->insert({db, std::move(name)});
        }
        result_ = {};
        // Nothing moves, but a server may still be deleting what just expired: a difference is read
        // again before it counts.
        for (int tries = 0; !keys->empty() && tries < kFinalTries; ++tries) {
            candidates_.clear();
            result_.compared = 0;
            EXODUS_TRY(compare_all(*keys));
            keys->swap(candidates_);
        }
        for (const auto& key : *keys) {
            auto proofs = pair_.prove(key.db, {key.name});
            if (!proofs) return tl::unexpected<Error>(std::move(proofs).error());
            count(key, (*proofs)[0]);
        }
        return result_;
    }

  private:
    static constexpr int kFinalTries = 3;

    void report(int round) {
        if (!on_progress_) return;
        progress_.round = round;
        progress_.candidates = candidates_.size();
        on_progress_(progress_);
    }

    [[nodiscard]] PairReader::OnWait on_wait() {
        return [this](const std::string& what) {
            if (progress_.waiting_for == what) return;
            progress_.waiting_for = what;
            report(progress_.round);
        };
    }

    Status begin() {
        result_ = {};
        candidates_.clear();
        progress_ = {};
        std::set<int> dbs;
        for (Client* client : {&pair_.authority_client(), &pair_.other_client()}) {
            auto keyspace = client->info("keyspace");
            if (!keyspace) return tl::unexpected<Error>(std::move(keyspace).error());
            for (const auto& [name, text] : keyspace->all()) {
                int db = 0;
                const auto [end, error] =
                    std::from_chars(name.data() + 2, name.data() + name.size(), db);
                if (!name.starts_with("db") || error != std::errc()) continue;
                dbs.insert(db);
                const auto from = text.find("keys=");
                uint64_t keys = 0;
                if (from != std::string::npos) {
                    std::from_chars(text.data() + from + 5, text.data() + text.size(), keys);
                }
                progress_.total_estimate += keys;
            }
        }
        cursor_ = {};
        cursor_.dbs.assign(dbs.begin(), dbs.end());
        return resume();
    }

    /// Takes up a stored cursor if it is of the same configuration and servers; SCAN cursors of
    /// another process mean nothing.
    Status resume() {
        auto text = load_text(journal_, record_, "cursor");
        if (!text) return tl::unexpected<Error>(std::move(text).error());
        if (!*text) return {};
        const auto value = json::parse(**text, nullptr, false);
        if (value.is_discarded()) return {};
        try {
            const bool same =
                value.at("config") == settings_.config_hash &&
                value.at("authority") == pair_.authority_run_id() &&
                value.at("other") == pair_.other_run_id() &&
                wall_ms() - value.at("at").get<int64_t>() < settings_.gates.evidence_age_ms;
            if (!same) return journal_.erase_positions(record_);
            cursor_.second_pass = value.at("second_pass").get<bool>();
            cursor_.db_index = value.at("db_index").get<std::size_t>();
            cursor_.scan = value.at("scan").get<std::string>();
            cursor_.dbs = value.at("dbs").get<std::vector<int>>();
            result_.source_keys = value.at("authority_keys").get<uint64_t>();
            result_.target_keys = value.at("other_keys").get<uint64_t>();
            result_.compared = value.at("compared").get<uint64_t>();
            result_.missing = value.at("missing").get<uint64_t>();
            result_.extra = value.at("extra").get<uint64_t>();
            result_.different = value.at("different").get<uint64_t>();
            result_.unresolved = value.at("unresolved").get<uint64_t>();
            for (const auto& row : value.at("samples")) {
                result_.samples.push_back({row.at(0), row.at(1), row.at(2), row.at(3)});
            }
            for (const auto& key : value.at("candidates")) {
                candidates_.insert({key.at(0).get<int>(), from_hex(key.at(1).get<std::string>())});
            }
            for (const auto& key : value.at("open")) {
                open_.insert({key.at(0).get<int>(), from_hex(key.at(1).get<std::string>())});
            }
        } catch (const json::exception& error) {
            return fail(ErrorCode::data,
                        std::string("the stored cursor of verify is damaged: ") + error.what());
        }
        progress_.done = result_.source_keys + result_.target_keys;
        return {};
    }

    static json keys_to_json(const std::set<KeyName>& keys) {
        json list = json::array();
        for (const auto& key : keys) list.push_back({key.db, to_hex(key.name)});
        return list;
    }

    Status save(bool now) {
        if (!now && wall_ms() - saved_ms_ < limits::kVerifySave_ms) return {};
        saved_ms_ = wall_ms();
        json samples = json::array();
        for (const auto& row : result_.samples) {
            samples.push_back({row.location, row.key, row.kind, row.detail});
        }
        const json value{{"at", saved_ms_},
                         {"config", settings_.config_hash},
                         {"authority", pair_.authority_run_id()},
                         {"other", pair_.other_run_id()},
                         {"second_pass", cursor_.second_pass},
                         {"db_index", cursor_.db_index},
                         {"scan", cursor_.scan},
                         {"dbs", cursor_.dbs},
                         {"authority_keys", result_.source_keys},
                         {"other_keys", result_.target_keys},
                         {"compared", result_.compared},
                         {"missing", result_.missing},
                         {"extra", result_.extra},
                         {"different", result_.different},
                         {"unresolved", result_.unresolved},
                         {"samples", std::move(samples)},
                         {"candidates", keys_to_json(candidates_)},
                         {"open", keys_to_json(open_)}};
        return save_text(journal_, record_, "cursor",
                         value.dump(-1, ' ', false, json::error_handler_t::replace));
    }

    Status scan_database(int db) {
        Client& client = cursor_.second_pass ? pair_.other_client() : pair_.authority_client();
        do {
            EXODUS_TRY(client.select(db));
            auto reply = client.ask(
                {"SCAN", cursor_.scan, "COUNT", std::to_string(limits::kVerifyScan_count)});
            if (!reply) return fail(std::move(reply).error(), "db" + std::to_string(db));
            std::set<std::string> names;
            const auto found = (*reply)[1];
            for (std::size_t i = 0; i < found.size(); ++i) {
                if (scope_.contains(found[i].text())) names.emplace(found[i].text());
            }
            if (cursor_.second_pass) {
                EXODUS_TRY(look_for_extra(db, names));
                result_.target_keys += names.size();
            } else {
                std::set<KeyName> keys;
                for (const auto& name : names) keys.insert({db, name});
                EXODUS_TRY(compare_all(keys));
                result_.source_keys += names.size();
            }
            progress_.done += names.size();
            if (candidates_.size() >= limits::kVerifyCandidates_max) EXODUS_TRY(settle());
            cursor_.scan = (*reply)[0].text();
            // The end of a database is saved by run(), together with the step to the next one.
            if (cursor_.scan != "0") EXODUS_TRY(save(false));
            report(0);
        } while (cursor_.scan != "0");
        return {};
    }

    /// Names of the other side that the authority lacks; whether they are extra is for the rounds
    /// to prove.
    Status look_for_extra(int db, const std::set<std::string>& names) {
        if (names.empty()) return {};
        Client& client = pair_.authority_client();
        EXODUS_TRY(client.select(db));
        for (const auto& name : names) client.append({"EXISTS", name});
        auto replies = client.read_all(names.size());
        if (!replies) return tl::unexpected<Error>(std::move(replies).error());
        std::size_t i = 0;
        for (const auto& name : names) {
            const auto& reply = (*replies)[i++];
            if (reply.is_error()) return tl::unexpected<Error>(error_of(reply, "EXISTS"));
            if (reply.integer() == 0) candidates_.insert({db, name});
        }
        return {};
    }

    struct Batch {
        int db = 0;
        std::vector<std::string_view> names;
        Snapshot left;
    };

    /// Round 0 for these keys: what is not equal becomes a candidate.
    Status compare_all(const std::set<KeyName>& keys) {
        std::vector<Batch> batches;
        std::vector<KeyName> big;
        EXODUS_TRY(make_batches(keys, batches, big));
        for (auto& batch : batches) {
            EXODUS_TRY(pair_.authority().request_payloads(batch.db, batch.names));
            auto left = pair_.authority().take_payloads(batch.names.size());
            if (!left) return tl::unexpected<Error>(std::move(left).error());
            batch.left = std::move(*left);
        }
        // Offsets grow from batch to batch: the last one covers all.
        if (!batches.empty()) {
            EXODUS_TRY(pair_.wait_applied(batches.back().left.position, on_wait()));
        }
        std::vector<Batch> undecided;
        std::vector<std::vector<std::string>> types_left;
        std::vector<std::vector<std::string>> types_right;
        for (auto& batch : batches) {
            EXODUS_TRY(pair_.other().request_payloads(batch.db, batch.names));
            auto right = pair_.other().take_payloads(batch.names.size());
            if (!right) return tl::unexpected<Error>(std::move(right).error());
            Batch rest{batch.db, {}, {}};
            std::vector<std::string> left_types;
            const int64_t now = std::max(batch.left.time_ms, right->time_ms);
            for (std::size_t i = 0; i < batch.names.size(); ++i) {
                const auto& left = batch.left.states[i];
                const auto difference = compare_states(left, right->states[i], now, pair_.rules());
                ++result_.compared;
                if (difference == Difference::undecided && left.readable) {
                    rest.names.push_back(batch.names[i]);
                    left_types.push_back(left.type);
                } else if (difference != Difference::none) {
                    candidates_.insert({batch.db, std::string(batch.names[i])});
                }
            }
            if (rest.names.empty()) continue;
            undecided.push_back(std::move(rest));
            types_left.push_back(std::move(left_types));
        }
        EXODUS_TRY(compare_typed(undecided, types_left));
        for (const auto& key : big) {
            auto proofs = pair_.prove(key.db, {key.name}, on_wait());
            if (!proofs) return tl::unexpected<Error>(std::move(proofs).error());
            ++result_.compared;
            if ((*proofs)[0].difference != Difference::none) candidates_.insert(key);
        }
        return {};
    }

    /// Payloads differed, as they do between versions and hash seeds: compare values.
    Status compare_typed(std::vector<Batch>& batches,
                         const std::vector<std::vector<std::string>>& types) {
        for (std::size_t b = 0; b < batches.size(); ++b) {
            auto left = pair_.authority().read_typed(batches[b].db, batches[b].names, types[b]);
            if (!left) return tl::unexpected<Error>(std::move(left).error());
            batches[b].left = std::move(*left);
        }
        if (batches.empty()) return {};
        EXODUS_TRY(pair_.wait_applied(batches.back().left.position, on_wait()));
        for (std::size_t b = 0; b < batches.size(); ++b) {
            auto& batch = batches[b];
            auto right = pair_.other().read_typed(batch.db, batch.names, types[b]);
            if (!right) return tl::unexpected<Error>(std::move(right).error());
            const int64_t now = std::max(batch.left.time_ms, right->time_ms);
            for (std::size_t i = 0; i < batch.names.size(); ++i) {
                const auto difference =
                    compare_states(batch.left.states[i], right->states[i], now, pair_.rules());
                if (difference != Difference::none) {
                    candidates_.insert({batch.db, std::string(batch.names[i])});
                }
            }
        }
        return {};
    }

    Status make_batches(const std::set<KeyName>& keys, std::vector<Batch>& batches,
                        std::vector<KeyName>& big) {
        for (auto it = keys.begin(); it != keys.end();) {
            const int db = it->db;
            std::vector<std::string_view> names;
            for (; it != keys.end() && it->db == db; ++it) names.emplace_back(it->name);
            std::vector<uint64_t> sizes;
            const auto step = static_cast<std::size_t>(limits::kVerifyScan_count);
            for (std::size_t at = 0; at < names.size(); at += step) {
                const auto part = std::span(names).subspan(at, std::min(step, names.size() - at));
                auto some = pair_.authority().sizes(db, part);
                if (!some) return tl::unexpected<Error>(std::move(some).error());
                sizes.insert(sizes.end(), some->begin(), some->end());
            }
            uint64_t bytes = 0;
            bool fresh = true;
            for (std::size_t i = 0; i < names.size(); ++i) {
                if (sizes[i] > limits::kCanonicalBigKey_bytes) {
                    big.push_back({db, std::string(names[i])});
                    continue;
                }
                if (fresh || batches.back().names.size() >= limits::kVerifyBatch_keys ||
                    bytes + sizes[i] > limits::kVerifyBatch_bytes) {
                    batches.push_back({db, {}, {}});
                    bytes = 0;
                    fresh = false;
                }
                batches.back().names.push_back(names[i]);
                bytes += sizes[i];
            }
        }
        return {};
    }

    /// Rounds 1 to 3: every candidate is proven equal, proven different, or keeps moving; movers
    /// are followed at last.
    Status settle() {
        int round = 0;
        for (const auto delay_ms : limits::kVerifyRounds_ms) {
            ++round;
            if (candidates_.empty()) break;
            std::this_thread::sleep_for(milliseconds(delay_ms));
            report(round);
            EXODUS_TRY(prove_candidates());
        }
        for (auto it = candidates_.begin(); it != candidates_.end();) {
            auto equal =
                pair_.follow_hot_key(it->db, it->name, milliseconds(limits::kVerifyHotKey_ms));
            if (!equal) return tl::unexpected<Error>(std::move(equal).error());
            if (!*equal) {
                ++result_.unresolved;
                open_.insert(*it);
                add_sample(*it, "unresolved", "changed faster than it could be read");
            }
            it = candidates_.erase(it);
        }
        return {};
    }

    Status prove_candidates() {
        std::vector<KeyName> all(candidates_.begin(), candidates_.end());
        for (std::size_t at = 0; at < all.size();) {
            const int db = all[at].db;
            std::vector<std::string_view> names;
            while (at + names.size() < all.size() && all[at + names.size()].db == db &&
                   names.size() < limits::kVerifyBatch_keys) {
                names.emplace_back(all[at + names.size()].name);
            }
            EXODUS_TRY(prove_some(db, names));
            at += names.size();
        }
        return {};
    }

    /// One key that moves spoils its whole batch, so a spoiled batch is halved.
    Status prove_some(int db, const std::vector<std::string_view>& names) {
        auto proofs = pair_.prove(db, names, on_wait());
        if (!proofs) return tl::unexpected<Error>(std::move(proofs).error());
        std::vector<std::string_view> left;
        for (std::size_t i = 0; i < names.size(); ++i) {
            if ((*proofs)[i].difference == Difference::undecided) {
                left.push_back(names[i]);
                continue;
            }
            const KeyName key{db, std::string(names[i])};
            count(key, (*proofs)[i]);
            candidates_.erase(key);
        }
        if (left.size() != names.size()) return {};
        if (left.size() < 2) return {};
        const auto middle = left.begin() + static_cast<std::ptrdiff_t>(left.size() / 2);
        EXODUS_TRY(prove_some(db, {left.begin(), middle}));
        return prove_some(db, {middle, left.end()});
    }

    void count(const KeyName& key, const KeyProof& proof) {
        switch (proof.difference) {
            case Difference::none:
                return;
            case Difference::missing:
                ++result_.missing;
                break;
            case Difference::extra:
                ++result_.extra;
                break;
            case Difference::undecided:
                ++result_.unresolved;
                break;
            default:
                ++result_.different;
                break;
        }
        open_.insert(key);
        const auto describe = [](const KeyState& state) -> std::string {
            if (!state.present) return "absent";
            return state.type + " " + hex(state.value).substr(0, 16) + " expiry " +
                   (state.expire_ms < 0 ? std::string("none") : std::to_string(state.expire_ms));
        };
        add_sample(key, std::string(to_string(proof.difference)),
                   "authority: " + describe(proof.authority) + "; other: " + describe(proof.other));
    }

    void add_sample(const KeyName& key, std::string kind, std::string detail) {
        if (result_.samples.size() >= limits::kVerifySamples_max) return;
        result_.samples.push_back({"db" + std::to_string(key.db), escape_key(key.name),
                                   std::move(kind), std::move(detail)});
    }

    /// Rows that a final check must read again; nothing to keep when the data were equal.
    Status save_open() {
        EXODUS_TRY(journal_.erase_positions(open_record_));
        if (open_.empty()) return {};
        while (open_.size() > limits::kVerifyCandidates_max) open_.erase(std::prev(open_.end()));
        return save_text(journal_, open_record_, "keys", keys_to_json(open_).dump());
    }

    Result<std::set<KeyName>> open_keys() {
        std::set<KeyName> keys;
        auto text = load_text(journal_, open_record_, "keys");
        if (!text) return tl::unexpected<Error>(std::move(text).error());
        if (!*text) return keys;
        const auto value = json::parse(**text, nullptr, false);
        if (!value.is_array()) return fail(ErrorCode::data, "the stored open rows are damaged");
        for (const auto& key : value) {
            if (!key.is_array() || key.size() != 2 || !key[0].is_number_integer() ||
                !key[1].is_string()) {
                return fail(ErrorCode::data, "the stored open rows are damaged");
            }
            keys.insert({key[0].get<int>(), from_hex(key[1].get<std::string>())});
        }
        return keys;
    }

    const Settings& settings_;
    Journal& journal_;
    Direction direction_;
    Scope scope_;
    PairReader pair_;
    std::string record_;
    std::string open_record_;
    OnProgress on_progress_;
    VerifyProgress progress_;
    VerifyResult result_;
    Cursor cursor_;
    std::set<KeyName> candidates_;
    std::set<KeyName> open_;
    int64_t saved_ms_ = 0;
};

}  // namespace

std::unique_ptr<Verifier> make_redis_verifier(const FamilyContext& context, Direction direction,
                                              AppliedThrough applied) {
    return std::make_unique<RedisVerifier>(context, direction, std::move(applied));
}

}  // namespace exodus::redis
