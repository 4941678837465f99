// Finds whole requests in the bytes that a client (or a replication stream) sends, and yields
// ranges of them: nothing is copied while a frame lies whole in the received buffer, nothing is
// allocated, no payload byte is looked at twice. Rules and error texts are those of
// redis-server 7.0.15 and valkey-server 8.0.1 (networking.c, processMultibulkBuffer and
// processInlineBuffer; both observed). Sans-IO, one scanner per connection, not thread-safe.
//
// Use:   scanner.feed(bytes);
//        for (;;) switch (scanner.next()) {
//            case RequestEvent::frame:     … scanner.frame() …            // a whole request
//            case RequestEvent::head:      … scanner.frame() …            // a large one begins:
//            send frame().bytes, then pieces case RequestEvent::body:      … scanner.piece() … //
//            scanner.last_piece() on the last one case RequestEvent::need_more: return; //
//            everything fed was consumed case RequestEvent::error:     … scanner.error() …, close
//            // stays in this state
//        }
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/limits.h"

namespace exodus::resp {

/// How many arguments a frame carries ready-made; name, subcommand and the keys of nearly all
/// commands are among them.
inline constexpr std::size_t kIndexedArguments = 8;

/// A request. The views are valid until the next call of next() or feed().
struct RequestFrame {
    std::string_view
        bytes;  ///< the frame as it can be forwarded; of an inline request its re-encoding as `*N`.
                ///< After `head`: the beginning of the frame, as much as was received
    uint64_t argc = 0;  ///< arguments, the name included; never 0 for a frame or head
    std::array<std::string_view, kIndexedArguments> args;
    std::size_t indexed = 0;  ///< how many of `args` are set: min(argc, 8); after `head` perhaps
                              ///< fewer (0: not even the name)
    std::size_t wire_bytes =
        0;  ///< bytes that the client sent for it (differs from bytes.size() when inline)
    bool is_inline = false;
    bool partial = false;  ///< after `head`

    [[nodiscard]] std::span<const std::string_view> indexed_args() const {
        return {args.data(), indexed};
    }
    [[nodiscard]] std::string_view name() const {
        return indexed == 0 ? std::string_view{} : args[0];
    }
};

enum class RequestEvent : uint8_t { need_more, frame, head, body, error };

/// Bounded reasons, for `protocol_errors_total{reason}`.
enum class RequestFault : uint8_t {
    none,
    inline_too_big,
    unbalanced_quotes,
    multibulk_count_too_big,
    multibulk_length,
    unauthenticated_multibulk,
    bulk_count_too_big,
    expected_dollar,
    bulk_length,
    unauthenticated_bulk,
    cross_protocol,  ///< POST or Host: as command: servers close without an answer
};
std::string_view to_string(RequestFault fault);

struct RequestError {
    RequestFault fault = RequestFault::none;
    std::string reply;  ///< the server's own words as a RESP error with CR LF; empty for
                        ///< cross_protocol: just close
};

struct RequestLimits {
    uint64_t bulk_bytes_max = limits::kRespBulk_bytes_max;  ///< the authority's proto-max-bulk-len
    /// An incomplete frame that is longer than this is reported as `head` and streams through;
    /// frames up to it are kept until they are complete. This bounds the scanner's memory.
    std::size_t stream_above_bytes = 64 * 1024;
};

class RequestScanner {
  public:
    RequestScanner() = default;
    explicit RequestScanner(const RequestLimits& limits) : limits_(limits) {}

    /// Hands over received bytes. They must stay valid until next() has returned need_more (or
    /// error), and only then may feed() be called again.
    void feed(std::string_view bytes);
    RequestEvent next();

    [[nodiscard]] const RequestFrame& frame() const { return frame_; }
    /// After `body`: the next bytes of a large frame; never empty.
    [[nodiscard]] std::string_view piece() const { return piece_; }
    [[nodiscard]] bool last_piece() const { return last_piece_; }
    /// After `head` or a `body` that is not the last: bytes of the frame that are known to come
    /// still. A lower bound when more arguments follow the current one.
    [[nodiscard]] uint64_t remaining_bytes() const { return bulk_left_; }
    [[nodiscard]] const RequestError& error() const { return error_; }

    /// After `head` only: keep this frame until it is whole instead (a script to remember, a
    /// command inside MULTI). `frame` follows, or, when the frame turns out longer than
    /// `bytes_max`, another `head` with all that was received until then.
    void keep_whole(std::size_t bytes_max);

    /// Before authentication the server takes 10 arguments of 16 KiB at the most. Applies from the
    /// next length line on.
    void set_restricted(bool on) { restricted_ = on; }
    void set_limits(const RequestLimits& limits) { limits_ = limits; }

    /// No partial frame is kept or streaming, and everything fed was consumed: a boundary for route
    /// changes.
    [[nodiscard]] bool idle() const {
        return frame_at_ == 0 && state_ == State::start && unread_bytes() == 0;
    }
    /// Fed bytes behind the last event; what a session that stops reading must keep and feed again.
    [[nodiscard]] std::string_view unread() const { return input_.substr(input_at_); }
    [[nodiscard]] std::size_t unread_bytes() const { return input_.size() - input_at_; }
    /// Bytes of a partial frame kept inside.
    [[nodiscard]] std::size_t kept_bytes() const { return kept_.size() + line_.size(); }

  private:
    enum class State : uint8_t { start, count_line, inline_line, header_line, body, dead, failed };
    enum class Progress : uint8_t { done, skipped, more, bad };
    struct Range {
        std::size_t at = 0;
        std::size_t size = 0;
    };

    Progress run(const char* bytes, std::size_t size, std::size_t& used);
    Progress run_line(const char* bytes, std::size_t size, std::size_t& used);
    Progress run_inline(const char* bytes, std::size_t size, std::size_t& used);
    Progress run_dead(std::size_t size, std::size_t& used);
    Progress length(int64_t value);
    Progress slow_length(std::string_view line);
    Progress fail(RequestFault fault, std::string_view text);
    RequestEvent stream();
    RequestEvent incomplete(std::size_t used);
    RequestEvent finish(std::size_t used);
    void bind(const char* base, std::size_t size, bool partial);
    bool refuse_cross_protocol();
    void begin_frame();

    RequestLimits limits_;
    std::string_view input_;
    std::size_t input_at_ = 0;  ///< first byte of input_ that is not scanned yet
    std::string kept_;          ///< beginning of a frame that did not arrive whole
    std::string line_;          ///< beginning of a length or inline line that was cut
    std::size_t frame_at_ = 0;  ///< bytes of the current frame scanned so far
    State state_ = State::start;
    bool restricted_ = false;
    bool streaming_ = false;
    bool delivered_ = false;  ///< frame_ may point into kept_: clear it at the next call
    bool last_piece_ = false;
    uint64_t argc_ = 0;
    uint64_t arguments_left_ = 0;
    uint64_t bulk_left_ = 0;  ///< CR LF included
    std::size_t dead_bytes_ = 0;
    RequestFault dead_fault_ = RequestFault::none;
    std::size_t keep_max_ = 0;  ///< 0: limits_.stream_above_bytes
    std::array<Range, kIndexedArguments> ranges_{};
    std::size_t opened_ = 0;  ///< arguments whose body has begun, at most kIndexedArguments
    RequestFrame frame_;
    std::string encoded_;  ///< re-encoding of an inline request
    std::string_view piece_;
    RequestError error_;
};

/// All arguments of a complete `*N` frame. The second, cheap walk; for key extraction and
/// everything rare. Returns false when `frame` is not a whole well-formed request (a frame of the
/// scanner always is).
bool split_arguments(std::string_view frame, std::vector<std::string_view>& arguments);

/// All arguments: `frame.args` when they are all there, else split into `scratch`.
std::span<const std::string_view> all_arguments(const RequestFrame& frame,
                                                std::vector<std::string_view>& scratch);

/// The server's quoting rules (sds.c, sdssplitargs). False: unbalanced quotes.
bool split_inline(std::string_view line, std::vector<std::string>& arguments);

}  // namespace exodus::resp
