// A small family for tests of the host: lines. A client's line goes to the side of the route over
// one pinned backend connection per client, the answer goes back; a client that does not read
// pauses its backend; "w…" lines count as writes in flight; under hold they wait.
#pragma once

#include <atomic>
#include <map>
#include <memory>
#include <string>

#include "core/family.h"

namespace exodus::test {

class LineShared;

class LineBrain final : public ProtocolWorker {
  public:
    LineBrain(LineShared& shared, WorkerIo& io) : shared_(shared), io_(io) {}
    void on_accept(ConnId client, const ClientInfo& info) override;
    void on_connected(ConnId backend) override;
    void on_bytes(ConnId conn, std::string_view bytes) override;
    void on_drained(ConnId conn) override;
    void on_closed(ConnId conn, CloseReason reason) override;
    void on_timer(TimerId timer) override;
    void on_turn_end() override {}
    void adopt(const Route& route) override;
    [[nodiscard]] Quiescence quiescence() const override;
    bool drain() override;
    void collect(TrafficStats& stats) const override { stats.clients_now += clients_.size(); }
    bool set_knob(std::string_view name, std::string_view) override { return name == "known"; }

  private:
    struct Client {
        ConnId backend = ConnId::none;
        bool connected = false;
        std::string waiting;  ///< until the backend is there
        std::string partial;
        std::string held;
        uint64_t unanswered = 0;  ///< lines
        uint64_t writes = 0;
    };
    void line(ConnId id, Client& client, std::string_view text);
    void end_if_idle(ConnId id, const Client& client);

    LineShared& shared_;
    WorkerIo& io_;
    Route route_;
    std::map<ConnId, Client> clients_;
    std::map<ConnId, ConnId> backends_;  ///< backend to client
    bool draining_ = false;
};

class LineShared final : public TrafficShared {
  public:
    std::unique_ptr<ProtocolWorker> make_worker(WorkerIo& io) override {
        return std::make_unique<LineBrain>(*this, io);
    }
    Status ready_for(Side side) override {
        if (side == Side::target) return fail(ErrorCode::gate_not_met, "no login on target");
        return {};
    }
    Status probe_fence(Side, milliseconds) override { return {}; }
    std::unique_ptr<Normalizer> make_normalizer() override;
    std::unique_ptr<Rechecker> make_rechecker(Following) override;

    std::atomic<std::size_t> unsent_max{0};
    std::atomic<uint64_t> dial_failures{0};
    std::atomic<uint64_t> adoptions{0};
    std::atomic<uint64_t> timers{0};
    std::atomic<bool> backwards{false};  ///< an older epoch came after a newer one
    std::string last_subject;            ///< written before the client gets its first answer
};

}  // namespace exodus::test
