#include "families/redis/family.h"

#include <algorithm>
#include <array>

#include "families/redis/fence.h"
#include "families/redis/freshness.h"
#include "families/redis/inspector.h"
#include "families/redis/movement.h"
#include "families/redis/options.h"
#include "families/redis/request_log.h"
#include "families/redis/tap_session.h"
#include "families/redis/traffic.h"
#include "families/redis/verifier.h"

namespace exodus::redis {

namespace {

class RedisFamily final : public Family {
  public:
    [[nodiscard]] std::string_view name() const override { return "redis"; }
    [[nodiscard]] uint16_t default_port() const override { return 6379; }
    [[nodiscard]] std::vector<std::pair<std::string, bool>> schemes() const override {
        return {{"redis", false}, {"rediss", true}, {"valkey", false}, {"valkeys", true}};
    }
    [[nodiscard]] std::vector<Error> validate(const Settings& settings) const override {
        return validate_settings(settings);
    }

    std::unique_ptr<Inspector> make_inspector(const FamilyContext& context) override {
        return make_redis_inspector(context);
    }
    std::unique_ptr<Movement> make_movement(const FamilyContext& context,
                                            Direction direction) override {
        // Canary reads go to the target: what follows it is the forward movement.
        if (direction == Direction::forward) return make_redis_movement(context, direction, fresh_);
        return make_redis_movement(context, direction);
    }
    std::unique_ptr<Verifier> make_verifier(const FamilyContext& context, Direction direction,
                                            Following following) override {
        return make_redis_verifier(context, direction, std::move(following));
    }
    std::unique_ptr<Fence> make_fence(const FamilyContext& context, Side side) override {
        return make_redis_fence(context, side);
    }
    std::unique_ptr<TrafficShared> make_traffic(const FamilyContext& context) override {
        return make_redis_traffic(context, fresh_);
    }
    std::unique_ptr<TapSession> make_tap_session() override { return make_redis_tap_session(); }
    Result<uint64_t> read_log(const FamilyContext& context, const std::string& file,
                              milliseconds duration, const std::stop_token& stop,
                              const OnLoggedRequest& on_request) override {
        return read_redis_log(context, file, duration, stop, on_request);
    }

  private:
    /// Between the parts of one process.
    std::shared_ptr<Freshness> fresh_ = std::make_shared<Freshness>();
};

}  // namespace

std::unique_ptr<Family> make_redis_family() { return std::make_unique<RedisFamily>(); }

}  // namespace exodus::redis
