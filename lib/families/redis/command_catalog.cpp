#include "families/redis/command_catalog.h"

#include <spdlog/spdlog.h>

#include "base/limits.h"
#include "base/stop_token.h"

namespace exodus::redis {

CommandCatalog::CommandCatalog() : overlay_(std::make_shared<const resp::CommandOverlay>()) {}

CommandCatalog::Overlay CommandCatalog::snapshot() const {
    const std::lock_guard lock(mutex_);
    return overlay_;
}

void CommandCatalog::ask(Side side) {
    {
        const std::lock_guard lock(mutex_);
        wanted_[static_cast<std::size_t>(side)] = true;
    }
    asked_.notify_all();
}

void CommandCatalog::lay(const std::vector<resp::CommandFacts>& facts) {
    auto next = std::make_shared<resp::CommandOverlay>(*snapshot());
    const std::size_t before = next->added();
    next->add(facts);
    if (next->added() == before) return;
    {
        const std::lock_guard lock(mutex_);
        overlay_ = std::move(next);
    }
    version_.fetch_add(1, std::memory_order_release);
}

void CommandCatalog::start(Fetch fetch) {
    const std::lock_guard lock(mutex_);
    if (thread_.joinable()) return;
    thread_ = std::jthread(
        [this, fetch = std::move(fetch)](const std::stop_token& stop) { run(stop, fetch); });
}

void CommandCatalog::run(const std::stop_token& stop, const Fetch& fetch) {
    while (!stop.stop_requested()) {
        std::array<bool, 2> wanted{};
        {
            std::unique_lock lock(mutex_);
            asked_.wait(lock, stop, [this] { return wanted_[0] || wanted_[1]; });
            wanted = std::exchange(wanted_, {false, false});
        }
        for (const Side side : {Side::source, Side::target}) {
            const auto index = static_cast<std::size_t>(side);
            if (!wanted[index] || stop.stop_requested()) continue;
            auto commands = fetch(side);
            if (!commands) {
                // Its commands stay unknown, which is the careful side; it is asked again.
                spdlog::debug("commands of the {}: {}", to_string(side), commands.error().message);
                ask(side);
                continue;
            }
            lay(*commands);
        }
        wait_unless_stopped(stop, milliseconds(limits::kRedisCommandTable_ms));
    }
}

const resp::CommandRow& CommandView::classify(std::span<const std::string_view> arguments) {
    if (const uint64_t version = catalog_.version(); overlay_ == nullptr || version != version_) {
        version_ = version;
        overlay_ = catalog_.snapshot();
    }
    const resp::CommandRow& row = overlay_->classify(arguments);
    if (!row.known) (void)entry_of(arguments);
    return row;
}

void CommandView::sent(std::span<const std::string_view> arguments) {
    if (uint64_t* times = entry_of(arguments); times != nullptr) ++*times;
}

uint64_t* CommandView::entry_of(std::span<const std::string_view> arguments) {
    if (arguments.empty()) return nullptr;
    std::string name;
    for (const char c : arguments[0].substr(0, limits::kRedisUnknownName_bytes_max))
        name += c > ' ' && c < 127 ? c : '?';
    const auto found = unknown_.find(name);
    if (found != unknown_.end()) return &found->second;
    if (unknown_.size() >= limits::kRedisUnknownNames_max) return nullptr;
    // A module may have been loaded since; each name is worth one question only.
    catalog_.ask(Side::source);
    catalog_.ask(Side::target);
    return &unknown_.emplace(std::move(name), 0).first->second;
}

}  // namespace exodus::redis
