#include "families/redis/pair_reader.h"

#include <algorithm>
#include <map>
#include <optional>
#include <set>
#include <thread>

#include "base/limits.h"

namespace exodus::redis {

namespace {

/// Digests order by their first field; ids by time, then sequence number.
bool id_before(const Digest128& left, const Digest128& right) {
    return left.high != right.high ? left.high < right.high : left.low < right.low;
}

/// The other side was read between two looks at the authority, when it had applied at least what
/// the first look showed and could not have more than the second. An id that grew from one to the
/// other passes through values which no look catches, so it is right anywhere between them. An id
/// that the authority moves is written to the other side with each move; one that stands still on
/// the authority never comes here.
bool grew_past(const ElementState& first, const ElementState& found, const ElementState& last) {
    return last.grows && found.grows && id_before(first.state, last.state) &&
           !id_before(found.state, first.state) && !id_before(last.state, found.state);
}

}  // namespace

PairReader::PairReader(const FamilyContext& context, Side authority, AppliedThrough applied)
    : settings_(context.settings), dialer_(context.dialer), applied_(std::move(applied)) {
    rules_.expiry = settings_.migrate.preserve_ttl;
    authority_.side = authority;
    other_.side = exodus::other(authority);
}

void PairReader::end_at(Deadline deadline) {
    end_ = deadline;
    for (End* end : {&authority_, &other_}) {
        if (end->client) end->client->set_command_timeout(deadline.left());
    }
}

Status PairReader::connect() {
    EXODUS_TRY(connect_end(authority_));
    return connect_end(other_);
}

Status PairReader::connect_end(End& end) {
    if (end.client && !end.client->broken() && end.client->pending_replies() == 0) return {};
    end.reader.reset();
    ConnectOptions options;
    options.database = 0;
    if (end_) {
        options.timeout = std::min(options.timeout, end_->left());
        options.command_timeout = std::min(options.command_timeout, end_->left());
    }
    auto client = Client::connect(dialer_, settings_.endpoint(end.side), options);
    if (!client) return tl::unexpected<Error>(std::move(client).error());
    end.client = std::move(*client);
    auto server = end.client->info("server");
    if (!server) return fail(std::move(server).error(), to_string(end.side));
    end.run_id = server->get("run_id");
    end.reader = std::make_unique<CanonicalReader>(*end.client, ServerVersion::of(*server));
    // Looking at every key must not make cold ones look hot. Servers without it (below 7.2) answer
    // with an error.
    (void)end.client->command({"CLIENT", "NO-TOUCH", "ON"});
    (void)end.client->command({"CLIENT", "NO-EVICT", "ON"});
    return {};
}

Status PairReader::wait_applied(const StreamPosition& position, const OnWait& on_wait) {
    if (!applied_) return {};
    if (known_applied_.replid == position.replid && known_applied_.offset >= position.offset) {
        return {};
    }
    const auto limit = Deadline::in(milliseconds(limits::kVerifyWait_ms));
    const Deadline deadline = end_ && end_->left() < limit.left() ? *end_ : limit;
    for (int tries = 0;; ++tries) {
        auto done = applied_(Position{position.text()});
        if (!done) return tl::unexpected<Error>(std::move(done).error());
        if (*done) break;
        if (deadline.passed()) {
            return fail(ErrorCode::timeout,
                        "the other side has not applied offset " + std::to_string(position.offset) +
                            " within " + std::to_string(limits::kVerifyWait_ms / 1000) + " s",
                        "look at the lag (exodus status) and run the command again; it resumes");
        }
        if (on_wait && tries == 10) {
            on_wait("the change stream to reach offset " + std::to_string(position.offset));
        }
        std::this_thread::sleep_for(milliseconds(limits::kVerifyPoll_ms));
    }
    if (on_wait) on_wait({});
    known_applied_ = position;
    return {};
}

Result<std::vector<KeyProof>> PairReader::prove(int db, const std::vector<std::string_view>& names,
                                                const OnWait& on_wait) {
    std::vector<KeyProof> proofs(names.size());
    auto here = authority().sizes(db, names);
    if (!here) return tl::unexpected<Error>(std::move(here).error());
    auto there = other().sizes(db, names);
    if (!there) return tl::unexpected<Error>(std::move(there).error());
    std::vector<std::string_view> small;
    std::vector<std::size_t> indexes;
    for (std::size_t i = 0; i < names.size(); ++i) {
        if (std::max((*here)[i], (*there)[i]) > limits::kCanonicalBigKey_bytes) {
            auto proof = prove_big(db, names[i], on_wait);
            if (!proof) return tl::unexpected<Error>(std::move(proof).error());
            proofs[i] = std::move(*proof);
        } else {
            small.push_back(names[i]);
            indexes.push_back(i);
        }
    }
    if (small.empty()) return proofs;
    EXODUS_TRY(authority().watch(db, small));
    auto replication = authority_client().info("replication");
    if (!replication) return tl::unexpected<Error>(std::move(replication).error());
    if (auto waited = wait_applied(StreamPosition::of(*replication), on_wait); !waited) {
        (void)authority().unwatch();
        return tl::unexpected<Error>(std::move(waited).error());
    }
    auto right = other().read_values(db, small);
    if (!right) {
        (void)authority().unwatch();
        return tl::unexpected<Error>(std::move(right).error());
    }
    auto left = authority().read_values(db, small);
    if (!left) return tl::unexpected<Error>(std::move(left).error());
    if (left->touched) return proofs;
    const int64_t now = std::max(left->time_ms, right->time_ms);
    for (std::size_t i = 0; i < small.size(); ++i) {
        auto& proof = proofs[indexes[i]];
        proof.difference = compare_states(left->states[i], right->states[i], now, rules_);
        proof.authority = std::move(left->states[i]);
        proof.other = std::move(right->states[i]);
    }
    return proofs;
}

Result<KeyProof> PairReader::prove_big(int db, std::string_view name, const OnWait& on_wait) {
    KeyProof proof;
    auto first = authority().read_big(db, name);
    if (!first) return tl::unexpected<Error>(std::move(first).error());
    if (!first->states[0].readable) return proof;
    EXODUS_TRY(wait_applied(first->position, on_wait));
    auto right = other().read_big(db, name);
    if (!right) return tl::unexpected<Error>(std::move(right).error());
    const auto compared = compare_states(first->states[0], right->states[0],
                                         std::max(first->time_ms, right->time_ms), rules_);
    proof.authority = first->states[0];
    proof.other = right->states[0];
    if (compared == Difference::none) {
        proof.difference = compared;
        return proof;
    }
    // Different: only proven if the authority stood still meanwhile.
    auto again = authority().read_big(db, name);
    if (!again) return tl::unexpected<Error>(std::move(again).error());
    const auto moved = compare_states(first->states[0], again->states[0], again->time_ms, rules_);
    if (moved == Difference::none) proof.difference = compared;
    return proof;
}

Result<bool> PairReader::follow_hot_key(int db, std::string_view name, milliseconds span) {
    const auto deadline = Deadline::in(span);
    // Elements that no round has proven; nothing before the first one. And what the authority
    // showed for them.
    std::optional<std::set<Digest128>> open;
    std::map<Digest128, std::set<Digest128>> seen;
    static constexpr ElementState kAbsent{};
    const auto state_of = [](const ElementMap& map, const Digest128& id) {
        const auto it = map.find(id);
        return it == map.end() ? kAbsent : it->second;
    };
    ElementMap before;
    ElementMap there;
    ElementMap after;
    auto whole = authority().read_elements(db, name, rules_.expiry, before);
    if (!whole) return whole;
    while (!deadline.passed()) {
        auto replication = authority_client().info("replication");
        if (!replication) return tl::unexpected<Error>(std::move(replication).error());
        EXODUS_TRY(wait_applied(StreamPosition::of(*replication)));
        auto right = other().read_elements(db, name, rules_.expiry, there);
        if (!right) return right;
        auto left = authority().read_elements(db, name, rules_.expiry, after);
        if (!left) return left;
        if (*whole && *right && *left) {
            std::set<Digest128> ids;
            if (open) {
                ids = *open;
            } else {
                for (const auto* map : {&before, &there, &after}) {
                    for (const auto& [id, state] : *map) ids.insert(id);
                }
            }
            std::set<Digest128> rest;
            for (const auto& id : ids) {
                const auto first = state_of(before, id);
                const auto last = state_of(after, id);
                const auto found = state_of(there, id);
                // Unchanged on the authority while the other side was read behind it: it must be
                // the same there.
                const bool still = first.state == last.state;
                if (still && found.state == first.state) continue;
                if (grew_past(first, found, last)) continue;
                auto& states = seen[id];
                states.insert(first.state);
                states.insert(last.state);
                if (!still && states.contains(found.state)) continue;
                rest.insert(id);
            }
            if (rest.empty()) return true;
            if (seen.size() > limits::kVerifyHotStates_max) return false;
            open = std::move(rest);
        }
        before.swap(after);
        whole = left;
    }
    return false;
}

}  // namespace exodus::redis
