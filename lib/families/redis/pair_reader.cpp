#include "families/redis/pair_reader.h"

#include <algorithm>
#include <thread>

#include "base/limits.h"

namespace exodus::redis {

PairReader::PairReader(const FamilyContext& context, Side authority, Following following)
    : settings_(context.settings), dialer_(context.dialer), following_(std::move(following)) {
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
    if (end.reader && !end.client->broken() && end.client->pending_replies() == 0) return {};
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
    // Looking at every key must not make cold ones look hot. Servers without it (below 7.2) answer
    // with an error.
    end.client->append({"CLIENT", "NO-TOUCH", "ON"});
    end.client->append({"CLIENT", "NO-EVICT", "ON"});
    end.client->append({"INFO", "server"});
    auto replies = end.client->read_all();
    if (!replies) return fail(std::move(replies).error(), to_string(end.side));
    if (replies->back().is_error())
        return fail(error_of(replies->back(), "INFO"), to_string(end.side));
    const Info server = Info::parse(replies->back().text());
    end.run_id = server.get("run_id");
    end.reader = std::make_unique<CanonicalReader>(*end.client, ServerVersion::of(server));
    return {};
}

Status PairReader::wait_applied(const StreamPosition& position, const OnWait& on_wait) {
    if (!following_.applied) return {};
    if (known_applied_.replid == position.replid && known_applied_.offset >= position.offset) {
        return {};
    }
    const auto limit = Deadline::in(milliseconds(limits::kVerifyWait_ms));
    const Deadline deadline = end_ && end_->left() < limit.left() ? *end_ : limit;
    for (int tries = 0;; ++tries) {
        auto done = following_.applied(Position{position.text()});
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
        proof.difference = compare_states(left->states[i], right->states[i], now);
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
                                         std::max(first->time_ms, right->time_ms));
    proof.authority = first->states[0];
    proof.other = right->states[0];
    if (compared == Difference::none) {
        proof.difference = compared;
        return proof;
    }
    // Different: only proven if the authority stood still meanwhile.
    auto again = authority().read_big(db, name);
    if (!again) return tl::unexpected<Error>(std::move(again).error());
    const auto moved = compare_states(first->states[0], again->states[0], again->time_ms);
    if (moved == Difference::none) proof.difference = compared;
    return proof;
}

Result<bool> PairReader::at_one_place(const ReadAuthority& read_authority,
                                      const ReadOther& read_other) {
    if (!following_.stand || !following_.go_on) return false;
    const milliseconds span(limits::kStand_ms_max);
    // Not standing is no failure: the caller tries again, or has no proof.
    const auto only_late = [](const Error& error) {
        return error.code == ErrorCode::timeout || error.code == ErrorCode::locked ||
               error.code == ErrorCode::not_allowed || error.code == ErrorCode::gap;
    };
    if (const int64_t rest = rest_until_us_ - steady_us(); rest > 0)
        std::this_thread::sleep_for(std::chrono::microseconds(rest));
    const int64_t began_us = steady_us();
    auto ticket = following_.stand(0, {}, span);
    if (!ticket && only_late(ticket.error())) return false;
    if (!ticket) return tl::unexpected<Error>(std::move(ticket).error());
    Status read;
    bool late = false;
    if (auto position = read_authority()) {
        auto there = following_.stand(*ticket, Position{position->text()}, span);
        late = !there && only_late(there.error());
        if (there)
            read = read_other();
        else if (!late)
            read = tl::unexpected<Error>(std::move(there).error());
    } else {
        read = tl::unexpected<Error>(std::move(position).error());
    }
    auto stood = following_.go_on(*ticket);
    const auto took_us = static_cast<double>(steady_us() - began_us);
    rest_until_us_ =
        steady_us() + static_cast<int64_t>(took_us * (1 / limits::kStandShare_max - 1));
    EXODUS_TRY(read);
    if (!stood) return stood;
    return *stood && !late;
}

Result<std::vector<KeyProof>> PairReader::prove_hot(int db,
                                                    const std::vector<std::string_view>& names) {
    std::vector<KeyProof> proofs(names.size());
    auto here = authority().sizes(db, names);
    if (!here) return tl::unexpected<Error>(std::move(here).error());
    std::vector<std::string_view> wanted;
    std::vector<std::size_t> indexes;
    for (std::size_t i = 0; i < names.size(); ++i) {
        if ((*here)[i] > limits::kStandKey_bytes_max) continue;
        wanted.push_back(names[i]);
        indexes.push_back(i);
    }
    Snapshot left;
    Snapshot right;
    const auto read = [&](CanonicalReader& reader, Snapshot& snapshot) -> Status {
        auto values = reader.read_values(db, wanted);
        if (!values) return tl::unexpected<Error>(std::move(values).error());
        snapshot = std::move(*values);
        return {};
    };
    auto stood = at_one_place(
        [&]() -> Result<StreamPosition> {
            EXODUS_TRY(read(authority(), left));
            return left.position;
        },
        [&] { return read(other(), right); });
    if (!stood) return tl::unexpected<Error>(std::move(stood).error());
    if (!*stood) return proofs;
    const int64_t now = std::max(left.time_ms, right.time_ms);
    for (std::size_t i = 0; i < wanted.size(); ++i) {
        auto& proof = proofs[indexes[i]];
        proof.difference = compare_states(left.states[i], right.states[i], now);
        proof.authority = std::move(left.states[i]);
        proof.other = std::move(right.states[i]);
    }
    return proofs;
}

}  // namespace exodus::redis
