// Accepting and serving of control connections.
#include "net/control_server.h"

#include <array>
#include <cerrno>
#include <condition_variable>
#include <fmt/format.h>
#include <list>
#include <mutex>
#include <nlohmann/json.hpp>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <spdlog/spdlog.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <system_error>
#include <thread>

#include "base/digest.h"
#include "base/limits.h"
#include "core/json_text.h"
#include "net/control_wire.h"
#include "net/resolve.h"

namespace exodus {

namespace {

/// A caller waits so long for one of the others to leave.
constexpr milliseconds kRoomPatience{100};

nlohmann::json error_json(const Error& error) {
    return {{"ok", false},
            {"code", std::string(to_string(error.code))},
            {"message", error.message},
            {"hint", error.hint}};
}

class Server final : public ControlServer {
  public:
    explicit Server(Options options) : options_(std::move(options)) {}

    ~Server() override {
        if (accepting_.joinable()) {
            const uint64_t one = 1;
            [[maybe_unused]] const auto written = ::write(wake_.get(), &one, sizeof one);
            accepting_.join();
        }
        {
            const std::lock_guard lock(mutex_);
            for (auto& client : clients_) ::shutdown(client.socket.get(), SHUT_RDWR);
        }
        for (auto& client : clients_) client.thread.join();
        struct stat now {};
        if (bound_ && ::lstat(options_.path.c_str(), &now) == 0 && now.st_ino == inode_ &&
            now.st_dev == device_)
            ::unlink(options_.path.c_str());
    }

    Status open() {
        auto address = unix_address(options_.path);
        if (!address) return tl::unexpected<Error>(std::move(address).error());
        if (!options_.replace) EXODUS_TRY(check_free(*address));
        // Bound under another name and renamed: nobody sees it before it has its mode and listens.
        const std::string temporary =
            options_.path + "." + hex({xxh3_64(random_bytes(8)), 0}).substr(16, 8);
        auto bound = unix_address(temporary);
        if (!bound) return tl::unexpected<Error>(std::move(bound).error());
        socket_ = FileDescriptor(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
        if (!socket_.valid()) return fail_errno("socket", errno);
        // fchmod before bind is what the new file's mode comes from; no umask of the process
        // needed.
        ::fchmod(socket_.get(), 0600);
        if (::bind(socket_.get(), bound->raw(), bound->length) != 0) return cannot_create(errno);
        struct stat info {};
        if (::chmod(temporary.c_str(), 0600) != 0 || ::lstat(temporary.c_str(), &info) != 0 ||
            ::listen(socket_.get(), static_cast<int>(limits::kControlClients_max)) != 0 ||
            ::rename(temporary.c_str(), options_.path.c_str()) != 0) {
            const int error = errno;
            ::unlink(temporary.c_str());
            return cannot_create(error);
        }
        inode_ = info.st_ino;
        device_ = info.st_dev;
        bound_ = true;
        wake_ = FileDescriptor(::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
        if (!wake_.valid()) return fail_errno("eventfd", errno);
        accepting_ = quiet_thread([this] { accept_all(); });
        return {};
    }

    [[nodiscard]] const std::string& path() const override { return options_.path; }

  private:
    struct Client {
        FileDescriptor socket;
        std::thread thread;
        bool done = false;  ///< guarded
    };

    template <class Work>
    static std::thread quiet_thread(Work work) {
        sigset_t all;
        sigset_t former;
        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, &former);
        std::thread thread([work] {
            pthread_setname_np(pthread_self(), "exodus-control");
            work();
        });
        pthread_sigmask(SIG_SETMASK, &former, nullptr);
        return thread;
    }

    [[nodiscard]] tl::unexpected<Error> cannot_create(int error) const {
        return fail(
            error == EACCES || error == EPERM ? ErrorCode::permission : ErrorCode::cannot_create,
            fmt::format("control socket {}: {}", options_.path,
                        std::generic_category().message(error)));
    }

    Status check_free(const SocketAddress& address) const {
        struct stat info {};
        if (::lstat(options_.path.c_str(), &info) != 0) {
            if (errno == ENOENT) return {};
            return cannot_create(errno);
        }
        if (!S_ISSOCK(info.st_mode))
            return fail(ErrorCode::cannot_create,
                        fmt::format("{} exists and is no socket", options_.path));
        const FileDescriptor probe(
            ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
        if (::connect(probe.get(), address.raw(), address.length) == 0 || errno == EAGAIN)
            return fail(ErrorCode::locked,
                        fmt::format("another interlay answers at {}", options_.path),
                        "stop it, or take over from it with --takeover");
        if (errno != ECONNREFUSED && errno != ENOENT) return cannot_create(errno);
        return {};
    }

    void accept_all() {
        std::array<pollfd, 2> polled{{{socket_.get(), POLLIN, 0}, {wake_.get(), POLLIN, 0}}};
        while (true) {
            if (::poll(polled.data(), polled.size(), -1) < 0 && errno != EINTR) return;
            if (polled[1].revents != 0) return;
            FileDescriptor socket(
                ::accept4(socket_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
            if (!socket.valid()) {
                if (errno == EMFILE || errno == ENFILE) {
                    pollfd wait{wake_.get(), POLLIN, 0};
                    ::poll(&wait, 1, limits::kAcceptRetry_ms);
                }
                continue;
            }
            admit(std::move(socket));
        }
    }

    void admit(FileDescriptor socket) {
        const auto refuse = [&](ErrorCode code, std::string message) {
            (void)send_line(socket.get(), json_text(error_json({code, std::move(message)})),
                            Deadline::in(milliseconds(1)));
        };
        auto uid = peer_uid(socket.get());
        if (!uid || (*uid != ::geteuid() && *uid != 0))
            return refuse(ErrorCode::permission, "the control socket is for the interlay's user");
        std::unique_lock lock(mutex_);
        const auto has_room = [this] {
            for (auto at = clients_.begin(); at != clients_.end();) {
                if (!at->done) {
                    ++at;
                    continue;
                }
                at->thread.join();
                at = clients_.erase(at);
            }
            return clients_.size() < limits::kControlClients_max;
        };
        // Each call is a connection, and on a busy machine a thread needs a moment to see that its
        // own has ended.
        if (!freed_.wait_for(lock, kRoomPatience, has_room))
            return refuse(ErrorCode::locked, "too many control connections");
        Client& client = clients_.emplace_back();
        client.socket = std::move(socket);
        client.thread = quiet_thread([this, &client] {
            serve(client.socket.get());
            ::shutdown(client.socket.get(), SHUT_RDWR);
            {
                const std::lock_guard done(mutex_);
                client.done = true;
            }
            freed_.notify_one();
        });
    }

    void serve(int fd) {
        LineReader reader(fd);
        while (true) {
            auto line = reader.next(Deadline::in(milliseconds(limits::kControlIdle_ms)));
            const Deadline deadline = Deadline::in(milliseconds(limits::kControlTimeout_ms));
            if (!line) {
                // What cannot be understood is answered and ends the connection.
                if (line.error().code == ErrorCode::data)
                    (void)send_line(fd, json_text(error_json(line.error())), deadline);
                return;
            }
            std::vector<FileDescriptor> descriptors;
            const auto answer = answer_to(*line, descriptors);
            if (!send_line(fd, json_text(answer), deadline, descriptors)) return;
        }
    }

    nlohmann::json answer_to(const std::string& line, std::vector<FileDescriptor>& descriptors) {
        const auto request = nlohmann::json::parse(line, nullptr, false);
        if (!request.is_object())
            return error_json({ErrorCode::data, "a control request is one JSON object per line"});
        const auto op = request.find("op");
        if (op == request.end() || !op->is_string())
            return error_json({ErrorCode::data, "a control request names its operation in \"op\""});
        const auto name = op->get<std::string>();
        const auto handler = options_.handlers.find(name);
        if (handler == options_.handlers.end())
            return error_json({ErrorCode::usage, fmt::format("unknown operation {}", name),
                               "command and interlay may be of different versions"});
        try {
            auto result = handler->second(request);
            if (!result) return error_json(result.error());
            if (name == control_op::kTakeover && options_.listeners) {
                auto sockets = options_.listeners();
                if (!sockets) return error_json(sockets.error());
                descriptors = std::move(*sockets);
            }
            nlohmann::json answer =
                result->is_object() ? std::move(*result) : nlohmann::json{{"value", *result}};
            answer["ok"] = true;
            return answer;
        } catch (const std::exception& error) {
            // Fields of a wrong type; nlohmann's accessors throw.
            return error_json({ErrorCode::data, fmt::format("{}: {}", name, error.what())});
        }
    }

    Options options_;
    FileDescriptor socket_;
    FileDescriptor wake_;
    bool bound_ = false;
    ino_t inode_ = 0;
    dev_t device_ = 0;
    std::thread accepting_;
    std::mutex mutex_;  ///< guards the list
    std::condition_variable freed_;
    std::list<Client> clients_;
};

}  // namespace

Result<std::unique_ptr<ControlServer>> ControlServer::start(Options options) {
    auto server = std::make_unique<Server>(std::move(options));
    EXODUS_TRY(server->open());
    return server;
}

}  // namespace exodus
