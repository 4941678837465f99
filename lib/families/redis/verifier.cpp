#include "families/redis/verifier.h"

#include <algorithm>
#include <charconv>
#include <set>
#include <thread>

#include "base/limits.h"
#include "families/redis/foreign_keys.h"
#include "families/redis/pair_reader.h"
#include "families/redis/scope.h"
#include "families/redis/text.h"
#include "families/redis/verify_batches.h"
#include "families/redis/verify_functions.h"
#include "families/redis/verify_record.h"

namespace exodus::redis {

namespace {

class RedisVerifier final : public Verifier {
  public:
    RedisVerifier(const FamilyContext& context, Direction direction, Following following)
        : settings_(context.settings),
          context_(context),
          direction_(direction),
          scope_(context.settings.scope),
          pair_(context, origin_of(direction), std::move(following)),
          record_(context.journal, direction) {}

    Result<VerifyResult> run(const OnProgress& progress) override {
        on_progress_ = progress;
        EXODUS_TRY(pair_.connect());
        EXODUS_TRY(begin());
        VerifyCursor& cursor = run_.cursor;
        while (cursor.db_index < cursor.dbs.size()) {
            EXODUS_TRY(scan_database(cursor.dbs[cursor.db_index]));
            ++cursor.db_index;
            cursor.scan = "0";
            if (cursor.db_index == cursor.dbs.size() && !cursor.second_pass) {
                cursor.second_pass = true;
                cursor.db_index = 0;
            }
            EXODUS_TRY(save(true));
        }
        EXODUS_TRY(settle());
        EXODUS_TRY(verify_functions(pair_, context_, direction_, run_.result, on_wait()));
        EXODUS_TRY(record_.save_open(run_.open));
        EXODUS_TRY(record_.erase());
        report(0);
        VerifyResult result = run_.result;
        if (direction_ == Direction::reverse) std::swap(result.source_keys, result.target_keys);
        return result;
    }

    Result<VerifyResult> final_check(const std::vector<std::string>& touched_keys,
                                     Deadline deadline) override {
        pair_.end_at(deadline);
        nothing_moves_ = true;
        EXODUS_TRY(pair_.connect());
        auto keys = record_.load_open();
        if (!keys) return tl::unexpected<Error>(std::move(keys).error());
        EXODUS_TRY(add_names(touched_keys, *keys));
        run_.result = {};
        // A server may still be deleting what just expired: a difference is read again before it
        // counts.
        for (int tries = 0; !keys->empty() && tries < kFinalTries; ++tries) {
            run_.candidates.clear();
            run_.result.compared = 0;
            EXODUS_TRY(compare_all(*keys));
            keys->swap(run_.candidates);
        }
        if (!keys->empty()) EXODUS_TRY(load_foreign());  // not before: this is inside the hold
        for (const auto& key : *keys) {
            auto proofs = pair_.prove(key.db, {key.name});
            if (!proofs) return tl::unexpected<Error>(std::move(proofs).error());
            count(key, (*proofs)[0]);
        }
        EXODUS_TRY(verify_functions(pair_, context_, direction_, run_.result));
        return run_.result;
    }

    Result<VerifyResult> check(const std::vector<std::string>& names,
                               const OnProgress& progress) override {
        on_progress_ = progress;
        EXODUS_TRY(pair_.connect());
        EXODUS_TRY(load_foreign());
        std::set<KeyName> keys;
        EXODUS_TRY(add_names(names, keys));
        run_.result = {};
        run_.candidates.clear();
        progress_ = {};
        progress_.total_estimate = keys.size();
        EXODUS_TRY(compare_all(keys));
        progress_.done = keys.size();
        EXODUS_TRY(settle());
        return run_.result;
    }

  private:
    static constexpr int kFinalTries = 3;

    /// "<db>:<raw name>" as Movement::touched() gives them; those out of scope are left out.
    Status add_names(const std::vector<std::string>& names, std::set<KeyName>& keys) const {
        for (const auto& text : names) {
            const auto colon = text.find(':');
            int db = 0;
            const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), db);
            if (error != std::errc() || colon == std::string::npos || end != text.data() + colon) {
                return fail(ErrorCode::internal, "a touched key is not \"<db>:<name>\"");
            }
            std::string name = text.substr(colon + 1);
            if (scope_.contains(name)) keys.insert({db, std::move(name)});
        }
        return {};
    }

    void report(int round) {
        if (!on_progress_) return;
        progress_.round = round;
        progress_.candidates = run_.candidates.size();
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
        run_ = {};
        progress_ = {};
        std::set<int> dbs;
        for (Client* client : {&pair_.authority_client(), &pair_.other_client()}) {
            auto keyspace = client->info("keyspace");
            if (!keyspace) return tl::unexpected<Error>(std::move(keyspace).error());
            for (const auto& [db, keys] : keyspace->keyspace()) {
                dbs.insert(db);
                progress_.total_estimate += keys;
            }
        }
        run_.cursor.dbs.assign(dbs.begin(), dbs.end());
        auto start = context_.journal.load_position(to_string(direction_), "start");
        if (!start) return tl::unexpected<Error>(std::move(start).error());
        identity_ = {settings_.config_hash, start->value_or(""), pair_.authority_run_id(),
                     pair_.other_run_id(), settings_.gates.evidence_age_ms};
        auto resumed = record_.load(identity_, run_);
        if (!resumed) return tl::unexpected<Error>(std::move(resumed).error());
        progress_.done = run_.result.source_keys + run_.result.target_keys;
        return load_foreign();
    }

    /// What the conflict policy wants different.
    Status load_foreign() {
        auto foreign = ForeignKeys::load(context_, direction_);
        if (!foreign) return tl::unexpected<Error>(std::move(foreign).error());
        foreign_ = std::move(*foreign);
        return {};
    }

    Status save(bool now) {
        if (!now && wall_ms() - saved_ms_ < limits::kVerifySave_ms) return {};
        saved_ms_ = wall_ms();
        return record_.save(identity_, run_);
    }

    Status scan_database(int db) {
        Client& client = run_.cursor.second_pass ? pair_.other_client() : pair_.authority_client();
        do {
            // Several steps of SCAN share one wait for the stream.
            std::set<std::string> names;
            EXODUS_TRY(client.select(db));
            do {
                auto reply = client.ask(
                    {"SCAN", run_.cursor.scan, "COUNT", std::to_string(limits::kVerifyScan_count)});
                if (!reply) return fail(std::move(reply).error(), "db" + std::to_string(db));
                const auto found = (*reply)[1];
                for (std::size_t i = 0; i < found.size(); ++i) {
                    if (scope_.contains(found[i].text())) names.emplace(found[i].text());
                }
                run_.cursor.scan = (*reply)[0].text();
            } while (run_.cursor.scan != "0" && names.size() < limits::kVerifyGroup_keys);
            if (run_.cursor.second_pass) {
                EXODUS_TRY(look_for_extra(db, names));
                run_.result.target_keys += names.size();
            } else {
                std::set<KeyName> keys;
                for (const auto& name : names) keys.insert({db, name});
                EXODUS_TRY(compare_all(keys));
                run_.result.source_keys += names.size();
            }
            progress_.done += names.size();
            if (run_.candidates.size() >= limits::kVerifyCandidates_max) EXODUS_TRY(settle());
            // The end of a database is saved by run(), together with the step to the next one.
            if (run_.cursor.scan != "0") EXODUS_TRY(save(false));
            report(0);
        } while (run_.cursor.scan != "0");
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
            if (reply.integer() == 0) run_.candidates.insert({db, name});
        }
        return {};
    }

    /// Both sides of every batch to `each`: the other one is read once it has applied the place
    /// of the authority, or at the same time where nothing moves.
    Status read_both(BatchRead how, std::vector<VerifyBatch>& batches,
                     const std::function<void(VerifyBatch&, const Snapshot&)>& each) {
        CanonicalReader* const both[] = {&pair_.authority(), &pair_.other()};
        const std::span readers(both);
        const auto keep = [](VerifyBatch& batch, std::span<Snapshot> read) {
            batch.authority = std::move(read[0]);
        };
        if (nothing_moves_)
            return read_batches(readers, how, batches, [&](VerifyBatch& batch, auto read) {
                keep(batch, read);
                each(batch, read[1]);
            });
        EXODUS_TRY(read_batches(readers.first(1), how, batches, keep));
        // Offsets grow from batch to batch: the last one covers all.
        if (!batches.empty())
            EXODUS_TRY(pair_.wait_applied(batches.back().authority.position, on_wait()));
        return read_batches(readers.last(1), how, batches,
                            [&](VerifyBatch& batch, auto read) { each(batch, read[0]); });
    }

    /// Round 0 for these keys: what is not equal becomes a candidate.
    Status compare_all(const std::set<KeyName>& keys) {
        std::vector<VerifyBatch> batches;
        std::vector<KeyName> big;
        EXODUS_TRY(make_batches(keys, batches, big));
        // Payloads differ between versions and hash seeds: then the values decide.
        std::vector<VerifyBatch> undecided;  ///< of several batches in one
        EXODUS_TRY(read_both(BatchRead::payloads, batches, [&](auto& batch, const auto& other) {
            VerifyBatch rest{batch.db, batch.bytes, {}};
            compare(batch, other, &rest);
            if (rest.names.empty()) return;
            if (undecided.empty() || undecided.back().db != rest.db ||
                undecided.back().names.size() + rest.names.size() > limits::kVerifyBatch_keys ||
                undecided.back().bytes + rest.bytes > limits::kVerifyBatch_bytes)
                undecided.push_back({rest.db, 0, {}});
            VerifyBatch& last = undecided.back();
            last.bytes += rest.bytes;
            last.names.insert(last.names.end(), rest.names.begin(), rest.names.end());
            last.types.insert(last.types.end(), std::make_move_iterator(rest.types.begin()),
                              std::make_move_iterator(rest.types.end()));
        }));
        for (const auto& batch : batches) run_.result.compared += batch.names.size();
        EXODUS_TRY(read_both(BatchRead::values, undecided, [&](auto& batch, const auto& other) {
            compare(batch, other, nullptr);
        }));
        for (const auto& key : big) {
            auto proofs = pair_.prove(key.db, {key.name}, on_wait());
            if (!proofs) return tl::unexpected<Error>(std::move(proofs).error());
            ++run_.result.compared;
            if ((*proofs)[0].difference != Difference::none) run_.candidates.insert(key);
        }
        return {};
    }

    /// What is not equal becomes a candidate, or with `undecided` goes there if it may be equal.
    void compare(VerifyBatch& batch, const Snapshot& other, VerifyBatch* undecided) {
        const int64_t now = std::max(batch.authority.time_ms, other.time_ms);
        for (std::size_t i = 0; i < batch.names.size(); ++i) {
            const auto& state = batch.authority.states[i];
            const auto difference = compare_states(state, other.states[i], now);
            if (undecided != nullptr && difference == Difference::undecided && state.readable) {
                undecided->names.push_back(batch.names[i]);
                undecided->types.push_back(state.type);
            } else if (difference != Difference::none) {
                run_.candidates.insert({batch.db, std::string(batch.names[i])});
            }
        }
    }

    Status make_batches(const std::set<KeyName>& keys, std::vector<VerifyBatch>& batches,
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
            bool fresh = true;
            for (std::size_t i = 0; i < names.size(); ++i) {
                if (sizes[i] > limits::kCanonicalBigKey_bytes) {
                    big.push_back({db, std::string(names[i])});
                    continue;
                }
                if (fresh || batches.back().names.size() >= limits::kVerifyBatch_keys ||
                    batches.back().bytes + sizes[i] > limits::kVerifyBatch_bytes) {
                    batches.push_back({db, 0, {}});
                    fresh = false;
                }
                batches.back().names.push_back(names[i]);
                batches.back().bytes += sizes[i];
            }
        }
        return {};
    }

    /// Rounds 1 to 3: every candidate is proven equal, proven different, or keeps moving; for those
    /// the stream stands still at last.
    Status settle() {
        int round = 0;
        // Kept whatever the authority does to them: no proof is needed, and those that move would
        // give none.
        run_.result.kept += std::erase_if(run_.candidates, [this](const KeyName& key) {
            return foreign_.excuses(key_hash(key.db, key.name), Difference::value);
        });
        for (const auto delay_ms : limits::kVerifyRounds_ms) {
            ++round;
            if (run_.candidates.empty()) break;
            std::this_thread::sleep_for(milliseconds(delay_ms));
            report(round);
            EXODUS_TRY(prove_candidates());
            for (int tries = 0; !run_.candidates.empty() && tries < limits::kStandTries; ++tries)
                EXODUS_TRY(prove_hot_candidates());
        }
        for (const auto& key : run_.candidates) {
            ++run_.result.unresolved;
            run_.open.insert(key);
            add_sample(key, "unresolved", "changed faster than it could be read");
        }
        run_.candidates.clear();
        return {};
    }

    /// A group of candidates of one database, at most a batch.
    std::vector<std::string_view> next_group(const std::vector<KeyName>& all, std::size_t at) {
        std::vector<std::string_view> names;
        while (at + names.size() < all.size() && all[at + names.size()].db == all[at].db &&
               names.size() < limits::kVerifyBatch_keys) {
            names.emplace_back(all[at + names.size()].name);
        }
        return names;
    }

    Status prove_hot_candidates() {
        const std::vector<KeyName> all(run_.candidates.begin(), run_.candidates.end());
        for (std::size_t at = 0; at < all.size();) {
            const auto names = next_group(all, at);
            auto proofs = pair_.prove_hot(all[at].db, names);
            if (!proofs) return tl::unexpected<Error>(std::move(proofs).error());
            for (std::size_t i = 0; i < names.size(); ++i) settled(all[at + i], (*proofs)[i]);
            at += names.size();
        }
        return {};
    }

    /// Counts a candidate that was decided and takes it off the list.
    void settled(const KeyName& key, const KeyProof& proof) {
        if (proof.difference == Difference::undecided) return;
        count(key, proof);
        run_.candidates.erase(key);
    }

    Status prove_candidates() {
        const std::vector<KeyName> all(run_.candidates.begin(), run_.candidates.end());
        for (std::size_t at = 0; at < all.size();) {
            const auto names = next_group(all, at);
            EXODUS_TRY(prove_some(all[at].db, names));
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
            if ((*proofs)[i].difference == Difference::undecided) left.push_back(names[i]);
            settled({db, std::string(names[i])}, (*proofs)[i]);
        }
        if (left.size() != names.size()) return {};
        if (left.size() < 2) return {};
        const auto middle = left.begin() + static_cast<std::ptrdiff_t>(left.size() / 2);
        EXODUS_TRY(prove_some(db, {left.begin(), middle}));
        return prove_some(db, {middle, left.end()});
    }

    void count(const KeyName& key, const KeyProof& proof) {
        if (proof.difference != Difference::undecided &&
            foreign_.excuses(key_hash(key.db, key.name), proof.difference)) {
            ++run_.result.kept;
            return;
        }
        switch (proof.difference) {
            case Difference::none:
                return;
            case Difference::missing:
                ++run_.result.missing;
                break;
            case Difference::extra:
                ++run_.result.extra;
                break;
            case Difference::undecided:
                ++run_.result.unresolved;
                break;
            default:
                ++run_.result.different;
                break;
        }
        run_.open.insert(key);
        add_sample(key, std::string(to_string(proof.difference)),
                   "authority: " + describe(proof.authority) + "; other: " + describe(proof.other));
    }

    void add_sample(const KeyName& key, std::string kind, std::string detail) {
        if (run_.result.samples.size() >= limits::kVerifySamples_max) return;
        run_.result.samples.push_back({"db" + std::to_string(key.db), escape_key(key.name),
                                       std::move(kind), std::move(detail)});
    }

    const Settings& settings_;
    const FamilyContext context_;  ///< a copy: the caller's may be a temporary
    Direction direction_;
    Scope scope_;
    PairReader pair_;
    VerifyRecord record_;
    VerifyIdentity identity_;
    ForeignKeys foreign_;
    OnProgress on_progress_;
    VerifyProgress progress_;
    VerifyRun run_;
    int64_t saved_ms_ = 0;
    bool nothing_moves_ = false;  ///< in a hold, with all of the stream applied
};

}  // namespace

std::unique_ptr<Verifier> make_redis_verifier(const FamilyContext& context, Direction direction,
                                              Following following) {
    return std::make_unique<RedisVerifier>(context, direction, std::move(following));
}

}  // namespace exodus::redis
