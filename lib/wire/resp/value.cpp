// Reading a complete reply: the flat reader, the tree made from it, and the servers' number syntax.
#include "wire/resp/value.h"

#include <charconv>
#include <cmath>
#include <limits>

#include "base/limits.h"

namespace exodus::resp {

static_assert(limits::kRespTreeDepth_max == 64);

std::string_view to_string(Type type) {
    switch (type) {
        case Type::null:
            return "null";
        case Type::simple:
            return "simple";
        case Type::error:
            return "error";
        case Type::integer:
            return "integer";
        case Type::number:
            return "double";
        case Type::big_number:
            return "big_number";
        case Type::boolean:
            return "boolean";
        case Type::bulk:
            return "bulk";
        case Type::verbatim:
            return "verbatim";
        case Type::array:
            return "array";
        case Type::map:
            return "map";
        case Type::set:
            return "set";
        case Type::push:
            return "push";
    }
    return "null";
}

bool parse_int(std::string_view text, int64_t& value) {
    if (text.empty()) return false;
    const bool negative = text[0] == '-';
    const std::string_view digits = negative ? text.substr(1) : text;
    if (digits.empty() || digits[0] < '0' || digits[0] > '9') return false;
    if (digits[0] == '0') {
        if (digits.size() != 1 || negative) return false;
        value = 0;
        return true;
    }
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    return error == std::errc() && end == text.data() + text.size();
}

bool parse_double(std::string_view text, double& value) {
    if (text.empty()) return false;
    if (text == "inf" || text == "+inf")
        return value = std::numeric_limits<double>::infinity(), true;
    if (text == "-inf") return value = -std::numeric_limits<double>::infinity(), true;
    if (text == "nan" || text == "-nan")
        return value = std::numeric_limits<double>::quiet_NaN(), true;
    if (text[0] == '+') text.remove_prefix(1);
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    return error == std::errc() && end == text.data() + text.size() && std::isfinite(value);
}

namespace {

std::string_view first_word(std::string_view text) {
    return text.substr(0, text.find_first_of(" \r\n"));
}

bool is_digits(std::string_view text) {
    if (!text.empty() && (text[0] == '-' || text[0] == '+')) text.remove_prefix(1);
    return !text.empty() && text.find_first_not_of("0123456789") == std::string_view::npos;
}

}  // namespace

/// A short joined string moves with its Value, so its view must follow.
Value& Value::operator=(Value&& other) noexcept {
    type = other.type;
    text = other.text;
    integer = other.integer;
    number = other.number;
    items = std::move(other.items);
    owned = std::move(other.owned);
    if (!owned.empty()) text = owned;
    return *this;
}

std::string_view Value::error_code() const {
    return is_error() ? first_word(text) : std::string_view{};
}

Token ReplyReader::bad() {
    failed_ = true;
    Token token;
    token.kind = Token::Kind::bad;
    return token;
}

bool ReplyReader::line(std::string_view& text) {
    for (std::size_t from = at_;;) {
        const std::size_t cr = bytes_.find('\r', from);
        if (cr == std::string_view::npos || cr + 1 >= bytes_.size()) return false;
        if (bytes_[cr + 1] == '\n') {
            text = bytes_.substr(at_, cr - at_);
            at_ = cr + 2;
            return true;
        }
        from = cr + 1;
    }
}

void ReplyReader::element_done() {
    while (depth_ > 0) {
        Level& top = stack_[depth_ - 1];
        if (top.left < 0) return;
        if (--top.left > 0) return;
        --depth_;
        if (top.attribute) {
            --attributes_;
            return;
        }
    }
    done_ = true;
}

Token ReplyReader::next() {
    for (;;) {
        const bool hidden = attributes_ > 0;
        Token token = raw();
        if (token.kind == Token::Kind::bad || token.kind == Token::Kind::end) return token;
        // The token that opens an attribute, and everything inside, is not part of the value.
        if (!hidden && attributes_ == 0 && token.count != -2) return token;
    }
}

/// The next token, attributes included; a token with count -2 is the opening of an attribute.
Token ReplyReader::raw() {
    Token token;
    if (failed_) return bad();
    if (done_) return token;
    if (at_ >= bytes_.size()) return bad();
    const char type = bytes_[at_++];
    std::string_view text;
    if (!line(text)) return bad();
    if (chunks_) {
        int64_t length = 0;
        if (type != ';' || !parse_int(text, length) || length < 0) return bad();
        token.kind = Token::Kind::chunk;
        if (length == 0) {
            chunks_ = false;
            element_done();
            return token;
        }
        const uint64_t size = static_cast<uint64_t>(length);
        if (size + 2 > bytes_.size() - at_ || bytes_.compare(at_ + size, 2, "\r\n") != 0)
            return bad();
        token.text = bytes_.substr(at_, size);
        at_ += size + 2;
        return token;
    }
    token.kind = Token::Kind::scalar;
    token.text = text;
    switch (type) {
        case '+':
            token.type = Type::simple;
            break;
        case '-':
            token.type = Type::error;
            break;
        case ':': {
            int64_t value = 0;
            token.type = Type::integer;
            if (!parse_int(text, value)) return bad();
            break;
        }
        case ',': {
            double value = 0;
            token.type = Type::number;
            if (!parse_double(text, value)) return bad();
            break;
        }
        case '(':
            token.type = Type::big_number;
            if (!is_digits(text)) return bad();
            break;
        case '#':
            token.type = Type::boolean;
            if (text != "t" && text != "f") return bad();
            break;
        case '_':
            if (!text.empty()) return bad();
            break;
        case '$':
        case '!':
        case '=': {
            token.type = type == '$' ? Type::bulk : type == '!' ? Type::error : Type::verbatim;
            if (type == '$' && text == "?") {
                token.kind = Token::Kind::open;
                token.text = {};
                token.count = -1;
                chunks_ = true;
                return token;
            }
            int64_t length = 0;
            if (!parse_int(text, length) || length < -1 || (length == -1 && type != '$'))
                return bad();
            if (length == -1) {
                token.type = Type::null;
                token.text = {};
                break;
            }
            const uint64_t size = static_cast<uint64_t>(length);
            if (size > bytes_.size() - at_ || size + 2 > bytes_.size() - at_ ||
                bytes_.compare(at_ + size, 2, "\r\n") != 0)
                return bad();
            token.text = bytes_.substr(at_, size);
            if (type == '=') {  // "txt:" or "mkd:" stands in front of the text
                if (size < 4 || token.text[3] != ':') return bad();
                token.text.remove_prefix(4);
            }
            at_ += size + 2;
            break;
        }
        case '.': {
            if (!text.empty() || depth_ == 0 || stack_[depth_ - 1].left >= 0) return bad();
            token.kind = Token::Kind::close;
            --depth_;
            element_done();
            return token;
        }
        case '*':
        case '%':
        case '~':
        case '>':
        case '|': {
            token.kind = Token::Kind::open;
            token.text = {};
            token.type = type == '*'   ? Type::array
                         : type == '%' ? Type::map
                         : type == '~' ? Type::set
                         : type == '>' ? Type::push
                                       : Type::map;
            const bool attribute = type == '|';
            int64_t count = -1;
            if (text == "?") {
                if (attribute) return bad();
            } else {
                if (!parse_int(text, count) || count < -1 || count > limits::kRespReplyCount_max)
                    return bad();
                if (count == -1) {
                    if (type != '*') return bad();
                    token.kind = Token::Kind::scalar;
                    token.type = Type::null;
                    break;
                }
                if (type == '%' || attribute) count *= 2;
            }
            token.count = attribute ? -2 : count;
            if (count == 0) {
                if (!attribute) element_done();
                return token;
            }
            if (depth_ == limits::kRespTreeDepth_max) return bad();
            stack_[depth_++] = {count, attribute};
            if (attribute) ++attributes_;
            return token;
        }
        default:
            return bad();
    }
    element_done();
    return token;
}

namespace {

void fill_scalar(Value& value, const Token& token) {
    value.type = token.type;
    value.text = token.text;
    if (token.type == Type::integer) {
        parse_int(token.text, value.integer);
    } else if (token.type == Type::boolean) {
        value.integer = token.text == "t" ? 1 : 0;
    } else if (token.type == Type::number) {
        parse_double(token.text, value.number);
    }
}

/// Fills one value; the reader's own depth limit bounds the recursion.
bool fill(ReplyReader& reader, const Token& token, Value& value) {
    if (token.kind == Token::Kind::scalar) {
        fill_scalar(value, token);
        return true;
    }
    if (token.kind != Token::Kind::open) return false;
    value.type = token.type;
    if (token.type == Type::bulk) {
        for (;;) {
            const Token chunk = reader.next();
            if (chunk.kind != Token::Kind::chunk) return false;
            if (chunk.text.empty()) break;
            value.owned.append(chunk.text);
        }
        value.text = value.owned;
        return true;
    }
    for (int64_t i = 0; token.count < 0 || i < token.count; ++i) {
        const Token inner = reader.next();
        if (inner.kind == Token::Kind::close && token.count < 0) return true;
        if (inner.kind == Token::Kind::bad || inner.kind == Token::Kind::end) return false;
        if (!fill(reader, inner, value.items.emplace_back())) return false;
    }
    return true;
}

}  // namespace

Result<Value> parse_reply(std::string_view bytes, std::size_t* used) {
    ReplyReader reader(bytes);
    Value value;
    if (!fill(reader, reader.next(), value))
        return fail(ErrorCode::protocol, "malformed or cut reply");
    if (used != nullptr) *used = reader.position();
    return value;
}

}  // namespace exodus::resp
