#include "families/redis/client.h"

#include <charconv>
#include <cstring>

#include "families/redis/stream_command.h"
#include "wire/resp/writer.h"

namespace exodus::redis {

namespace {

/// "7.0.15" → major, minor; missing parts are 0.
void split_version(std::string_view text, int& major, int& minor) {
    major = minor = 0;
    const auto dot = text.find('.');
    major = static_cast<int>(to_number(text.substr(0, dot)).value_or(0));
    if (dot == std::string_view::npos) return;
    const auto rest = text.substr(dot + 1);
    minor = static_cast<int>(to_number(rest.substr(0, rest.find('.'))).value_or(0));
}

}  // namespace

Info Info::parse(std::string_view text) {
    Info info;
    while (!text.empty()) {
        const auto end = text.find('\n');
        auto line = text.substr(0, end);
        text = end == std::string_view::npos ? std::string_view() : text.substr(end + 1);
        if (!line.empty() && line.back() == '\r') line.remove_suffix(1);
        const auto colon = line.find(':');
        if (line.empty() || line.front() == '#' || colon == std::string_view::npos) continue;
        info.fields_.insert_or_assign(std::string(line.substr(0, colon)),
                                      std::string(line.substr(colon + 1)));
    }
    return info;
}

std::string Info::get(std::string_view name) const {
    const auto it = fields_.find(name);
    return it == fields_.end() ? std::string() : it->second;
}

bool Info::has(std::string_view name) const { return fields_.find(name) != fields_.end(); }

int64_t Info::integer(std::string_view name, int64_t fallback) const {
    const auto it = fields_.find(name);
    return it == fields_.end() ? fallback : to_number(it->second).value_or(fallback);
}

double Info::number(std::string_view name, double fallback) const {
    const auto it = fields_.find(name);
    if (it == fields_.end()) return fallback;
    double value = 0;
    const auto* begin = it->second.data();
    const auto [end, error] = std::from_chars(begin, begin + it->second.size(), value);
    return error == std::errc() && end != begin ? value : fallback;
}

std::map<int, uint64_t> Info::keyspace() const {
    std::map<int, uint64_t> databases;  // "db3:keys=12,expires=0,avg_ttl=0"
    for (const auto& [name, text] : fields_) {
        if (!name.starts_with("db") || !text.starts_with("keys=")) continue;
        const auto db = to_number(std::string_view(name).substr(2));
        const auto keys = to_number(std::string_view(text).substr(5, text.find(',') - 5));
        if (db && keys) databases[static_cast<int>(*db)] = static_cast<uint64_t>(*keys);
    }
    return databases;
}

uint64_t Info::keys() const {
    uint64_t sum = 0;
    for (const auto& [db, keys] : keyspace()) sum += keys;
    return sum;
}

ServerVersion ServerVersion::of(const Info& info) {
    ServerVersion result;
    const std::string compat = info.get("redis_version");
    split_version(compat, result.compat_major, result.compat_minor);
    if (info.get("server_name") == "valkey" || info.has("valkey_version")) {
        result.engine = "valkey";
        result.version = info.get("valkey_version");
    } else {
        result.version = compat;
    }
    split_version(result.version, result.major, result.minor);
    return result;
}

std::optional<StreamPosition> StreamPosition::parse(std::string_view text) {
    const auto colon = text.rfind(':');
    if (colon == std::string_view::npos || colon == 0) return std::nullopt;
    const auto offset = to_number(text.substr(colon + 1));
    if (!offset || *offset < 0) return std::nullopt;
    return StreamPosition{std::string(text.substr(0, colon)), *offset};
}

StreamPosition StreamPosition::of(const Info& info) {
    return {info.get("master_replid"), info.integer("master_repl_offset")};
}

Client::Client(std::unique_ptr<ByteStream> stream, milliseconds command_timeout)
    : stream_(std::move(stream)),
      chunk_(limits::kReadChunk_bytes),
      command_timeout_(command_timeout) {}

Client::~Client() = default;

Result<std::unique_ptr<Client>> Client::connect(Dialer& dialer, const Endpoint& endpoint,
                                                const ConnectOptions& options) {
    auto stream = dialer.dial(endpoint, options.timeout);
    if (!stream) return tl::unexpected<Error>(std::move(stream).error());
    auto client = std::make_unique<Client>(std::move(*stream), options.command_timeout);
    if (auto status = client->login(endpoint, options); !status) {
        return fail(std::move(status).error(),
                    std::string(to_string(endpoint.side)) + " " + endpoint.address());
    }
    return client;
}

/// All in one write: a switch connects while clients wait.
Status Client::login(const Endpoint& endpoint, const ConnectOptions& options) {
    const auto deadline = Deadline::in(options.timeout);
    const int wanted = options.database >= 0 ? options.database : endpoint.database;
    const bool secret = !endpoint.password.empty() || !endpoint.user.empty();
    if (secret && endpoint.user.empty()) append({"AUTH", endpoint.password.reveal()});
    if (secret && !endpoint.user.empty())
        append({"AUTH", endpoint.user, endpoint.password.reveal()});
    if (!options.name.empty()) append({"CLIENT", "SETNAME", options.name});
    if (wanted != database_) append({"SELECT", std::to_string(wanted)});
    // One after the other: a server may say why it refuses, and close.
    EXODUS_TRY(flush(deadline));
    if (secret) {
        auto reply = read_reply(deadline);
        if (!reply) return tl::unexpected<Error>(std::move(reply).error());
        if (reply->is_error()) {
            return fail(ErrorCode::permission, "login refused: " + std::string(reply->text()),
                        "check user and password of this endpoint in the configuration");
        }
    }
    if (!options.name.empty()) {
        auto reply = read_reply(deadline);
        if (!reply) return tl::unexpected<Error>(std::move(reply).error());
        // A name is for the operator who reads CLIENT LIST; a user who may not set one can still
        // work.
        if (error_word(*reply) == "NOAUTH") {
            return fail(ErrorCode::permission, "login needed: " + std::string(reply->text()),
                        "set user and password of this endpoint in the configuration");
        }
    }
    if (wanted == database_) return {};
    auto reply = read_reply(deadline);
    if (!reply) return tl::unexpected<Error>(std::move(reply).error());
    if (reply->is_error()) return tl::unexpected<Error>(error_of(*reply, "SELECT"));
    database_ = wanted;
    return {};
}

Status Client::select(int database) {
    if (database == database_) return {};
    auto reply = ask({"SELECT", std::to_string(database)});
    if (!reply) return tl::unexpected<Error>(std::move(reply).error());
    database_ = database;
    return {};
}

tl::unexpected<Error> Client::break_with(Error error) {
    if (!broken_) broken_ = error;
    return tl::unexpected<Error>(std::move(error));
}

void Client::append(ArgSpan args) {
    resp::append_command(out_, args);
    ++pending_;
}

void Client::append(const std::vector<std::string>& args) {
    resp::append_command(out_, args);
    ++pending_;
}

void Client::append_raw(std::string_view bytes, std::size_t replies) {
    out_.append(bytes);
    pending_ += replies;
}

Status Client::flush(Deadline deadline) {
    if (broken_) return tl::unexpected<Error>(*broken_);
    if (out_.empty()) return {};
    auto status = stream_->write(out_, deadline);
    // Commands may carry passwords and values: nothing of them stays behind in memory of ours that
    // is reused.
    std::memset(out_.data(), 0, out_.size());
    out_.clear();
    if (out_.capacity() > limits::kRedisClientBuffer_bytes) out_.shrink_to_fit();
    if (!status) return break_with(std::move(status).error());
    return {};
}

Status Client::flush() { return flush(Deadline::in(command_timeout_)); }

Status Client::feed(Deadline deadline) {
    auto count = stream_->read(chunk_, deadline);
    if (!count) return break_with(std::move(count).error());
    auto kept = reader_.feed({chunk_.data(), *count});
    if (!kept) return break_with(std::move(kept).error());
    return {};
}

Result<Reply> Client::read_reply(Deadline deadline) {
    if (broken_) return tl::unexpected<Error>(*broken_);
    if (pending_ == 0) return fail(ErrorCode::internal, "a reply was asked for, but none is due");
    while (true) {
        auto reply = reader_.next();
        if (!reply) return break_with(std::move(reply).error());
        if (reply->valid()) {
            --pending_;
            return reply;
        }
        EXODUS_TRY(feed(deadline));
    }
}

Result<Reply> Client::read_reply() { return read_reply(Deadline::in(command_timeout_)); }

Result<std::vector<Reply>> Client::read_queued(std::size_t count) {
    const Deadline deadline = Deadline::in(command_timeout_);
    std::vector<Reply> others;
    while (count > 0) {
        // They are skipped where they are, without an object for each.
        while (!broken_ && count > 0 && pending_ > 0 && reader_.skip("+QUEUED\r\n")) {
            --pending_;
            --count;
        }
        if (count == 0) break;
        auto reply = read_reply(deadline);
        if (!reply) return tl::unexpected<Error>(std::move(reply).error());
        if (reply->text() != "QUEUED") others.push_back(std::move(*reply));
        --count;
    }
    return others;
}

Result<std::vector<Reply>> Client::read_all(std::size_t count, Deadline deadline) {
    EXODUS_TRY(flush(deadline));
    if (count == 0) count = pending_;
    std::vector<Reply> replies;
    replies.reserve(count);
    for (std::size_t i = 0; i < count; ++i) {
        auto reply = read_reply(deadline);
        if (!reply) return tl::unexpected<Error>(std::move(reply).error());
        replies.push_back(std::move(*reply));
    }
    return replies;
}

Result<std::vector<Reply>> Client::read_all(std::size_t count) {
    return read_all(count, Deadline::in(command_timeout_));
}

Result<Reply> Client::command(ArgSpan args, Deadline deadline) {
    if (broken_) return tl::unexpected<Error>(*broken_);
    if (pending_ != 0) {
        return fail(ErrorCode::internal, "a command was sent while replies of a pipeline are due");
    }
    append(args);
    EXODUS_TRY(flush(deadline));
    return read_reply(deadline);
}

Result<Reply> Client::command(Args args, Deadline deadline) {
    return command(ArgSpan(args.begin(), args.size()), deadline);
}

Result<Reply> Client::command(ArgSpan args) {
    return command(args, Deadline::in(command_timeout_));
}

Result<Reply> Client::command(const std::vector<std::string>& args) {
    const std::vector<std::string_view> views(args.begin(), args.end());
    return command(ArgSpan(views));
}

Result<Reply> Client::ask(ArgSpan args) {
    const std::string_view what = args.empty() ? std::string_view() : args.front();
    return reject_error(command(args), what);
}

Result<Reply> Client::ask(const std::vector<std::string>& args) {
    const std::vector<std::string_view> views(args.begin(), args.end());
    return ask(ArgSpan(views));
}

Result<Info> Client::info(std::string_view section) {
    auto reply = section.empty() ? ask({"INFO"}) : ask({"INFO", section});
    if (!reply) return tl::unexpected<Error>(std::move(reply).error());
    return Info::parse(reply->text());
}

Result<ServerVersion> Client::server_version() {
    auto server = info("server");
    if (!server) return tl::unexpected<Error>(std::move(server).error());
    return ServerVersion::of(*server);
}

Result<std::optional<std::string>> Client::config_get(std::string_view name) {
    auto reply = ask({"CONFIG", "GET", name});
    if (!reply) return tl::unexpected<Error>(std::move(reply).error());
    const auto value = reply->field(name);
    if (!value.valid()) return std::optional<std::string>();
    return std::optional<std::string>(std::string(value.text()));
}

Result<std::string> Client::read_line(Deadline deadline) {
    if (broken_) return tl::unexpected<Error>(*broken_);
    while (true) {
        const auto unread = reader_.unread();
        if (const auto length = unread.find('\n'); length != std::string_view::npos) {
            std::string line(unread.substr(0, length));
            reader_.consume(length + 1);
            if (!line.empty() && line.back() == '\r') line.pop_back();
            return line;
        }
        if (unread.size() > limits::kRespInline_bytes_max) {
            return break_with({ErrorCode::protocol, "a line without an end was received"});
        }
        EXODUS_TRY(feed(deadline));
    }
}

RawLink Client::take_raw() {
    RawLink link;
    link.unread = reader_.unread();
    link.stream = std::move(stream_);
    broken_ = Error{ErrorCode::cancelled, "the connection was taken over"};
    return link;
}

void Client::shutdown() {
    if (stream_) stream_->shutdown();
}

}  // namespace exodus::redis
