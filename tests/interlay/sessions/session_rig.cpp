#include "session_rig.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdexcept>
#include <sys/socket.h>
#include <unistd.h>

namespace exodus::test {

namespace {
constexpr milliseconds kPatience{20'000};
}

RawClient::RawClient(int port) : fd_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<uint16_t>(port));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (::connect(fd_, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0)
        throw std::runtime_error("cannot connect");
}

RawClient::~RawClient() { ::close(fd_); }

void RawClient::send(std::string_view bytes) {
    while (!bytes.empty()) {
        const ssize_t count = ::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
        if (count <= 0) return;  // what the other end thinks of it is in its reply
        bytes.remove_prefix(static_cast<std::size_t>(count));
    }
}

void RawClient::end_of_input() { ::shutdown(fd_, SHUT_WR); }

bool RawClient::read_some(Deadline deadline) {
    pollfd wait{fd_, POLLIN, 0};
    if (ended_ || ::poll(&wait, 1, static_cast<int>(deadline.left().count())) <= 0) return false;
    char buffer[65536];
    const ssize_t count = ::recv(fd_, buffer, sizeof buffer, 0);
    if (count <= 0) {
        ended_ = true;
        return false;
    }
    received_.append(buffer, static_cast<std::size_t>(count));
    return true;
}

std::string RawClient::read(std::size_t size) {
    const Deadline deadline = Deadline::in(kPatience);
    while (received_.size() < size && read_some(deadline)) {
    }
    return std::exchange(received_, {});
}

std::string RawClient::read_to_end() {
    const Deadline deadline = Deadline::in(kPatience);
    while (read_some(deadline)) {
    }
    if (!ended_) received_ += "(still open)";
    return std::exchange(received_, {});
}

std::string request(const std::vector<std::string>& words) {
    std::string out = fmt::format("*{}\r\n", words.size());
    for (const std::string& word : words) out += fmt::format("${}\r\n{}\r\n", word.size(), word);
    return out;
}

std::string login() { return request({"AUTH", Rig::kUser, Rig::kPassword}); }

nlohmann::json traffic_of(Rig& rig) {
    const std::string out = rig.expect(0, {"--json", "ctl", "traffic"});
    return nlohmann::json::parse(out.substr(0, out.find('\n'))).at("replies").at(0).at("reply");
}

}  // namespace exodus::test
