// What real servers say about their commands (COMMAND), laid over the built-in table for all
// workers of the process. Workers read an immutable snapshot without a lock; a thread that blocks
// on the servers publishes the next one. Thread-safe.
#pragma once

#include <array>
#include <atomic>
#include <condition_variable>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <span>
#include <stop_token>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "base/error.h"
#include "core/endpoint.h"
#include "wire/resp/command_table.h"

namespace exodus::redis {

class CommandCatalog {
  public:
    using Overlay = std::shared_ptr<const resp::CommandOverlay>;
    /// Asks a server; blocks.
    using Fetch = std::function<Result<std::vector<resp::CommandFacts>>(Side side)>;

    CommandCatalog();

    /// Starts the thread that asks both sides: at once, and after each ask(). Once; later calls do
    /// nothing.
    void start(Fetch fetch);
    /// The server may be another one now, or have more commands: a connection to it was lost, or a
    /// client uses what is unknown.
    void ask(Side side);

    /// Changes whenever a snapshot is published.
    [[nodiscard]] uint64_t version() const { return version_.load(std::memory_order_acquire); }
    [[nodiscard]] Overlay snapshot() const;
    /// Lays more commands over the table; no new snapshot when there is nothing new.
    void lay(const std::vector<resp::CommandFacts>& facts);

  private:
    void run(const std::stop_token& stop, const Fetch& fetch);

    mutable std::mutex mutex_;
    std::condition_variable_any asked_;
    Overlay overlay_;
    std::array<bool, 2> wanted_{true, true};
    std::atomic<uint64_t> version_{0};
    std::jthread thread_;  ///< last: it uses everything above
};

/// Prefix of the traffic counters that name commands no side knows; analyze makes a finding of
/// them.
inline const std::string kUnknownCommandCounter = "unknown_command.";

/// What a worker holds of the catalog: its own reference to the newest snapshot it has seen. Rows
/// stay valid when it is renewed, because snapshots share them.
class CommandView {
  public:
    explicit CommandView(CommandCatalog& catalog) : catalog_(catalog) {}
    /// The row of a request that the built-in table does not know.
    const resp::CommandRow& classify(std::span<const std::string_view> arguments);
    /// A request whose row is not known goes to a server now: classified it may be several times.
    void sent(std::span<const std::string_view> arguments);
    /// Names that no side knows, with how often each was sent; bounded.
    [[nodiscard]] const std::map<std::string, uint64_t>& unknown() const { return unknown_; }

  private:
    /// Null when there are too many. A new name makes the servers be asked.
    uint64_t* entry_of(std::span<const std::string_view> arguments);

    CommandCatalog& catalog_;
    CommandCatalog::Overlay overlay_;
    uint64_t version_ = 0;
    std::map<std::string, uint64_t> unknown_;
};

}  // namespace exodus::redis
