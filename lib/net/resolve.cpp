// Name resolution on a helper thread, so that a silent DNS server costs no more than the deadline.
#include "net/resolve.h"

#include <arpa/inet.h>
#include <atomic>
#include <condition_variable>
#include <cstring>
#include <fmt/format.h>
#include <memory>
#include <mutex>
#include <netdb.h>
#include <netinet/in.h>
#include <sys/un.h>
#include <thread>

#include "base/limits.h"

namespace exodus {

namespace {

struct Lookup {
    std::string host;
    std::string port;
    addrinfo wanted{};
    std::mutex mutex;
    std::condition_variable ready;
    bool done = false;
    int code = 0;
    std::vector<SocketAddress> found;
};

std::atomic<int> lookups_running{0};

int look_up(Lookup& lookup) {
    addrinfo* list = nullptr;
    const int code = getaddrinfo(lookup.host.empty() ? nullptr : lookup.host.c_str(),
                                 lookup.port.c_str(), &lookup.wanted, &list);
    if (code != 0) return code;
    for (const addrinfo* at = list;
         at != nullptr && lookup.found.size() < limits::kResolvedAddresses_max; at = at->ai_next) {
        SocketAddress address;
        std::memcpy(&address.storage, at->ai_addr, at->ai_addrlen);
        address.length = at->ai_addrlen;
        lookup.found.push_back(address);
    }
    freeaddrinfo(list);
    return 0;
}

}  // namespace

Result<std::vector<SocketAddress>> resolve(const std::string& host, uint16_t port, bool passive,
                                           Deadline deadline) {
    auto lookup = std::make_shared<Lookup>();
    lookup->host = host;
    lookup->port = std::to_string(port);
    lookup->wanted.ai_family = AF_UNSPEC;
    lookup->wanted.ai_socktype = SOCK_STREAM;
    lookup->wanted.ai_flags = AI_NUMERICSERV | AI_NUMERICHOST | (passive ? AI_PASSIVE : 0);
    if (look_up(*lookup) == 0) return std::move(lookup->found);

    lookup->wanted.ai_flags &= ~AI_NUMERICHOST;
    if (lookups_running.fetch_add(1) >= limits::kLookups_max) {
        lookups_running.fetch_sub(1);
        return fail(ErrorCode::unreachable,
                    fmt::format("cannot look up {}: the name service does not answer", host));
    }
    std::thread([lookup] {
        // The result is kept apart from `found` until the waiter may look.
        const int code = look_up(*lookup);
        lookups_running.fetch_sub(1);
        const std::lock_guard lock(lookup->mutex);
        lookup->code = code;
        lookup->done = true;
        lookup->ready.notify_all();
    }).detach();
    std::unique_lock lock(lookup->mutex);
    if (!lookup->ready.wait_for(lock, deadline.left(), [&] { return lookup->done; }))
        return fail(ErrorCode::timeout, fmt::format("looking up {} took too long", host));
    if (lookup->code != 0)
        return fail(ErrorCode::unreachable,
                    fmt::format("cannot look up {}: {}", host, gai_strerror(lookup->code)));
    return std::move(lookup->found);
}

Result<SocketAddress> unix_address(const std::string& path) {
    sockaddr_un address{};
    if (path.empty() || path.size() >= sizeof address.sun_path)
        return fail(ErrorCode::usage, fmt::format("{}: a socket's path may have 1 to {} bytes",
                                                  path, sizeof address.sun_path - 1));
    address.sun_family = AF_UNIX;
    std::memcpy(address.sun_path, path.data(), path.size());
    SocketAddress result;
    std::memcpy(&result.storage, &address, sizeof address);
    result.length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + path.size() + 1);
    return result;
}

std::string to_text(const sockaddr* address) {
    char text[INET6_ADDRSTRLEN] = "";
    if (address->sa_family == AF_INET) {
        const auto* ip = reinterpret_cast<const sockaddr_in*>(address);
        inet_ntop(AF_INET, &ip->sin_addr, text, sizeof text);
        return fmt::format("{}:{}", text, ntohs(ip->sin_port));
    }
    if (address->sa_family == AF_INET6) {
        const auto* ip = reinterpret_cast<const sockaddr_in6*>(address);
        inet_ntop(AF_INET6, &ip->sin6_addr, text, sizeof text);
        return fmt::format("[{}]:{}", text, ntohs(ip->sin6_port));
    }
    return "unix";
}

}  // namespace exodus
