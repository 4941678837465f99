#include "tests/support/ledger_popper.h"

#include <algorithm>
#include <cstdlib>
#include <fmt/format.h>
#include <map>

namespace exodus::test {

LedgerPopper::LedgerPopper(const LedgerOptions& options, int number, LedgerSwitches& switches)
    : account(options.reconnect),
      options_(options),
      queue_(fmt::format("led:queue:{}", number)),
      switches_(switches) {}

bool LedgerPopper::connected(ContextPtr& context) {
    if (switches_.stopping) return false;
    if (context && context->err == 0) return true;
    if (context) account.lost();
    context = open_client(options_, 0, switches_.stopping);
    return context != nullptr && !switches_.stopping;
}

void LedgerPopper::produce() {
    ContextPtr context(nullptr, redisFree);
    uint64_t id = 1;
    while (connected(context)) {
        if (!switches_.enter()) return;
        const int64_t sent_us = steady_us();
        const auto reply = send_command(context.get(), {"RPUSH", queue_, std::to_string(id)});
        switches_.leave();
        const Outcome outcome = account.judge(reply.get(), "RPUSH");
        account.count(outcome, steady_us() - sent_us);
        if (outcome != Outcome::refused) produced_.add(id, outcome == Outcome::acknowledged);
        ++id;
        std::this_thread::sleep_for(std::chrono::microseconds(options_.pause_us));
    }
}

void LedgerPopper::consume() {
    ContextPtr context(nullptr, redisFree);
    while (connected(context)) {
        const auto reply = send_command(context.get(), {"BLPOP", queue_, "1"});
        const Outcome outcome = account.judge(reply.get(), "BLPOP");
        if (outcome == Outcome::acknowledged && reply->type == REDIS_REPLY_ARRAY &&
            reply->elements == 2) {
            consumed_.push_back(std::strtoull(reply->element[1]->str, nullptr, 10));
        } else if (outcome == Outcome::unknown) {
            ++unknown_pops_;
        }
    }
}

void LedgerPopper::check(redisContext* context, std::vector<std::string>& found) const {
    const LedgerNote note = [&](const std::string& text) {
        if (found.size() < kViolations_max) found.push_back(text);
    };
    send_command(context, {"SELECT", "0"});
    std::map<uint64_t, int> times;
    for (const uint64_t id : consumed_) ++times[id];
    for (const auto& text : list_of(context, queue_))
        ++times[std::strtoull(text.c_str(), nullptr, 10)];
    uint64_t missing = 0;
    for (const auto& [id, acknowledged] : produced_.ids) {
        const int n = times.contains(id) ? times.at(id) : 0;
        if (n > 1) note(fmt::format("{}: id {} delivered {} times", queue_, id, n));
        if (acknowledged && n == 0) ++missing;
    }
    if (missing > unknown_pops_) {
        note(fmt::format("{}: {} acknowledged ids neither delivered nor waiting, {} pops unknown",
                         queue_, missing, unknown_pops_));
    }
}

}  // namespace exodus::test
