// Request framing: one resumable state machine that skips payloads by length, used on the received
// bytes directly. What is cut by the end of a read is kept until the rest comes, or streams through
// when it is large.
#include "wire/resp/request_scanner.h"

#include <algorithm>
#include <cstring>

#include "base/error.h"
#include "wire/resp/value.h"
#include "wire/resp/writer.h"

namespace exodus::resp {

namespace {

constexpr std::size_t kLineMax = limits::kRespInline_bytes_max;
/// A kept buffer larger than this is given back after its frame: idle clients must stay small.
constexpr std::size_t kKeepCapacity = 1024;

void release(std::string& buffer) {
    if (buffer.capacity() > kKeepCapacity) {
        std::string().swap(buffer);
    } else {
        buffer.clear();
    }
}

/// "*12\r\n" or "$12\r\n" lying whole at `at`, without sign or leading zero: nearly always. False:
/// take the slow path.
inline bool fast_length(const char* bytes, std::size_t size, std::size_t& at, char lead,
                        int64_t& value) {
    std::size_t i = at;
    if (size - i < 4 || bytes[i] != lead) return false;
    unsigned digit = static_cast<unsigned char>(bytes[++i]) - unsigned{'0'};
    if (digit > 9) return false;
    int64_t result = digit;
    if (digit != 0) {
        const std::size_t end = std::min(size, i + 12);
        while (++i < end && (digit = static_cast<unsigned char>(bytes[i]) - unsigned{'0'}) <= 9) {
            result = result * 10 + digit;
        }
    } else {
        ++i;
    }
    // The byte behind CR is not looked at, as in the servers; it only must be there.
    if (size - i < 2 || bytes[i] != '\r') return false;
    value = result;
    at = i + 2;
    return true;
}

bool equals_lower(std::string_view text, std::string_view lower) {
    if (text.size() != lower.size()) return false;
    for (std::size_t i = 0; i < text.size(); ++i) {
        const char c = text[i];
        if ((c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c) != lower[i]) return false;
    }
    return true;
}

}  // namespace

std::string_view to_string(RequestFault fault) {
    switch (fault) {
        case RequestFault::none:
            return "none";
        case RequestFault::inline_too_big:
            return "inline_too_big";
        case RequestFault::unbalanced_quotes:
            return "unbalanced_quotes";
        case RequestFault::multibulk_count_too_big:
            return "multibulk_count_too_big";
        case RequestFault::multibulk_length:
            return "multibulk_length";
        case RequestFault::unauthenticated_multibulk:
            return "unauthenticated_multibulk";
        case RequestFault::bulk_count_too_big:
            return "bulk_count_too_big";
        case RequestFault::expected_dollar:
            return "expected_dollar";
        case RequestFault::bulk_length:
            return "bulk_length";
        case RequestFault::unauthenticated_bulk:
            return "unauthenticated_bulk";
        case RequestFault::cross_protocol:
            return "cross_protocol";
    }
    return "none";
}

void RequestScanner::feed(std::string_view bytes) {
    EXODUS_ASSERT(unread_bytes() == 0 || state_ == State::failed);
    input_ = bytes;
    input_at_ = 0;
}

void RequestScanner::begin_frame() {
    frame_at_ = 0;
    opened_ = 0;
    argc_ = 0;
    bulk_left_ = 0;
    keep_max_ = 0;
    streaming_ = false;
    state_ = State::start;
    line_.clear();
}

RequestEvent RequestScanner::next() {
    if (state_ == State::failed) return RequestEvent::error;
    if (delivered_) {
        release(kept_);
        release(encoded_);
        delivered_ = false;
    }
    if (streaming_) return stream();
    for (;;) {
        if (unread_bytes() == 0) return RequestEvent::need_more;
        std::size_t used = 0;
        switch (run(input_.data() + input_at_, unread_bytes(), used)) {
            case Progress::done:
                return finish(used);
            case Progress::skipped:
                input_at_ += used;
                release(kept_);
                begin_frame();
                break;
            case Progress::more:
                return incomplete(used);
            case Progress::bad:
                return RequestEvent::error;
        }
    }
}

/// Scans from the first unread byte to the end of the frame or of the bytes; `used` is where it
/// stopped.
RequestScanner::Progress RequestScanner::run(const char* bytes, std::size_t size,
                                             std::size_t& used) {
    for (;;) {
        switch (state_) {
            case State::start:
                state_ = bytes[used] == '*' ? State::count_line : State::inline_line;
                break;
            case State::inline_line:
                return run_inline(bytes, size, used);
            case State::dead:
                return run_dead(size, used);
            case State::count_line:
            case State::header_line: {
                int64_t value = 0;
                Progress progress;
                if (line_.empty() &&
                    fast_length(bytes, size, used, state_ == State::count_line ? '*' : '$', value))
                    [[likely]] {
                    progress = length(value);
                } else {
                    progress = run_line(bytes, size, used);
                }
                if (progress != Progress::done) return progress;
                if (state_ == State::body && opened_ < kIndexedArguments) {
                    ranges_[opened_++] = {frame_at_ + used,
                                          static_cast<std::size_t>(bulk_left_ - 2)};
                }
                break;
            }
            case State::body: {
                const std::size_t left = size - used;
                if (left < bulk_left_) {
                    bulk_left_ -= left;
                    used = size;
                    return Progress::more;
                }
                used += static_cast<std::size_t>(bulk_left_);
                bulk_left_ = 0;
                if (--arguments_left_ == 0) return Progress::done;
                state_ = State::header_line;
                break;
            }
            case State::failed:
                return Progress::bad;
        }
        if (used == size) return Progress::more;
    }
}

/// A length line that is cut, odd or wrong. Like the servers it ends at CR plus one byte, and a NUL
/// before the CR hides it.
RequestScanner::Progress RequestScanner::run_line(const char* bytes, std::size_t size,
                                                  std::size_t& used) {
    const RequestFault too_big = state_ == State::count_line ? RequestFault::multibulk_count_too_big
                                                             : RequestFault::bulk_count_too_big;
    const char* from = bytes + used;
    const std::size_t left = size - used;
    std::size_t take = left;
    bool whole = false;
    if (!line_.empty() && line_.back() == '\r') {
        take = 1;
        whole = true;
    } else if (const void* cr = std::memchr(from, '\r', left)) {
        const std::size_t at = static_cast<std::size_t>(static_cast<const char*>(cr) - from);
        whole = at + 1 < left;
        take = std::min(left, at + 2);
    }
    const bool hidden = std::memchr(from, 0, whole ? take - 1 : take) != nullptr;
    used += take;
    line_.append(from, take);
    if (hidden) {
        dead_fault_ = too_big;
        dead_bytes_ = line_.size();
        state_ = State::dead;
        line_.clear();
        return run_dead(size, used);
    }
    if (!whole) {
        if (line_.size() > kLineMax && line_.back() != '\r') {
            return too_big == RequestFault::multibulk_count_too_big
                       ? fail(too_big, "too big mbulk count string")
                       : fail(too_big, "too big bulk count string");
        }
        return Progress::more;
    }
    const Progress progress = slow_length(std::string_view(line_).substr(0, line_.size() - 2));
    line_.clear();
    return progress;
}

RequestScanner::Progress RequestScanner::slow_length(std::string_view line) {
    const bool count = state_ == State::count_line;
    if (!count && (line.empty() || line[0] != '$')) {
        // An empty line shows its own CR here, which the server prints as a blank.
        const char got = line.empty() || line[0] == '\n' ? ' ' : line[0];
        return fail(RequestFault::expected_dollar, std::string("expected '$', got '") + got + "'");
    }
    int64_t value = 0;
    if (!parse_int(line.substr(1), value)) {
        return count ? fail(RequestFault::multibulk_length, "invalid multibulk length")
                     : fail(RequestFault::bulk_length, "invalid bulk length");
    }
    return length(value);
}

/// A parsed number of arguments or bulk length. `done`: scanning goes on.
RequestScanner::Progress RequestScanner::length(int64_t value) {
    if (state_ == State::count_line) {
        if (value > limits::kRespMultibulk_max)
            return fail(RequestFault::multibulk_length, "invalid multibulk length");
        if (value > limits::kRespUnauthArguments_max && restricted_) {
            return fail(RequestFault::unauthenticated_multibulk,
                        "unauthenticated multibulk length");
        }
        if (value <= 0) return Progress::skipped;
        argc_ = arguments_left_ = static_cast<uint64_t>(value);
        state_ = State::header_line;
        return Progress::done;
    }
    if (value < 0 || static_cast<uint64_t>(value) > limits_.bulk_bytes_max) {
        return fail(RequestFault::bulk_length, "invalid bulk length");
    }
    if (restricted_ && static_cast<uint64_t>(value) > limits::kRespUnauthBulk_bytes_max) {
        return fail(RequestFault::unauthenticated_bulk, "unauthenticated bulk length");
    }
    bulk_left_ = static_cast<uint64_t>(value) + 2;
    state_ = State::body;
    return Progress::done;
}

RequestScanner::Progress RequestScanner::run_inline(const char* bytes, std::size_t size,
                                                    std::size_t& used) {
    const char* from = bytes + used;
    const std::size_t left = size - used;
    const void* newline = std::memchr(from, '\n', left);
    const std::size_t take =
        newline ? static_cast<std::size_t>(static_cast<const char*>(newline) - from) + 1 : left;
    used += take;
    if (std::memchr(from, 0, take) !=
        nullptr) {  // the servers' strchr never sees a newline behind a NUL
        dead_fault_ = RequestFault::inline_too_big;
        dead_bytes_ = line_.size() + take;
        state_ = State::dead;
        line_.clear();
        return run_dead(size, used);
    }
    if (!newline) {
        line_.append(from, take);
        if (line_.size() > kLineMax)
            return fail(RequestFault::inline_too_big, "too big inline request");
        return Progress::more;
    }
    std::string_view line(from, take);
    if (!line_.empty()) line = line_.append(from, take);
    line.remove_suffix(1);
    if (!line.empty() && line.back() == '\r') line.remove_suffix(1);
    std::vector<std::string> arguments;
    if (!split_inline(line, arguments)) {
        return fail(RequestFault::unbalanced_quotes, "unbalanced quotes in request");
    }
    line_.clear();
    if (arguments.empty()) return Progress::skipped;
    argc_ = arguments.size();
    encoded_.clear();
    append_array_header(encoded_, arguments.size());
    for (const std::string& argument : arguments) {
        append_bulk(encoded_, argument);
        if (opened_ < kIndexedArguments) {
            ranges_[opened_++] = {encoded_.size() - 2 - argument.size(), argument.size()};
        }
    }
    return Progress::done;
}

/// Behind a NUL in a line the servers wait for 64 KiB and then give up.
RequestScanner::Progress RequestScanner::run_dead(std::size_t size, std::size_t& used) {
    dead_bytes_ += size - used;
    used = size;
    if (dead_bytes_ <= kLineMax) return Progress::more;
    switch (dead_fault_) {
        case RequestFault::multibulk_count_too_big:
            return fail(dead_fault_, "too big mbulk count string");
        case RequestFault::bulk_count_too_big:
            return fail(dead_fault_, "too big bulk count string");
        default:
            return fail(RequestFault::inline_too_big, "too big inline request");
    }
}

RequestScanner::Progress RequestScanner::fail(RequestFault fault, std::string_view text) {
    error_.fault = fault;
    error_.reply.clear();
    if (!text.empty()) append_error(error_.reply, std::string("ERR Protocol error: ").append(text));
    state_ = State::failed;
    std::string().swap(kept_);
    std::string().swap(line_);
    return Progress::bad;
}

void RequestScanner::bind(const char* base, std::size_t size, bool partial) {
    frame_.bytes = {base, size};
    frame_.argc = argc_;
    frame_.partial = partial;
    frame_.is_inline = state_ == State::inline_line;
    // While an argument is still coming, the last range that was opened is not whole.
    std::size_t whole = opened_;
    if (partial && whole > 0 && argc_ - arguments_left_ < whole) --whole;
    frame_.indexed = whole;
    for (std::size_t i = 0; i < whole; ++i)
        frame_.args[i] = {base + ranges_[i].at, ranges_[i].size};
}

/// POST and Host: are commands that browsers send to a port that is not theirs; servers close
/// without an answer.
bool RequestScanner::refuse_cross_protocol() {
    const std::string_view name = frame_.name();
    if (name.size() != 4 && name.size() != 5) return false;
    if (!equals_lower(name, "post") && !equals_lower(name, "host:")) return false;
    fail(RequestFault::cross_protocol, {});
    return true;
}

RequestEvent RequestScanner::finish(std::size_t used) {
    frame_.wire_bytes = frame_at_ + used;
    if (state_ == State::inline_line) {
        bind(encoded_.data(), encoded_.size(), false);
        delivered_ = true;
    } else if (kept_.empty()) {
        bind(input_.data() + input_at_, used, false);
    } else {
        kept_.append(input_.data() + input_at_, used);
        bind(kept_.data(), kept_.size(), false);
        delivered_ = true;
    }
    input_at_ += used;
    begin_frame();
    return refuse_cross_protocol() ? RequestEvent::error : RequestEvent::frame;
}

/// The read ended inside a frame: keep what there is, or begin to stream.
RequestEvent RequestScanner::incomplete(std::size_t used) {
    const char* from = input_.data() + input_at_;
    input_at_ += used;
    frame_at_ += used;
    if (state_ == State::inline_line || state_ == State::dead) return RequestEvent::need_more;
    const std::size_t keep = keep_max_ != 0 ? keep_max_ : limits_.stream_above_bytes;
    const bool large = argc_ != 0 && frame_at_ + bulk_left_ > keep;
    if (large && kept_.empty()) {
        bind(from, used, true);
    } else {
        kept_.append(from, used);
        if (!large) return RequestEvent::need_more;
        bind(kept_.data(), kept_.size(), true);
        delivered_ = true;
    }
    frame_.wire_bytes = frame_at_;
    streaming_ = true;
    return refuse_cross_protocol() ? RequestEvent::error : RequestEvent::head;
}

void RequestScanner::keep_whole(std::size_t bytes_max) {
    if (!streaming_ || !frame_.partial) return;
    if (!delivered_) kept_.assign(frame_.bytes);
    delivered_ = false;
    streaming_ = false;
    keep_max_ = bytes_max;
}

RequestEvent RequestScanner::stream() {
    frame_.partial = false;  // the head was taken: keep_whole() comes too late now
    if (unread_bytes() == 0) return RequestEvent::need_more;
    std::size_t used = 0;
    const Progress progress = run(input_.data() + input_at_, unread_bytes(), used);
    if (progress == Progress::bad) return RequestEvent::error;
    piece_ = input_.substr(input_at_, used);
    input_at_ += used;
    frame_at_ += used;
    last_piece_ = progress == Progress::done;
    if (last_piece_) begin_frame();
    return RequestEvent::body;
}

bool split_arguments(std::string_view frame, std::vector<std::string_view>& arguments) {
    arguments.clear();
    std::size_t at = 0;
    int64_t count = 0;
    const auto read = [&](char lead, int64_t& value) {
        return fast_length(frame.data(), frame.size(), at, lead, value);
    };
    if (!read('*', count) || count <= 0) return false;
    // Each argument takes at least "$0\r\n\r\n": a made-up count cannot make us reserve memory.
    if (static_cast<uint64_t>(count) > frame.size() / 6) return false;
    arguments.reserve(static_cast<std::size_t>(count));
    for (int64_t i = 0; i < count; ++i) {
        int64_t length = 0;
        if (!read('$', length)) return false;
        if (static_cast<uint64_t>(length) + 2 > frame.size() - at) return false;
        arguments.push_back(frame.substr(at, static_cast<std::size_t>(length)));
        at += static_cast<std::size_t>(length) + 2;
    }
    return at == frame.size();
}

std::span<const std::string_view> all_arguments(const RequestFrame& frame,
                                                std::vector<std::string_view>& scratch) {
    if (frame.indexed == frame.argc) return frame.indexed_args();
    if (frame.partial || !split_arguments(frame.bytes, scratch)) return frame.indexed_args();
    return scratch;
}

}  // namespace exodus::resp
