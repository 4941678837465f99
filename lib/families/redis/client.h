// A blocking Redis connection for workflow threads: hiredis' RESP2 reader over the byte transport
// of core. Used by copy lanes, links, the verifier, the inspector and the fence; never by the
// traffic path.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/error.h"
#include "base/limits.h"
#include "core/dialer.h"
#include "core/endpoint.h"
#include "families/redis/reply.h"
#include "families/redis/reply_reader.h"

namespace exodus::redis {

/// Lines "name:value" of INFO.
class Info {
  public:
    static Info parse(std::string_view text);
    [[nodiscard]] std::string get(std::string_view name) const;
    [[nodiscard]] int64_t integer(std::string_view name, int64_t fallback = 0) const;
    [[nodiscard]] double number(std::string_view name, double fallback = 0) const;
    [[nodiscard]] bool has(std::string_view name) const;
    /// Section "keyspace": keys of each database that has some.
    [[nodiscard]] std::map<int, uint64_t> keyspace() const;
    /// Of all databases.
    [[nodiscard]] uint64_t keys() const;
    [[nodiscard]] const std::map<std::string, std::string, std::less<>>& all() const {
        return fields_;
    }

  private:
    std::map<std::string, std::string, std::less<>> fields_;
};

/// What a server says it is. Valkey reports the Redis version it is compatible with besides its
/// own.
struct ServerVersion {
    std::string engine = "redis";  ///< "redis" | "valkey"
    std::string version;           ///< the engine's own, "8.0.1"
    int compat_major = 0;          ///< of redis_version: 7.2 for Valkey 8
    int compat_minor = 0;
    int major = 0;  ///< the engine's own
    int minor = 0;
    /// Whether commands and formats of this Redis version can be expected.
    [[nodiscard]] bool at_least(int major_min, int minor_min) const {
        return compat_major > major_min || (compat_major == major_min && compat_minor >= minor_min);
    }
    [[nodiscard]] bool is_valkey() const { return engine == "valkey"; }
    /// Fields of hashes may have an expiry of their own: Redis 7.4, Valkey 9.
    [[nodiscard]] bool has_field_expiries() const {
        return at_least(7, 4) || (is_valkey() && major >= 9);
    }
    [[nodiscard]] std::string text() const { return engine + " " + version; }
    static ServerVersion of(const Info& info);
};

/// A place in a replication stream; "<replid>:<offset>" is the text of a core Position.
struct StreamPosition {
    std::string replid;
    int64_t offset = 0;
    [[nodiscard]] std::string text() const { return replid + ":" + std::to_string(offset); }
    static std::optional<StreamPosition> parse(std::string_view text);
    /// master_replid and master_repl_offset of INFO replication.
    static StreamPosition of(const Info& info);
    bool operator==(const StreamPosition&) const = default;
};

struct ConnectOptions {
    milliseconds timeout{limits::kRedisConnect_ms};  ///< for dial and for each login command
    milliseconds command_timeout{limits::kRedisCommand_ms};  ///< default deadline of command()
    std::string name = "exodus";                             ///< CLIENT SETNAME; empty: none
    int database = -1;                                       ///< -1: the endpoint's
};

/// A connection taken out of a Client: the transport and what was read but not used.
struct RawLink {
    std::unique_ptr<ByteStream> stream;
    std::string unread;
};

/// Not thread-safe, except shutdown(). After a transport or protocol error the client is broken:
/// every further call returns that error; make a new one. An error *reply* does not break it.
class Client {
  public:
    using Args = std::initializer_list<std::string_view>;
    using ArgSpan = std::span<const std::string_view>;

    /// Connects, AUTH (when the endpoint has a user or password), CLIENT SETNAME, SELECT.
    /// Errors: unreachable, timeout, permission (with hint).
    static Result<std::unique_ptr<Client>> connect(Dialer& dialer, const Endpoint& endpoint,
                                                   const ConnectOptions& options = {});
    /// Over a stream that is already there; no login.
    explicit Client(std::unique_ptr<ByteStream> stream,
                    milliseconds command_timeout = milliseconds(limits::kRedisCommand_ms));
    ~Client();
    Client(const Client&) = delete;
    Client& operator=(const Client&) = delete;

    /// Sends one command and waits for its reply; an error reply is a Reply. Not while replies of a
    /// pipeline are pending.
    Result<Reply> command(Args args) { return command(ArgSpan(args.begin(), args.size())); }
    Result<Reply> command(ArgSpan args);
    Result<Reply> command(const std::vector<std::string>& args);
    Result<Reply> command(Args args, Deadline deadline);
    Result<Reply> command(ArgSpan args, Deadline deadline);
    /// As command(), but an error reply is an Error.
    Result<Reply> ask(Args args) { return ask(ArgSpan(args.begin(), args.size())); }
    Result<Reply> ask(ArgSpan args);
    Result<Reply> ask(const std::vector<std::string>& args);

    /// Pipelining: append, flush, then one read_reply per command, in order.
    void append(Args args) { append(ArgSpan(args.begin(), args.size())); }
    void append(ArgSpan args);
    void append(const std::vector<std::string>& args);
    /// Bytes that are already RESP; `replies` says how many replies they will cause.
    void append_raw(std::string_view bytes, std::size_t replies);
    [[nodiscard]] std::size_t unsent_bytes() const { return out_.size(); }
    [[nodiscard]] std::size_t pending_replies() const { return pending_; }
    Status flush(Deadline deadline);
    Status flush();
    Result<Reply> read_reply(Deadline deadline);
    Result<Reply> read_reply();
    /// The next `count` replies, of commands inside a MULTI: returns those that are not QUEUED.
    Result<std::vector<Reply>> read_queued(std::size_t count);
    /// flush and read `count` replies (all pending when 0). Error replies are replies.
    Result<std::vector<Reply>> read_all(std::size_t count = 0);
    Result<std::vector<Reply>> read_all(std::size_t count, Deadline deadline);

    /// INFO [section], parsed.
    Result<Info> info(std::string_view section = {});
    Result<ServerVersion> server_version();
    /// One value of CONFIG GET; nullopt when the server does not know it. Error permission when
    /// refused.
    Result<std::optional<std::string>> config_get(std::string_view name);
    /// SELECT, only sent when it is another database than now.
    Status select(int database);
    [[nodiscard]] int database() const { return database_; }

    /// Reads up to and including the next CRLF or LF, without it; for what is not RESP (PSYNC's
    /// answers, keep-alive LF).
    Result<std::string> read_line(Deadline deadline);
    /// Gives the transport away, with the bytes that were read and not used; the client is broken
    /// after it.
    RawLink take_raw();

    /// Ends a wait in another thread; the client is broken after it.
    void shutdown();
    [[nodiscard]] bool broken() const { return broken_.has_value(); }
    /// Commands sent get this default deadline.
    void set_command_timeout(milliseconds timeout) { command_timeout_ = timeout; }

  private:
    tl::unexpected<Error> break_with(Error error);
    Status login(const Endpoint& endpoint, const ConnectOptions& options);
    Status feed(Deadline deadline);

    std::unique_ptr<ByteStream> stream_;
    ReplyReader reader_;
    std::vector<char> chunk_;
    std::string out_;
    std::size_t pending_ = 0;
    milliseconds command_timeout_;
    std::optional<Error> broken_;
    int database_ = 0;
};

}  // namespace exodus::redis
