// Finds whole replies in the bytes of a server: RESP2 `+ - : $ *`, RESP3 `_ # , ( ! = % ~ > |`,
// streamed `$?` `*?` `%?` `~?` `>?` with `;` and `.`. Resumable: a stack of counters (depth <= 64);
// payload bytes are skipped by length, never looked at. An attribute `|` belongs to the reply
// behind it and is part of its frame. Sans-IO, not thread-safe. Used like RequestScanner: feed(),
// then next() until need_more.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/limits.h"

namespace exodus::resp {

/// One reply. Views are valid until the next call of next() or feed().
struct ReplyFrame {
    std::string_view bytes;  ///< whole frame with leading attribute; after `head` its beginning
    std::string_view value;  ///< the same without the attribute; after `head` perhaps empty
    char type = 0;  ///< first byte of the value: '+', '-', '$', '>', …; 0 after a `head` that ended
                    ///< inside the attribute
    bool partial = false;  ///< after `head`

    [[nodiscard]] bool is_push() const { return type == '>'; }
    [[nodiscard]] bool is_error() const { return type == '-' || type == '!'; }
    [[nodiscard]] bool has_attribute() const { return value.size() != bytes.size(); }
    /// `$-1`, `*-1` or `_`.
    [[nodiscard]] bool is_null() const;
    /// First word of an error ("MOVED", "NOSCRIPT", "ERR"), else empty.
    [[nodiscard]] std::string_view error_code() const;
};

enum class ReplyEvent : uint8_t { need_more, frame, head, body, error };

struct ReplyLimits {
    /// An incomplete reply longer than this is reported as `head` and streams through in pieces.
    std::size_t stream_above_bytes = 1024 * 1024;
};

class ReplyScanner {
  public:
    ReplyScanner() = default;
    explicit ReplyScanner(const ReplyLimits& limits) : limits_(limits) {}

    /// As RequestScanner::feed.
    void feed(std::string_view bytes);
    ReplyEvent next();

    [[nodiscard]] const ReplyFrame& frame() const { return frame_; }
    [[nodiscard]] std::string_view piece() const { return piece_; }
    [[nodiscard]] bool last_piece() const { return last_piece_; }
    /// After `error`: what was wrong, a bounded text. The connection cannot be used any more.
    [[nodiscard]] std::string_view error() const { return error_; }
    /// After `head`: bytes of the current string that are known to come still (a lower bound for
    /// the frame).
    [[nodiscard]] uint64_t remaining_bytes() const { return skip_; }

    void set_limits(const ReplyLimits& limits) { limits_ = limits; }
    /// No partial reply.
    [[nodiscard]] bool idle() const { return frame_at_ == 0 && unread_bytes() == 0; }
    [[nodiscard]] std::string_view unread() const { return input_.substr(input_at_); }
    [[nodiscard]] std::size_t unread_bytes() const { return input_.size() - input_at_; }
    [[nodiscard]] std::size_t kept_bytes() const { return kept_.size(); }

  private:
    enum class State : uint8_t { element, text_line, length_line, payload };
    enum class Kind : uint8_t { counted, attribute, streamed, chunks };
    struct Level {
        uint64_t left = 0;
        Kind kind = Kind::counted;
    };
    enum class Progress : uint8_t { done, go_on, more, bad };

    Progress run(const char* bytes, std::size_t size, std::size_t& used);
    Progress begin_element(char type, std::size_t at);
    Progress text_line(const char* bytes, std::size_t size, std::size_t& used);
    Progress length_line(const char* bytes, std::size_t size, std::size_t& used);
    Progress length(std::string_view digits);
    Progress payload(const char* bytes, std::size_t size, std::size_t& used);
    Progress open(uint64_t count, Kind kind);
    Progress element_done();
    Progress broken(std::string_view why);
    ReplyEvent finish(std::size_t used);
    ReplyEvent stream();
    void bind(const char* base, std::size_t size, bool partial);
    void begin_frame();

    ReplyLimits limits_;
    std::string_view input_;
    std::size_t input_at_ = 0;  ///< first byte of input_ that is not scanned yet
    std::string kept_;          ///< beginning of a reply that did not arrive whole
    std::string line_;          ///< beginning of a length line that was cut
    std::size_t frame_at_ = 0;  ///< bytes of the current reply scanned so far
    std::size_t value_at_ = 0;  ///< where the value behind the attribute begins
    uint64_t skip_ = 0;         ///< payload bytes still to skip, CR LF included
    State state_ = State::element;
    char element_ = 0;  ///< type byte of the element whose line is being read
    char type_ = 0;
    bool saw_cr_ = false;  ///< a text line was cut behind its CR
    bool streaming_ = false;
    bool delivered_ = false;
    bool last_piece_ = false;
    bool failed_ = false;
    std::vector<Level> stack_;  ///< the aggregates that are open, outermost first
    ReplyFrame frame_;
    std::string_view piece_;
    std::string_view error_;
};

}  // namespace exodus::resp
