#include "families/redis/traffic.h"

#include <algorithm>
#include <cstdlib>

#include "base/limits.h"
#include "families/redis/client.h"
#include "families/redis/normalizer.h"
#include "families/redis/process_state.h"
#include "families/redis/rechecker.h"
#include "families/redis/traffic_worker.h"

namespace exodus::redis {

namespace {

std::string option(const Settings& settings, const std::string& name, const char* fallback) {
    const auto found = settings.family_options.find(name);
    return found == settings.family_options.end() ? fallback : found->second;
}

int64_t duration_us(const std::string& text, int64_t fallback_us) {
    char* end = nullptr;
    const double value = std::strtod(text.c_str(), &end);
    if (end == text.c_str() || value < 0) return fallback_us;
    const std::string unit(end);
    return static_cast<int64_t>(value * (unit == "s" ? 1e6 : unit == "us" ? 1 : 1e3));
}

}  // namespace

ProcessState::ProcessState(const Settings& settings_in)
    : settings(settings_in),
      sharing(option(settings_in, "interlay.sharing", "on") != "off"),
      target_service(option(settings_in, "target.auth", "same") == "service"),
      canary_max_lag_us(duration_us(option(settings_in, "canary.max_lag", "200ms"), 200'000)) {}

namespace {

class RedisTraffic final : public TrafficShared {
  public:
    explicit RedisTraffic(const FamilyContext& context)
        : context_(context), state_(context.settings) {}

    std::unique_ptr<ProtocolWorker> make_worker(WorkerIo& io) override {
        return std::make_unique<TrafficWorker>(state_, io);
    }

    Status ready_for(Side side) override {
        std::string refused;
        for (const Identity& identity : state_.identities.all()) {
            if (!identity.used && identity.id != kAnonymous) continue;
            auto client = connect_as(side, identity, milliseconds(limits::kRedisConnect_ms));
            if (!client) {
                if (client.error().code != ErrorCode::permission)
                    return fail(std::move(client).error(), "ready for switch");
                refused += (refused.empty() ? "" : ", ") +
                           (identity.user.empty() ? "default" : identity.user);
            }
        }
        if (!refused.empty()) {
            return fail(ErrorCode::gate_not_met,
                        "users cannot log in to " + std::string(to_string(side)) + ": " + refused,
                        "create them there with the same passwords, or set redis.target.auth");
        }
        return load_scripts(side);
    }

    Status probe_fence(Side side, milliseconds timeout) override {
        const Deadline deadline = Deadline::in(timeout);
        for (const Identity& identity : state_.identities.all()) {
            if (!identity.used) continue;
            auto client = connect_as(side, identity, deadline.left());
            if (!client) return fail(std::move(client).error(), "fence probe");
            if (identity.sample_database != 0)
                EXODUS_TRY((*client)->select(identity.sample_database));
            // A made-up key could be refused for its name only; then the words name the key and not
            // the command.
            const bool real_key = !identity.sample_key.empty();
            const std::string key = real_key ? identity.sample_key : "exodus:probe";
            auto reply = (*client)->command({"SETRANGE", key, "0", ""}, deadline);
            if (!reply) return fail(std::move(reply).error(), "fence probe");
            const std::string_view word =
                reply->is_error() ? error_word(*reply) : std::string_view{};
            const bool refused = word == "NOPERM" || word == "NOAUTH";
            const bool by_command = real_key || word == "NOAUTH" ||
                                    reply->text().find("run the") != std::string_view::npos;
            if (refused && by_command) continue;
            return fail(ErrorCode::safety,
                        "user " + (identity.user.empty() ? std::string("default") : identity.user) +
                            " can still write on " + std::string(to_string(side)),
                        "the fence does not hold; the cutover is not continued");
        }
        return {};
    }

    std::unique_ptr<Normalizer> make_normalizer() override {
        return make_redis_normalizer(context_.settings.compare);
    }
    std::unique_ptr<Rechecker> make_rechecker(AppliedThrough applied) override {
        return make_redis_rechecker(context_, std::move(applied), Side::source, make_normalizer());
    }

  private:
    Result<std::unique_ptr<Client>> connect_as(Side side, const Identity& identity,
                                               milliseconds timeout) {
        Endpoint endpoint = context_.settings.endpoint(side);
        endpoint.database = 0;
        const bool service =
            side == Side::target && state_.target_service && identity.id != kAnonymous;
        if (!service) {
            endpoint.user = identity.user;
            endpoint.password = identity.password;
        }
        ConnectOptions options;
        options.timeout = timeout;
        options.name.clear();
        return Client::connect(context_.dialer, endpoint, options);
    }

    Status load_scripts(Side side) {
        const auto bodies = state_.scripts.bodies();
        if (bodies.empty()) return {};
        auto client = Client::connect(context_.dialer, context_.settings.endpoint(side));
        if (!client) return fail(std::move(client).error(), "loading scripts");
        for (const std::string& body : bodies) {
            auto reply = (*client)->command({"SCRIPT", "LOAD", body});
            if (!reply) return fail(std::move(reply).error(), "loading scripts");
            // A script that does not compile never ran anywhere; only a missing right is a reason
            // to stop.
            if (reply->is_error() && error_word(*reply) == "NOPERM")
                return fail(error_of(*reply, "SCRIPT LOAD"), "loading scripts");
        }
        return {};
    }

    FamilyContext context_;
    ProcessState state_;
};

}  // namespace

std::unique_ptr<TrafficShared> make_redis_traffic(const FamilyContext& context) {
    return std::make_unique<RedisTraffic>(context);
}

}  // namespace exodus::redis
