#include "families/redis/flow.h"

#include <algorithm>
#include <fmt/format.h>
#include <sstream>

namespace exodus::redis {

std::string DurableStart::text() const {
    return fmt::format("{} {} {} {} {}", place.replid, place.offset, place.db, exact ? 1 : 0,
                       epoch_min);
}

std::optional<DurableStart> DurableStart::parse(std::string_view text) {
    std::istringstream in{std::string(text)};
    DurableStart start;
    int exact = 0;
    if (!(in >> start.place.replid >> start.place.offset >> start.place.db >> exact >>
          start.epoch_min))
        return std::nullopt;
    start.exact = exact != 0;
    return start;
}

std::string Checkpoint::text() const {
    return fmt::format("{} {} {} {} {}", epoch, place.replid, place.offset, place.db, batch);
}

std::optional<Checkpoint> Checkpoint::parse(std::string_view text) {
    std::istringstream in{std::string(text)};
    Checkpoint checkpoint;
    if (!(in >> checkpoint.epoch >> checkpoint.place.replid >> checkpoint.place.offset >>
          checkpoint.place.db >> checkpoint.batch)) {
        return std::nullopt;
    }
    if (checkpoint.text() != text) return std::nullopt;
    return checkpoint;
}

std::string migration_id(std::string_view migration) { return sha256_hex(migration).substr(0, 12); }

std::string checkpoint_key_of(std::string_view migration, Direction direction) {
    return fmt::format("{}{}:{}:0", kCheckpointPrefix, migration_id(migration),
                       to_string(direction));
}

Flow::Flow(const FamilyContext& context_in, Direction direction_in)
    : context(context_in),
      direction(direction_in),
      name(to_string(direction_in)),
      id(migration_id(context_in.settings.migration)),
      checkpoint_key(checkpoint_key_of(context_in.settings.migration, direction_in)),
      big_record(fmt::format("{}big:{}:{}", kOwnPrefix, id, name)),
      channel(fmt::format("{}{}", kOwnPrefix, id)),
      origin(context_in.settings.endpoint(origin_of(direction_in))),
      destination(context_in.settings.endpoint(destination_of(direction_in))),
      scope(context_in.settings.scope) {}

void Flow::trouble(Trouble Flow::*whose, const Error& error, bool blocked) {
    std::string text =
        error.hint.empty() ? error.message : fmt::format("{} ({})", error.message, error.hint);
    const std::lock_guard lock(mutex);
    this->*whose = blocked ? Trouble{{}, std::move(text)} : Trouble{std::move(text), {}};
}

void Flow::well(Trouble Flow::*whose) {
    const std::lock_guard lock(mutex);
    this->*whose = {};
}

Result<std::optional<Checkpoint>> Flow::checkpoint_in(ReplyView held) const {
    if (held.is_nil()) return std::optional<Checkpoint>();
    const bool other_type = held.is_error() && error_word(held) == "WRONGTYPE";
    if (held.is_error() && !other_type) return tl::unexpected<Error>(error_of(held, "GET"));
    auto checkpoint = other_type ? std::nullopt : Checkpoint::parse(held.text());
    if (checkpoint) return checkpoint;
    const auto side = to_string(destination_of(direction));
    return fail(ErrorCode::safety,
                fmt::format("the key {} on the {} holds something that exodus did not write; "
                            "nothing was changed there",
                            checkpoint_key, side),
                fmt::format("find out who wrote it, and rename or remove it on the {}; exodus "
                            "looks again by itself",
                            side));
}

Status Flow::destination_kept(const std::optional<Checkpoint>& held,
                              const DurableStart& start) const {
    if (held && held->epoch >= start.epoch_min) return {};
    auto written = context.journal.load_position(name, "cp");
    if (!written) return tl::unexpected<Error>(std::move(written).error());
    if (!*written || **written != "written") return {};
    return tl::unexpected<Error>(destination_lost());
}

Error Flow::destination_lost() const {
    if (direction == Direction::forward) {
        return {ErrorCode::safety, "target lost its data: what exodus wrote there last is gone",
                "start the target with its data; or exodus rollback (--give-up after an earlier "
                "one), then exodus migrate, which copies everything again"};
    }
    return {ErrorCode::safety,
            "rollback impossible: source lost its data: what exodus wrote there last is gone",
            "the target stays authoritative; start the source with its data, or end without a way "
            "back: exodus commit --skip-gate commit --reason TEXT"};
}

Status Flow::remember_origin(Client& client) {
    auto info = client.info("default");
    if (!info) return tl::unexpected<Error>(std::move(info).error());
    if (info->get("master_replid") != followed()) return {};
    return context.journal.save_position(name, "keys", std::to_string(info->keys()));
}

Status Flow::origin_kept(std::string_view history) const {
    auto stored = context.journal.load_position(name, "keys");
    if (!stored) return tl::unexpected<Error>(std::move(stored).error());
    if (!*stored) return {};
    auto client = connect(origin, "call");
    if (!client) return tl::unexpected<Error>(std::move(client).error());
    auto there = (*client)->info("default");
    if (!there) return tl::unexpected<Error>(std::move(there).error());
    if (there->get("master_replid") == history) return {};
    const auto side = to_string(origin_of(direction));
    if (there->integer("loading") == 1)
        return fail(ErrorCode::unreachable, fmt::format("the {} is loading its data", side));
    client = connect(destination, "call");
    if (!client) return tl::unexpected<Error>(std::move(client).error());
    auto here = (*client)->info("keyspace");
    if (!here) return tl::unexpected<Error>(std::move(here).error());
    const auto known = static_cast<uint64_t>(std::max<int64_t>(0, to_number(**stored).value_or(0)));
    if (2 * there->keys() >= std::min(known, here->keys())) return {};
    const auto other = to_string(destination_of(direction));
    return fail(
        ErrorCode::safety,
        fmt::format("{} lost its data: it came back with {} keys where it had {}; the {} holds {}, "
                    "and nothing is removed there",
                    side, there->keys(), known, other, here->keys()),
        direction == Direction::forward
            ? "start the source with its data, and exodus goes on; if so little is right, exodus "
              "rollback (--give-up after an earlier one), then exodus migrate"
            : "start the target with its data, or with the RDB file of a BGSAVE of the source, and "
              "exodus goes on");
}

Result<bool> Flow::same_run(Client& server) const {
    auto stored = context.journal.load_position(name, "run");
    if (!stored) return tl::unexpected<Error>(std::move(stored).error());
    if (!*stored) return true;
    auto info = server.info("server");
    if (!info) return tl::unexpected<Error>(std::move(info).error());
    return info->get("run_id") == **stored;
}

Result<std::unique_ptr<Client>> Flow::connect(const Endpoint& endpoint,
                                              std::string_view role) const {
    auto client = Client::connect(context.dialer, endpoint,
                                  {.timeout = milliseconds(limits::kRedisConnect_ms),
                                   .command_timeout = milliseconds(limits::kLaneCommand_ms),
                                   .name = "exodus-" + std::string(role),
                                   .database = 0});
    if (!client) return fail(std::move(client).error(), to_string(endpoint.side));
    return client;
}

}  // namespace exodus::redis
