#include "base/secret.h"

#include <openssl/crypto.h>
#include <utility>

namespace exodus {

namespace {
void wipe(std::string& text) {
    if (!text.empty()) OPENSSL_cleanse(text.data(), text.size());
    text.clear();
}
}  // namespace

Secret& Secret::operator=(const Secret& other) {
    if (this != &other) {
        wipe(text_);
        text_ = other.text_;
    }
    return *this;
}

Secret::Secret(Secret&& other) noexcept { *this = std::move(other); }

Secret& Secret::operator=(Secret&& other) noexcept {
    if (this != &other) {
        wipe(text_);
        text_ = other.text_;
        wipe(other.text_);
    }
    return *this;
}

Secret::~Secret() { wipe(text_); }

bool Secret::operator==(const Secret& other) const {
    return text_.size() == other.text_.size() &&
           CRYPTO_memcmp(text_.data(), other.text_.data(), text_.size()) == 0;
}

}  // namespace exodus
