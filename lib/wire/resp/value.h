// What a complete reply says: a flat reader without allocation (for digests), and a tree (for
// everything else).
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/error.h"

namespace exodus::resp {

enum class Type : uint8_t {
    null,        ///< `$-1`, `*-1`, `_`
    simple,      ///< `+`
    error,       ///< `-`, `!`
    integer,     ///< `:`
    number,      ///< `,`
    big_number,  ///< `(`
    boolean,     ///< `#`
    bulk,        ///< `$`
    verbatim,    ///< `=`; text without the "txt:" prefix
    array,       ///< `*`
    map,         ///< `%`; items are key, value, key, value …
    set,         ///< `~`
    push,        ///< `>`
};
std::string_view to_string(Type type);

/// One element of a reply. Texts are views into the parsed frame, except of streamed strings, which
/// are joined in `owned`.
struct Value {
    Type type = Type::null;
    std::string_view
        text;  ///< of every scalar except null: the bytes as sent (integers and numbers as digits)
    int64_t integer = 0;  ///< of integer and boolean (0, 1)
    double number = 0;    ///< of number
    std::vector<Value> items;
    std::string owned;

    Value() = default;
    Value(Value&& other) noexcept { *this = std::move(other); }
    Value& operator=(Value&& other) noexcept;
    Value(const Value&) = delete;
    Value& operator=(const Value&) = delete;

    [[nodiscard]] bool is_null() const { return type == Type::null; }
    [[nodiscard]] bool is_error() const { return type == Type::error; }
    [[nodiscard]] bool is_aggregate() const { return type >= Type::array; }
    /// Of bulk, simple or verbatim strings.
    [[nodiscard]] bool is_string() const {
        return type == Type::bulk || type == Type::simple || type == Type::verbatim;
    }
    /// First word of an error.
    [[nodiscard]] std::string_view error_code() const;
};

/// Parses the first reply of `bytes`; a leading attribute and attributes inside are skipped. `used`
/// receives its length. The views of the result point into `bytes`. Error `protocol` when it is
/// malformed, cut, or nested deeper than 64.
Result<Value> parse_reply(std::string_view bytes, std::size_t* used = nullptr);

/// One step through a reply in the order of its bytes.
struct Token {
    enum class Kind : uint8_t {
        scalar,  ///< type, text
        open,    ///< an aggregate begins; `count` elements follow (a map's keys and values counted
                 ///< singly), -1 unknown
        close,   ///< ends an aggregate of unknown count only
        chunk,   ///< a piece of a streamed string; an empty text ends it
        end,     ///< the reply is over
        bad,     ///< malformed or cut
    };
    Kind kind = Kind::end;
    Type type = Type::null;
    std::string_view text;
    int64_t count = 0;
};

/// Walks over one reply without allocating. Attributes are skipped.
class ReplyReader {
  public:
    explicit ReplyReader(std::string_view bytes) : bytes_(bytes) {}
    Token next();
    [[nodiscard]] std::size_t position() const { return at_; }

  private:
    struct Level {
        int64_t left = 0;  ///< -1: ended by `.`
        bool attribute = false;
    };
    Token raw();
    Token bad();
    bool line(std::string_view& text);
    void element_done();

    std::string_view bytes_;
    std::size_t at_ = 0;
    Level stack_[64];
    int depth_ = 0;
    int attributes_ = 0;  ///< levels of the stack that are inside an attribute
    bool chunks_ = false;
    bool done_ = false;
    bool failed_ = false;
};

/// Strict decimal integer as servers take it (util.c, string2ll): no sign but '-', no leading zero,
/// no blank.
bool parse_int(std::string_view text, int64_t& value);
/// "3", "3.0", "1e3", "inf", "-inf", "nan".
bool parse_double(std::string_view text, double& value);

}  // namespace exodus::resp
