#include "cli/host_checks.h"

#include <algorithm>
#include <fmt/format.h>
#include <map>
#include <sstream>

#include "base/clock.h"
#include "base/limits.h"
#include "net/certificate.h"
#include "net/listener.h"
#include "net/resolve.h"
#include "net/tls_context.h"
#include "workflow/limits.h"
#include "workflow/worker_group.h"

namespace exodus::cli {

namespace {

constexpr const char* kListen = "interlay.listen";
constexpr const char* kCertificate = "interlay.certificate";

Finding told(const char* id, Severity severity, std::string text, std::string hint = {}) {
    return {id, severity, "interlay", std::move(text), std::move(hint)};
}

/// Addresses that interlays of this migration listen on, as they bound them, with their process.
using OwnAddresses = std::map<std::string, int64_t>;

Result<OwnAddresses> own_addresses(const Workspace& space) {
    auto workers = space.store->workers(space.row.id);
    if (!workers) return tl::unexpected(std::move(workers).error());
    OwnAddresses out;
    for (const WorkerRow& worker : *workers) {
        if (!worker_may_live(worker)) continue;
        std::istringstream list(worker.listen);
        for (std::string address; std::getline(list, address, ',');) out[address] = worker.pid;
    }
    return out;
}

/// The process of ours that listens there; 0: none.
Result<int64_t> held_by(const std::string& text, const OwnAddresses& own) {
    const auto found = [&](const std::string& address) {
        const auto it = own.find(address);
        return it == own.end() ? 0 : it->second;
    };
    auto address = parse_listen_address(text);
    if (!address) return tl::unexpected(std::move(address).error());
    if (!address->unix_path.empty() || own.empty()) return found(text);
    const std::string port = ":" + std::to_string(address->port);
    for (const std::string& everywhere : {"0.0.0.0" + port, "[::]" + port}) {
        if (const int64_t pid = found(everywhere); pid != 0) return pid;
    }
    auto resolved = resolve(address->host, address->port, true,
                            Deadline::in(milliseconds(limits::kBackendConnect_ms)));
    if (!resolved) return tl::unexpected(std::move(resolved).error());
    for (const SocketAddress& one : *resolved) {
        if (const int64_t pid = found(to_text(one.raw())); pid != 0) return pid;
    }
    return 0;
}

Finding refused(const std::string& text, const Error& error) {
    std::string hint = error.hint;
    if (hint.empty() && error.code == ErrorCode::permission)
        hint = "a port above 1023, or the right to bind this one (CAP_NET_BIND_SERVICE)";
    if (hint.empty()) hint = "set interlay.listen to an address of this host";
    const bool named = error.message.find(text) != std::string::npos;
    return told(kListen, Severity::fail, named ? error.message : text + ": " + error.message,
                std::move(hint));
}

std::vector<Finding> check_listen(const Workspace& space) {
    const auto own = own_addresses(space);
    if (!own) return {told(kListen, Severity::fail, own.error().message, own.error().hint)};
    std::vector<Finding> out;
    for (const std::string& text : space.settings.interlay.listen) {
        const auto pid = held_by(text, *own);
        if (!pid) {
            out.push_back(refused(text, pid.error()));
        } else if (*pid != 0) {
            out.push_back(told(
                kListen, Severity::pass,
                fmt::format("{} is held by this migration's own interlay (pid {})", text, *pid)));
        } else if (const auto bound = Listener::bind({text}); !bound) {
            out.push_back(refused(text, bound.error()));
        } else {
            out.push_back(told(kListen, Severity::pass, text + " is free"));
        }
    }
    return out;
}

std::vector<Finding> check_certificate(const Workspace& space) {
    const InterlaySettings& interlay = space.settings.interlay;
    if (!interlay.tls.enabled)
        return {told(kCertificate, Severity::pass, "the listener has no TLS")};
    const auto loaded =
        TlsContext::make(TlsRole::server, interlay.tls, interlay.require_client_cert);
    if (!loaded) {
        return {told(kCertificate, Severity::fail, loaded.error().message,
                     loaded.error().hint.empty() ? "see interlay.tls in exodus.toml(5)"
                                                 : loaded.error().hint)};
    }
    const std::string& file = interlay.tls.cert_file;
    const auto span = certificate_span(file);
    if (!span) return {told(kCertificate, Severity::fail, span.error().message, span.error().hint)};
    const int64_t now = wall_ms();
    const std::string end = iso8601(span->until_ms);
    const char* hint = "renew it; exodus ctl reload makes a running interlay read it";
    if (span->from_ms > now) {
        return {
            told(kCertificate, Severity::fail,
                 fmt::format("certificate {} is not valid before {}", file, iso8601(span->from_ms)),
                 "check the clock of this host, or wait")};
    }
    if (span->until_ms <= now) {
        return {told(kCertificate, Severity::fail,
                     fmt::format("certificate {} has expired: {}", file, end), hint)};
    }
    if (span->until_ms - now < limits::kCertificateLeft_ms) {
        return {told(kCertificate, Severity::warn,
                     fmt::format("certificate {} expires soon: {}", file, end), hint)};
    }
    return {told(kCertificate, Severity::pass,
                 fmt::format("certificate {} fits its key and is valid until {}", file, end))};
}

}  // namespace

std::vector<HostCheck> host_checks(const Workspace& space) {
    return {{{kListen, "the interlay's addresses are free, or its own already"},
             [&space] { return check_listen(space); }},
            {{kCertificate, "the listener's certificate fits its key and does not expire soon"},
             [&space] { return check_certificate(space); }}};
}

}  // namespace exodus::cli
