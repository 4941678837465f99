#include "families/redis/client.h"

#include <charconv>
#include <cstring>
#include <hiredis/hiredis.h>
#include <new>

#include "wire/resp/writer.h"

namespace exodus::redis {

namespace {

std::optional<int64_t> to_integer(std::string_view text) {
    int64_t value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
    return value;
}

/// "7.0.15" → major, minor; missing parts are 0.
void split_version(std::string_view text, int& major, int& minor) {
    major = minor = 0;
    const auto dot = text.find('.');
    major = static_cast<int>(to_integer(text.substr(0, dot)).value_or(0));
    if (dot == std::string_view::npos) return;
    const auto rest = text.substr(dot + 1);
    minor = static_cast<int>(to_integer(rest.substr(0, rest.find('.'))).value_or(0));
}

}  // namespace

ReplyType ReplyView::type() const {
    if (raw_ == nullptr) return ReplyType::nil;
    switch (raw_->type) {
        case REDIS_REPLY_STRING:
            return ReplyType::string;
        case REDIS_REPLY_ARRAY:
            return ReplyType::array;
        case REDIS_REPLY_INTEGER:
            return ReplyType::integer;
        case REDIS_REPLY_STATUS:
            return ReplyType::status;
        case REDIS_REPLY_ERROR:
            return ReplyType::error;
        default:
            return ReplyType::nil;
    }
}

bool ReplyView::is_ok() const { return type() == ReplyType::status && text() == "OK"; }

std::string_view ReplyView::text() const {
    switch (type()) {
        case ReplyType::string:
        case ReplyType::status:
        case ReplyType::error:
            return {raw_->str, raw_->len};
        default:
            return {};
    }
}

int64_t ReplyView::integer() const {
    if (type() == ReplyType::integer) return raw_->integer;
    return to_integer(text()).value_or(0);
}

std::size_t ReplyView::size() const { return is_array() ? raw_->elements : 0; }

ReplyView ReplyView::operator[](std::size_t index) const {
    return index < size() ? ReplyView(raw_->element[index]) : ReplyView();
}

ReplyView ReplyView::field(std::string_view name) const {
    for (std::size_t i = 0; i + 1 < size(); i += 2) {
        if ((*this)[i].text() == name) return (*this)[i + 1];
    }
    return {};
}

Reply::~Reply() {
    if (raw_ != nullptr) freeReplyObject(const_cast<redisReply*>(raw_));
}

Reply& Reply::operator=(Reply&& other) noexcept {
    if (this != &other) {
        if (raw_ != nullptr) freeReplyObject(const_cast<redisReply*>(raw_));
        raw_ = other.raw_;
        other.raw_ = nullptr;
    }
    return *this;
}

std::string_view error_word(ReplyView reply) {
    const auto text = reply.text();
    return text.substr(0, text.find(' '));
}

Error error_of(ReplyView reply, std::string_view what) {
    const auto word = error_word(reply);
    Error error;
    error.code = ErrorCode::data;
    if (word == "NOPERM" || word == "NOAUTH" || word == "WRONGPASS") {
        error.code = ErrorCode::permission;
    } else if (word == "LOADING" || word == "MASTERDOWN" || word == "CLUSTERDOWN" ||
               word == "READONLY") {
        error.code = ErrorCode::unreachable;
    }
    if (!what.empty()) error.message.append(what).append(": ");
    error.message.append(reply.text());
    return error;
}

Result<Reply> reject_error(Result<Reply> reply, std::string_view what) {
    if (!reply) return fail(std::move(reply).error(), what);
    if (reply->is_error()) return tl::unexpected<Error>(error_of(*reply, what));
    return reply;
}

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
    return it == fields_.end() ? fallback : to_integer(it->second).value_or(fallback);
}

double Info::number(std::string_view name, double fallback) const {
    const auto it = fields_.find(name);
    if (it == fields_.end()) return fallback;
    double value = 0;
    const auto* begin = it->second.data();
    const auto [end, error] = std::from_chars(begin, begin + it->second.size(), value);
    return error == std::errc() && end != begin ? value : fallback;
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
    const auto offset = to_integer(text.substr(colon + 1));
    if (!offset || *offset < 0) return std::nullopt;
    return StreamPosition{std::string(text.substr(0, colon)), *offset};
}

StreamPosition StreamPosition::of(const Info& info) {
    return {info.get("master_replid"), info.integer("master_repl_offset")};
}

void Client::ReaderFree::operator()(redisReader* reader) const { redisReaderFree(reader); }

Client::Client(std::unique_ptr<ByteStream> stream, milliseconds command_timeout)
    : stream_(std::move(stream)),
      reader_(redisReaderCreate()),
      chunk_(limits::kReadChunk_bytes),
      command_timeout_(command_timeout) {
    if (!reader_) throw std::bad_alloc();
}

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

Status Client::login(const Endpoint& endpoint, const ConnectOptions& options) {
    const auto deadline = Deadline::in(options.timeout);
    if (!endpoint.password.empty() || !endpoint.user.empty()) {
        auto reply = endpoint.user.empty()
                         ? command({"AUTH", endpoint.password.reveal()}, deadline)
                         : command({"AUTH", endpoint.user, endpoint.password.reveal()}, deadline);
        if (!reply) return tl::unexpected<Error>(std::move(reply).error());
        if (reply->is_error()) {
            return fail(ErrorCode::permission, "login refused: " + std::string(reply->text()),
                        "check user and password of this endpoint in the configuration");
        }
    }
    if (!options.name.empty()) {
        // A name is for the operator who reads CLIENT LIST; a user who may not set one can still
        // work.
        auto reply = command({"CLIENT", "SETNAME", options.name}, deadline);
        if (!reply) return tl::unexpected<Error>(std::move(reply).error());
        if (error_word(*reply) == "NOAUTH") {
            return fail(ErrorCode::permission, "login needed: " + std::string(reply->text()),
                        "set user and password of this endpoint in the configuration");
        }
    }
    return select(options.database >= 0 ? options.database : endpoint.database);
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

Result<bool> Client::feed(Deadline deadline) {
    auto count = stream_->read(chunk_, deadline);
    if (!count) return break_with(std::move(count).error());
    if (redisReaderFeed(reader_.get(), chunk_.data(), *count) != REDIS_OK) {
        return break_with({ErrorCode::protocol, std::string("reply: ") + reader_->errstr});
    }
    return true;
}

Result<Reply> Client::read_reply(Deadline deadline) {
    if (broken_) return tl::unexpected<Error>(*broken_);
    if (pending_ == 0) return fail(ErrorCode::internal, "a reply was asked for, but none is due");
    while (true) {
        void* raw = nullptr;
        if (redisReaderGetReply(reader_.get(), &raw) != REDIS_OK) {
            return break_with({ErrorCode::protocol,
                               std::string("not a Redis reply: ") + reader_->errstr,
                               "is there really a Redis or Valkey server at this address?"});
        }
        if (raw != nullptr) {
            --pending_;
            return Reply(static_cast<redisReply*>(raw));
        }
        auto fed = feed(deadline);
        if (!fed) return tl::unexpected<Error>(std::move(fed).error());
    }
}

Result<Reply> Client::read_reply() { return read_reply(Deadline::in(command_timeout_)); }

Result<std::vector<Reply>> Client::read_queued(std::size_t count) {
    constexpr std::string_view kQueued = "+QUEUED\r\n";
    const Deadline deadline = Deadline::in(command_timeout_);
    std::vector<Reply> others;
    while (count > 0) {
        // Between two replies they are skipped where they are, without an object for each.
        redisReader* reader = reader_.get();
        while (!broken_ && count > 0 && pending_ > 0 && reader->ridx == -1 &&
               std::string_view(reader->buf + reader->pos, reader->len - reader->pos)
                   .starts_with(kQueued)) {
            reader->pos += kQueued.size();
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
        redisReader* reader = reader_.get();
        const char* begin = reader->buf + reader->pos;
        const std::size_t left = reader->len - reader->pos;
        if (const void* found = left == 0 ? nullptr : std::memchr(begin, '\n', left)) {
            const auto length = static_cast<std::size_t>(static_cast<const char*>(found) - begin);
            std::string line(begin, length);
            reader->pos += length + 1;
            if (!line.empty() && line.back() == '\r') line.pop_back();
            return line;
        }
        if (left > limits::kRespInline_bytes_max) {
            return break_with({ErrorCode::protocol, "a line without an end was received"});
        }
        auto fed = feed(deadline);
        if (!fed) return tl::unexpected<Error>(std::move(fed).error());
    }
}

RawLink Client::take_raw() {
    RawLink link;
    link.unread.assign(reader_->buf + reader_->pos, reader_->len - reader_->pos);
    link.stream = std::move(stream_);
    broken_ = Error{ErrorCode::cancelled, "the connection was taken over"};
    return link;
}

void Client::shutdown() {
    if (stream_) stream_->shutdown();
}

}  // namespace exodus::redis
