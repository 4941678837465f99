// Reply framing: a resumable machine with a stack of counters; payloads are skipped by length.
#include "wire/resp/reply_scanner.h"

#include <algorithm>
#include <cstring>

#include "base/error.h"
#include "wire/resp/value.h"

namespace exodus::resp {

namespace {

/// Longest length line: sign, 19 digits, CR LF and some grace.
constexpr std::size_t kLengthLineMax = 32;
/// Larger buffers are given back after their reply.
constexpr std::size_t kKeepCapacity = 1024;
constexpr std::size_t kKeepLevels = 64;

void release(std::string& buffer) {
    if (buffer.capacity() > kKeepCapacity) {
        std::string().swap(buffer);
    } else {
        buffer.clear();
    }
}

}  // namespace

bool ReplyFrame::is_null() const {
    return type == '_' || (value.size() == 5 && (value == "$-1\r\n" || value == "*-1\r\n"));
}

std::string_view ReplyFrame::error_code() const {
    if (!is_error() || value.empty()) return {};
    std::string_view text = value.substr(1);
    if (type == '!') {
        const std::size_t line = text.find('\n');
        if (line == std::string_view::npos) return {};
        text.remove_prefix(line + 1);
    }
    return text.substr(0, std::min(text.find_first_of(" \r\n"), text.size()));
}

void ReplyScanner::feed(std::string_view bytes) {
    EXODUS_ASSERT(unread_bytes() == 0 || failed_);
    input_ = bytes;
    input_at_ = 0;
}

void ReplyScanner::begin_frame() {
    frame_at_ = 0;
    value_at_ = 0;
    type_ = 0;
    state_ = State::element;
    streaming_ = false;
    if (stack_.capacity() > kKeepLevels) std::vector<Level>().swap(stack_);
}

ReplyEvent ReplyScanner::next() {
    if (failed_) return ReplyEvent::error;
    if (delivered_) {
        release(kept_);
        delivered_ = false;
    }
    if (unread_bytes() == 0) return ReplyEvent::need_more;
    if (streaming_) return stream();
    const char* from = input_.data() + input_at_;
    std::size_t used = 0;
    const Progress progress = run(from, unread_bytes(), used);
    if (progress == Progress::bad) return ReplyEvent::error;
    if (progress == Progress::done) return finish(used);
    input_at_ += used;
    frame_at_ += used;
    const bool large = frame_at_ + skip_ > limits_.stream_above_bytes;
    if (large && kept_.empty()) {
        bind(from, used, true);
    } else {
        kept_.append(from, used);
        if (!large) return ReplyEvent::need_more;
        bind(kept_.data(), kept_.size(), true);
        delivered_ = true;
    }
    streaming_ = true;
    return ReplyEvent::head;
}

ReplyEvent ReplyScanner::finish(std::size_t used) {
    if (kept_.empty()) {
        bind(input_.data() + input_at_, used, false);
    } else {
        kept_.append(input_.data() + input_at_, used);
        bind(kept_.data(), kept_.size(), false);
        delivered_ = true;
    }
    input_at_ += used;
    begin_frame();
    return ReplyEvent::frame;
}

void ReplyScanner::bind(const char* base, std::size_t size, bool partial) {
    frame_.bytes = {base, size};
    frame_.value = type_ == 0 ? std::string_view{} : frame_.bytes.substr(value_at_);
    frame_.type = type_;
    frame_.partial = partial;
}

ReplyEvent ReplyScanner::stream() {
    std::size_t used = 0;
    const Progress progress = run(input_.data() + input_at_, unread_bytes(), used);
    if (progress == Progress::bad) return ReplyEvent::error;
    piece_ = input_.substr(input_at_, used);
    input_at_ += used;
    frame_at_ += used;
    last_piece_ = progress == Progress::done;
    if (last_piece_) begin_frame();
    return ReplyEvent::body;
}

ReplyScanner::Progress ReplyScanner::broken(std::string_view why) {
    error_ = why;
    failed_ = true;
    std::string().swap(kept_);
    return Progress::bad;
}

ReplyScanner::Progress ReplyScanner::run(const char* bytes, std::size_t size, std::size_t& used) {
    Progress progress = Progress::go_on;
    while (progress == Progress::go_on) {
        if (used == size) return Progress::more;
        switch (state_) {
            case State::element:
                progress = begin_element(bytes[used], frame_at_ + used);
                ++used;
                break;
            case State::text_line:
                progress = text_line(bytes, size, used);
                break;
            case State::length_line:
                progress = length_line(bytes, size, used);
                break;
            case State::payload:
                progress = payload(bytes, size, used);
                break;
        }
    }
    return progress;
}

/// The first byte of an element; `at` is its place in the frame.
ReplyScanner::Progress ReplyScanner::begin_element(char type, std::size_t at) {
    if (stack_.empty() && type_ == 0 && type != '|') {
        type_ = type;
        value_at_ = at;
    }
    const Kind* top = stack_.empty() ? nullptr : &stack_.back().kind;
    if (top != nullptr && *top == Kind::chunks && type != ';')
        return broken("expected a piece of a streamed string");
    element_ = type;
    switch (type) {
        case '+':
        case '-':
        case ':':
        case '_':
        case '#':
        case ',':
        case '(':
            state_ = State::text_line;
            saw_cr_ = false;
            return Progress::go_on;
        case '$':
        case '!':
        case '=':
        case '*':
        case '%':
        case '~':
        case '>':
        case '|':
            state_ = State::length_line;
            return Progress::go_on;
        case ';':
            if (top == nullptr || *top != Kind::chunks) break;
            state_ = State::length_line;
            return Progress::go_on;
        case '.':
            if (top == nullptr || *top != Kind::streamed) break;
            state_ = State::length_line;
            return Progress::go_on;
        default:
            break;
    }
    return broken("unknown reply type");
}

ReplyScanner::Progress ReplyScanner::text_line(const char* bytes, std::size_t size,
                                               std::size_t& used) {
    if (saw_cr_) {
        saw_cr_ = false;
        if (bytes[used] == '\n') {
            ++used;
            return element_done();
        }
    }
    for (;;) {
        const void* cr = std::memchr(bytes + used, '\r', size - used);
        if (cr == nullptr) {
            used = size;
            return Progress::more;
        }
        used = static_cast<std::size_t>(static_cast<const char*>(cr) - bytes) + 1;
        if (used == size) {
            saw_cr_ = true;
            return Progress::more;
        }
        if (bytes[used] == '\n') {
            ++used;
            return element_done();
        }
    }
}

ReplyScanner::Progress ReplyScanner::length_line(const char* bytes, std::size_t size,
                                                 std::size_t& used) {
    const char* from = bytes + used;
    const std::size_t window = std::min(size - used, kLengthLineMax - line_.size());
    std::size_t i = 0;
    while (i < window && from[i] != '\n') ++i;
    if (i == window) {
        if (line_.size() + window >= kLengthLineMax) return broken("length line too long");
        line_.append(from, window);
        used += window;
        return Progress::more;
    }
    used += i + 1;
    std::string_view line(from, i);
    if (!line_.empty()) line = line_.append(from, i);
    if (line.empty() || line.back() != '\r') return broken("length line without CR");
    const Progress progress = length(line.substr(0, line.size() - 1));
    line_.clear();
    return progress;
}

/// What stands between the type byte and CR LF of everything that has a length.
ReplyScanner::Progress ReplyScanner::length(std::string_view digits) {
    const bool string = element_ == '$' || element_ == '!' || element_ == '=';
    if (element_ == '.') {
        if (!digits.empty()) return broken("malformed end of a streamed aggregate");
        stack_.pop_back();
        return element_done();
    }
    if (digits == "?") {
        if (element_ == '$') return open(0, Kind::chunks);
        if (element_ == '*' || element_ == '%' || element_ == '~' || element_ == '>')
            return open(0, Kind::streamed);
        return broken("this type cannot be streamed");
    }
    int64_t value = 0;
    if (!parse_int(digits, value)) return broken("malformed length");
    if (value == -1 && (element_ == '$' || element_ == '*')) return element_done();
    if (value < 0 || value > limits::kRespReplyCount_max) return broken("length out of range");
    const uint64_t count = static_cast<uint64_t>(value);
    if (string || (element_ == ';' && count != 0)) {
        skip_ = count + 2;
        state_ = State::payload;
        return Progress::go_on;
    }
    switch (element_) {
        case ';':  // the empty piece ends the string
            stack_.pop_back();
            return element_done();
        case '|':
            if (count == 0) {
                state_ = State::element;
                return Progress::go_on;
            }
            return open(count * 2, Kind::attribute);
        case '%':
            return count == 0 ? element_done() : open(count * 2, Kind::counted);
        default:
            return count == 0 ? element_done() : open(count, Kind::counted);
    }
}

ReplyScanner::Progress ReplyScanner::payload(const char* bytes, std::size_t size,
                                             std::size_t& used) {
    const std::size_t left = size - used;
    const std::size_t take = skip_ < left ? static_cast<std::size_t>(skip_) : left;
    // The terminator is the one place where a desynchronised stream shows: check it byte by byte as
    // it passes.
    if (skip_ - take < 2) {
        const uint64_t before = skip_;
        const auto byte_at = [&](uint64_t from_end) {  // from_end 2: CR, 1: LF
            return bytes[used + static_cast<std::size_t>(before - from_end)];
        };
        if (before >= 2 && byte_at(2) != '\r') return broken("string not ended by CR LF");
        if (skip_ == take && byte_at(1) != '\n') return broken("string not ended by CR LF");
    }
    used += take;
    skip_ -= take;
    if (skip_ != 0) return Progress::more;
    if (element_ == ';') {
        state_ = State::element;
        return Progress::go_on;
    }
    return element_done();
}

ReplyScanner::Progress ReplyScanner::open(uint64_t count, Kind kind) {
    if (stack_.size() == limits::kRespDepth_max) return broken("nested too deep");
    stack_.push_back({count, kind});
    state_ = State::element;
    return Progress::go_on;
}

/// An element is over; so are the aggregates that it was the last of.
ReplyScanner::Progress ReplyScanner::element_done() {
    state_ = State::element;
    while (!stack_.empty()) {
        Level& top = stack_.back();
        const Kind kind = top.kind;
        if (kind == Kind::streamed || kind == Kind::chunks) return Progress::go_on;
        if (--top.left > 0) return Progress::go_on;
        stack_.pop_back();
        // An attribute is not an element: what it describes comes behind it.
        if (kind == Kind::attribute) return Progress::go_on;
    }
    return Progress::done;
}

}  // namespace exodus::resp
