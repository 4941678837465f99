// A dialer with a hand on its connections: where they go, and what is written to them.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <utility>

#include "net/dialer.h"

namespace exodus::test {

struct ConnectionChanges {
    std::function<void(Endpoint&)> dialed = {};            ///< may send it elsewhere
    std::function<void(Side, std::string&)> written = {};  ///< may change it, or be slow
};

class ChangedDialer final : public Dialer {
  public:
    explicit ChangedDialer(ConnectionChanges changes) : changes_(std::move(changes)) {}

    Result<std::unique_ptr<ByteStream>> dial(const Endpoint& endpoint,
                                             milliseconds timeout) override {
        Endpoint to = endpoint;
        if (changes_.dialed) changes_.dialed(to);
        auto stream = inner_->dial(to, timeout);
        if (!stream || !changes_.written) return stream;
        return std::make_unique<Stream>(std::move(*stream), endpoint.side, changes_.written);
    }

  private:
    class Stream final : public ByteStream {
      public:
        Stream(std::unique_ptr<ByteStream> inner, Side side,
               std::function<void(Side, std::string&)> written)
            : inner_(std::move(inner)), side_(side), written_(std::move(written)) {}
        Result<std::size_t> read(std::span<char> buffer, Deadline deadline) override {
            return inner_->read(buffer, deadline);
        }
        Status write(std::string_view bytes, Deadline deadline) override {
            std::string changed(bytes);
            written_(side_, changed);
            return inner_->write(changed, deadline);
        }
        void shutdown() override { inner_->shutdown(); }

      private:
        std::unique_ptr<ByteStream> inner_;
        Side side_;
        std::function<void(Side, std::string&)> written_;
    };

    ConnectionChanges changes_;
    std::unique_ptr<Dialer> inner_ = make_dialer();
};

/// Puts `to` in the place of each `from`, which is as long.
inline void replace_all(std::string& text, std::string_view from, std::string_view to) {
    for (auto at = text.find(from); at != std::string::npos; at = text.find(from, at + to.size()))
        text.replace(at, from.size(), to);
}

}  // namespace exodus::test
