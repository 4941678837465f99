// Real redis-server and valkey-server processes for tests: free loopback port, own data directory,
// stopped by their own pid.
#pragma once

#include <hiredis/hiredis.h>
#include <memory>
#include <string>
#include <vector>

#include "tests/support/process.h"

namespace exodus::test {

enum class Engine { redis, valkey };

struct ServerOptions {
    Engine engine = Engine::redis;
    std::vector<std::string> config;  ///< lines of redis.conf: "maxmemory 100mb"
    std::vector<std::string>
        acl;  ///< lines of an ACL file: "user app on >secret ~* &* +@all"; empty: no ACL file
};

using ReplyPtr = std::unique_ptr<redisReply, void (*)(void*)>;
using ContextPtr = std::unique_ptr<redisContext, void (*)(redisContext*)>;

class RedisServer {
  public:
    /// Starts and waits until it answers PING. Throws std::runtime_error with the server's log when
    /// it does not.
    explicit RedisServer(ServerOptions options = {});
    RedisServer(RedisServer&&) = default;

    [[nodiscard]] int port() const { return port_; }
    [[nodiscard]] pid_t pid() const { return process_.pid(); }
    [[nodiscard]] std::string address() const { return "127.0.0.1:" + std::to_string(port_); }
    [[nodiscard]] std::string log() const;
    /// A file of its data directory, e.g. "dump.rdb".
    [[nodiscard]] std::string data_file(const std::string& name) const {
        return directory_->file(name);
    }

    /// A blocking connection without AUTH. Throws when it cannot connect.
    [[nodiscard]] ContextPtr connect() const;
    /// One command on a connection kept for the test itself (as the default user, or `admin()`'s).
    ReplyPtr command(const std::vector<std::string>& words);
    /// Text of a simple reply; "(nil)", "(error) …" for those.
    std::string text(const std::vector<std::string>& words);
    /// A field of INFO, e.g. info("total_forks").
    std::string info(const std::string& field);
    /// Uses these credentials for command(), text() and info().
    void login(const std::string& user, const std::string& password);

    [[nodiscard]] bool running() { return process_.running(); }
    void kill();               ///< SIGKILL
    void freeze(bool frozen);  ///< SIGSTOP / SIGCONT
    void shutdown();           ///< SHUTDOWN NOSAVE and wait
    void start();              ///< again on the same port and directory

  private:
    ServerOptions options_;
    std::unique_ptr<TempDir> directory_;
    int port_ = 0;
    Process process_;
    ContextPtr admin_{nullptr, redisFree};
    std::string user_;
    std::string password_;
};

/// redisCommandArgv with words that may hold any bytes.
ReplyPtr send_command(redisContext* context, const std::vector<std::string>& words);
/// Random, so that its payload is as long as itself; the same at each call.
std::string random_text(std::size_t bytes);
/// As a person would read it.
std::string to_text(const redisReply* reply);
ContextPtr connect_to(int port, milliseconds timeout = milliseconds(5000));

}  // namespace exodus::test
