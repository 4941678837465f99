// The line family's behaviour.
#include "line_brain.h"

#include "base/limits.h"

namespace exodus::test {

namespace {

/// Answers that differ only in case are equal; "fail…" is confirmed by the re-check.
class LineNormalizer final : public Normalizer {
  public:
    Verdict judge(const ExchangePair& pair, std::string& reason) override {
        if (pair.left.size() == pair.right.size()) return Verdict::equal;
        reason = "length";
        return Verdict::candidate;
    }
};

class LineRechecker final : public Rechecker {
  public:
    Result<RecheckOutcome> recheck(const ExchangePair& pair) override {
        return pair.request == "timing" ? RecheckOutcome::equal : RecheckOutcome::confirmed;
    }
};

}  // namespace

std::unique_ptr<Normalizer> LineShared::make_normalizer() {
    return std::make_unique<LineNormalizer>();
}
std::unique_ptr<Rechecker> LineShared::make_rechecker(Following) {
    return std::make_unique<LineRechecker>();
}

void LineBrain::on_accept(ConnId client, const ClientInfo& info) {
    if (!info.tls_subject.empty()) shared_.last_subject = info.tls_subject;
    Client& made = clients_[client];
    made.backend = io_.dial(route_.writes);
    backends_[made.backend] = client;
}

void LineBrain::on_connected(ConnId backend) {
    const auto at = backends_.find(backend);
    if (at == backends_.end()) return;
    Client& client = clients_[at->second];
    client.connected = true;
    io_.send(backend, client.waiting);
    client.waiting.clear();
}

void LineBrain::line(ConnId id, Client& client, std::string_view text) {
    if (text == "timer\n") {
        io_.cancel_timer(io_.arm_timer(1'000'000));
        io_.arm_timer(2'000);
    }
    if (text.starts_with("differ")) {
        ExchangePair pair;
        pair.command = "DIFFER";
        pair.request = text == "differ timing\n" ? "timing" : "x";
        pair.left = "a";
        pair.right = text == "differ case\n" ? "A" : "longer";
        pair.aa = text == "differ aa\n";
        io_.compare(std::move(pair));
    }
    const bool write = text.starts_with('w');
    if ((write && route_.hold) || !client.held.empty()) {
        client.held += text;
        return;
    }
    ++client.unanswered;
    if (write) ++client.writes;
    if (client.connected)
        io_.send(client.backend, text);
    else
        client.waiting += text;
    (void)id;
}

void LineBrain::on_bytes(ConnId conn, std::string_view bytes) {
    if (const auto at = clients_.find(conn); at != clients_.end()) {
        Client& client = at->second;
        client.partial += bytes;
        std::size_t from = 0;
        for (std::size_t end; (end = client.partial.find('\n', from)) != std::string::npos;
             from = end + 1)
            line(conn, client, std::string_view(client.partial).substr(from, end + 1 - from));
        client.partial.erase(0, from);
        return;
    }
    const auto at = backends_.find(conn);
    if (at == backends_.end()) return;
    Client& client = clients_[at->second];
    for (const char byte : bytes) {
        if (byte != '\n') continue;
        if (client.unanswered > 0) --client.unanswered;
        if (client.writes > 0) --client.writes;
    }
    io_.send(at->second, bytes);
    const std::size_t unsent = io_.unsent_bytes(at->second);
    if (unsent > shared_.unsent_max) shared_.unsent_max = unsent;
    if (unsent > limits::kHighWater_bytes) io_.set_reading(conn, false);
    if (draining_) end_if_idle(at->second, client);
}

void LineBrain::on_drained(ConnId conn) {
    if (const auto at = clients_.find(conn); at != clients_.end())
        io_.set_reading(at->second.backend, true);
}

void LineBrain::on_closed(ConnId conn, CloseReason reason) {
    if (reason == CloseReason::refused || reason == CloseReason::timeout) ++shared_.dial_failures;
    if (const auto at = clients_.find(conn); at != clients_.end()) {
        io_.close(at->second.backend, CloseMode::now);
        backends_.erase(at->second.backend);
        clients_.erase(at);
        return;
    }
    const auto at = backends_.find(conn);
    if (at == backends_.end()) return;
    io_.send(at->second, "!backend lost\n");
    io_.close(at->second, CloseMode::after_flush);
    backends_.erase(at);
}

void LineBrain::on_timer(TimerId) { ++shared_.timers; }

void LineBrain::adopt(const Route& route) {
    if (route.epoch < route_.epoch) shared_.backwards = true;
    route_ = route;
    ++shared_.adoptions;
    if (route_.hold) return;
    for (auto& [id, client] : clients_) {
        std::string held;
        held.swap(client.held);
        for (std::size_t from = 0; from < held.size();) {
            const auto end = held.find('\n', from) + 1;
            line(id, client, std::string_view(held).substr(from, end - from));
            from = end;
        }
    }
}

Quiescence LineBrain::quiescence() const {
    Quiescence now;
    now.epoch = route_.epoch;
    for (const auto& [id, client] : clients_) {
        now.writes_in_flight += client.writes;
        now.held += client.held.empty() ? 0 : 1;
    }
    if (now.writes_in_flight > 0) now.blocker = "w";
    return now;
}

void LineBrain::end_if_idle(ConnId id, const Client& client) {
    if (client.unanswered == 0 && client.held.empty() && client.partial.empty())
        io_.close(id, CloseMode::after_flush);
}

bool LineBrain::drain() {
    draining_ = true;
    for (auto& [id, client] : clients_) end_if_idle(id, client);
    return clients_.empty();
}

}  // namespace exodus::test
