// Reading and writing of control lines.
#include "net/control_wire.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <fmt/format.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "base/limits.h"

namespace exodus {

namespace {

Status wait_for(int fd, short events, Deadline deadline) {
    while (true) {
        const auto left = deadline.left().count();
        if (left == 0) return fail(ErrorCode::timeout, "no answer on the control socket in time");
        pollfd polled{fd, events, 0};
        const int ready = ::poll(&polled, 1, static_cast<int>(std::min<int64_t>(left, 60'000)));
        if (ready > 0) return {};
        if (ready < 0 && errno != EINTR) return fail_errno("poll", errno);
    }
}

void take_descriptors(msghdr& message, std::vector<FileDescriptor>* received) {
    for (cmsghdr* header = CMSG_FIRSTHDR(&message); header != nullptr;
         header = CMSG_NXTHDR(&message, header)) {
        if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS) continue;
        const std::size_t count = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (std::size_t i = 0; i < count; ++i) {
            int fd = -1;
            std::memcpy(&fd, CMSG_DATA(header) + i * sizeof(int), sizeof fd);
            FileDescriptor owned(fd);
            if (received != nullptr && received->size() < limits::kListeners_max)
                received->push_back(std::move(owned));
        }
    }
}

}  // namespace

Result<std::string> LineReader::next(Deadline deadline, std::vector<FileDescriptor>* received) {
    while (true) {
        const auto end = buffer_.find('\n', searched_);
        if (end != std::string::npos) {
            std::string line = buffer_.substr(0, end);
            buffer_.erase(0, end + 1);
            searched_ = 0;
            return line;
        }
        searched_ = buffer_.size();
        if (buffer_.size() > limits::kControlMessage_bytes)
            return fail(ErrorCode::data, fmt::format("a control message is longer than {} bytes",
                                                     limits::kControlMessage_bytes));
        EXODUS_TRY(wait_for(fd_, POLLIN, deadline));
        std::array<char, 16 * 1024> chunk;
        alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int) * limits::kListeners_max)> control;
        iovec piece{chunk.data(), chunk.size()};
        msghdr message{};
        message.msg_iov = &piece;
        message.msg_iovlen = 1;
        message.msg_control = control.data();
        message.msg_controllen = control.size();
        const ssize_t count = ::recvmsg(fd_, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
        if (count > 0) {
            take_descriptors(message, received);
            buffer_.append(chunk.data(), static_cast<std::size_t>(count));
            continue;
        }
        if (count < 0 && (errno == EINTR || errno == EAGAIN)) continue;
        return fail(ErrorCode::unreachable, "the control connection was closed");
    }
}

Status send_line(int fd, std::string line, Deadline deadline,
                 const std::vector<FileDescriptor>& descriptors) {
    line += '\n';
    std::size_t sent = 0;
    bool with_descriptors = !descriptors.empty();
    alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int) * limits::kListeners_max)> control{};
    if (descriptors.size() > limits::kListeners_max)
        return fail(ErrorCode::internal, "too many sockets for one message");
    while (sent < line.size()) {
        iovec piece{line.data() + sent, line.size() - sent};
        msghdr message{};
        message.msg_iov = &piece;
        message.msg_iovlen = 1;
        if (with_descriptors) {
            const std::size_t bytes = descriptors.size() * sizeof(int);
            message.msg_control = control.data();
            message.msg_controllen = CMSG_SPACE(bytes);
            cmsghdr* header = CMSG_FIRSTHDR(&message);
            header->cmsg_level = SOL_SOCKET;
            header->cmsg_type = SCM_RIGHTS;
            header->cmsg_len = CMSG_LEN(bytes);
            for (std::size_t i = 0; i < descriptors.size(); ++i) {
                const int raw = descriptors[i].get();
                std::memcpy(CMSG_DATA(header) + i * sizeof(int), &raw, sizeof raw);
            }
        }
        const ssize_t count = ::sendmsg(fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (count > 0) {
            sent += static_cast<std::size_t>(count);
            with_descriptors = false;
            continue;
        }
        if (count < 0 && errno == EINTR) continue;
        if (count < 0 && errno == EAGAIN) {
            EXODUS_TRY(wait_for(fd, POLLOUT, deadline));
            continue;
        }
        return fail(ErrorCode::unreachable, "the control connection was closed");
    }
    return {};
}

Result<unsigned> peer_uid(int fd) {
    ucred credentials{};
    socklen_t length = sizeof credentials;
    if (::getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &credentials, &length) != 0)
        return fail_errno("SO_PEERCRED", errno);
    return credentials.uid;
}

}  // namespace exodus
