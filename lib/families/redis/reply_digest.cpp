// The digest of a reply's values: one pass over the bytes, no allocation, the same for the RESP2
// and the RESP3 form.
#include <algorithm>
#include <cstring>

#include "families/redis/normalizer.h"
#include "wire/resp/value.h"

namespace exodus::redis {

namespace {

using resp::Token;
using resp::Type;

/// What a scalar is, independent of the protocol version.
char tag_of(Type type) {
    switch (type) {
        case Type::null:
            return 'N';
        case Type::integer:
        case Type::boolean:
            return 'I';
        case Type::simple:
            return 'P';
        case Type::error:
            return 'E';
        default:
            return 'S';  // bulk, verbatim, double and big number: RESP2 sends them all as bulk
                         // strings
    }
}

std::string_view text_of(const Token& token) {
    if (token.type == Type::null) return {};
    if (token.type == Type::boolean) return token.text == "t" ? "1" : "0";
    return token.text;
}

/// Chains digests: (state, tag, size, text) → state. Small texts are folded into one hash call.
class Chain {
  public:
    void add(char tag, std::string_view text) {
        char block[16 + 16 + 48];
        const uint64_t size = text.size();
        std::memcpy(block, &state_, 16);
        std::memcpy(block + 16, &size, 8);
        std::memset(block + 24, tag, 8);
        if (text.size() <= 48) {
            if (!text.empty()) std::memcpy(block + 32, text.data(), text.size());
            state_ = xxh3_128({block, 32 + text.size()});
            return;
        }
        const Digest128 inner = xxh3_128(text);
        std::memcpy(block + 32, &inner, 16);
        state_ = xxh3_128({block, 48});
    }
    [[nodiscard]] Digest128 value() const { return state_; }

  private:
    Digest128 state_;
};

}  // namespace

Digest128 reply_digest(std::string_view frame) {
    resp::ReplyReader reader(frame);
    Chain chain;
    for (;;) {
        const Token token = reader.next();
        switch (token.kind) {
            case Token::Kind::scalar:
                chain.add(tag_of(token.type), text_of(token));
                break;
            case Token::Kind::open: {
                if (token.count < 0) {
                    chain.add('?',
                              {});  // streamed: no server sends it; never equal to the counted form
                    break;
                }
                // A map is the flat array that RESP2 makes of it, a set or push an array.
                char count[8];
                std::memcpy(count, &token.count, 8);
                chain.add('A', {count, 8});
                break;
            }
            case Token::Kind::close:
                chain.add('.', {});
                break;
            case Token::Kind::chunk:
                chain.add(';', token.text);
                break;
            case Token::Kind::end:
                return chain.value();
            case Token::Kind::bad:
                return xxh3_128(frame);
        }
    }
}

}  // namespace exodus::redis
