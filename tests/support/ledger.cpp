// Threads of the ledger and the sum of what they saw; clients are in ledger_writer and
// ledger_popper.
#include "tests/support/ledger.h"

#include <utility>

#include "tests/support/ledger_popper.h"
#include "tests/support/ledger_writer.h"

namespace exodus::test {

Ledger::Ledger(LedgerOptions options)
    : options_(std::move(options)), switches_(std::make_unique<LedgerSwitches>()) {
    for (int i = 0; i < options_.writers; ++i)
        writers_.push_back(std::make_unique<LedgerWriter>(options_, i, *switches_));
    for (int i = 0; i < options_.poppers; ++i)
        poppers_.push_back(std::make_unique<LedgerPopper>(options_, i, *switches_));
}

Ledger::~Ledger() { stop(); }

void Ledger::start() {
    for (auto& writer : writers_) threads_.emplace_back([&w = *writer] { w.run(); });
    for (auto& popper : poppers_) {
        threads_.emplace_back([&p = *popper] { p.produce(); });
        threads_.emplace_back([&p = *popper] { p.consume(); });
    }
}

void Ledger::stop() {
    switches_->stopping = true;
    for (auto& thread : threads_) thread.join();
    threads_.clear();
}

void Ledger::pause(bool paused) {
    switches_->paused = paused;
    while (paused && switches_->active != 0) sleep_ms(1);
}

LedgerSummary Ledger::summary() const {
    LedgerSummary total;
    std::vector<std::string> ignored;
    for (const auto& writer : writers_) writer->account.add_to(total, ignored);
    for (const auto& popper : poppers_) popper->account.add_to(total, ignored);
    return total;
}

std::vector<std::string> Ledger::violations() const {
    LedgerSummary ignored;
    std::vector<std::string> all;
    for (const auto& writer : writers_) writer->account.add_to(ignored, all);
    for (const auto& popper : poppers_) popper->account.add_to(ignored, all);
    return all;
}

Histogram Ledger::take_latency() {
    Histogram all;
    for (const auto& writer : writers_) all.merge(writer->account.take_latency());
    return all;
}

std::vector<std::string> Ledger::check(int port, const std::string& user,
                                       const std::string& password) const {
    std::vector<std::string> found = violations();
    const auto context = connect_to(port, milliseconds(20'000));
    if (!user.empty()) {
        const std::string answer =
            to_text(send_command(context.get(), {"AUTH", user, password}).get());
        if (answer != "OK") found.push_back("checking: AUTH " + answer);
    }
    for (const auto& writer : writers_) writer->check(context.get(), found);
    for (const auto& popper : poppers_) popper->check(context.get(), found);
    return found;
}

}  // namespace exodus::test
