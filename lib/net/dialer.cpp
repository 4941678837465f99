// Blocking connections: non-blocking sockets, poll with a deadline, and an eventfd that ends a
// wait.
#include "net/dialer.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <fmt/format.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <system_error>

#include "base/limits.h"
#include "net/file_descriptor.h"
#include "net/resolve.h"
#include "net/tls_engine.h"

namespace exodus {

namespace {

constexpr std::size_t kTlsRead_bytes = 16 * 1024;

class Stream final : public ByteStream {
  public:
    Stream(std::string address, FileDescriptor wake)
        : address_(std::move(address)), wake_(std::move(wake)) {}

    Status connect(const SocketAddress& to, Deadline deadline) {
        socket_ =
            FileDescriptor(::socket(to.family(), SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
        if (!socket_.valid()) return fail_errno("socket", errno);
        if (to.family() != AF_UNIX) {
            const int on = 1;
            ::setsockopt(socket_.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
            ::setsockopt(socket_.get(), SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
        }
        if (::connect(socket_.get(), to.raw(), to.length) == 0) return {};
        // A Unix socket whose backlog is full says EAGAIN and never becomes ready.
        if (errno != EINPROGRESS) return no_connection(errno);
        EXODUS_TRY(wait(POLLOUT, deadline));
        int error = 0;
        socklen_t length = sizeof error;
        ::getsockopt(socket_.get(), SOL_SOCKET, SO_ERROR, &error, &length);
        if (error != 0) return no_connection(error);
        return {};
    }

    Status start_tls(std::unique_ptr<TlsEngine> engine, Deadline deadline) {
        engine_ = std::move(engine);
        EXODUS_TRY(engine_->start());
        EXODUS_TRY(send_outgoing(deadline));
        while (!engine_->established()) {
            auto fed = feed_once(deadline);
            // The alert says to the peer why; our own reason is what the caller should see.
            const Status sent = send_outgoing(deadline);
            if (!fed) return fed;
            if (!sent) return sent;
        }
        return {};
    }

    Result<std::size_t> read(std::span<char> buffer, Deadline deadline) override {
        if (buffer.empty()) return std::size_t{0};
        if (engine_ == nullptr) return receive(buffer, deadline);
        while (true) {
            auto count = engine_->read(buffer);
            if (!count || *count > 0) return count;
            if (engine_->closed()) return closed();
            EXODUS_TRY(feed_once(deadline));
            EXODUS_TRY(send_outgoing(deadline));
        }
    }

    Status write(std::string_view bytes, Deadline deadline) override {
        if (engine_ == nullptr) return send_all(bytes, deadline);
        while (!bytes.empty()) {
            const auto piece = bytes.substr(0, limits::kReadChunk_bytes);
            EXODUS_TRY(engine_->write(piece));
            if (auto sent = send_outgoing(deadline); !sent)
                return tl::unexpected<Error>(last_words(std::move(sent).error()));
            bytes.remove_prefix(piece.size());
        }
        return {};
    }

    void shutdown() override {
        cancelled_.store(true, std::memory_order_release);
        const uint64_t one = 1;
        // The counter cannot overflow in practice; a full one would be readable all the same.
        [[maybe_unused]] const auto written = ::write(wake_.get(), &one, sizeof one);
    }

  private:
    [[nodiscard]] tl::unexpected<Error> no_connection(int error) const {
        return fail(ErrorCode::unreachable, fmt::format("cannot connect to {}: {}", address_,
                                                        std::generic_category().message(error)));
    }
    [[nodiscard]] tl::unexpected<Error> closed() const {
        return fail(ErrorCode::unreachable, fmt::format("{}: connection closed", address_));
    }
    [[nodiscard]] tl::unexpected<Error> broken(int error) const {
        if (error == EPIPE) return closed();
        return fail(ErrorCode::unreachable,
                    fmt::format("{}: {}", address_, std::generic_category().message(error)));
    }

    Status check_cancelled() const {
        if (!cancelled_.load(std::memory_order_acquire)) return {};
        return fail(ErrorCode::cancelled, fmt::format("{}: stopped on request", address_));
    }

    Status wait(short events, Deadline deadline) {
        while (true) {
            EXODUS_TRY(check_cancelled());
            const auto left = deadline.left().count();
            if (left == 0)
                return fail(ErrorCode::timeout, fmt::format("{} did not answer in time", address_));
            std::array<pollfd, 2> polled{{{socket_.get(), events, 0}, {wake_.get(), POLLIN, 0}}};
            const int ready = ::poll(polled.data(), polled.size(),
                                     static_cast<int>(std::min<int64_t>(left, 60'000)));
            if (ready < 0 && errno != EINTR) return fail_errno("poll", errno);
            if (ready > 0 && polled[0].revents != 0) return check_cancelled();
        }
    }

    Result<std::size_t> receive(std::span<char> buffer, Deadline deadline) {
        EXODUS_TRY(check_cancelled());
        while (true) {
            const ssize_t count = ::recv(socket_.get(), buffer.data(), buffer.size(), MSG_DONTWAIT);
            if (count > 0) return static_cast<std::size_t>(count);
            if (count == 0) return closed();
            if (errno == EINTR) continue;
            if (errno != EAGAIN) return broken(errno);
            EXODUS_TRY(wait(POLLIN, deadline));
        }
    }

    Status send_all(std::string_view bytes, Deadline deadline) {
        EXODUS_TRY(check_cancelled());
        while (!bytes.empty()) {
            const ssize_t count =
                ::send(socket_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
            if (count >= 0) {
                bytes.remove_prefix(static_cast<std::size_t>(count));
                continue;
            }
            if (errno == EINTR) continue;
            if (errno != EAGAIN) return broken(errno);
            EXODUS_TRY(wait(POLLOUT, deadline));
        }
        return {};
    }

    Status send_outgoing(Deadline deadline) {
        const auto bytes = engine_->outgoing();
        if (bytes.empty()) return {};
        auto sent = send_all(bytes, deadline);
        engine_->clear_outgoing();
        return sent;
    }

    /// A peer that resets the connection may have said why before: in TLS 1.3 the refusal of our
    /// certificate comes after our side of the handshake is done.
    Error last_words(Error error) {
        if (error.code != ErrorCode::unreachable) return error;
        std::array<char, kTlsRead_bytes> chunk;
        const ssize_t count = ::recv(socket_.get(), chunk.data(), chunk.size(), MSG_DONTWAIT);
        if (count <= 0) return error;
        if (auto fed = engine_->feed({chunk.data(), static_cast<std::size_t>(count)}); !fed)
            return std::move(fed).error();
        auto read = engine_->read(chunk);
        return read ? error : std::move(read).error();
    }

    Status feed_once(Deadline deadline) {
        std::array<char, kTlsRead_bytes> chunk;
        auto count = receive(chunk, deadline);
        if (!count) return tl::unexpected<Error>(std::move(count).error());
        return engine_->feed({chunk.data(), *count});
    }

    std::string address_;
    FileDescriptor wake_;
    FileDescriptor socket_;
    std::unique_ptr<TlsEngine> engine_;
    std::atomic<bool> cancelled_{false};
};

class BlockingDialer final : public Dialer {
  public:
    Result<std::unique_ptr<ByteStream>> dial(const Endpoint& endpoint,
                                             milliseconds timeout) override {
        const Deadline deadline = Deadline::in(timeout);
        const std::string address = endpoint.address();
        std::unique_ptr<TlsEngine> engine;
        std::unique_ptr<TlsContext> context;
        if (endpoint.tls.enabled) {
            auto loaded = TlsContext::make(TlsRole::client, endpoint.tls);
            if (!loaded) return fail(std::move(loaded).error(), address);
            context = std::move(*loaded);
        }
        std::vector<SocketAddress> addresses;
        if (endpoint.unix_path.empty()) {
            auto resolved = resolve(endpoint.host, endpoint.port, false, deadline);
            if (!resolved) return tl::unexpected<Error>(std::move(resolved).error());
            addresses = std::move(*resolved);
        } else {
            auto path = unix_address(endpoint.unix_path);
            if (!path) return tl::unexpected<Error>(std::move(path).error());
            addresses.push_back(*path);
        }
        Status failed = fail(ErrorCode::unreachable, fmt::format("{} has no address", address));
        for (std::size_t i = 0; i < addresses.size(); ++i) {
            // One silent address must not eat the time of those behind it.
            const auto share = static_cast<int64_t>(addresses.size() - i);
            const Deadline attempt = Deadline::in(milliseconds(
                std::max<int64_t>(deadline.left().count() / share, share == 1 ? 0 : 1)));
            FileDescriptor wake(::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
            if (!wake.valid()) return fail_errno("eventfd", errno);
            auto stream = std::make_unique<Stream>(address, std::move(wake));
            failed = stream->connect(addresses[i], attempt);
            if (!failed) {
                if (failed.error().code == ErrorCode::timeout)
                    failed.error().message = fmt::format("connecting to {} took too long", address);
                continue;
            }
            if (context != nullptr) {
                auto made = TlsEngine::make(*context, endpoint.host, address);
                if (!made) return tl::unexpected<Error>(std::move(made).error());
                EXODUS_TRY(stream->start_tls(std::move(*made), deadline));
            }
            return stream;
        }
        return tl::unexpected<Error>(std::move(failed).error());
    }
};

}  // namespace

std::unique_ptr<Dialer> make_dialer() { return std::make_unique<BlockingDialer>(); }

}  // namespace exodus
