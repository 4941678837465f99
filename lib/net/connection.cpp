// Reading, writing, TLS and the end of one connection. One read call and one send call per turn as
// long as the peer keeps up; uv_write only waits for a full socket.
#include "net/connection.h"

#include <algorithm>
#include <cerrno>
#include <fmt/format.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <spdlog/spdlog.h>
#include <sys/socket.h>
#include <system_error>
#include <vector>

#include "base/limits.h"
#include "net/connection_set.h"

namespace exodus {

void Connection::accept(int fd, bool unix_socket, std::string peer, const TlsContext* tls) {
    peer_ = std::move(peer);
    fd_ = fd;
    int error = 0;
    if (unix_socket) {
        uv_pipe_init(set_.loop_.raw(), &handle_.pipe, 0);
        error = uv_pipe_open(&handle_.pipe, fd);
    } else {
        uv_tcp_init(set_.loop_.raw(), &handle_.tcp);
        error = uv_tcp_open(&handle_.tcp, fd);
        if (error == 0) {
            uv_tcp_nodelay(&handle_.tcp, 1);
            uv_tcp_keepalive(&handle_.tcp, 1, limits::kKeepAlive_s);
        }
    }
    handle_.any.data = this;
    handle_live_ = true;
    if (error != 0) {
        ::close(fd);  // libuv took the descriptor only on success
        fd_ = -1;
        return end(CloseReason::error, uv_strerror(error));
    }
    if (tls != nullptr) {
        deadline_ = set_.arm(limits::kTlsHandshake_ms, *this);
        return secure(*tls, {});
    }
    become_open();
}

std::string Connection::local_address() const {
    SocketAddress address;
    address.length = sizeof address.storage;
    auto* raw = reinterpret_cast<sockaddr*>(&address.storage);
    if (fd_ < 0 || ::getsockname(fd_, raw, &address.length) != 0) return {};
    return to_text(raw);
}

std::string Connection::tls_subject() const {
    return engine_ != nullptr ? engine_->peer_subject() : std::string{};
}

void Connection::send(std::string_view bytes) {
    if (state_ >= State::ending || close_when_flushed_ || bytes.empty()) return;
    const bool encrypted =
        engine_ != nullptr || (dialling_ != nullptr && dialling_->tls != nullptr);
    (encrypted ? plain_ : wire_).append(bytes);
    const std::size_t unsent = unsent_bytes();
    if (unsent > limits::kHighWater_bytes) {
        above_high_ = true;
        if (unsent > limits::kUnsent_bytes_max) {
            close(CloseMode::now);
            reason_ = CloseReason::error;
            reason_text_ = fmt::format("{} unsent bytes: the peer does not read", unsent);
            spdlog::warn("closing {}: {}", peer_, reason_text_);
            return;
        }
    }
    set_.mark_dirty(*this);
}

void Connection::set_reading(bool on) {
    if (reading_ == on) return;
    reading_ = on;
    if (state_ != State::open || close_when_flushed_) return;
    if (on) {
        begin_reading();
        // Records that arrived before the pause are decrypted and waiting: libuv will not say so.
        if (engine_ != nullptr && !resuming_) {
            resuming_ = true;
            set_.resuming_.push_back(this);
        }
    } else {
        uv_read_stop(&handle_.stream);
    }
}

void Connection::start_tls(const TlsContext& context, const std::string& host) {
    if (state_ != State::open || engine_ != nullptr || close_when_flushed_) return;
    upgraded_ = true;
    deadline_ = set_.arm(limits::kTlsHandshake_ms, *this);
    secure(context, host);
}

void Connection::secure(const TlsContext& context, const std::string& host) {
    state_ = State::securing;
    auto made = TlsEngine::make(context, host, peer_);
    if (!made) return end(CloseReason::error, made.error().message);
    engine_ = std::move(*made);
    if (auto started = engine_->start(); !started)
        return end(CloseReason::error, started.error().message);
    set_.mark_dirty(*this);
    begin_reading();
}

void Connection::become_open() {
    state_ = State::open;
    set_.timers_.cancel(deadline_);
    deadline_ = TimerId::none;
    dialling_.reset();
    if (reading_)
        begin_reading();
    else
        uv_read_stop(&handle_.stream);
    if (!plain_.empty() || !wire_.empty()) set_.mark_dirty(*this);
    if (!upgraded_) set_.events_.on_open(*this);
}

void Connection::begin_reading() {
    if (peer_done_) return;
    const int error = uv_read_start(
        &handle_.stream,
        [](uv_handle_t* handle, size_t, uv_buf_t* buffer) {
            auto& bytes = static_cast<Connection*>(handle->data)->set_.read_buffer_;
            *buffer = uv_buf_init(bytes.data(), static_cast<unsigned>(bytes.size()));
        },
        [](uv_stream_t* stream, ssize_t count, const uv_buf_t* buffer) {
            static_cast<Connection*>(stream->data)->on_read(count, buffer->base);
        });
    // UV_EALREADY: it reads already.
    if (error != 0 && error != UV_EALREADY) end(CloseReason::error, uv_strerror(error));
}

void Connection::on_read(ssize_t count, const char* bytes) {
    if (count == 0) return;
    if (count == UV_EOF) return peer_finished();
    if (count < 0) return end(CloseReason::error, uv_strerror(static_cast<int>(count)));
    const std::string_view received(bytes, static_cast<std::size_t>(count));
    if (engine_ != nullptr)
        on_cipher(received);
    else
        set_.events_.on_bytes(*this, received);
}

/// A client may shut down its sending side and still read what it asked for. A server that does has
/// nothing more to say to us. Without close_notify a TLS stream may have been cut by anybody.
void Connection::peer_finished() {
    const bool cut = engine_ != nullptr && !engine_->closed();
    if (rank_ == Rank::client && state_ == State::open && !cut && !close_when_flushed_) {
        peer_done_ = true;
        uv_read_stop(&handle_.stream);
        if (set_.events_.on_half_closed(*this)) return;
    }
    end(CloseReason::peer, "closed by the peer");
}

void Connection::on_cipher(std::string_view bytes) {
    auto fed = engine_->feed(bytes);
    // Answers of the handshake, or the alert that says why it failed.
    if (!engine_->outgoing().empty()) set_.mark_dirty(*this);
    if (!fed) return end(CloseReason::error, fed.error().message);
    if (state_ == State::securing && engine_->established()) become_open();
    deliver_plain();
}

void Connection::deliver_plain() {
    auto& buffer = set_.plain_buffer_;
    // While ending, only salvage() comes here.
    while ((state_ == State::open && reading_ && !close_when_flushed_) || write_failed_) {
        auto count = engine_->read(buffer);
        if (!count) return end(CloseReason::error, count.error().message);
        if (*count > 0) {
            set_.events_.on_bytes(*this, {buffer.data(), *count});
            continue;
        }
        if (!engine_->outgoing().empty()) set_.mark_dirty(*this);
        if (engine_->closed() && !peer_done_) peer_finished();
        return;
    }
}

void Connection::encrypt() {
    std::string_view rest = plain_;
    while (!rest.empty() && engine_->established()) {
        // In pieces, so that OpenSSL's buffer stays small.
        const auto piece = rest.substr(0, limits::kReadChunk_bytes);
        if (auto written = engine_->write(piece); !written) {
            plain_.clear();
            return end(CloseReason::error, written.error().message);
        }
        rest.remove_prefix(piece.size());
        wire_.append(engine_->outgoing());
        engine_->clear_outgoing();
    }
    if (rest.empty()) plain_.clear();
    wire_.append(engine_->outgoing());
    engine_->clear_outgoing();
}

void Connection::flush() {
    if (!handle_live_ || state_ < State::securing || state_ == State::closed || write_failed_)
        return;
    // TLS bytes that wait for a full socket are plain as long as possible: nothing to encrypt yet.
    if (write_active_) return;
    if (engine_ != nullptr) encrypt();
    send_now();
}

void Connection::send_now() {
    while (!write_failed_) {
        const bool rest = inflight_at_ < inflight_.size();
        const std::string_view bytes =
            rest ? std::string_view(inflight_).substr(inflight_at_) : std::string_view(wire_);
        if (bytes.empty()) break;
        const ssize_t count = ::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
        if (count < 0 && errno == EINTR) continue;
        if (count < 0 && errno != EAGAIN) {
            const int error = errno;
            plain_.clear();
            wire_.clear();
            inflight_.clear();
            inflight_at_ = 0;
            // Bytes of the peer may still wait in the socket, for instance the reason of its going.
            write_failed_ = true;
            return end(CloseReason::error, std::generic_category().message(error));
        }
        const auto taken = static_cast<std::size_t>(std::max<ssize_t>(count, 0));
        const bool all = taken == bytes.size();
        if (rest) {
            inflight_at_ += taken;
            if (all) {
                inflight_.clear();
                inflight_at_ = 0;
            }
        } else if (all) {
            wire_.clear();
        } else {
            inflight_.swap(wire_);
            inflight_at_ = taken;
        }
        if (!all) {
            if (state_ < State::ending) wait_writable();
            break;
        }
    }
    note_drained();
    if (close_when_flushed_ && unsent_bytes() == 0 && state_ < State::ending)
        end(CloseReason::local, "closed");
}

void Connection::wait_writable() {
    const std::size_t size = std::min(inflight_.size() - inflight_at_, limits::kWriteSlice_bytes);
    const uv_buf_t buffer =
        uv_buf_init(inflight_.data() + inflight_at_, static_cast<unsigned>(size));
    write_.data = reinterpret_cast<void*>(size);
    write_active_ = true;
    const int error =
        uv_write(&write_, &handle_.stream, &buffer, 1, [](uv_write_t* request, int status) {
            static_cast<Connection*>(request->handle->data)->written(status);
        });
    if (error != 0) {
        write_active_ = false;
        end(CloseReason::error, uv_strerror(error));
    }
}

void Connection::written(int status) {
    write_active_ = false;
    if (state_ >= State::ending) return;
    if (status < 0) {
        write_failed_ = true;
        return end(CloseReason::error, uv_strerror(status));
    }
    inflight_at_ += reinterpret_cast<std::size_t>(write_.data);
    if (inflight_at_ == inflight_.size()) {
        inflight_.clear();
        inflight_at_ = 0;
    }
    note_drained();
    set_.mark_dirty(*this);
}

void Connection::note_drained() {
    if (!above_high_ || unsent_bytes() >= limits::kLowWater_bytes) return;
    above_high_ = false;
    if (state_ == State::open) set_.drained_.push_back(this);
}

void Connection::trim() {
    const auto give_back = [](std::string& buffer) {
        if (buffer.empty() && buffer.capacity() > limits::kBufferKeep_bytes)
            std::string().swap(buffer);
    };
    if (unsent_bytes() == 0 && idle_before_) {
        give_back(plain_);
        give_back(wire_);
        give_back(inflight_);
    }
    idle_before_ = unsent_bytes() == 0;
}

void Connection::close(CloseMode mode) {
    if (state_ >= State::ending) return;
    if (mode == CloseMode::now) {
        plain_.clear();
        wire_.clear();
        if (!write_active_) {
            inflight_.clear();
            inflight_at_ = 0;
        }
        return end(CloseReason::local, "closed");
    }
    if (state_ != State::open || unsent_bytes() == 0) return end(CloseReason::local, "closed");
    if (close_when_flushed_) return;
    close_when_flushed_ = true;
    uv_read_stop(&handle_.stream);
    deadline_ = set_.arm(limits::kCloseFlush_ms, *this);
    set_.mark_dirty(*this);
}

void Connection::end(CloseReason reason, std::string text) {
    if (state_ >= State::ending) return;
    const bool dialled = rank_ != Rank::client && state_ < State::open && !upgraded_;
    if (dialled && (reason == CloseReason::error || reason == CloseReason::peer))
        reason = CloseReason::refused;
    reason_ = reason;
    reason_text_ = std::move(text);
    was_open_ = state_ == State::open || upgraded_;
    state_ = State::ending;
    set_.timers_.cancel(deadline_);
    deadline_ = TimerId::none;
    if (fd_ >= 0) uv_read_stop(&handle_.stream);
    set_.ending_.push_back(this);
}

void Connection::salvage() {
    if (!write_failed_ || fd_ < 0 || !reading_ || !was_open_) return;
    for (int i = 0; i < kSalvageReads; ++i) {
        auto& buffer = set_.read_buffer_;
        const ssize_t count = ::recv(fd_, buffer.data(), buffer.size(), MSG_DONTWAIT);
        if (count <= 0) return;
        const std::string_view bytes(buffer.data(), static_cast<std::size_t>(count));
        if (engine_ == nullptr) {
            set_.events_.on_bytes(*this, bytes);
            continue;
        }
        if (!engine_->feed(bytes)) return;
        deliver_plain();
    }
}

void Connection::close_handle() {
    if (state_ == State::closed) return;
    salvage();
    state_ = State::closed;
    if (engine_ != nullptr && engine_->established() && fd_ >= 0 && !write_failed_ &&
        unsent_bytes() == 0) {
        engine_->close_notify();
        const auto notice = engine_->outgoing();
        [[maybe_unused]] const auto sent =
            ::send(fd_, notice.data(), notice.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    }
    forget_lookup();
    if (resuming_) std::erase(set_.resuming_, this);
    resuming_ = false;
    if (!handle_live_) return set_.finished(*this);
    if (retrying_) return;  // the handle is on its way; its close callback goes on
    fd_ = -1;
    uv_close(&handle_.any, [](uv_handle_t* handle) {
        auto* self = static_cast<Connection*>(handle->data);
        self->set_.finished(*self);
    });
}

}  // namespace exodus
