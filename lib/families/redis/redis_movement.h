// Movement for Redis: owns the reader thread (link to spool), and in mode apply the lane and the
// copier. The public calls change the mode by stopping threads, changing what is durable, and
// starting them again; so each mode is entered in one way only, whether a call or a restart of the
// process leads to it.
#pragma once

#include <condition_variable>
#include <future>
#include <memory>
#include <mutex>
#include <thread>

#include "families/redis/backfill.h"
#include "families/redis/flow.h"
#include "families/redis/lane.h"
#include "families/redis/movement.h"
#include "families/redis/stray_watch.h"

namespace exodus::redis {

class RedisMovement final : public Movement {
  public:
    RedisMovement(const FamilyContext& context, Direction direction, const MovementTuning& tuning);
    ~RedisMovement() override;

    /// Before anything runs.
    void tell(std::shared_ptr<Freshness> fresh) { flow_.fresh = std::move(fresh); }

    Status set_mode(MovementMode mode) override;
    [[nodiscard]] MovementStatus status() const override;
    Result<Position> end_position() override;
    Result<bool> applied_through(const Position& position) override;
    Result<uint64_t> stand(uint64_t ticket, const Position& position, milliseconds span) override;
    bool go_on(uint64_t ticket) override;
    Status prove(milliseconds timeout) override;
    Result<Position> arm() override;
    Status hand_over() override;
    Status take_back() override;
    std::vector<std::string> touched(milliseconds span) override;
    Result<uint64_t> redrive() override;
    void set_paused(bool paused) override;
    Status set_throttle(std::string_view key, std::string_view value) override;
    Status forget() override;
    void stop() override;

  private:
    // movement.cpp: threads
    void start_threads();
    void stop_threads();
    void read_loop(const std::stop_token& stop);
    Status attach(const std::stop_token& stop);
    Status attach_for_apply(const std::stop_token& stop);
    Status attach_standby(const std::stop_token& stop);
    Status begin_fresh(bool repair, const std::stop_token& stop);
    Status on_frame(const Frame& frame, const std::vector<std::string_view>& args);
    void watch_strays(const Frame& frame, const std::vector<std::string_view>& args);
    Status start_workers();
    void stop_workers();
    void arm_if_asked();
    void publish_link();
    bool spool_has_room();
    void measure_spool(uint64_t bytes);

    // movement_calls.cpp: the journal and the destination
    Result<std::string> destination_run();
    Result<std::optional<Checkpoint>> read_checkpoint();
    Result<std::optional<Checkpoint>> read_checkpoint(Client& destination) const;
    Result<std::optional<DurableStart>> read_start();
    Status holds_last(Client& destination) const;
    Status save_start(const DurableStart& start);
    Result<std::unique_ptr<Client>> side_client(Side side);
    Result<StreamPosition> end_of_stream();
    Result<uint64_t> offset_of(const Position& position);

    // conflicts.cpp
    Status settle_conflicts(const std::stop_token& stop);

    Flow flow_;
    mutable std::mutex calls_;  ///< one public call that changes anything at a time
    std::atomic<MovementMode> mode_{MovementMode::off};
    std::jthread reader_;
    Link link_;
    bool spooling_ = false;  ///< reader only
    uint64_t spool_max_;
    const bool ack_durable_;
    bool spool_full_ = false;    ///< reader only, as what follows
    uint64_t growth_bytes_ = 0;  ///< size of the spool at growth_us_
    int64_t growth_us_ = 0;
    std::atomic<int64_t> spool_full_in_ms_{0};  ///< as it grows now; 0: it does not

    std::mutex workers_;  ///< guards what follows
    std::unique_ptr<Lane> lane_;
    std::unique_ptr<Backfill> backfill_;
    std::jthread lane_thread_;
    std::jthread copy_thread_;
    std::future<void> lane_end_;
    Checkpoint lane_last_;  ///< of the last lane that ended

    std::mutex marker_mutex_;
    std::condition_variable marker_changed_;
    std::string marker_;  ///< last PUBLISH on our channel
    std::optional<uint64_t>
        arm_at_;  ///< asked: start the spool at the first place at or behind this offset
    std::optional<StreamPlace> armed_;
    StreamPlace seen_;  ///< where the reader is
    std::atomic<int64_t> proven_ms_{0};
    StrayWatch strays_;  ///< reader only
    int64_t stray_us_ = 0;
};

}  // namespace exodus::redis
