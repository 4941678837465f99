// What the host's tests need around an interlay: an echo server, a state file in memory, clients.
#pragma once

#include <arpa/inet.h>
#include <atomic>
#include <map>
#include <mutex>
#include <poll.h>
#include <sys/socket.h>
#include <thread>
#include <vector>

#include "interlay/interlay.h"
#include "line_brain.h"
#include "net/listener.h"
#include "net/resolve.h"
#include "tests/support/process.h"

namespace exodus::test {

/// The state file, the workers' table and the divergence log, in memory.
class MemoryState final : public StateSource, public WorkerRegistry, public DivergenceLog {
  public:
    Result<MigrationRow> read() override {
        const std::lock_guard lock(mutex);
        if (broken) return fail(ErrorCode::io, "disk I/O error");
        seen = version;
        return row;
    }
    Result<bool> changed() override {
        const std::lock_guard lock(mutex);
        if (broken) return fail(ErrorCode::io, "disk I/O error");
        return seen != version;
    }
    Status put(const WorkerRow& worker) override {
        const std::lock_guard lock(mutex);
        workers[worker.id] = worker;
        return {};
    }
    Status remove(std::string_view id) override {
        const std::lock_guard lock(mutex);
        workers.erase(std::string(id));
        return {};
    }
    Result<std::vector<WorkerRow>> list() override {
        const std::lock_guard lock(mutex);
        std::vector<WorkerRow> all;
        for (const auto& [id, worker] : workers) all.push_back(worker);
        return all;
    }
    Status add(const std::vector<DivergenceSample>& samples) override {
        const std::lock_guard lock(mutex);
        ++log_calls;
        if (log_busy) return fail(ErrorCode::locked, "the samples file is locked");
        logged.insert(logged.end(), samples.begin(), samples.end());
        return {};
    }
    Result<std::vector<DivergenceCounts>> counts() override {
        return std::vector<DivergenceCounts>{};
    }
    Result<std::vector<DivergenceSample>> samples(std::size_t) override {
        const std::lock_guard lock(mutex);
        return logged;
    }
    Status clear() override { return {}; }

    void change(const std::function<void(MigrationRow&)>& edit) {
        const std::lock_guard lock(mutex);
        edit(row);
        ++version;
    }
    void set_broken(bool now) {
        const std::lock_guard lock(mutex);
        broken = now;
    }

    std::mutex mutex;
    MigrationRow row;
    std::map<std::string, WorkerRow> workers;
    std::vector<DivergenceSample> logged;
    uint64_t version = 1;
    uint64_t seen = 0;
    bool broken = false;
    bool log_busy = false;  ///< the divergence log takes nothing
    int log_calls = 0;
};

/// Answers each line with itself behind its name; "flood" with 64 MiB.
class EchoServer {
  public:
    explicit EchoServer(std::string name) : name_(std::move(name)) {
        listener_ = std::move(*Listener::bind({"127.0.0.1:0"}));
        (void)listener_->start([this](Listener::Accepted&& client) {
            std::thread([this, fd = client.socket.release()] { serve(fd); }).detach();
            ++alive_;
        });
    }
    ~EchoServer() {
        listener_->stop();
        stopping_ = true;
        eventually(milliseconds(10'000), [this] { return ended_ == alive_; });
    }
    [[nodiscard]] Endpoint endpoint(Side side) const {
        Endpoint made;
        made.side = side;
        made.host = "127.0.0.1";
        const auto& address = listener_->addresses()[0];
        made.port = static_cast<uint16_t>(std::stoi(address.substr(address.rfind(':') + 1)));
        return made;
    }
    std::atomic<bool> silent{false};  ///< reads, answers later

  private:
    void send_all(int fd, std::string_view bytes) {
        while (!bytes.empty() && !stopping_) {
            pollfd polled{fd, POLLOUT, 0};
            if (::poll(&polled, 1, 100) == 0) continue;
            const ssize_t count =
                ::send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
            if (count < 0 && errno != EAGAIN) return;
            if (count > 0) bytes.remove_prefix(static_cast<std::size_t>(count));
        }
    }
    void serve(int fd) {
        std::string partial;
        std::vector<char> chunk(65536);
        while (!stopping_) {
            pollfd polled{fd, POLLIN, 0};
            if (silent || ::poll(&polled, 1, 100) == 0) {
                if (silent) sleep_ms(5);
                continue;
            }
            if (silent) continue;  // it fell silent while this thread waited for bytes
            const ssize_t count = ::recv(fd, chunk.data(), chunk.size(), MSG_DONTWAIT);
            if (count == 0 || (count < 0 && errno != EAGAIN)) break;
            if (count < 0) continue;
            partial.append(chunk.data(), static_cast<std::size_t>(count));
            std::string out;
            std::size_t from = 0;
            for (std::size_t end; (end = partial.find('\n', from)) != std::string::npos;
                 from = end + 1) {
                const auto text = std::string_view(partial).substr(from, end - from);
                if (text == "flood")
                    out += std::string(64 << 20, 'f') + "\n";
                else
                    out += name_ + ":" + std::string(text) + "\n";
            }
            partial.erase(0, from);
            send_all(fd, out);
        }
        ::close(fd);
        ++ended_;
    }
    std::string name_;
    std::unique_ptr<Listener> listener_;
    std::atomic<bool> stopping_{false};
    std::atomic<int> alive_{0};
    std::atomic<int> ended_{0};
};

class LineClient {
  public:
    explicit LineClient(const std::string& address) {
        const auto parsed = *parse_listen_address(address);
        SocketAddress to =
            parsed.unix_path.empty()
                ? (*resolve(parsed.host, parsed.port, false, Deadline::in(milliseconds(1000))))[0]
                : *unix_address(parsed.unix_path);
        fd_ = FileDescriptor(::socket(to.family(), SOCK_STREAM | SOCK_CLOEXEC, 0));
        connected_ = ::connect(fd_.get(), to.raw(), to.length) == 0;
    }
    [[nodiscard]] bool connected() const { return connected_; }
    void send(std::string_view text) const {
        [[maybe_unused]] auto n = ::send(fd_.get(), text.data(), text.size(), MSG_NOSIGNAL);
    }
    /// The next line without its end; "<closed>" or "<timeout>".
    std::string line(milliseconds timeout = milliseconds(10'000)) {
        const Deadline deadline = Deadline::in(timeout);
        while (true) {
            const auto end = partial_.find('\n');
            if (end != std::string::npos) {
                std::string text = partial_.substr(0, end);
                partial_.erase(0, end + 1);
                return text;
            }
            pollfd polled{fd_.get(), POLLIN, 0};
            if (::poll(&polled, 1, static_cast<int>(deadline.left().count())) == 0)
                return "<timeout>";
            char chunk[65536];
            const ssize_t count = ::recv(fd_.get(), chunk, sizeof chunk, 0);
            if (count <= 0) return "<closed>";
            partial_.append(chunk, static_cast<std::size_t>(count));
        }
    }
    std::string ask(std::string_view text) {
        send(std::string(text) + "\n");
        return line();
    }
    [[nodiscard]] int fd() const { return fd_.get(); }

  private:
    FileDescriptor fd_;
    bool connected_ = false;
    std::string partial_;
};

/// An interlay over two echo servers.
struct World {
    MemoryState state;
    LineShared traffic;
    InterlaySettings settings;
    EchoServer source_server{"s"};
    EchoServer target_server{"t"};
    Endpoint source = source_server.endpoint(Side::source);
    Endpoint target = target_server.endpoint(Side::target);
    std::unique_ptr<Interlay> interlay;

    explicit World(int threads = 2) {
        settings.listen = {"127.0.0.1:0"};
        settings.threads = threads;
        state.row.route.epoch = 5;
    }
    Result<std::unique_ptr<Interlay>> make(std::vector<FileDescriptor> taken = {}) {
        return Interlay::start(
            {traffic, state, state, state, settings, source, target, {}, "0.1", "c.sock"},
            std::move(taken));
    }
    void start() {
        auto made = make();
        if (!made) throw std::runtime_error(made.error().message);
        interlay = std::move(*made);
    }
    [[nodiscard]] std::string address() const { return interlay->addresses()[0]; }
};

}  // namespace exodus::test
