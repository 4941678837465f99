// The mover: keeps the data movements of both directions in the modes that the migration row asks
// for. Runs inside the interlay's process (cli composes it there), so that data flows between
// commands and when a terminal is closed. It never changes the row; phase commands do, and steer it
// through the control operations mover.*.
#pragma once

#include <array>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

#include "base/limits.h"
#include "core/control.h"
#include "core/family.h"
#include "core/state.h"

namespace exodus {

/// Intervals; tests lower them. Defaults and reasons: base/limits.h.
struct MoverOptions {
    milliseconds poll{limits::kMoverPoll_ms};
    milliseconds poll_near_cutover{limits::kMoverPollNear_ms};
    milliseconds prove_every{limits::kProveEvery_ms};
    milliseconds prove_timeout{limits::kProveTimeout_ms};
};

class Mover {
  public:
    /// `state` is an instance of its own (StateSource::changed is per object). References outlive
    /// the mover.
    Mover(Family& family, const FamilyContext& context, StateSource& state,
          MoverOptions options = {});
    ~Mover();
    Mover(const Mover&) = delete;
    Mover& operator=(const Mover&) = delete;

    /// Makes both movements and starts the threads. A sick endpoint is no error here: it is retried
    /// and reported.
    Status start();
    /// Ends threads and movements; what is durable stays. Blocks up to a few seconds. Idempotent.
    void stop();
    /// Reads the row again at once. Call it from the handler of control_op::kLookNow.
    void look_now();
    /// The mover.* operations, to register at the control server. Valid until the mover is
    /// destroyed.
    ControlHandlers handlers();
    /// For the comparator and its re-checker in the same process.
    Following following(Direction direction);
    /// Both directions, for /status and metrics in this process. {"forward":{…},"reverse":{…}}, as
    /// mover.status.
    [[nodiscard]] MovementStatus status(Direction direction) const;

  private:
    struct Lane;  // one direction
    void run_poll(const std::stop_token& stop);
    void run_prove(const std::stop_token& stop);
    void follow_row(const MigrationRow& row);
    void follow_direction(Lane& lane, const MigrationRow& row);
    void report(Lane& lane);
    void event(std::string_view severity, std::string_view code, const std::string& text);
    Lane& lane_of(Direction direction) const;
    Result<Lane*> lane_of(const nlohmann::json& request) const;
    Result<MigrationRow> read_row();
    Result<nlohmann::json> hand_over(Lane& lane);
    Result<nlohmann::json> take_back(Lane& lane);
    Result<nlohmann::json> forget(Lane& lane);

    Family& family_;
    FamilyContext context_;
    StateSource& state_;
    MoverOptions options_;
    std::array<std::unique_ptr<Lane>, 2> lanes_;
    mutable std::mutex row_mutex_;
    std::optional<MigrationRow> row_;  ///< as read last
    std::mutex wake_mutex_;
    std::condition_variable_any wake_;
    bool look_ = false;
    std::string state_error_;
    std::jthread poller_;
    std::jthread prover_;
};

/// MovementStatus over the control socket.
nlohmann::json to_json(const MovementStatus& status);
MovementStatus movement_status_from_json(const nlohmann::json& in);
Result<Direction> direction_from(std::string_view text);
/// What to say when the interlay works with another configuration than a command read, by their
/// hashes; empty when it does not, or when one is not known.
std::string other_configuration(const std::string& its_hash, const std::string& hash);

/// The Movement operations of a running mover as a client of the control socket sees them.
/// Blocks; not thread-safe beyond ControlPort itself.
class MoverClient {
  public:
    struct Both {
        MovementStatus forward;
        MovementStatus reverse;
        std::string config_hash;  ///< of the configuration that they work with; empty: not told
    };
    explicit MoverClient(ControlPort& port) : port_(port) {}
    Result<Both> both();
    Result<MovementStatus> status(Direction direction);
    Result<bool> applied(Direction direction, const Position& position);
    Result<uint64_t> stand(Direction direction, uint64_t ticket, const Position& position,
                           milliseconds span);
    Result<bool> go_on(Direction direction, uint64_t ticket);
    Result<Position> end(Direction direction);
    Status prove(Direction direction, milliseconds timeout);
    Result<Position> arm(Direction direction);
    Status hand_over(Direction direction);
    Status take_back(Direction direction);
    Result<std::vector<std::string>> touched(Direction direction, milliseconds span);
    Result<uint64_t> redrive(Direction direction);
    /// `by`: who asks, for the event of it.
    Status throttle(const std::string& key, const std::string& value, const std::string& by);
    Status pause(bool paused);
    Status forget(Direction direction);
    Status look_now();

  private:
    ControlPort& port_;
};

}  // namespace exodus
