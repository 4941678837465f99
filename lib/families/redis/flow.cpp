#include "families/redis/flow.h"

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
    return fmt::format("{} {} {} {}", epoch, place.replid, place.offset, place.db);
}

std::optional<Checkpoint> Checkpoint::parse(std::string_view text) {
    std::istringstream in{std::string(text)};
    Checkpoint checkpoint;
    if (!(in >> checkpoint.epoch >> checkpoint.place.replid >> checkpoint.place.offset >>
          checkpoint.place.db)) {
        return std::nullopt;
    }
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
      channel(fmt::format("{}{}", kOwnPrefix, id)),
      origin(context_in.settings.endpoint(origin_of(direction_in))),
      destination(context_in.settings.endpoint(destination_of(direction_in))),
      scope(context_in.settings.scope) {}

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

void wait_for_change(Flow& flow, const std::stop_token& stop, milliseconds span) {
    std::unique_lock lock(flow.mutex);
    flow.changed.wait_for(lock, stop, span, [] { return false; });
}

}  // namespace exodus::redis
