// Dialling of a connection: name look-up in libuv's pool, the addresses in turn, one deadline over
// all of it, TLS included.
#include <cstring>
#include <fmt/format.h>
#include <netdb.h>
#include <spdlog/spdlog.h>

#include "base/limits.h"
#include "net/connection.h"
#include "net/connection_set.h"

namespace exodus {

/// Lives until libuv is done with it, which may be after the connection.
struct Connection::Lookup {
    uv_getaddrinfo_t request{};
    Connection* connection = nullptr;
};

void Connection::dial(const Endpoint& endpoint, const TlsContext* tls) {
    dialling_ = std::make_unique<Dialling>();
    dialling_->endpoint = endpoint;
    dialling_->tls = tls;
    peer_ = endpoint.address();
    deadline_ = set_.arm(limits::kBackendConnect_ms, *this);
    if (!endpoint.unix_path.empty()) {
        auto address = unix_address(endpoint.unix_path);
        if (!address) return end(CloseReason::refused, address.error().message);
        dialling_->addresses.push_back(*address);
        return try_next_address();
    }
    // Numeric addresses need no thread of the pool.
    addrinfo wanted{};
    wanted.ai_family = AF_UNSPEC;
    wanted.ai_socktype = SOCK_STREAM;
    wanted.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV;
    const std::string port = std::to_string(endpoint.port);
    addrinfo* numeric = nullptr;
    if (getaddrinfo(endpoint.host.c_str(), port.c_str(), &wanted, &numeric) == 0)
        return resolved(0, numeric);
    wanted.ai_flags = AI_NUMERICSERV;
    auto lookup = std::make_unique<Lookup>();
    lookup->connection = this;
    lookup->request.data = lookup.get();
    const int error = uv_getaddrinfo(
        set_.loop_.raw(), &lookup->request,
        [](uv_getaddrinfo_t* request, int status, addrinfo* list) {
            const std::unique_ptr<Lookup> owned(static_cast<Lookup*>(request->data));
            if (owned->connection != nullptr) {
                owned->connection->dialling_->lookup = nullptr;
                owned->connection->resolved(status, list);
            } else {
                uv_freeaddrinfo(list);
            }
        },
        endpoint.host.c_str(), port.c_str(), &wanted);
    if (error != 0) return end(CloseReason::refused, uv_strerror(error));
    dialling_->lookup = lookup.release();
}

void Connection::forget_lookup() {
    if (dialling_ == nullptr || dialling_->lookup == nullptr) return;
    dialling_->lookup->connection = nullptr;
    uv_cancel(reinterpret_cast<uv_req_t*>(&dialling_->lookup->request));
    dialling_->lookup = nullptr;
}

void Connection::resolved(int status, addrinfo* list) {
    const std::unique_ptr<addrinfo, decltype(&freeaddrinfo)> owned(list, freeaddrinfo);
    if (state_ != State::resolving) return;
    if (status != 0)
        return end(
            CloseReason::refused,
            fmt::format("cannot look up {}: {}", dialling_->endpoint.host, uv_strerror(status)));
    for (const addrinfo* at = list;
         at != nullptr && dialling_->addresses.size() < limits::kResolvedAddresses_max;
         at = at->ai_next) {
        SocketAddress address;
        std::memcpy(&address.storage, at->ai_addr, at->ai_addrlen);
        address.length = at->ai_addrlen;
        dialling_->addresses.push_back(address);
    }
    try_next_address();
}

void Connection::try_next_address() {
    state_ = State::connecting;
    if (dialling_->next == dialling_->addresses.size())
        return end(CloseReason::refused,
                   dialling_->failure.empty() ? "no address" : dialling_->failure);
    const SocketAddress& address = dialling_->addresses[dialling_->next++];
    connect_.data = this;
    const auto on_connect = [](uv_connect_t* request, int status) {
        static_cast<Connection*>(request->data)->connected(status);
    };
    handle_live_ = true;
    if (address.family() == AF_UNIX) {
        uv_pipe_init(set_.loop_.raw(), &handle_.pipe, 0);
        handle_.any.data = this;
        uv_pipe_connect(&connect_, &handle_.pipe, dialling_->endpoint.unix_path.c_str(),
                        on_connect);
        return;
    }
    uv_tcp_init(set_.loop_.raw(), &handle_.tcp);
    handle_.any.data = this;
    const int error = uv_tcp_connect(&connect_, &handle_.tcp, address.raw(), on_connect);
    if (error != 0) connected(error);
}

void Connection::connected(int status) {
    if (state_ != State::connecting) return;  // being closed
    if (status != 0) {
        dialling_->failure = uv_strerror(status);
        // The handle is used up; the next address gets it when libuv has let go of it.
        uv_close(&handle_.any, [](uv_handle_t* handle) {
            auto* self = static_cast<Connection*>(handle->data);
            self->handle_live_ = false;
            self->retrying_ = false;
            if (self->state_ == State::connecting)
                self->try_next_address();
            else if (self->state_ == State::closed)
                self->set_.finished(*self);
        });
        retrying_ = true;
        return;
    }
    uv_os_fd_t fd = -1;
    uv_fileno(&handle_.any, &fd);
    fd_ = fd;
    if (dialling_->endpoint.unix_path.empty()) {
        uv_tcp_nodelay(&handle_.tcp, 1);
        uv_tcp_keepalive(&handle_.tcp, 1, limits::kKeepAlive_s);
    }
    if (dialling_->tls != nullptr) return secure(*dialling_->tls, dialling_->endpoint.host);
    become_open();
}

}  // namespace exodus
