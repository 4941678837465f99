// Queue, judgement and re-check of differing answers.
#include "interlay/comparator.h"

#include <fmt/format.h>
#include <pthread.h>
#include <signal.h>
#include <spdlog/spdlog.h>
#include <utility>

#include "base/limits.h"

namespace exodus {

namespace {

std::size_t size_of(const ExchangePair& pair) {
    return sizeof pair + pair.command.size() + pair.request.size() + pair.left.size() +
           pair.right.size();
}

/// The first bytes, printable.
std::string sample_of(std::string_view bytes) {
    std::string text;
    for (const char byte : bytes.substr(0, limits::kSample_bytes)) {
        const auto code = static_cast<unsigned char>(byte);
        if (byte == '\\')
            text += "\\\\";
        else if (byte == '\r')
            text += "\\r";
        else if (byte == '\n')
            text += "\\n";
        else if (code < 0x20 || code >= 0x7f)
            text += fmt::format("\\x{:02x}", code);
        else
            text += byte;
    }
    if (bytes.size() > limits::kSample_bytes) text += fmt::format("… ({} bytes)", bytes.size());
    return text;
}

}  // namespace

Comparator::Comparator(TrafficShared& traffic, Following following, DivergenceLog& log)
    : traffic_(traffic), following_(std::move(following)), log_(log) {}

Comparator::~Comparator() { stop(); }

void Comparator::start() {
    normalizer_ = traffic_.make_normalizer();
    rechecker_ = traffic_.make_rechecker(following_);
    sigset_t all;
    sigset_t former;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &former);
    thread_ = std::thread([this] {
        pthread_setname_np(pthread_self(), "exodus-compare");
        run();
    });
    pthread_sigmask(SIG_SETMASK, &former, nullptr);
}

void Comparator::stop() {
    {
        const std::lock_guard lock(mutex_);
        stopping_ = true;
        queue_.clear();
        queued_bytes_ = 0;
    }
    ready_.notify_all();
    if (thread_.joinable()) thread_.join();
}

bool Comparator::push(ExchangePair&& pair) {
    const std::size_t size = size_of(pair);
    bool first = false;
    {
        const std::lock_guard lock(mutex_);
        if (stopping_ || queue_.size() >= limits::kComparatorQueue_max ||
            queued_bytes_ + size > limits::kComparatorQueue_bytes) {
            counters_.full.fetch_add(1, std::memory_order_relaxed);
            return false;
        }
        first = queue_.empty();
        queued_bytes_ += size;
        queue_.push_back(std::move(pair));
    }
    // A wake-up costs a system call: only the first one of a batch needs it.
    if (first) ready_.notify_one();
    return true;
}

void Comparator::run() {
    while (true) {
        std::vector<ExchangePair> pairs;
        {
            std::unique_lock lock(mutex_);
            const auto due = [this] { return stopping_ || !queue_.empty(); };
            if (notes_.empty())
                ready_.wait(lock, due);
            else
                ready_.wait_for(lock, milliseconds(limits::kNotes_ms), due);
            if (stopping_) break;
            while (!queue_.empty() && pairs.size() < limits::kRecheckBatch_pairs) {
                queued_bytes_ -= std::min(queued_bytes_, size_of(queue_.front()));
                pairs.push_back(std::move(queue_.front()));
                queue_.pop_front();
            }
        }
        std::vector<std::string> reasons;
        std::erase_if(pairs, [&](const ExchangePair& pair) {
            std::string reason;
            const bool candidate = judge(pair, reason);
            if (candidate) reasons.push_back(std::move(reason));
            return !candidate;
        });
        if (!pairs.empty()) read_again(pairs, reasons);
        // Together: each transaction of the log costs several syncs of the disk.
        const bool many = !log_fails_ && notes_.size() >= limits::kNotes_max / 2;
        if (!notes_.empty() && (many || steady_us() - noted_us_ >= limits::kNotes_ms * 1000))
            write_notes();
    }
    if (!notes_.empty() && !log_fails_) write_notes();
}

/// True: a candidate, to be read again.
bool Comparator::judge(const ExchangePair& pair, std::string& reason) {
    const Verdict verdict =
        normalizer_ != nullptr ? normalizer_->judge(pair, reason) : Verdict::not_comparable;
    if (verdict == Verdict::equal) {
        ++counters_.equal;
        if (!pair.aa) {
            const std::lock_guard lock(mutex_);
            ++equal_by_rule_[pair.command];
        }
        return false;
    }
    if (verdict == Verdict::not_comparable) {
        ++counters_.not_comparable;
        note(pair, reason.empty() ? "no_rule" : reason, "not_comparable");
        return false;
    }
    if (pair.aa) {
        // Both answers are the authority's: this is the noise that the other arm is held against.
        ++counters_.noise;
        note(pair, reason, "confirmed");
        return false;
    }
    ++counters_.candidates;
    if (rechecker_ != nullptr) return true;
    note(pair, reason, "unresolved");
    return false;
}

void Comparator::read_again(const std::vector<ExchangePair>& pairs,
                            const std::vector<std::string>& reasons) {
    const auto outcomes = rechecker_->recheck_all(pairs);
    for (std::size_t i = 0; i < pairs.size(); ++i) {
        const auto& outcome = outcomes[i];
        if (!outcome) {
            ++counters_.failed;
            ++counters_.unresolved;
            spdlog::debug("re-check of {}: {}", pairs[i].command, outcome.error().message);
            note(pairs[i], reasons[i], "unresolved");
            continue;
        }
        switch (*outcome) {
            case RecheckOutcome::equal:
                ++counters_.timing;
                note(pairs[i], reasons[i], "timing_inflight");
                break;
            case RecheckOutcome::confirmed:
                ++counters_.confirmed;
                note(pairs[i], reasons[i], "confirmed");
                break;
            case RecheckOutcome::unresolved:
                ++counters_.unresolved;
                note(pairs[i], reasons[i], "unresolved");
                break;
            case RecheckOutcome::not_comparable:
                ++counters_.not_comparable;
                note(pairs[i], reasons[i], "not_comparable");
                break;
        }
    }
}

void Comparator::note(const ExchangePair& pair, const std::string& reason,
                      std::string_view outcome) {
    DivergenceSample sample;
    sample.at_ms = wall_ms();
    sample.command = pair.command;
    sample.reason = reason;
    sample.outcome = outcome;
    sample.aa = pair.aa;
    sample.request = sample_of(pair.request);
    sample.left = sample_of(pair.left);
    sample.right = sample_of(pair.right);
    if (notes_.empty()) noted_us_ = steady_us();
    notes_.push_back(std::move(sample));
}

/// What cannot be written is tried again, while there is room for more.
void Comparator::write_notes() {
    auto added = log_.add(notes_);
    if (!added) {
        if (!std::exchange(log_fails_, true))
            spdlog::error("divergence log: {}", added.error().message);
        noted_us_ = steady_us();
        if (notes_.size() < limits::kNotes_max) return;
        counters_.failed += notes_.size();
        spdlog::error("divergence log: {} differences are lost; compare cannot pass without them",
                      notes_.size());
    }
    if (added) log_fails_ = false;
    notes_.clear();
}

void Comparator::collect(TrafficStats& stats) const {
    auto& to = stats.counters;
    to["comparator_equal"] += counters_.equal;
    to["comparator_not_comparable"] += counters_.not_comparable;
    to["comparator_candidates"] += counters_.candidates;
    to["comparator_confirmed"] += counters_.confirmed;
    to["comparator_timing_inflight"] += counters_.timing;
    to["comparator_unresolved"] += counters_.unresolved;
    to["comparator_failed"] += counters_.failed;
    to["comparator_noise"] += counters_.noise;
    to["comparator_full"] += counters_.full;
    const std::lock_guard lock(mutex_);
    to["comparator_queued"] += queue_.size();
    for (const auto& [command, count] : equal_by_rule_)
        stats.commands[command].equal_by_rule += count;
}

}  // namespace exodus
