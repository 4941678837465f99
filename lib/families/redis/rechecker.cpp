#include "families/redis/rechecker.h"

#include <algorithm>
#include <map>
#include <optional>
#include <set>
#include <thread>

#include "base/limits.h"
#include "families/redis/foreign_keys.h"
#include "families/redis/pair_reader.h"
#include "families/redis/stream_command.h"
#include "families/redis/text.h"

namespace exodus::redis {

namespace {

/// The words of a request frame; empty when it is none.
std::vector<std::string> words_of(std::string_view frame) {
    std::vector<std::string_view> words;
    const auto used = split_command(frame, words);
    if (!used || *used != frame.size()) return {};
    return {words.begin(), words.end()};
}

std::string lower(std::string text) {
    std::transform(text.begin(), text.end(), text.begin(), [](char c) {
        return c >= 'A' && c <= 'Z' ? static_cast<char>(c + ('a' - 'A')) : c;
    });
    return text;
}

class RedisRechecker final : public Rechecker {
  public:
    RedisRechecker(const FamilyContext& context, Following following, Side authority,
                   std::unique_ptr<Normalizer> normalizer)
        : context_(context),
          direction_(origin_of(Direction::forward) == authority ? Direction::forward
                                                                : Direction::reverse),
          pair_(context, authority, std::move(following)),
          normalizer_(std::move(normalizer)) {}

    Result<RecheckOutcome> recheck(const ExchangePair& pair) override {
        return recheck_all({pair}).front();
    }

    /// Both sides are asked again at one place of the stream: whatever moves, the answers must then
    /// be the same. Where the stream cannot stand, each pair for itself.
    std::vector<Result<RecheckOutcome>> recheck_all(
        const std::vector<ExchangePair>& pairs) override {
        std::vector<Result<RecheckOutcome>> outcomes(pairs.size(), RecheckOutcome::unresolved);
        std::vector<Question> open;
        for (std::size_t i = 0; i < pairs.size(); ++i) {
            auto question = question_of(pairs[i]);
            if (!question)
                outcomes[i] = tl::unexpected<Error>(std::move(question).error());
            else if (!*question)
                outcomes[i] = RecheckOutcome::not_comparable;
            else
                open.push_back({i, std::move(**question)});
        }
        for (int tries = 0; !open.empty() && tries < limits::kStandTries; ++tries) {
            if (!ask_at_one_place(pairs, open, outcomes)) break;
            std::erase_if(open, [&](const Question& question) {
                return outcomes[question.index] != RecheckOutcome::unresolved;
            });
        }
        for (const Question& question : open)
            outcomes[question.index] = watch_and_ask(pairs[question.index], question.words);
        return outcomes;
    }

  private:
    struct Question {
        std::size_t index = 0;
        std::vector<std::string> words;
    };

    /// The words to ask again; none for what cannot be compared.
    Result<std::optional<std::vector<std::string>>> question_of(const ExchangePair& pair) {
        EXODUS_TRY(pair_.connect());
        auto words = words_of(pair.request);
        if (words.empty()) return std::nullopt;
        auto reads_only = is_read_only(words);
        if (!reads_only) return tl::unexpected<Error>(std::move(reads_only).error());
        if (!*reads_only) return std::nullopt;
        auto keys = keys_of(words);
        if (!keys) return tl::unexpected<Error>(std::move(keys).error());
        if (keys->empty() || keys->size() > limits::kVerifyBatch_keys) return std::nullopt;
        EXODUS_TRY(load_foreign());
        // The conflict policy keeps the target's own value of a key: whatever the answers are.
        if (std::any_of(keys->begin(), keys->end(), [&](const std::string& name) {
                return foreign_.excuses(key_hash(pair.database, name), Difference::value);
            })) {
            return std::nullopt;
        }
        return words;
    }

    /// Proves the keys equal or different while nothing writes them, a few times.
    Result<RecheckOutcome> watch_and_ask(const ExchangePair& pair,
                                         const std::vector<std::string>& words) {
        EXODUS_TRY(pair_.connect());
        auto keys = keys_of(words);
        if (!keys) return tl::unexpected<Error>(std::move(keys).error());
        const std::vector<std::string_view> names(keys->begin(), keys->end());
        for (const auto delay_ms : limits::kRecheckDelays_ms) {
            std::this_thread::sleep_for(milliseconds(delay_ms));
            auto outcome = try_once(pair, words, names);
            if (!outcome || *outcome != RecheckOutcome::unresolved) return outcome;
        }
        return RecheckOutcome::unresolved;
    }

    /// unresolved: the keys were written meanwhile.
    Result<RecheckOutcome> try_once(const ExchangePair& pair, const std::vector<std::string>& words,
                                    const std::vector<std::string_view>& names) {
        if (!pair.aa) {
            auto proofs = pair_.prove(pair.database, names);
            if (!proofs) return tl::unexpected<Error>(std::move(proofs).error());
            const auto is = [&](Difference difference) {
                return std::any_of(proofs->begin(), proofs->end(), [&](const KeyProof& proof) {
                    return proof.difference == difference;
                });
            };
            if (is(Difference::undecided)) return RecheckOutcome::unresolved;
            for (std::size_t i = 0; i < names.size(); ++i) {
                if (foreign_.excuses(key_hash(pair.database, names[i]), (*proofs)[i].difference))
                    return RecheckOutcome::not_comparable;
            }
            const bool equal = std::all_of(
                proofs->begin(), proofs->end(),
                [](const KeyProof& proof) { return proof.difference == Difference::none; });
            if (!equal) return RecheckOutcome::confirmed;
        }
        // The data are equal. If the answers still are not, the servers answer the same question
        // differently.
        return ask_again(pair, words, names);
    }

    Result<RecheckOutcome> ask_again(const ExchangePair& pair,
                                     const std::vector<std::string>& words,
                                     const std::vector<std::string_view>& names) {
        EXODUS_TRY(pair_.authority().watch(pair.database, names));
        auto answered = answers(pair, words);
        if (!answered) {
            (void)pair_.authority().unwatch();
            return tl::unexpected<Error>(std::move(answered).error());
        }
        auto exec = pair_.authority_client().ask({"EXEC"});
        if (!exec) return tl::unexpected<Error>(std::move(exec).error());
        if (exec->is_nil()) return RecheckOutcome::unresolved;
        ExchangePair& again = *answered;
        append_resp((*exec)[0], again.left);
        again.left_us = wall_us();
        return judge(again);
    }

    /// The answers of both sides at the same place of the stream, one database at a time;
    /// unresolved where the stream did not stand.
    Status ask_at_one_place(const std::vector<ExchangePair>& pairs,
                            const std::vector<Question>& questions,
                            std::vector<Result<RecheckOutcome>>& outcomes) {
        std::map<int, std::vector<const Question*>> by_database;
        for (const Question& question : questions) {
            if (!pairs[question.index].aa)
                by_database[pairs[question.index].database].push_back(&question);
        }
        for (const auto& entry : by_database) {
            const int database = entry.first;
            const auto& asked = entry.second;
            EXODUS_TRY(pair_.connect());
            EXODUS_TRY(pair_.authority_client().select(database));
            EXODUS_TRY(pair_.other_client().select(database));
            std::vector<ExchangePair> again;
            for (const Question* question : asked)
                again.push_back(asked_again(pairs[question->index]));
            auto stood = pair_.at_one_place([&] { return ask_authority(asked, again); },
                                            [&] { return ask_other(asked, again); });
            if (!stood) return tl::unexpected<Error>(std::move(stood).error());
            for (std::size_t i = 0; *stood && i < asked.size(); ++i)
                outcomes[asked[i]->index] = judge(again[i]);
        }
        return {};
    }

    Result<StreamPosition> ask_authority(const std::vector<const Question*>& asked,
                                         std::vector<ExchangePair>& again) {
        Client& client = pair_.authority_client();
        client.append({"MULTI"});
        for (const Question* question : asked) client.append(question->words);
        client.append({"INFO", "replication"});
        client.append({"EXEC"});
        auto replies = client.read_all();
        if (!replies) return tl::unexpected<Error>(std::move(replies).error());
        const Reply& exec = replies->back();
        if (exec.is_error() || exec.size() != asked.size() + 1)
            return tl::unexpected<Error>(error_of(exec, "asking the authority again"));
        for (std::size_t i = 0; i < asked.size(); ++i) {
            append_resp(exec[i], again[i].left);
            again[i].left_us = wall_us();
        }
        return StreamPosition::of(Info::parse(exec[asked.size()].text()));
    }

    Status ask_other(const std::vector<const Question*>& asked, std::vector<ExchangePair>& again) {
        Client& client = pair_.other_client();
        for (const Question* question : asked) client.append(question->words);
        auto replies = client.read_all();
        if (!replies) return tl::unexpected<Error>(std::move(replies).error());
        for (std::size_t i = 0; i < asked.size(); ++i) {
            append_resp((*replies)[i], again[i].right);
            again[i].right_us = wall_us();
        }
        return {};
    }

    [[nodiscard]] RecheckOutcome judge(const ExchangePair& again) {
        if (again.left == again.right) return RecheckOutcome::equal;
        std::string reason;
        const auto verdict = normalizer_ ? normalizer_->judge(again, reason) : Verdict::candidate;
        switch (verdict) {
            case Verdict::equal:
                return RecheckOutcome::equal;
            case Verdict::not_comparable:
                return RecheckOutcome::not_comparable;
            case Verdict::candidate:
                break;
        }
        return RecheckOutcome::confirmed;
    }

    static ExchangePair asked_again(const ExchangePair& pair) {
        ExchangePair again;
        again.command = pair.command;
        again.request = pair.request;
        again.database = pair.database;
        again.aa = pair.aa;
        again.sent_us = wall_us();
        return again;
    }

    /// The other side's answer at an offset behind the WATCH, and the question queued in a MULTI of
    /// the authority.
    Result<ExchangePair> answers(const ExchangePair& pair, const std::vector<std::string>& words) {
        ExchangePair again = asked_again(pair);
        Client& authority = pair_.authority_client();
        Client& other = pair.aa ? authority : pair_.other_client();
        if (!pair.aa) {
            auto replication = authority.info("replication");
            if (!replication) return tl::unexpected<Error>(std::move(replication).error());
            EXODUS_TRY(pair_.wait_applied(StreamPosition::of(*replication)));
        }
        EXODUS_TRY(other.select(pair.database));
        auto reply = other.command(words);
        if (!reply) return tl::unexpected<Error>(std::move(reply).error());
        append_resp(*reply, again.right);
        again.right_us = wall_us();
        auto multi = authority.ask({"MULTI"});
        if (!multi) return tl::unexpected<Error>(std::move(multi).error());
        auto queued = authority.command(words);
        if (!queued) return tl::unexpected<Error>(std::move(queued).error());
        return again;
    }

    /// By the authority's own command table; "OBJECT ENCODING" is asked for as "object|encoding".
    Result<bool> is_read_only(const std::vector<std::string>& words) {
        std::string name = lower(words[0]);
        if (words.size() > 1 && containers_.contains(name)) name += "|" + lower(words[1]);
        if (const auto it = read_only_.find(name); it != read_only_.end()) return it->second;
        auto reply = pair_.authority_client().ask({"COMMAND", "INFO", name});
        if (!reply) return tl::unexpected<Error>(std::move(reply).error());
        const auto entry = (*reply)[0];
        if (name.find('|') == std::string::npos && entry[9].size() > 0) {
            containers_.insert(name);
            return words.size() > 1 ? is_read_only(words) : false;
        }
        const auto flags = entry[2];
        bool read_only = false;
        bool blocking = false;
        for (std::size_t i = 0; i < flags.size(); ++i) {
            read_only = read_only || flags[i].text() == "readonly";
            blocking = blocking || flags[i].text() == "blocking";
        }
        // A name that clients can make up must not fill this table.
        if (read_only_.size() < limits::kRecheckCommands_max)
            read_only_[name] = read_only && !blocking;
        return read_only && !blocking;
    }

    Result<std::vector<std::string>> keys_of(const std::vector<std::string>& words) {
        std::vector<std::string> command{"COMMAND", "GETKEYS"};
        command.insert(command.end(), words.begin(), words.end());
        auto reply = pair_.authority_client().command(command);
        if (!reply) return tl::unexpected<Error>(std::move(reply).error());
        if (error_word(*reply) == "NOPERM") {
            return tl::unexpected<Error>(error_of(*reply, "COMMAND GETKEYS"));
        }
        std::vector<std::string> keys;  // an error reply: the command has no keys
        for (std::size_t i = 0; i < reply->size(); ++i) keys.emplace_back((*reply)[i].text());
        return keys;
    }

    /// The lane takes names over as it goes; what it did a moment ago is no difference in the data
    /// yet.
    Status load_foreign() {
        const int64_t now = steady_us();
        if (foreign_us_ != 0 && now - foreign_us_ < limits::kRecheckForeign_us) return {};
        auto foreign = ForeignKeys::load(context_, direction_);
        if (!foreign) return tl::unexpected<Error>(std::move(foreign).error());
        foreign_ = std::move(*foreign);
        foreign_us_ = now;
        return {};
    }

    const FamilyContext context_;  ///< a copy: the caller's may be a temporary
    const Direction direction_;
    ForeignKeys foreign_;
    int64_t foreign_us_ = 0;
    PairReader pair_;
    std::unique_ptr<Normalizer> normalizer_;
    std::map<std::string, bool> read_only_;
    std::set<std::string> containers_;
};

}  // namespace

std::unique_ptr<Rechecker> make_redis_rechecker(const FamilyContext& context, Following following,
                                                Side authority,
                                                std::unique_ptr<Normalizer> normalizer) {
    return std::make_unique<RedisRechecker>(context, std::move(following), authority,
                                            std::move(normalizer));
}

}  // namespace exodus::redis
