// Binding, accepting, and running out of file descriptors.
#include "net/listener.h"

#include <cerrno>
#include <charconv>
#include <cstring>
#include <fcntl.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <spdlog/spdlog.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <system_error>

#include "base/clock.h"
#include "base/limits.h"
#include "net/resolve.h"

namespace exodus {

namespace {

constexpr std::string_view kUnixPrefix = "unix:";

/// Removes a socket file that nobody listens on; one that is alive, or no socket, is an error.
Status clear_stale(const std::string& path, const SocketAddress& address) {
    struct stat info {};
    if (::lstat(path.c_str(), &info) != 0) return {};
    if (!S_ISSOCK(info.st_mode))
        return fail(ErrorCode::cannot_create, fmt::format("{} exists and is no socket", path));
    const FileDescriptor probe(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    if (::connect(probe.get(), address.raw(), address.length) == 0 || errno == EAGAIN)
        return fail(ErrorCode::cannot_create, fmt::format("{} is in use by another process", path));
    if (errno == EACCES)
        return fail(ErrorCode::permission, fmt::format("{} belongs to somebody else", path));
    ::unlink(path.c_str());
    return {};
}

Result<FileDescriptor> bind_one(const SocketAddress& address, const std::string& text) {
    FileDescriptor socket(
        ::socket(address.family(), SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    if (!socket.valid()) return fail_errno("socket", errno);
    const int on = 1;
    ::setsockopt(socket.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (address.family() == AF_INET6)
        ::setsockopt(socket.get(), IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on);
    if (::bind(socket.get(), address.raw(), address.length) != 0 ||
        ::listen(socket.get(), limits::kListenBacklog) != 0) {
        const int error = errno;
        return fail(
            error == EACCES ? ErrorCode::permission : ErrorCode::cannot_create,
            fmt::format("cannot listen on {}: {}", text, std::generic_category().message(error)),
            error == EADDRINUSE ? "another process listens there; choose another address" : "");
    }
    return socket;
}

}  // namespace

Result<ListenAddress> parse_listen_address(const std::string& text) {
    ListenAddress address;
    if (text.starts_with(kUnixPrefix)) {
        address.unix_path = text.substr(kUnixPrefix.size());
        if (address.unix_path.empty())
            return fail(ErrorCode::usage, fmt::format("{}: a path is missing", text));
        return address;
    }
    const auto bad = [&](std::string_view why) {
        return fail(ErrorCode::usage, fmt::format("listen address {}: {}", text, why),
                    "host:port, [v6]:port or unix:/path");
    };
    const auto colon = text.rfind(':');
    if (colon == std::string::npos) return bad("no port");
    address.host = text.substr(0, colon);
    if (address.host.starts_with('[')) {
        if (!address.host.ends_with(']')) return bad("a bracket is missing");
        address.host = address.host.substr(1, address.host.size() - 2);
    } else if (address.host.find(':') != std::string::npos) {
        return bad("an IPv6 address goes into brackets");
    }
    const std::string_view port = std::string_view(text).substr(colon + 1);
    const auto [end, error] = std::from_chars(port.data(), port.data() + port.size(), address.port);
    if (error != std::errc{} || end != port.data() + port.size() || port.empty())
        return bad("bad port");
    if (address.host == "*") address.host.clear();
    return address;
}

Result<std::unique_ptr<Listener>> Listener::bind(const std::vector<std::string>& addresses) {
    if (addresses.empty()) return fail(ErrorCode::usage, "no listen address");
    std::unique_ptr<Listener> listener(new Listener);
    for (const auto& text : addresses) {
        auto parsed = parse_listen_address(text);
        if (!parsed) return tl::unexpected<Error>(std::move(parsed).error());
        std::vector<SocketAddress> found;
        if (!parsed->unix_path.empty()) {
            auto path = unix_address(parsed->unix_path);
            if (!path) return tl::unexpected<Error>(std::move(path).error());
            EXODUS_TRY(clear_stale(parsed->unix_path, *path));
            found.push_back(*path);
        } else {
            auto resolved = resolve(parsed->host, parsed->port, true,
                                    Deadline::in(milliseconds(limits::kBackendConnect_ms)));
            if (!resolved) return fail(std::move(resolved).error(), "listen address " + text);
            found = std::move(*resolved);
        }
        std::size_t bound = 0;
        Status failed;
        for (const auto& address : found) {
            auto socket = bind_one(address, text);
            if (socket) {
                EXODUS_TRY(listener->note_address(socket->get()));
                listener->sockets_.push_back(std::move(*socket));
                ++bound;
            } else {
                failed = tl::unexpected<Error>(std::move(socket).error());
                // A name may have an address of a family that this machine has not: one is enough.
                const bool optional = found.size() > 1 && address.family() == AF_INET6;
                if (!optional) return tl::unexpected<Error>(std::move(failed).error());
            }
        }
        if (bound == 0) return tl::unexpected<Error>(std::move(failed).error());
    }
    if (listener->sockets_.size() > limits::kListeners_max)
        return fail(ErrorCode::usage, "too many listen addresses");
    return listener;
}

Result<std::unique_ptr<Listener>> Listener::adopt(std::vector<FileDescriptor> sockets) {
    std::unique_ptr<Listener> listener(new Listener);
    for (auto& socket : sockets) {
        int listening = 0;
        socklen_t length = sizeof listening;
        if (::getsockopt(socket.get(), SOL_SOCKET, SO_ACCEPTCONN, &listening, &length) != 0 ||
            listening == 0)
            return fail(ErrorCode::data, "a socket that was handed over does not listen");
        ::fcntl(socket.get(), F_SETFL, O_NONBLOCK);
        EXODUS_TRY(listener->note_address(socket.get()));
        listener->sockets_.push_back(std::move(socket));
    }
    if (listener->sockets_.empty()) return fail(ErrorCode::data, "no socket was handed over");
    return listener;
}

Status Listener::note_address(int fd) {
    SocketAddress address;
    address.length = sizeof address.storage;
    if (::getsockname(fd, reinterpret_cast<sockaddr*>(&address.storage), &address.length) != 0)
        return fail_errno("getsockname", errno);
    if (address.family() == AF_UNIX) {
        const auto* path = reinterpret_cast<const sockaddr_un*>(&address.storage);
        addresses_.push_back(std::string(kUnixPrefix) + path->sun_path);
    } else {
        addresses_.push_back(to_text(address.raw()));
    }
    return {};
}

Listener::~Listener() { stop(); }

Status Listener::start(OnAccept on_accept) {
    wake_ = FileDescriptor(::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
    if (!wake_.valid()) return fail_errno("eventfd", errno);
    spare_ = FileDescriptor(::open("/dev/null", O_RDONLY | O_CLOEXEC));
    on_accept_ = std::move(on_accept);
    sigset_t all;
    sigset_t former;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &former);
    thread_ = std::thread([this] {
        pthread_setname_np(pthread_self(), "exodus-accept");
        run();
    });
    pthread_sigmask(SIG_SETMASK, &former, nullptr);
    return {};
}

void Listener::stop() {
    if (thread_.joinable()) {
        const uint64_t one = 1;
        [[maybe_unused]] const auto written = ::write(wake_.get(), &one, sizeof one);
        thread_.join();
    }
    if (!sockets_.empty() && !keep_files_.load()) {
        for (const auto& address : addresses_) {
            if (address.starts_with(kUnixPrefix)) ::unlink(address.c_str() + kUnixPrefix.size());
        }
    }
    sockets_.clear();
}

Result<std::vector<FileDescriptor>> Listener::duplicate() const {
    std::vector<FileDescriptor> copies;
    for (const auto& socket : sockets_) {
        copies.emplace_back(::fcntl(socket.get(), F_DUPFD_CLOEXEC, 0));
        if (!copies.back().valid()) return fail_errno("duplicating a listening socket", errno);
    }
    return copies;
}

void Listener::run() {
    std::vector<pollfd> polled;
    for (const auto& socket : sockets_) polled.push_back({socket.get(), POLLIN, 0});
    polled.push_back({wake_.get(), POLLIN, 0});
    while (true) {
        if (::poll(polled.data(), polled.size(), -1) < 0 && errno != EINTR) {
            spdlog::error("accepting clients: {}", std::generic_category().message(errno));
            return;
        }
        if (polled.back().revents != 0) return;
        for (std::size_t i = 0; i + 1 < polled.size(); ++i) {
            if (polled[i].revents != 0) accept_from(polled[i].fd);
        }
    }
}

void Listener::accept_from(int fd) {
    // Some at a time, so that one busy address does not starve the others or the stop signal.
    for (int i = 0; i < 64; ++i) {
        SocketAddress address;
        address.length = sizeof address.storage;
        FileDescriptor socket(::accept4(fd, reinterpret_cast<sockaddr*>(&address.storage),
                                        &address.length, SOCK_NONBLOCK | SOCK_CLOEXEC));
        if (socket.valid()) {
            Accepted accepted;
            accepted.socket = std::move(socket);
            accepted.unix_socket = address.family() == AF_UNIX;
            accepted.peer = to_text(address.raw());
            on_accept_(std::move(accepted));
            continue;
        }
        if (errno == EINTR || errno == ECONNABORTED) continue;
        if (errno == EMFILE || errno == ENFILE) {
            // Without this the client would hang in the queue and poll would spin.
            spdlog::error("no file descriptor left for a client: raise the limit (ulimit -n)");
            spare_.reset();
            FileDescriptor(::accept4(fd, nullptr, nullptr, SOCK_CLOEXEC)).reset();
            spare_ = FileDescriptor(::open("/dev/null", O_RDONLY | O_CLOEXEC));
            pollfd wait{wake_.get(), POLLIN, 0};
            ::poll(&wait, 1, limits::kAcceptRetry_ms);
        }
        return;
    }
}

}  // namespace exodus
