#include "families/redis/traffic.h"

#include <algorithm>
#include <map>
#include <set>

#include "base/clock.h"
#include "base/limits.h"
#include "families/redis/client.h"
#include "families/redis/functions.h"
#include "families/redis/normalizer.h"
#include "families/redis/process_state.h"
#include "families/redis/rechecker.h"
#include "families/redis/traffic_worker.h"

namespace exodus::redis {

namespace {

/// A reply of the workflow's client as the tree that the wire code reads; texts are views into it.
resp::Value value_of(const ReplyView& reply) {
    resp::Value out;
    switch (reply.type()) {
        case ReplyType::nil:
            break;
        case ReplyType::integer:
            out.type = resp::Type::integer;
            out.integer = reply.integer();
            break;
        case ReplyType::array:
            out.type = resp::Type::array;
            for (std::size_t i = 0; i < reply.size(); ++i) out.items.push_back(value_of(reply[i]));
            break;
        case ReplyType::string:
        case ReplyType::status:
        case ReplyType::error:
            out.type = reply.is_error() ? resp::Type::error : resp::Type::bulk;
            out.text = reply.text();
            break;
    }
    return out;
}

class RedisTraffic final : public TrafficShared {
  public:
    RedisTraffic(const FamilyContext& context, std::shared_ptr<const Freshness> fresh)
        : context_(context), state_(context.settings) {
        if (fresh) state_.fresh = std::move(fresh);
        state_.seen.keep_in(context.journal,
                            {context.settings.source.address(), context.settings.target.address()});
    }

    std::unique_ptr<ProtocolWorker> make_worker(WorkerIo& io) override {
        state_.commands.start([this](Side side) { return commands_of(side); });
        auto worker = std::make_unique<TrafficWorker>(state_, io);
        worker->ask_login_rule_first();
        return worker;
    }

    void add_observations(TrafficStats& into, const TrafficStats& from) override {
        const auto profile = from.observations.find(kProfileObservation);
        if (profile != from.observations.end()) TrafficProfile::add_to(into, profile->second);
    }

    Status ready_for(Side side) override {
        EXODUS_TRY(logins_proven(side));
        if (side == Side::target) EXODUS_TRY(functions_arrived());
        return load_scripts(side);
    }

    Status probe_fence(Side side, milliseconds timeout) override {
        const Deadline deadline = Deadline::in(timeout);
        if (state_.identities.overflowed())
            return fail(ErrorCode::safety, "more users logged in than can be remembered",
                        "not every one of them can be proven fenced; the cutover is not continued");
        for (const Identity& identity : state_.identities.all()) {
            // A made-up key proves nothing; who never wrote is covered by the fence's own ACL
            // DRYRUN of every user.
            if (identity.sample_key.empty()) continue;
            auto client = connect_as(side, state_.login_for(side, identity.id), deadline.left());
            if (!client) {
                if (client.error().code == ErrorCode::permission) continue;  // not even let in
                return fail(std::move(client).error(), "fence probe");
            }
            if (identity.sample_database != 0) {
                // Refused: it stays in database 0, where its rights are the same.
                auto selected = (*client)->command(
                    {"SELECT", std::to_string(identity.sample_database)}, deadline);
                if (!selected) return fail(std::move(selected).error(), "fence probe");
            }
            auto reply = (*client)->command({"SETRANGE", identity.sample_key, "0", ""}, deadline);
            if (!reply) return fail(std::move(reply).error(), "fence probe");
            const std::string_view word =
                reply->is_error() ? error_word(*reply) : std::string_view{};
            // Refused for the name of the key only (a write that never succeeded), the command
            // itself is still allowed.
            const bool by_command =
                word == "NOPERM" && reply->text().find("to run the") != std::string_view::npos;
            if (word == "NOAUTH" || by_command) continue;
            return fail(ErrorCode::safety,
                        "user " + (identity.user.empty() ? std::string("default") : identity.user) +
                            " can still write on " + std::string(to_string(side)),
                        "the fence does not hold; the cutover is not continued");
        }
        return {};
    }

    Result<nlohmann::json> begin_capture(const std::string& path) override {
        EXODUS_TRY(state_.capture.begin(path));
        return nlohmann::json{{"path", path}};
    }
    Result<nlohmann::json> end_capture() override {
        auto counts = state_.capture.end();
        if (!counts) return tl::unexpected<Error>(std::move(counts).error());
        return nlohmann::json{
            {"written", counts->written}, {"dropped", counts->dropped}, {"bytes", counts->bytes}};
    }

    std::unique_ptr<Normalizer> make_normalizer() override {
        return make_redis_normalizer(context_.settings.compare);
    }
    std::unique_ptr<Rechecker> make_rechecker(Following following) override {
        return std::make_unique<RoutedRechecker>(*this, std::move(following));
    }

  private:
    /// The side whose answers are right changes at a switch.
    class RoutedRechecker final : public Rechecker {
      public:
        RoutedRechecker(RedisTraffic& traffic, Following following)
            : traffic_(traffic), following_(std::move(following)) {}
        Result<RecheckOutcome> recheck(const ExchangePair& pair) override {
            return recheck_all({pair}).front();
        }
        std::vector<Result<RecheckOutcome>> recheck_all(
            const std::vector<ExchangePair>& pairs) override {
            const Side authority = traffic_.state_.authority.load();
            if (inner_ == nullptr || authority != of_) {
                inner_ = make_redis_rechecker(traffic_.context_, following_, authority,
                                              traffic_.make_normalizer());
                of_ = authority;
            }
            return inner_->recheck_all(pairs);
        }

      private:
        RedisTraffic& traffic_;
        Following following_;
        Side of_ = Side::source;
        std::unique_ptr<Rechecker> inner_;
    };

    /// Every user of the last day. Those who came to an earlier process only cannot be tried
    /// without their passwords: what that process proved counts as long as all evidence does.
    Status logins_proven(Side side) {
        auto lately = state_.seen.lately(wall_ms());
        if (!lately) return fail(std::move(lately).error(), "ready for switch");
        std::set<std::string> absent(lately->begin(), lately->end());
        std::map<std::string, bool> tried;
        for (const Identity& identity : state_.identities.all()) {
            const std::string name = name_of(identity);
            const bool anonymous = identity.id == kAnonymous;
            if (!identity.used && !(anonymous && absent.contains(name))) continue;
            auto enters = may_enter(side, state_.login_for(side, identity.id));
            if (!enters) return fail(std::move(enters).error(), "ready for switch");
            // A client that is not let in on either side sees the same before and after.
            if (!*enters && anonymous) {
                auto before = may_enter(other(side), ClientLogin{});
                if (!before) return fail(std::move(before).error(), "ready for switch");
                *enters = !*before;
            }
            absent.erase(name);
            tried[name] = *enters && (!tried.contains(name) || tried[name]);
        }
        std::string unproven;
        for (const std::string& name : absent) {
            const auto login = state_.configured_login(side, name);
            if (login) {
                auto enters = may_enter(side, login);
                if (!enters) return fail(std::move(enters).error(), "ready for switch");
                tried[name] = *enters;
            } else if (!state_.maps && !state_.seen.enters(name, side, wall_ms())) {
                unproven += (unproven.empty() ? "" : ", ") + name;
            }
        }
        std::string refused;
        for (const auto& [name, enters] : tried) {
            if (!name.empty()) state_.seen.tried(name, side, enters, wall_ms());
            if (!enters)
                refused += (refused.empty() ? "" : ", ") + (name.empty() ? "default" : name);
        }
        if (!refused.empty()) {
            return fail(ErrorCode::gate_not_met,
                        "users cannot log in to " + std::string(to_string(side)) + ": " + refused,
                        "create them there with the same passwords, or set redis.target.auth");
        }
        if (unproven.empty()) return {};
        return fail(ErrorCode::gate_not_met,
                    "users that have not come again since the interlay was started, and were never "
                    "proven on " +
                        std::string(to_string(side)) + ": " + unproven +
                        " (each is when it connects, and stops counting a day after it was seen)");
    }

    /// False: refused by the server, or nobody to be let in. Errors: everything else.
    Result<bool> may_enter(Side side, const std::optional<ClientLogin>& login) {
        auto client = connect_as(side, login, milliseconds(limits::kRedisConnect_ms));
        if (!client) {
            if (client.error().code == ErrorCode::permission) return false;
            return tl::unexpected<Error>(std::move(client).error());
        }
        auto reply = (*client)->command({"PING"});
        if (!reply) return tl::unexpected<Error>(std::move(reply).error());
        return error_word(*reply) != "NOAUTH";
    }

    Result<std::unique_ptr<Client>> connect_as(Side side, const std::optional<ClientLogin>& login,
                                               milliseconds timeout) {
        Endpoint endpoint = context_.settings.endpoint(side);
        endpoint.database = 0;
        if (!login) return fail(ErrorCode::permission, "this login is not valid any more");
        endpoint.user = login->user;
        endpoint.password = login->password;
        ConnectOptions options;
        options.timeout = timeout;
        options.name.clear();
        return Client::connect(context_.dialer, endpoint, options);
    }

    Result<std::vector<resp::CommandFacts>> commands_of(Side side) {
        auto client = Client::connect(context_.dialer, context_.settings.endpoint(side));
        if (!client) return tl::unexpected<Error>(std::move(client).error());
        auto reply = (*client)->ask({"COMMAND"});
        if (!reply) return tl::unexpected<Error>(std::move(reply).error());
        return resp::parse_command_reply(value_of(*reply));
    }

    /// What clients call must be there, except what the conflict policy keeps the target's own of.
    Status functions_arrived() {
        Libraries libraries[2];
        for (const Side side : {Side::source, Side::target}) {
            auto client = Client::connect(context_.dialer, context_.settings.endpoint(side));
            if (!client) return fail(std::move(client).error(), "comparing functions");
            auto read = read_libraries(**client);
            if (!read) return fail(std::move(read).error(), "comparing functions");
            libraries[static_cast<std::size_t>(side)] = std::move(*read);
        }
        auto kept = kept_libraries(context_.journal);
        if (!kept) return tl::unexpected<Error>(std::move(kept).error());
        std::string names;
        for (const auto& name : library_changes(libraries[0], libraries[1], *kept, {}).loaded)
            names += (names.empty() ? "" : ", ") + name;
        if (names.empty()) return {};
        return fail(
            ErrorCode::gate_not_met,
            "function libraries of the source that the target lacks or has otherwise: " + names,
            "exodus events says what the target refused");
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

std::unique_ptr<TrafficShared> make_redis_traffic(const FamilyContext& context,
                                                  std::shared_ptr<const Freshness> fresh) {
    return std::make_unique<RedisTraffic>(context, std::move(fresh));
}

}  // namespace exodus::redis
