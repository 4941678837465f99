// Composition of loops, listener, comparator and watcher.
#include "interlay/interlay.h"

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <fmt/format.h>
#include <fstream>
#include <mutex>
#include <spdlog/spdlog.h>
#include <sstream>
#include <sys/resource.h>
#include <unistd.h>

#include "base/digest.h"
#include "base/limits.h"
#include "interlay/comparator.h"
#include "interlay/control_handlers.h"
#include "interlay/route_watcher.h"
#include "interlay/traffic_loop.h"
#include "net/listener.h"
#include "net/tls_context.h"

namespace exodus {

namespace {

constexpr int kThreads_max = 64;

/// Field 22 of /proc/PID/stat, after the command's closing parenthesis.
int64_t process_start() {
    std::ifstream file("/proc/self/stat");
    std::stringstream all;
    all << file.rdbuf();
    const std::string text = all.str();
    const auto end = text.rfind(')');
    if (end == std::string::npos) return 0;
    std::istringstream fields(text.substr(end + 1));
    std::string field;
    for (int number = 3; number <= 22 && fields >> field; ++number) {
    }
    return std::strtoll(field.c_str(), nullptr, 10);
}

std::string host_name() {
    char name[256] = "";
    if (::gethostname(name, sizeof name - 1) != 0) return "unknown";
    return name;
}

/// Raises the limit of open files as far as allowed; how many clients it leaves room for, when each
/// may need a backend connection of its own.
std::size_t client_bound() {
    rlimit files{};
    if (::getrlimit(RLIMIT_NOFILE, &files) != 0) return limits::kClients_max;
    const rlim_t wanted = 2 * limits::kClients_max + limits::kReservedFiles;
    if (files.rlim_cur < wanted) {
        rlimit raised = files;
        raised.rlim_cur =
            files.rlim_max == RLIM_INFINITY ? wanted : std::min<rlim_t>(wanted, files.rlim_max);
        if (::setrlimit(RLIMIT_NOFILE, &raised) == 0) files = raised;
    }
    const std::size_t usable = files.rlim_cur > 2 * limits::kReservedFiles
                                   ? files.rlim_cur - limits::kReservedFiles
                                   : limits::kReservedFiles;
    const std::size_t bound = std::min(limits::kClients_max, usable / 2);
    if (bound < limits::kClients_max)
        spdlog::warn("the limit of open files ({}) allows {} clients", files.rlim_cur, bound);
    return bound;
}

Result<std::unique_ptr<TlsContext>> client_context(const Endpoint& endpoint) {
    if (!endpoint.tls.enabled) return std::unique_ptr<TlsContext>();
    auto made = TlsContext::make(TlsRole::client, endpoint.tls);
    if (!made) return fail(std::move(made).error(), to_string(endpoint.side));
    return made;
}

class Host final : public Interlay, public InterlayOperations, private RouteFollower {
  public:
    explicit Host(InterlayParts parts)
        : parts_(std::move(parts)),
          comparator_(parts_.traffic, parts_.following, parts_.divergences),
          watcher_(parts_.state, parts_.registry, *this),
          client_bound_(client_bound()) {}

    ~Host() override {
        stop_now();
        wait();
    }

    Status open(std::vector<FileDescriptor> taken) {
        const auto& settings = parts_.settings;
        if (settings.tls.enabled) {
            auto made =
                TlsContext::make(TlsRole::server, settings.tls, settings.require_client_cert);
            if (!made) return fail(std::move(made).error(), "interlay");
            listener_tls_ = std::move(*made);
        }
        auto source = client_context(parts_.source);
        if (!source) return tl::unexpected<Error>(std::move(source).error());
        source_tls_ = std::move(*source);
        auto target = client_context(parts_.target);
        if (!target) return tl::unexpected<Error>(std::move(target).error());
        target_tls_ = std::move(*target);

        taken_over_ = !taken.empty();
        auto listener =
            taken_over_ ? Listener::adopt(std::move(taken)) : Listener::bind(settings.listen);
        if (!listener) return tl::unexpected<Error>(std::move(listener).error());
        listener_ = std::move(*listener);
        addresses_ = listener_->addresses();

        worker_id_ = hex(xxh3_128(random_bytes(16)));
        started_ms_ = wall_ms();
        WorkerRow row;
        row.id = worker_id_;
        row.pid = ::getpid();
        row.pid_start = process_start();
        row.host = host_name();
        row.control = parts_.control_path;
        row.listen = fmt::format("{}", fmt::join(addresses_, ","));
        row.started_ms = row.seen_ms = started_ms_;
        auto first = watcher_.open(std::move(row));
        if (!first) return tl::unexpected<Error>(std::move(first).error());

        traffic_parts_ = std::make_unique<TrafficParts>(
            TrafficParts{parts_.traffic, parts_.source, parts_.target, listener_tls_.get(),
                         source_tls_.get(), target_tls_.get(), comparator_, clients_});
        comparator_.start();
        const int threads = std::clamp(settings.threads, 1, kThreads_max);
        for (int i = 0; i < threads; ++i) {
            auto loop = std::make_unique<TrafficLoop>(i, *traffic_parts_, [this] { loop_ended(); });
            {
                const std::lock_guard lock(mutex_);
                ++running_;
            }
            if (auto started = loop->start(first->route); !started) {
                loop_ended();  // its thread never ran
                return started;
            }
            loops_.push_back(std::move(loop));
        }
        watcher_.start();
        EXODUS_TRY(
            listener_->start([this](Listener::Accepted&& client) { take(std::move(client)); }));
        spdlog::info("listening on {}", fmt::join(addresses_, ", "));
        return {};
    }

    ControlHandlers handlers() override { return make_control_handlers(*this); }

    Result<std::vector<FileDescriptor>> listeners() override {
        const std::lock_guard lock(listener_mutex_);
        if (listener_ == nullptr || draining_)
            return fail(ErrorCode::not_allowed, "this interlay is ending and listens no more");
        auto copies = listener_->duplicate();
        // The other process listens on the same socket files from now on.
        if (copies) listener_->keep_files();
        return copies;
    }

    void request_drain() override {
        if (draining_.exchange(true)) return;
        // Listener first: what it has accepted is in the mailboxes before the drain.
        spdlog::info("draining {} clients", clients_.load());
        close_listener();
        for (auto& loop : loops_) loop->drain(parts_.settings.drain_timeout_ms);
    }

    void stop_now() override {
        draining_ = true;
        close_listener();
        for (auto& loop : loops_) loop->stop_now();
    }

    void wait() override {
        std::unique_lock lock(mutex_);
        ended_.wait(lock, [this] { return running_ == 0; });
        lock.unlock();
        tear_down();
    }

    bool wait_for(milliseconds span) override {
        std::unique_lock lock(mutex_);
        if (!ended_.wait_for(lock, span, [this] { return running_ == 0; })) return false;
        lock.unlock();
        tear_down();
        return true;
    }

    Result<TrafficStats> traffic(bool observations) override {
        const Deadline deadline = Deadline::in(milliseconds(limits::kLoopAnswer_ms));
        TrafficStats total;
        comparator_.collect(total);
        for (auto& loop : loops_) {
            auto stats = loop->traffic(deadline);
            if (!stats) return tl::unexpected<Error>(std::move(stats).error());
            if (observations) parts_.traffic.add_observations(total, *stats);
            total.merge(*stats);
        }
        if (!observations) total.observations.clear();
        total.counters["net_accepted"] += accepted_.load();
        total.counters["net_refused"] += refused_.load();
        return total;
    }

    Result<Quiescence> quiescence() override {
        const Deadline deadline = Deadline::in(milliseconds(limits::kLoopAnswer_ms));
        Quiescence total;
        total.epoch = UINT64_MAX;
        for (auto& loop : loops_) {
            auto one = loop->quiescence(deadline);
            // An ended loop has no connection left. One that is silent must not count as quiet.
            if (!one && one.error().code == ErrorCode::cancelled && loop->ended()) continue;
            if (!one) return one;
            total.epoch = std::min(total.epoch, one->epoch);
            total.writes_in_flight += one->writes_in_flight;
            total.held += one->held;
            if (total.blocker.empty()) total.blocker = std::move(one->blocker);
        }
        // Before the first loop runs there is no epoch; after the last one, the file's.
        if (total.epoch == UINT64_MAX)
            total.epoch = loops_.empty() ? 0 : watcher_.row().route.epoch;
        return total;
    }

    Result<std::vector<std::string>> backends(Side side) override {
        const Deadline deadline = Deadline::in(milliseconds(limits::kLoopAnswer_ms));
        std::vector<std::string> all;
        for (auto& loop : loops_) {
            auto some = loop->backends(side, deadline);
            if (!some) return some;
            all.insert(all.end(), some->begin(), some->end());
        }
        return all;
    }

    [[nodiscard]] const std::vector<std::string>& addresses() const override { return addresses_; }
    [[nodiscard]] std::size_t clients() const override { return clients_.load(); }

    Status reload_tls() override {
        for (TlsContext* context : {listener_tls_.get(), source_tls_.get(), target_tls_.get()}) {
            if (context != nullptr) EXODUS_TRY(context->reload());
        }
        return {};
    }

    // InterlayOperations
    Identity identity() const override {
        return {worker_id_,  parts_.version,   addresses_, parts_.settings.threads,
                started_ms_, draining_.load(), taken_over_};
    }
    RouteWatcher& watcher() override { return watcher_; }
    TrafficShared& traffic_shared() override { return parts_.traffic; }
    Interlay& interlay() override { return *this; }
    Result<bool> set_knob(const std::string& name, const std::string& value) override {
        const Deadline deadline = Deadline::in(milliseconds(limits::kLoopAnswer_ms));
        bool known = false;
        for (auto& loop : loops_) {
            auto set = loop->set_knob(name, value, deadline);
            if (!set) return set;
            known = known || *set;
        }
        return known;
    }

  private:
    // RouteFollower
    void follow(const Route& route) override {
        for (auto& loop : loops_) loop->publish(route);
    }
    [[nodiscard]] bool follows(uint64_t epoch) const override {
        return std::all_of(loops_.begin(), loops_.end(), [&](const auto& loop) {
            return loop->ended() || loop->adopted_epoch() >= epoch;
        });
    }
    Result<Quiescence> standing() override { return quiescence(); }

    /// On the accepting thread.
    void take(Listener::Accepted&& client) {
        if (clients_.load(std::memory_order_relaxed) >= client_bound_) {
            if (refused_++ % 1000 == 0)
                spdlog::warn("{} clients are connected; refusing {}", client_bound_, client.peer);
            return;  // closed by its owner
        }
        ++accepted_;
        loops_[next_++ % loops_.size()]->serve(std::move(client));
    }

    void close_listener() {
        const std::lock_guard lock(listener_mutex_);
        if (listener_ != nullptr) listener_->stop();
    }

    void loop_ended() {
        const std::lock_guard lock(mutex_);
        --running_;
        ended_.notify_all();
    }

    void tear_down() {
        const std::lock_guard lock(tear_down_mutex_);
        close_listener();
        watcher_.stop();
        comparator_.stop();
        for (auto& loop : loops_) loop->join();
    }

    InterlayParts parts_;
    Comparator comparator_;
    RouteWatcher watcher_;
    const std::size_t client_bound_;
    std::unique_ptr<TlsContext> listener_tls_;
    std::unique_ptr<TlsContext> source_tls_;
    std::unique_ptr<TlsContext> target_tls_;
    std::unique_ptr<TrafficParts> traffic_parts_;
    std::mutex listener_mutex_;
    std::unique_ptr<Listener> listener_;
    std::vector<std::string> addresses_;
    std::string worker_id_;
    int64_t started_ms_ = 0;
    bool taken_over_ = false;
    std::atomic<std::size_t> clients_{0};
    std::atomic<uint64_t> accepted_{0};
    std::atomic<uint64_t> refused_{0};
    std::atomic<bool> draining_{false};
    std::size_t next_ = 0;                             ///< accepting thread
    std::vector<std::unique_ptr<TrafficLoop>> loops_;  ///< complete before any other thread looks
    std::mutex tear_down_mutex_;
    std::mutex mutex_;
    std::condition_variable ended_;
    int running_ = 0;  ///< guarded by mutex_
};

}  // namespace

Result<std::unique_ptr<Interlay>> Interlay::start(InterlayParts parts,
                                                  std::vector<FileDescriptor> taken) {
    auto host = std::make_unique<Host>(std::move(parts));
    EXODUS_TRY(host->open(std::move(taken)));
    return host;
}

}  // namespace exodus
