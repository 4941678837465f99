// A client that speaks bytes, for tests that say byte by byte what the other end does. Every wait
// has a deadline.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"

namespace exodus::test {

class RawClient {
  public:
    /// `patience`: the longest wait for the other end, in either direction. Throws when there is
    /// nobody at the port.
    explicit RawClient(int port, milliseconds patience = milliseconds(20'000));
    ~RawClient();
    RawClient(const RawClient&) = delete;
    RawClient& operator=(const RawClient&) = delete;

    /// Reads nothing meanwhile. What the other end thinks of it, a close included, is read later.
    void send(std::string_view bytes);
    /// The same where both ends talk at once: what comes is read, so that neither waits for ever.
    void send_and_listen(std::string_view bytes);
    void end_of_input();  ///< shutdown(SHUT_WR)

    /// All that has come when it is `size` bytes, or the other end closed or kept silent.
    std::string read(std::size_t size);
    /// What comes up to `text` and with it; all that has come when it never does.
    std::string read_until(std::string_view text);
    /// Everything until the other end closes; "(still open)" is appended when it does not.
    std::string read_to_end();
    /// Something, at most `size` bytes; throws when nothing comes any more.
    std::string take(std::size_t size);
    /// Reads what is there and forgets it; never waits.
    void discard();
    /// A line without its end; throws like take().
    std::string line();
    /// The other end's close was read.
    [[nodiscard]] bool ended() const { return ended_; }

  private:
    bool wait(short events, milliseconds span) const;
    bool read_some(milliseconds span);
    std::string front(std::size_t size);

    int fd_ = -1;
    milliseconds patience_;
    bool ended_ = false;
    std::string received_;
};

/// As RESP.
std::string request(const std::vector<std::string>& words);

}  // namespace exodus::test
