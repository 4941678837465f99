// A secret that cannot be printed, logged or stored: no stream operator, no formatter, no
// conversion. The only way to the text is reveal(), so that a review finds every use with one
// search. Memory is wiped when it goes.
#pragma once

#include <string>
#include <string_view>

namespace exodus {

class Secret {
  public:
    Secret() = default;
    explicit Secret(std::string text) : text_(std::move(text)) {}
    Secret(const Secret&) = default;
    Secret& operator=(const Secret& other);
    Secret(Secret&& other) noexcept;
    Secret& operator=(Secret&& other) noexcept;
    ~Secret();

    [[nodiscard]] bool empty() const { return text_.empty(); }
    /// The text itself, for the one call that sends it to a server. Never keep or print it.
    [[nodiscard]] std::string_view reveal() const { return text_; }
    /// Compares in constant time.
    bool operator==(const Secret& other) const;

  private:
    std::string text_;
};

}  // namespace exodus
