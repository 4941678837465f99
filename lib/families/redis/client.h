// A blocking Redis connection for workflow threads: hiredis' RESP2 reader over the byte transport of
// core. Used by copy lanes, links, the verifier, the inspector and the fence;
// never by the traffic path.
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

struct redisReply;
struct redisReader;

namespace exodus::redis {

enum class ReplyType : uint8_t { string, array, integer, nil, status, error };

/// A reply, or an element of one. Valid as long as the Reply that owns it.
class ReplyView {
  public:
    ReplyView() = default;
    explicit ReplyView(const redisReply* raw) : raw_(raw) {}

    [[nodiscard]] bool valid() const { return raw_ != nullptr; }
    /// nil for an invalid view.
    [[nodiscard]] ReplyType type() const;
    [[nodiscard]] bool is_error() const { return type() == ReplyType::error; }
    [[nodiscard]] bool is_nil() const { return type() == ReplyType::nil; }
    [[nodiscard]] bool is_array() const { return type() == ReplyType::array; }
    /// True for "+OK".
    [[nodiscard]] bool is_ok() const;
    /// Bytes of a string, status or error; empty otherwise.
    [[nodiscard]] std::string_view text() const;
    /// Value of an integer, or of a string that is one; 0 otherwise.
    [[nodiscard]] int64_t integer() const;
    /// Elements of an array; 0 otherwise.
    [[nodiscard]] std::size_t size() const;
    /// Element of an array; an invalid view past the end.
    [[nodiscard]] ReplyView operator[](std::size_t index) const;
    /// Value behind `name` in a flat array of name/value pairs (XINFO, ACL GETUSER, CONFIG GET).
    [[nodiscard]] ReplyView field(std::string_view name) const;
    [[nodiscard]] const redisReply* raw() const { return raw_; }

  protected:
    const redisReply* raw_ = nullptr;
};

/// Owns a whole reply. Move-only.
class Reply : public ReplyView {
  public:
    Reply() = default;
    /// Takes ownership of what redisReaderGetReply gave.
    explicit Reply(redisReply* raw) : ReplyView(raw) {}
    ~Reply();
    Reply(Reply&& other) noexcept : ReplyView(other.raw_) { other.raw_ = nullptr; }
    Reply& operator=(Reply&& other) noexcept;
    Reply(const Reply&) = delete;
    Reply& operator=(const Reply&) = delete;
};

/// An error reply as an Error: NOPERM, NOAUTH, WRONGPASS → permission; LOADING, MASTERDOWN,
/// CLUSTERDOWN, READONLY → unreachable; else data. `what` goes in front.
Error error_of(ReplyView reply, std::string_view what);
/// First word of an error reply: "NOPERM", "WRONGTYPE", "ERR", …
std::string_view error_word(ReplyView reply);

/// Lines "name:value" of INFO.
class Info {
  public:
    static Info parse(std::string_view text);
    [[nodiscard]] std::string get(std::string_view name) const;
    [[nodiscard]] int64_t integer(std::string_view name, int64_t fallback = 0) const;
    [[nodiscard]] double number(std::string_view name, double fallback = 0) const;
    [[nodiscard]] bool has(std::string_view name) const;
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
    Result<bool> feed(Deadline deadline);

    struct ReaderFree {
        void operator()(redisReader* reader) const;
    };
    std::unique_ptr<ByteStream> stream_;
    std::unique_ptr<redisReader, ReaderFree> reader_;
    std::vector<char> chunk_;
    std::string out_;
    std::size_t pending_ = 0;
    milliseconds command_timeout_;
    std::optional<Error> broken_;
    int database_ = 0;
};

/// Turns an error reply of a Result into an Error with `what` in front.
Result<Reply> reject_error(Result<Reply> reply, std::string_view what);

}  // namespace exodus::redis
