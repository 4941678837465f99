// Raw sockets to an interlay and to its server, so that a test can say byte by byte what a client
// sees on both.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "tests/support/scenario.h"

namespace exodus::test {

/// A client that speaks bytes; every wait has a deadline.
class RawClient {
  public:
    explicit RawClient(int port);
    ~RawClient();
    RawClient(const RawClient&) = delete;
    RawClient& operator=(const RawClient&) = delete;

    void send(std::string_view bytes);
    void end_of_input();  ///< shutdown(SHUT_WR)
    /// What comes until `size` bytes are there, the other end closes, or 20 s pass.
    std::string read(std::size_t size);
    /// Everything until the other end closes; "(still open)" is appended when it does not in 20 s.
    std::string read_to_end();

  private:
    bool read_some(Deadline deadline);
    int fd_ = -1;
    bool ended_ = false;
    std::string received_;
};

std::string request(const std::vector<std::string>& words);
/// AUTH as the rig's application user.
std::string login();

/// One answer of `ctl traffic`.
nlohmann::json traffic_of(Rig& rig);

}  // namespace exodus::test
