#include "tests/support/ledger_account.h"

#include <algorithm>
#include <stdexcept>
#include <string_view>
#include <utility>

namespace exodus::test {

void LedgerAccount::violation(std::string text) {
    const std::lock_guard lock(mutex_);
    if (violations_.size() < kViolations_max) violations_.push_back(std::move(text));
}

void LedgerAccount::count(Outcome outcome, int64_t latency_us) {
    const std::lock_guard lock(mutex_);
    summary_.latency_us.record(static_cast<uint64_t>(std::max<int64_t>(latency_us, 0)));
    (outcome == Outcome::acknowledged ? summary_.acknowledged
     : outcome == Outcome::unknown    ? summary_.unknown
                                      : summary_.refused)++;
}

void LedgerAccount::read(int64_t latency_us) {
    const std::lock_guard lock(mutex_);
    summary_.latency_us.record(static_cast<uint64_t>(std::max<int64_t>(latency_us, 0)));
    ++summary_.reads;
}

void LedgerAccount::watch_broken() {
    const std::lock_guard lock(mutex_);
    ++summary_.watches_broken;
}

void LedgerAccount::lost() {
    const std::lock_guard lock(mutex_);
    ++summary_.connections_lost;
    if (!faults_ && violations_.size() < kViolations_max)
        violations_.emplace_back("a client connection was lost");
}

Outcome LedgerAccount::judge(const redisReply* reply, const std::string& request) {
    if (reply == nullptr) return Outcome::unknown;
    if (reply->type != REDIS_REPLY_ERROR) return Outcome::acknowledged;
    const std::string text(reply->str, reply->len);
    {
        const std::lock_guard lock(mutex_);
        if (summary_.errors.size() < 50 || summary_.errors.contains(text)) ++summary_.errors[text];
    }
    const std::string_view view(text);
    if (view.starts_with("TRYAGAIN exodus: writes are paused for a switch"))
        return Outcome::refused;
    if (faults_ && view.starts_with("ERR exodus: connection to ") &&
        view.ends_with(" lost, outcome unknown")) {
        return Outcome::unknown;
    }
    if (faults_ && view.starts_with("ERR exodus: ") && view.ends_with(" is unreachable"))
        return Outcome::refused;
    violation("undocumented error to " + request + ": " + text);
    return Outcome::unknown;
}

void LedgerAccount::add_to(LedgerSummary& total, std::vector<std::string>& all) const {
    const std::lock_guard lock(mutex_);
    total.acknowledged += summary_.acknowledged;
    total.unknown += summary_.unknown;
    total.refused += summary_.refused;
    total.reads += summary_.reads;
    total.watches_broken += summary_.watches_broken;
    total.connections_lost += summary_.connections_lost;
    for (const auto& [text, n] : summary_.errors) total.errors[text] += n;
    total.latency_us.merge(summary_.latency_us);
    all.insert(all.end(), violations_.begin(), violations_.end());
}

Histogram LedgerAccount::take_latency() {
    const std::lock_guard lock(mutex_);
    return std::exchange(summary_.latency_us, Histogram{});
}

bool LedgerSwitches::enter() {
    while (true) {
        ++active;
        if (stopping) return --active, false;
        if (!paused) return true;
        --active;
        sleep_ms(1);
    }
}

ContextPtr open_client(const LedgerOptions& options, int database,
                       const std::atomic<bool>& stopping) {
    ContextPtr context(nullptr, redisFree);
    eventually(
        milliseconds(30'000),
        [&] {
            if (stopping) return true;
            try {
                context = connect_to(options.port, milliseconds(20'000));
            } catch (const std::runtime_error&) {
                return false;
            }
            if (!options.user.empty() &&
                to_text(
                    send_command(context.get(), {"AUTH", options.user, options.password}).get()) !=
                    "OK") {
                context.reset();
                return false;
            }
            if (to_text(send_command(context.get(), {"SELECT", std::to_string(database)}).get()) !=
                "OK") {
                context.reset();
                return false;
            }
            return true;
        },
        milliseconds(50));
    return context;
}

}  // namespace exodus::test
