#include "tests/support/raw_client.h"

#include <algorithm>
#include <arpa/inet.h>
#include <cerrno>
#include <netinet/in.h>
#include <poll.h>
#include <stdexcept>
#include <sys/socket.h>
#include <unistd.h>
#include <utility>

namespace exodus::test {

RawClient::RawClient(int port, milliseconds patience)
    : fd_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)), patience_(patience) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<uint16_t>(port));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (::connect(fd_, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
        ::close(fd_);
        throw std::runtime_error("cannot connect");
    }
}

RawClient::~RawClient() { ::close(fd_); }

bool RawClient::wait(short events, milliseconds span) const {
    pollfd entry{fd_, events, 0};
    return ::poll(&entry, 1, static_cast<int>(span.count())) == 1;
}

void RawClient::send(std::string_view bytes) {
    while (!bytes.empty() && wait(POLLOUT, patience_)) {
        const ssize_t count = ::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
        if (count < 0 && errno != EAGAIN) return;
        if (count > 0) bytes.remove_prefix(static_cast<std::size_t>(count));
    }
}

void RawClient::send_and_listen(std::string_view bytes) {
    const Deadline deadline = Deadline::in(patience_);
    while (!bytes.empty() && !ended_ && !deadline.passed()) {
        const ssize_t count = ::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
        if (count > 0) {
            bytes.remove_prefix(static_cast<std::size_t>(count));
            continue;
        }
        if (errno != EAGAIN) return;
        read_some(milliseconds(10));
    }
}

void RawClient::end_of_input() { ::shutdown(fd_, SHUT_WR); }

bool RawClient::read_some(milliseconds span) {
    if (ended_ || !wait(POLLIN, span)) return false;
    char buffer[65536];
    const ssize_t count = ::recv(fd_, buffer, sizeof buffer, 0);
    if (count <= 0) {
        ended_ = true;
        return false;
    }
    received_.append(buffer, static_cast<std::size_t>(count));
    return true;
}

std::string RawClient::front(std::size_t size) {
    std::string out = received_.substr(0, size);
    received_.erase(0, out.size());
    return out;
}

void RawClient::discard() {
    while (read_some(milliseconds(0))) received_.clear();
    received_.clear();
}

std::string RawClient::read(std::size_t size) {
    const Deadline deadline = Deadline::in(patience_);
    while (received_.size() < size && read_some(deadline.left())) {
    }
    return std::exchange(received_, {});
}

std::string RawClient::read_until(std::string_view text) {
    const Deadline deadline = Deadline::in(patience_);
    for (std::size_t from = 0;;) {
        const auto at = received_.find(text, from);
        if (at != std::string::npos) return front(at + text.size());
        from = received_.size() - std::min(received_.size(), text.size());
        if (!read_some(deadline.left())) return std::exchange(received_, {});
    }
}

std::string RawClient::read_to_end() {
    const Deadline deadline = Deadline::in(patience_);
    while (read_some(deadline.left())) {
    }
    if (!ended_) received_ += "(still open)";
    return std::exchange(received_, {});
}

std::string RawClient::take(std::size_t size) {
    if (received_.empty() && !read_some(patience_))
        throw std::runtime_error(ended_ ? "connection lost while reading" : "nothing comes");
    return front(size);
}

std::string RawClient::line() {
    for (;;) {
        const auto end = received_.find("\r\n");
        if (end != std::string::npos) {
            std::string out = front(end + 2);
            out.resize(end);
            return out;
        }
        if (!read_some(patience_))
            throw std::runtime_error(ended_ ? "connection lost while reading" : "nothing comes");
    }
}

std::string request(const std::vector<std::string>& words) {
    std::string out = "*" + std::to_string(words.size()) + "\r\n";
    for (const std::string& word : words)
        out += "$" + std::to_string(word.size()) + "\r\n" + word + "\r\n";
    return out;
}

}  // namespace exodus::test
