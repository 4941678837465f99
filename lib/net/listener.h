// The listening sockets of a process and the thread that accepts on them. Who gets an accepted
// socket is the owner's decision. The sockets can be handed to another process, which then accepts
// on the same queue, so that a restart refuses no client.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "base/error.h"
#include "net/file_descriptor.h"

namespace exodus {

struct ListenAddress {
    std::string host;  ///< empty: every address
    uint16_t port = 0;
    std::string unix_path;  ///< instead of host and port when not empty
};

/// "host:port", "[v6]:port", ":port" or "unix:/path". Error: usage.
Result<ListenAddress> parse_listen_address(const std::string& text);

class Listener {
  public:
    struct Accepted {
        FileDescriptor socket;
        std::string peer;
        bool unix_socket = false;
    };
    /// Called on the accepting thread.
    using OnAccept = std::function<void(Accepted&&)>;

    /// Binds all addresses or none. A name binds each of its addresses. A stale Unix socket file is
    /// replaced, a live one is not. Errors: usage, cannot_create (with the address), permission.
    static Result<std::unique_ptr<Listener>> bind(const std::vector<std::string>& addresses);
    /// Takes sockets that another process bound (takeover).
    static Result<std::unique_ptr<Listener>> adopt(std::vector<FileDescriptor> sockets);
    ~Listener();

    /// Starts accepting. Once only.
    Status start(OnAccept on_accept);
    /// Stops accepting and closes the sockets; clients still in the queue of a socket that nobody
    /// else holds are refused by the kernel. Idempotent. Not from on_accept.
    void stop();
    /// As bound, ports filled in: "127.0.0.1:6400", "unix:/run/x.sock".
    [[nodiscard]] const std::vector<std::string>& addresses() const { return addresses_; }
    /// Duplicates for another process; empty after stop().
    [[nodiscard]] Result<std::vector<FileDescriptor>> duplicate() const;
    /// Somebody else listens on the sockets too: stop() leaves the Unix socket files alone.
    void keep_files() { keep_files_.store(true); }

  private:
    Listener() = default;
    Status note_address(int fd);
    void run();
    void accept_from(int fd);

    std::vector<FileDescriptor> sockets_;
    std::vector<std::string> addresses_;
    FileDescriptor wake_;
    FileDescriptor spare_;  ///< given up for a moment when descriptors run out
    OnAccept on_accept_;
    std::thread thread_;
    std::atomic<bool> keep_files_{false};
};

}  // namespace exodus
