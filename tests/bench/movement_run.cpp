#include "tests/bench/movement_run.h"

#include <fmt/format.h>

#include "families/registry.h"

namespace exodus::test {

namespace {

Settings settings_of(std::string name, int source_port, int target_port,
                     std::map<std::string, std::string> throttle) {
    Settings settings;
    settings.migration = std::move(name);
    settings.family = "redis";
    const auto endpoint = [](Side side, int port) {
        Endpoint end;
        end.side = side;
        end.family = "redis";
        end.host = "127.0.0.1";
        end.port = static_cast<uint16_t>(port);
        return end;
    };
    settings.source = endpoint(Side::source, source_port);
    settings.target = endpoint(Side::target, target_port);
    settings.migrate.throttle = std::move(throttle);
    return settings;
}

}  // namespace

Status PrintingJournal::add_item_error(const ItemError& error) {
    fmt::print("failed: {}\n", error.reason);
    return {};
}

Status PrintingJournal::add_event(std::string_view severity, std::string_view code,
                                  std::string_view text) {
    fmt::print("event {} {}: {}\n", severity, code, text);
    return {};
}

MovementRun::MovementRun(std::string name, int source_port, int target_port,
                         std::map<std::string, std::string> throttle)
    : settings_(settings_of(std::move(name), source_port, target_port, std::move(throttle))),
      dialer_(make_dialer()),
      context_{settings_, *dialer_, journal_, directory_.path()},
      movement_(make_family("redis")->make_movement(context_, Direction::forward)) {}

uint64_t MovementRun::start() {
    if (auto status = movement_->set_mode(MovementMode::apply); !status)
        throw std::runtime_error(status.error().message);
    wait_until([&] { return movement_->status().items_done > 0; });
    return movement_->status().items_done;
}

}  // namespace exodus::test
