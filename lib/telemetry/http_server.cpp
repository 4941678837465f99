#include "telemetry/http_server.h"

#include <atomic>
#include <charconv>
#include <exception>
#include <fmt/format.h>
#include <httplib.h>
#include <pthread.h>
#include <spdlog/spdlog.h>
#include <thread>

#include "base/values.h"
#include "core/json_text.h"
#include "telemetry/dashboard.h"
#include "telemetry/event_stream.h"
#include "telemetry/feed.h"
#include "telemetry/growing_pool.h"
#include "telemetry/limits.h"
#include "telemetry/metrics.h"

namespace exodus {

namespace {

constexpr const char* kPolicy =
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' "
    "data:; base-uri 'none'; frame-ancestors 'none'";

std::string_view host_of(std::string_view address) {
    if (address.starts_with('[')) return address.substr(1, address.find(']') - 1);
    return address.substr(0, address.find(':'));
}

int64_t id_of(const std::string& text, int64_t otherwise) {
    int64_t id = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), id);
    return error == std::errc() && end == text.data() + text.size() && id >= 0 ? id : otherwise;
}

}  // namespace

class TelemetryServer::Http {
  public:
    explicit Http(TelemetryOptions options) : options_(std::move(options)) {}

    Status bind();
    void serve(TelemetrySource& source);
    void close();
    /// False when a client holds an answer open: its thread uses this object still.
    bool end();
    [[nodiscard]] std::string url() const;

  private:
    void add_routes();
    [[nodiscard]] httplib::Server::HandlerResponse admit(const httplib::Request& request,
                                                         httplib::Response& response) const;
    void status(httplib::Response& response) const;
    void metrics(httplib::Response& response);
    void ready(httplib::Response& response) const;
    void events(const httplib::Request& request, httplib::Response& response);

    TelemetryOptions options_;
    std::unique_ptr<httplib::Server> server_;
    std::unique_ptr<Feed> feed_;
    std::mutex shown_mutex_;
    ShownCommands shown_;
    std::mutex ending_;
    std::atomic<bool> ended_{true};  ///< nobody is answered any more
    std::thread thread_;
};

Status TelemetryServer::Http::bind() {
    const bool tls = !options_.cert_file.empty() && !options_.key_file.empty();
    if (!is_loopback(options_.host) && (options_.token.empty() || !tls))
        return fail(ErrorCode::config,
                    "telemetry on " + options_.host + " needs a token and TLS: others can reach it",
                    "set interlay.http_token_file, http_tls_cert and http_tls_key, or bind "
                    "127.0.0.1");
    if (tls)
        server_ = std::make_unique<httplib::SSLServer>(options_.cert_file.c_str(),
                                                       options_.key_file.c_str());
    else
        server_ = std::make_unique<httplib::Server>();
    if (!server_->is_valid())
        return fail(ErrorCode::config,
                    fmt::format("the certificate {} or its key {} cannot be used",
                                options_.cert_file, options_.key_file));
    // Not SO_REUSEPORT, as the library has it: two processes would share the port in silence.
    server_->set_socket_options([](socket_t socket) {
        const int yes = 1;
        ::setsockopt(socket, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    });
    server_->set_tcp_nodelay(true);
    server_->set_keep_alive_timeout(1);  // s; an idle client must not hold up the end
    server_->set_read_timeout(milliseconds(limits::kTelemetryRead_ms));
    server_->set_write_timeout(milliseconds(limits::kTelemetryWrite_ms));
    server_->set_payload_max_length(limits::kTelemetryRequest_bytes);
    server_->new_task_queue = [] { return new GrowingPool(limits::kTelemetryThreads_max); };
    bool bound = true;
    if (options_.port == 0) {
        options_.port = server_->bind_to_any_port(options_.host);
        bound = options_.port > 0;
    } else {
        bound = server_->bind_to_port(options_.host, options_.port);
    }
    if (!bound)
        return fail(
            ErrorCode::unreachable,
            fmt::format("telemetry cannot be served on {}:{}: the address is in use, or not "
                        "of this machine",
                        options_.host, options_.port),
            "choose another with --http, or leave it out");
    return {};
}

void TelemetryServer::Http::serve(TelemetrySource& source) {
    const std::lock_guard lock(ending_);
    if (!server_) return;  // closed meanwhile
    feed_ = std::make_unique<Feed>(source);
    add_routes();
    ended_ = false;
    thread_ = std::thread([this] {
        // Also of the threads that it makes.
        pthread_setname_np(pthread_self(), kTelemetryThread);
        try {
            server_->listen_after_bind();
        } catch (const std::exception& error) {
            spdlog::warn("telemetry ended: {}", error.what());
        }
        ended_ = true;
    });
    // The library forgets a stop that comes before it runs.
    const Deadline deadline = Deadline::in(milliseconds(limits::kTelemetryRead_ms));
    while (!server_->is_running() && !ended_ && !deadline.passed())
        std::this_thread::sleep_for(milliseconds(1));
}

void TelemetryServer::Http::close() {
    const std::lock_guard lock(ending_);
    if (feed_) feed_->stop();
    if (!thread_.joinable())
        server_.reset();
    else
        server_->stop();
}

bool TelemetryServer::Http::end() {
    close();
    const Deadline deadline = Deadline::in(milliseconds(limits::kTelemetryEnd_ms));
    while (!ended_ && !deadline.passed()) std::this_thread::sleep_for(milliseconds(2));
    if (thread_.joinable()) ended_ ? thread_.join() : thread_.detach();
    return ended_;
}

std::string TelemetryServer::Http::url() const {
    const bool v6 = options_.host.find(':') != std::string::npos;
    return fmt::format("{}://{}{}{}:{}/", options_.cert_file.empty() ? "http" : "https",
                       v6 ? "[" : "", options_.host, v6 ? "]" : "", options_.port);
}

void TelemetryServer::Http::add_routes() {
    server_->set_default_headers({{"Cache-Control", "no-store"},
                                  {"Content-Security-Policy", kPolicy},
                                  {"Referrer-Policy", "no-referrer"},
                                  {"X-Content-Type-Options", "nosniff"}});
    server_->set_pre_routing_handler(
        [this](const httplib::Request& request, httplib::Response& response) {
            return admit(request, response);
        });
    const auto get = [&](const char* path, auto answer) {
        server_->Get(path, [answer](const httplib::Request& request, httplib::Response& response) {
            answer(request, response);
        });
    };
    using Request = httplib::Request;
    using Response = httplib::Response;
    get("/status", [this](const Request&, Response& response) { status(response); });
    get("/metrics", [this](const Request&, Response& response) { metrics(response); });
    get("/events",
        [this](const Request& request, Response& response) { events(request, response); });
    get("/livez",
        [](const Request&, Response& response) { response.set_content("ok\n", "text/plain"); });
    get("/readyz", [this](const Request&, Response& response) { ready(response); });
    for (const DashboardFile& file : dashboard_files()) {
        const auto send = [file](const Request&, Response& response) {
            response.set_content(file.text.data(), file.text.size(), std::string(file.type));
        };
        get(("/" + std::string(file.name)).c_str(), send);
        if (file.name == "index.html") get("/", send);
    }
}

/// With a token: nobody reads numbers or events without it (the page itself tells nothing). Without
/// one: no page of elsewhere through a browser here, which names that page's host (DNS rebinding).
httplib::Server::HandlerResponse TelemetryServer::Http::admit(const httplib::Request& request,
                                                              httplib::Response& response) const {
    const auto refuse = [&](int code, const char* text) {
        response.status = code;
        response.set_content(text, "text/plain");
        return httplib::Server::HandlerResponse::Handled;
    };
    const auto pass = httplib::Server::HandlerResponse::Unhandled;
    if (request.method != "GET" && request.method != "HEAD") {
        // Here, before the library reads a body, which it does not bound.
        response.set_header("Connection", "close");
        return refuse(405, "read-only\n");
    }
    if (options_.token.empty()) {
        const std::string host(host_of(request.get_header_value("Host")));
        if (host == options_.host || is_loopback(host)) return pass;
        return refuse(403, "this server answers to its own address only\n");
    }
    if (request.path != "/status" && request.path != "/metrics" && request.path != "/events")
        return pass;
    std::string given = request.get_param_value("token");  // EventSource sends no headers
    constexpr std::string_view kBearer = "Bearer ";
    const std::string header = request.get_header_value("Authorization");
    if (header.starts_with(kBearer)) given = header.substr(kBearer.size());
    if (Secret(std::move(given)) == options_.token) return pass;
    response.set_header("WWW-Authenticate", "Bearer");
    return refuse(401, "a token is needed: Authorization: Bearer TOKEN\n");
}

void TelemetryServer::Http::status(httplib::Response& response) const {
    if (const std::string text = feed_->status(); !text.empty())
        return response.set_content(text, "application/json");
    response.status = 503;
    response.set_content(json_text({{"error", feed_->snapshot().error}}), "application/json");
}

void TelemetryServer::Http::metrics(httplib::Response& response) {
    const Feed::Snapshot snapshot = feed_->snapshot();
    if (!snapshot.value) {
        response.status = 503;
        return response.set_content("# " + snapshot.error + "\n", "text/plain");
    }
    const std::lock_guard lock(shown_mutex_);
    response.set_content(render_metrics(*snapshot.value,
                                        {.snapshot_ms = snapshot.taken_ms,
                                         .followers = feed_->followers,
                                         .followers_dropped = feed_->dropped,
                                         .events = feed_->event_counts()},
                                        shown_),
                         "text/plain; version=0.0.4; charset=utf-8");
}

/// Whether applications should be sent here. Who does not know its own state cannot say so.
void TelemetryServer::Http::ready(httplib::Response& response) const {
    const Feed::Snapshot now = feed_->snapshot();
    const bool live = feed_->live();
    if (live && now.not_ready.empty()) return response.set_content("ok\n", "text/plain");
    response.status = 503;
    const std::string why =
        live ? now.not_ready : "stale: " + (now.error.empty() ? "no snapshot yet" : now.error);
    response.set_content(why + "\n", "text/plain");
}

void TelemetryServer::Http::events(const httplib::Request& request, httplib::Response& response) {
    if (feed_->followers.fetch_add(1) >= limits::kTelemetryFollowers_max) {
        --feed_->followers;
        response.status = 503;
        response.set_header("Retry-After", "5");
        return response.set_content("too many follow already\n", "text/plain");
    }
    const int64_t first =
        std::max<int64_t>(0, feed_->newest_event() - limits::kTelemetryEventsFirst);
    const int64_t since = id_of(request.get_param_value("since"), first);
    const int64_t after = id_of(request.get_header_value("Last-Event-ID"), since);
    auto stream =
        std::make_shared<EventStream>(*feed_, after, request.get_param_value("status") == "1");
    response.set_chunked_content_provider(
        "text/event-stream",
        [this, stream](std::size_t, httplib::DataSink& sink) {
            const std::string bytes = stream->next();
            const int64_t began_us = steady_us();
            if (bytes.empty()) return false;
            if (sink.write(bytes.data(), bytes.size())) return true;
            if (steady_us() - began_us >= limits::kTelemetryWrite_ms * 1000) ++feed_->dropped;
            return false;
        },
        [this](bool) { --feed_->followers; });
}

TelemetryServer::TelemetryServer(std::unique_ptr<Http> http) : http_(std::move(http)) {}
TelemetryServer::~TelemetryServer() {
    // A client that takes its answer drop by drop must not keep the process alive.
    if (!http_->end()) static_cast<void>(http_.release());
}

Result<std::unique_ptr<TelemetryServer>> TelemetryServer::bind(TelemetryOptions options) {
    auto http = std::make_unique<Http>(std::move(options));
    if (Status bound = http->bind(); !bound) return tl::unexpected<Error>(std::move(bound.error()));
    return std::unique_ptr<TelemetryServer>(new TelemetryServer(std::move(http)));
}

void TelemetryServer::serve(TelemetrySource& source) { http_->serve(source); }
void TelemetryServer::close() { http_->close(); }
std::string TelemetryServer::url() const { return http_->url(); }

}  // namespace exodus
