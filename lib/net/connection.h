// One stream connection of a loop: TCP or Unix, plain or TLS, accepted or dialled. Owns the socket,
// the TLS state and the output that the kernel has not taken. Made and found through ConnectionSet;
// loop thread only.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <uv.h>
#include <vector>

#include "core/endpoint.h"
#include "core/protocol_worker.h"
#include "net/resolve.h"
#include "net/tls_engine.h"

namespace exodus {

class ConnectionSet;

/// The order of writes at the end of a turn: a client's reply must not wait for anybody's request.
enum class Rank : uint8_t { client, source, target };

class Connection {
  public:
    Connection(ConnectionSet& set, ConnId id, Rank rank) : set_(set), id_(id), rank_(rank) {}
    Connection(const Connection&) = delete;
    Connection& operator=(const Connection&) = delete;

    [[nodiscard]] ConnId id() const { return id_; }
    [[nodiscard]] Rank rank() const { return rank_; }
    [[nodiscard]] bool is_open() const { return state_ == State::open; }
    [[nodiscard]] const std::string& peer() const { return peer_; }
    [[nodiscard]] std::string tls_subject() const;
    /// Of our end, as the peer sees it when nothing translates addresses; empty when not open.
    [[nodiscard]] std::string local_address() const;
    /// Why it was closed, for the log.
    [[nodiscard]] const std::string& reason_text() const { return reason_text_; }

    void send(std::string_view bytes);
    [[nodiscard]] std::size_t unsent_bytes() const {
        return plain_.size() + wire_.size() + (inflight_.size() - inflight_at_);
    }
    void set_reading(bool on);
    void start_tls(const TlsContext& context, const std::string& host);
    void close(CloseMode mode);

  private:
    friend class ConnectionSet;
    enum class State : uint8_t { resolving, connecting, securing, open, ending, closed };
    struct Lookup;
    static constexpr int kSalvageReads = 16;
    union Handle {
        uv_handle_t any;
        uv_stream_t stream;
        uv_tcp_t tcp;
        uv_pipe_t pipe;
    };

    /// Takes an accepted socket. `tls` null: plain.
    void accept(int fd, bool unix_socket, std::string peer, const TlsContext* tls);
    void dial(const Endpoint& endpoint, const TlsContext* tls);
    void forget_lookup();
    void resolved(int status, addrinfo* list);
    void try_next_address();
    void connected(int status);
    void secure(const TlsContext& context, const std::string& host);
    void become_open();
    void begin_reading();
    void on_read(ssize_t count, const char* bytes);
    void on_cipher(std::string_view bytes);
    void deliver_plain();
    void flush();
    void encrypt();
    void send_now();
    void wait_writable();
    void written(int status);
    void note_drained();
    void trim();
    void peer_finished();
    /// Ends it: written out if possible at the end of the turn, closed, and reported.
    void end(CloseReason reason, std::string text);
    void close_handle();
    void salvage();

    ConnectionSet& set_;
    const ConnId id_;
    const Rank rank_;
    State state_ = State::resolving;
    CloseReason reason_ = CloseReason::local;
    bool reading_ = true;        ///< what the owner wants
    bool handle_live_ = false;   ///< libuv knows the handle
    bool write_active_ = false;  ///< a uv_write is under way
    bool dirty_ = false;         ///< in the set's list of this turn
    bool above_high_ = false;
    bool close_when_flushed_ = false;
    bool peer_done_ = false;  ///< the peer sends no more; never read again
    bool resuming_ = false;   ///< in the set's list of connections with decrypted bytes to deliver
    bool idle_before_ = false;  ///< for trim()
    bool write_failed_ = false;
    bool was_open_ = false;  ///< the owner knows of it
    bool retrying_ = false;  ///< the handle of a failed address is being closed
    bool upgraded_ = false;  ///< start_tls on a running connection: no second on_open
    int fd_ = -1;
    Handle handle_{};
    uv_connect_t connect_{};
    uv_write_t write_{};
    std::string plain_;     ///< to be encrypted at the end of the turn
    std::string wire_;      ///< ready for the socket
    std::string inflight_;  ///< what the kernel did not take at once
    std::size_t inflight_at_ = 0;
    std::unique_ptr<TlsEngine> engine_;
    TimerId deadline_ = TimerId::none;
    std::string peer_;
    std::string reason_text_;

    /// Only while dialling.
    struct Dialling {
        Endpoint endpoint;
        const TlsContext* tls = nullptr;
        std::vector<SocketAddress> addresses;
        std::size_t next = 0;
        Lookup* lookup = nullptr;
        std::string failure;
    };
    std::unique_ptr<Dialling> dialling_;
};

}  // namespace exodus
