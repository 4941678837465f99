#include "workflow/status_events.h"

#include <algorithm>
#include <fmt/format.h>
#include <utility>

#include "core/json_text.h"
#include "workflow/gate_text.h"

namespace exodus {

using nlohmann::json;

struct ConditionRule {
    const char* code;
    const char* code_over;
    int64_t on_s;
    int64_t over_s;
};

namespace {

/// No code is told again sooner, about the same side or direction.
constexpr int64_t kRepeat_us = 10'000'000;
constexpr int64_t kRepeatEach_us = 60'000'000;

// The endpoints are probed every two seconds: three are two answers, one is a packet lost.
constexpr ConditionRule kDown{"endpoint.down", "endpoint.down-over", 3, 3};
constexpr ConditionRule kRole{"endpoint.role", "endpoint.role-over", 3, 3};
constexpr ConditionRule kSlow{"endpoint.slow", "endpoint.slow-over", 30, 30};
constexpr ConditionRule kMemory{"endpoint.memory", "endpoint.memory-over", 3, 10};
constexpr ConditionRule kReplicaLag{"endpoint.replica-lag", "endpoint.replica-lag-over", 10, 10};
constexpr ConditionRule kLag{"stream.lag", "stream.lag-over", 10, 10};
constexpr ConditionRule kQueueHalf{"queue.half", "queue.half-over", 0, 10};
constexpr ConditionRule kQueueFull{"queue.nearly-full", "queue.nearly-full-over", 0, 10};
constexpr ConditionRule kThrottled{"throttle.began", "throttle.ended", 3, 10};
// Behind a switch the streams turn round; that takes a moment.
constexpr ConditionRule kWayBack{"way-back.closed", "way-back.open", 5, 3};
constexpr ConditionRule kTargetSlow{"latency.target", "latency.target-over", 10, 10};
constexpr ConditionRule kErrors{"traffic.errors", "traffic.errors-over", 0, 0};
// An editor may write a file in two steps.
constexpr ConditionRule kConfig{"config.changed", "config.changed-over", 1, 1};
constexpr const ConditionRule* kRules[] = {
    &kDown,      &kRole,      &kSlow,    &kMemory,     &kReplicaLag, &kLag,   &kQueueHalf,
    &kQueueFull, &kThrottled, &kWayBack, &kTargetSlow, &kErrors,     &kConfig};

/// A probe that takes longer, and the end of that.
constexpr double kProbeSlow_us = 100'000;
constexpr double kProbeFast_us = 50'000;
/// Free share of the memory limit.
constexpr double kMemoryLow = 0.10;
constexpr double kMemoryEnough = 0.15;
/// What an endpoint's own replicas may lack.
constexpr double kReplicaLag_bytes = 32.0 * 1024 * 1024;
constexpr double kReplicaLagOver_bytes = 16.0 * 1024 * 1024;
/// In cutover.max_lag. A switch waits for once that lag; one that stays at five times does not get
/// there by waiting.
constexpr int64_t kLagFactor = 5;
constexpr int64_t kLagFactorOver = 2;
/// Of the target's p99 to the source's. Buckets of a histogram are 6 % wide, and a fast source
/// makes every ratio large: below a millisecond more no application notices.
constexpr double kSlower = 2.0;
constexpr double kSlowerOver = 1.5;
constexpr double kSlowerLeast_us = 1'000;
constexpr double kSlowerSamples_min = 200;
/// Share of requests answered by an error, over ten seconds.
constexpr double kErrorShare = 0.01;
constexpr double kErrorShareOver = 0.005;
constexpr uint64_t kErrors_min = 10;

/// What stands at `path` when it is of that kind; a status may come from another version.
const json* find(const json& status, const std::string& path) {
    const json::json_pointer pointer(path);
    return status.contains(pointer) ? &status.at(pointer) : nullptr;
}
std::optional<double> number(const json& status, const std::string& path) {
    const json* value = find(status, path);
    return value != nullptr && value->is_number() ? std::optional(value->get<double>())
                                                  : std::nullopt;
}
uint64_t count(const json& status, const std::string& path) {
    return static_cast<uint64_t>(std::max(0.0, number(status, path).value_or(0)));
}
std::string text(const json& status, const std::string& path) {
    const json* value = find(status, path);
    return value != nullptr && value->is_string() ? value->get<std::string>() : std::string();
}
std::optional<bool> truth(const json& status, const std::string& path) {
    const json* value = find(status, path);
    return value != nullptr && value->is_boolean() ? std::optional(value->get<bool>())
                                                   : std::nullopt;
}

/// True above `high`, false below `low`, nothing between.
std::optional<bool> band(double value, double low, double high) {
    if (value > high) return true;
    if (value < low) return false;
    return std::nullopt;
}

uint64_t mib(double bytes) { return static_cast<uint64_t>(bytes) >> 20; }

}  // namespace

std::vector<NewEvent> StatusEvents::after(const json& status, int64_t now_us) {
    if (truth(status, "/serves/held").value_or(false) || text(status, "/state") == "holding")
        return {};
    status_ = &status;
    now_us_ = now_us;
    out_.clear();
    for (const char* side : {"source", "target"}) look_at_endpoint(side);
    for (const char* direction : {"forward", "reverse"}) look_at_movement(direction);
    look_at_lag();
    look_at_way_back();
    look_at_answers();
    look_at_errors();
    look_at_losses();
    look_at_configuration();
    status_ = nullptr;
    return std::move(out_);
}

std::vector<std::string> StatusEvents::codes() {
    std::vector<std::string> out;
    for (const ConditionRule* rule : kRules) {
        out.emplace_back(rule->code);
        out.emplace_back(rule->code_over);
    }
    return out;
}

void StatusEvents::go_on(const std::vector<EventRow>& last) {
    for (const EventRow& event : last) {
        const auto* const found =
            std::find_if(std::begin(kRules), std::end(kRules), [&](const ConditionRule* rule) {
                return event.code == rule->code || event.code == rule->code_over;
            });
        if (found == std::end(kRules)) continue;
        const json data = json::parse(event.data, nullptr, false);
        const std::string about = text(data, "/about");
        bool told = event.code == (*found)->code;
        if (*found == &kRole && told) {
            // The role that it had first; an older exodus did not write it.
            roles_[about] = text(data, "/first");
            told = !roles_[about].empty();
        }
        levels_[(*found)->code + (" " + about)].told = told;
    }
}

void StatusEvents::look_at_endpoint(const std::string& side) {
    const std::string health = "/" + side + "/health/";
    const auto reachable = truth(*status_, health + "reachable");
    if (!reachable) return;
    const bool authority = text(*status_, "/authority") == side;
    const bool final = text(*status_, "/state") == "committed";
    // What a committed migration has left behind may be taken down.
    const char* bad = authority ? "critical" : final ? "info" : "warn";
    const std::string name = side + " " + text(*status_, "/" + side + "/address");
    condition(
        kDown, side, !*reachable,
        {name + " does not answer: " + text(*status_, health + "error"), name + " answers", bad});
    if (!*reachable) return;

    const std::string role = text(*status_, health + "role");
    std::string& first = roles_[side];
    if (first.empty()) first = role;
    if (!role.empty()) {
        condition(kRole, side, role != first,
                  {fmt::format("{} is {} now, it was {}", name, role, first),
                   fmt::format("{} is {} again", name, first),
                   bad,
                   {{"first", first}}});
    }
    if (const auto took_us = number(*status_, health + "latency_us")) {
        condition(kSlow, side, band(*took_us, kProbeFast_us, kProbeSlow_us),
                  {fmt::format("{} answers a probe in {:.0f} ms", name, *took_us / 1000),
                   fmt::format("{} answers a probe in {:.1f} ms", name, *took_us / 1000)});
    }
    const double used = number(*status_, health + "memory_used_bytes").value_or(0);
    const double most = number(*status_, health + "memory_max_bytes").value_or(0);
    const double free = most > 0 ? 1 - used / most : 1;
    const auto low = band(-free, -kMemoryEnough, -kMemoryLow);
    const std::string room =
        most > 0 ? fmt::format("{} has {:.0f} % of its memory limit left: {} of {} MiB used", name,
                               100 * std::max(0.0, free), grouped(mib(used)), grouped(mib(most)))
                 : name + " has no memory limit";
    condition(kMemory, side, low, {room, room});
    const double behind = number(*status_, health + "replica_lag_bytes").value_or(0);
    const std::string lag =
        fmt::format("the slowest replica of {} lacks {} MiB", name, grouped(mib(behind)));
    condition(kReplicaLag, side, band(behind, kReplicaLagOver_bytes, kReplicaLag_bytes),
              {lag, lag});
}

void StatusEvents::look_at_movement(const std::string& direction) {
    const std::string at = "/" + direction + "/";
    if (find(*status_, "/" + direction) == nullptr) return;
    const std::string reason = text(*status_, at + "throttled");
    condition(
        kThrottled, direction, !reason.empty(),
        {direction + " is throttled: " + reason, direction + " is no longer throttled", "info"});
    look_at_queue(direction);
    look_at_copy(direction);
    const uint64_t failed = count(*status_, at + "failed_items");
    if (grew("items.failed " + direction, failed, true)) {
        tell("warn", "items.failed", direction,
             fmt::format("{}: {} items could not be moved (exodus errors)", direction,
                         grouped(failed)));
    }
}

void StatusEvents::look_at_queue(const std::string& direction) {
    const double used = number(*status_, "/" + direction + "/queue_bytes").value_or(0);
    const double most = number(*status_, "/" + direction + "/queue_max_bytes").value_or(0);
    if (most <= 0) return;
    const double share = used / most;
    const std::string told =
        fmt::format("the replay queue of {} is at {:.0f} % of its limit: {} of {} MiB", direction,
                    100 * share, grouped(mib(used)), grouped(mib(most)));
    condition(kQueueHalf, direction, band(share, 0.4, 0.5), {told, told});
    // Full, the stream is no longer read, and the origin may drop what it keeps for us.
    condition(kQueueFull, direction, band(share, 0.7, 0.8), {told, told, "critical"});
}

void StatusEvents::look_at_copy(const std::string& direction) {
    const std::string at = "/" + direction + "/";
    Copy& copy = copies_[direction];
    const uint64_t total = count(*status_, at + "items_total_estimate");
    if (text(*status_, at + "stage") != "filling" || total == 0) {
        copy.told_percent.reset();
        return;
    }
    const uint64_t done = std::min(count(*status_, at + "items_done"), total);
    const uint64_t step = done * 10 / total * 10;
    if (!copy.told_percent || done < copy.done) copy.told_percent = step;  // begins, or anew
    copy.done = done;
    if (step <= *copy.told_percent || step >= 100) return;
    if (now_us_ - copy.told_us < kRepeat_us) return;
    copy.told_percent = step;
    copy.told_us = now_us_;
    tell("info", "copy.progress", direction,
         fmt::format("{}: ~{} % copied, {} of ~{} items, {:.0f} items/s", direction,
                     done * 100 / total, grouped(done), grouped(total),
                     number(*status_, at + "items_per_s").value_or(0)));
}

/// Of the stream that feeds the side without the authority.
void StatusEvents::look_at_lag() {
    const std::string direction = text(*status_, "/authority") == "target" ? "reverse" : "forward";
    const std::string at = "/" + direction + "/";
    const auto lag_ms = number(*status_, at + "lag_ms");
    const std::string stage = text(*status_, at + "stage");
    const bool runs = lag_ms && (stage == "following" || stage == "repairing");
    const auto limit = static_cast<double>(max_lag_ms_);
    const auto factor = static_cast<double>(kLagFactor);
    const auto factor_over = static_cast<double>(kLagFactorOver);
    std::optional<bool> holds;
    if (runs) holds = band(*lag_ms, limit * factor_over, limit * factor);
    const std::string told =
        fmt::format("{} is {} behind; cutover.max_lag is {}", direction,
                    span_text(static_cast<int64_t>(lag_ms.value_or(0))), span_text(max_lag_ms_));
    condition(kLag, direction, holds, {told, told});
}

void StatusEvents::look_at_way_back() {
    const auto open = truth(*status_, "/way_back_open");
    if (!open) return;
    const std::string loses = text(*status_, "/way_back_loses");
    Texts texts{"the way back is closed: a return to the source would lose " + loses,
                "the way back is open: a rollback is possible and loses nothing", "critical"};
    if (text(*status_, "/state") == "committed") {
        texts.severity = "info";
    } else if (text(*status_, "/authority") != "target") {
        texts.on = "the way back is not proven: a switch has to wait for it; nothing is at stake";
        texts.severity = "warn";
    }
    condition(kWayBack, "", !*open, texts);
}

void StatusEvents::look_at_configuration() {
    const json* changed = find(*status_, "/config_changed");
    if (changed == nullptr || !changed->is_string()) return;
    condition(kConfig, "", !text(*status_, "/config_changed").empty(),
              {text(*status_, "/config_changed"),
               "the interlay and the commands work with the same configuration"});
}

void StatusEvents::look_at_answers() {
    const auto source = number(*status_, "/traffic/source/p99_us");
    const auto target = number(*status_, "/traffic/target/p99_us");
    const double fewest = std::min(number(*status_, "/traffic/source/count").value_or(0),
                                   number(*status_, "/traffic/target/count").value_or(0));
    std::optional<bool> holds;
    std::string told = "the two sides are no longer asked the same";
    if (!source || !target) {
        holds = false;
    } else if (fewest >= kSlowerSamples_min) {
        told = fmt::format("p99 of the last ten seconds: target {:.2f} ms, source {:.2f} ms",
                           *target / 1000, *source / 1000);
        holds = *target - *source < kSlowerLeast_us
                    ? std::optional(false)
                    : band(*target, *source * kSlowerOver, *source * kSlower);
    }
    condition(kTargetSlow, "", holds, {told, told});
}

void StatusEvents::look_at_errors() {
    if (!number(*status_, "/traffic/requests")) return;
    const Window now{now_us_, count(*status_, "/traffic/requests"),
                     count(*status_, "/traffic/errors")};
    const bool first = window_.began_us == kNever_us || now.requests < window_.requests ||
                       now.errors < window_.errors;
    if (!first && now_us_ - window_.began_us < kRepeat_us) return;
    const Window before = std::exchange(window_, now);
    if (first) return;
    const uint64_t requests = now.requests - before.requests;
    const uint64_t errors = now.errors - before.errors;
    if (requests == 0) return;
    const double share = static_cast<double>(errors) / static_cast<double>(requests);
    auto holds = band(share, kErrorShareOver, kErrorShare);
    if (holds == true && errors < kErrors_min) holds = std::nullopt;
    const std::string told = fmt::format(
        "{:.2f} % of the requests of ten seconds were answered by an error ({} of {}); "
        "the {} is authoritative",
        100 * share, grouped(errors), grouped(requests), text(*status_, "/authority"));
    condition(kErrors, "", holds, {told, told});
}

/// What differs, and what was not compared or not understood.
void StatusEvents::look_at_losses() {
    if (find(*status_, "/divergences") != nullptr) {
        const uint64_t confirmed = count(*status_, "/divergences/total");
        const uint64_t unresolved = count(*status_, "/divergences/unresolved");
        if (grew("divergence.confirmed", confirmed))
            tell("warn", "divergence.confirmed", "",
                 grouped(confirmed) +
                     " answers of the two sides differ for good "
                     "(exodus divergences list)");
        if (grew("divergence.unresolved", unresolved))
            tell("warn", "divergence.unresolved", "",
                 grouped(unresolved) + " differing answers could not be asked again");
    }
    if (!number(*status_, "/traffic/requests")) return;
    const uint64_t shadow = count(*status_, "/traffic/shadow_dropped");
    if (grew("shadow.dropped", shadow))
        tell("warn", "shadow.dropped", "",
             grouped(shadow) + " mirrored requests were dropped: the other side did not keep up");
    const uint64_t comparator = count(*status_, "/traffic/comparator_dropped");
    if (grew("comparator.dropped", comparator))
        tell("warn", "comparator.dropped", "",
             grouped(comparator) + " differing answers were dropped: too many at once");
    uint64_t broken = 0;
    std::string reasons;
    const json* errors = find(*status_, "/traffic/protocol_errors");
    if (errors != nullptr && errors->is_object()) {
        for (const auto& [reason, value] : errors->items()) {
            if (!value.is_number_integer()) continue;
            broken += value.get<uint64_t>();
            reasons += (reasons.empty() ? "" : ", ") + reason;
        }
    }
    if (grew("parser.errors", broken))
        tell("warn", "parser.errors", "",
             grouped(broken) + " broken requests or replies: " + reasons);
}

void StatusEvents::condition(const ConditionRule& rule, const std::string& subject,
                             std::optional<bool> holds, const Texts& texts) {
    Level& level = levels_[rule.code + (" " + subject)];
    if (!holds || *holds == level.told) {
        level.since_us = kNever_us;
        return;
    }
    if (level.since_us == kNever_us) level.since_us = now_us_;
    const int64_t lasted_us = now_us_ - level.since_us;
    int64_t& told_us = level.told_us[*holds ? 1 : 0];
    if (lasted_us < (*holds ? rule.on_s : rule.over_s) * 1'000'000) return;
    if (now_us_ - told_us < kRepeat_us) return;
    told_us = now_us_;
    level.told = *holds;
    level.since_us = kNever_us;
    if (*holds)
        tell(texts.severity, rule.code, subject, texts.on, texts.data);
    else
        tell("info", rule.code_over, subject, texts.over);
}

bool StatusEvents::grew(const std::string& name, uint64_t now, bool each) {
    Count& count = counts_[name];
    if (!count.told) {
        count.told = now;  // of before this process
        return false;
    }
    // Fewer: some were solved (each), or counting began anew and each difference is news again.
    if (now < *count.told) count.told = each ? now : 0;
    if (now == *count.told || (!each && now < 2 * *count.told)) return false;
    if (now_us_ - count.told_us < (each ? kRepeatEach_us : kRepeat_us)) return false;
    count.told = now;
    count.told_us = now_us_;
    return true;
}

void StatusEvents::tell(const char* severity, const char* code, const std::string& subject,
                        std::string text, json data) {
    if (!subject.empty()) data["about"] = subject;
    out_.push_back(NewEvent{severity, code, std::move(text), json_text(data), 0});
}

}  // namespace exodus
