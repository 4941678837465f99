#include "config/resolve.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <set>
#include <sys/stat.h>

#include "base/digest.h"
#include "base/limits.h"
#include "base/values.h"
#include "config/secrets.h"
#include "config/uri.h"

namespace exodus {

namespace {

/// sockaddr_un::sun_path with its final zero.
constexpr std::size_t kUnixPath_bytes_max = 107;

struct Address {
    std::string host;
    int port = 0;
    std::string unix_path;
};

std::optional<Address> parse_address(const std::string& text) {
    Address out;
    if (text.starts_with("unix:/")) {
        out.unix_path = text.substr(5);
        if (out.unix_path.size() > kUnixPath_bytes_max) return std::nullopt;
        return out;
    }
    const auto found = parse_host_port(text);
    if (!found) return std::nullopt;
    out.host = found->host;
    out.port = found->port;
    return out;
}

bool same_host(std::string_view a, std::string_view b) {
    const auto loopback = [](std::string_view host) {
        return host == "127.0.0.1" || host == "localhost" || host == "::1" || host == "0.0.0.0" ||
               host == "::";
    };
    return a == b || (loopback(a) && loopback(b));
}

class EndpointResolver {
  public:
    EndpointResolver(const ResolveContext& context, Side side)
        : context_(context),
          side_(side),
          draft_(side == Side::source ? context.draft.source : context.draft.target),
          out_(side == Side::source ? context.draft.settings.source
                                    : context.draft.settings.target) {}

    void run() {
        out_.side = side_;
        if (draft_.uri.empty()) {
            if (context_.input.require_endpoints) {
                error("uri", "missing",
                      fmt::format("write [{}] with uri = \"redis://user@host:6379\"", name()));
            }
            return;
        }
        if (!resolve_uri()) return;
        resolve_tls();
        resolve_password();
    }

  private:
    [[nodiscard]] std::string_view name() const { return to_string(side_); }
    void error(std::string_view key, std::string message, std::string suggestion = {}) const {
        context_.error(fmt::format("{}.{}", name(), key), std::move(message),
                       std::move(suggestion));
    }

    bool resolve_uri() {
        auto uri = parse_uri(draft_.uri);
        if (!uri) {
            error("uri", uri.error().message, uri.error().hint);
            return false;
        }
        const SchemeInfo* found = nullptr;
        std::vector<std::string> schemes;
        std::set<std::string> families;
        for (const SchemeInfo& scheme : context_.input.schemes) {
            schemes.push_back(scheme.scheme);
            families.insert(scheme.family);
            if (scheme.scheme != uri->scheme) continue;
            if (found == nullptr || scheme.family == draft_.family) found = &scheme;
        }
        if (!draft_.family.empty() && !families.contains(draft_.family)) {
            error("family", fmt::format("'{}' is not a family of this version", draft_.family),
                  fmt::format("known: {}", fmt::join(families, ", ")));
            return false;
        }
        if (found == nullptr && uri->scheme == "unix") {
            // "unix" says nothing about the family; the table or the other side does.
            out_.family = !draft_.family.empty() ? draft_.family
                          : families.size() == 1 ? *families.begin()
                                                 : "";
            if (out_.family.empty()) {
                error("family", "missing: a unix:// URI does not say it");
                return false;
            }
        } else if (found == nullptr) {
            const auto meant = nearest(uri->scheme, schemes);
            error("uri", fmt::format("unknown scheme '{}'", uri->scheme),
                  meant ? fmt::format("did you mean {}://?", *meant)
                        : fmt::format("known: {}", fmt::join(schemes, ", ")));
            return false;
        } else {
            out_.family = found->family;
            out_.port = found->default_port;
            out_.tls.enabled = found->tls;
            if (!draft_.family.empty() && draft_.family != found->family) {
                error("uri", fmt::format("scheme '{}' belongs to family {}, but family says {}",
                                         uri->scheme, found->family, draft_.family));
                return false;
            }
        }
        if (!uri->user.empty() && !draft_.user.empty() && uri->user != draft_.user) {
            error("user", "differs from the user in the URI", "give it in one place only");
        }
        out_.user = uri->user.empty() ? draft_.user : uri->user;
        out_.host = uri->host;
        out_.unix_path = uri->unix_path;
        if (uri->port != 0) out_.port = uri->port;
        if (!uri->database.empty()) {
            const auto number = parse_integer(uri->database);
            if (!number || *number < 0 || *number > 1'000'000) {
                error("uri", fmt::format("'{}' is not a database number", uri->database));
            } else {
                out_.database = static_cast<int>(*number);
            }
        }
        return true;
    }

    void check_file(std::string_view key, const std::string& path, bool secret) const {
        if (path.empty() || !context_.input.read_secrets) return;
        struct stat info {};
        if (::stat(path.c_str(), &info) != 0) {
            return error(key, fmt::format("{}: {}", path, std::strerror(errno)));
        }
        if (!secret) return;
        if (auto status = check_secret_file(path); !status) {
            error(key, status.error().message, status.error().hint);
        }
    }

    void resolve_tls() {
        const bool enabled = out_.tls.enabled;
        if (draft_.tls_given && !enabled) {
            error("tls", "TLS settings are given, but the URI's scheme means a plain connection",
                  "use the TLS scheme (rediss:// for redis), or remove the tls table");
        }
        out_.tls = draft_.tls;
        out_.tls.enabled = enabled;
        if (draft_.tls.cert_file.empty() != draft_.tls.key_file.empty()) {
            error(draft_.tls.cert_file.empty() ? "tls.key" : "tls.cert",
                  "a client certificate needs both cert and key");
        }
        check_file("tls.ca", draft_.tls.ca_file, false);
        check_file("tls.cert", draft_.tls.cert_file, false);
        check_file("tls.key", draft_.tls.key_file, true);
    }

    void resolve_password() {
        out_.password = read_password(
            draft_, context_.input.read_secrets, context_.input.environment,
            [this](std::string_view key, std::string message, std::string suggestion) {
                error(key, std::move(message), std::move(suggestion));
            });
    }

    const ResolveContext& context_;
    Side side_;
    EndpointDraft& draft_;
    Endpoint& out_;
};

/// Where the telemetry server may be reached from elsewhere it asks for a token, over TLS.
void check_telemetry(const ResolveContext& context) {
    InterlaySettings& interlay = context.draft.settings.interlay;
    if (interlay.http.empty()) return;
    const auto address = parse_host_port(interlay.http);
    if (!address)
        return context.error("interlay.http", fmt::format("'{}' is not an address", interlay.http),
                             "write HOST:PORT");
    if (interlay.http_cert_file.empty() != interlay.http_key_file.empty())
        context.error(
            interlay.http_cert_file.empty() ? "interlay.http_tls_cert" : "interlay.http_tls_key",
            "missing: TLS needs both cert and key");
    const bool open = interlay.http_token_file.empty() || interlay.http_cert_file.empty();
    if (open && !is_loopback(address->host))
        context.error("interlay.http",
                      fmt::format("{} can be reached from elsewhere, so a token and TLS are needed",
                                  interlay.http),
                      "set interlay.http_token_file, http_tls_cert and http_tls_key, or use "
                      "127.0.0.1");
    if (!context.input.read_secrets) return;
    if (!interlay.http_token_file.empty()) {
        auto token = secret_from_file(interlay.http_token_file);
        if (!token)
            context.error("interlay.http_token_file", token.error().message, token.error().hint);
        else if (token->empty())
            context.error("interlay.http_token_file", "the file is empty");
        else
            interlay.http_token = std::move(*token);
    }
    if (!interlay.http_key_file.empty()) {
        if (auto status = check_secret_file(interlay.http_key_file); !status)
            context.error("interlay.http_tls_key", status.error().message, status.error().hint);
    }
}

void check_interlay(const ResolveContext& context) {
    InterlaySettings& interlay = context.draft.settings.interlay;
    if (interlay.listen.empty()) context.error("interlay.listen", "the list is empty");
    for (const std::string& text : interlay.listen) {
        const auto address = parse_address(text);
        if (!address) {
            context.error("interlay.listen", fmt::format("'{}' is not an address", text),
                          "write HOST:PORT, [V6]:PORT or unix:/PATH");
            continue;
        }
        for (const Side side : {Side::source, Side::target}) {
            const Endpoint& end = context.draft.settings.endpoint(side);
            const bool loop = address->unix_path.empty()
                                  ? address->port != 0 && end.port == address->port &&
                                        same_host(end.host, address->host)
                                  : end.unix_path == address->unix_path;
            if (loop) {
                context.error("interlay.listen",
                              fmt::format("'{}' is the address of the {}", text, to_string(side)),
                              "the interlay needs an address of its own");
            }
        }
    }
    if (interlay.control.empty()) interlay.control = context.draft.settings.state_path + ".sock";
    if (interlay.control.size() > kUnixPath_bytes_max) {
        context.error("interlay.control",
                      fmt::format("the path of the control socket is longer than {} bytes: {}",
                                  kUnixPath_bytes_max, interlay.control),
                      "set interlay.control to a shorter path");
    }
    const TlsSettings& tls = interlay.tls;
    if (tls.enabled && (tls.cert_file.empty() || tls.key_file.empty())) {
        context.error(tls.cert_file.empty() ? "interlay.tls.cert" : "interlay.tls.key",
                      "missing: a TLS listener needs cert and key");
    }
    if (interlay.require_client_cert && tls.ca_file.empty()) {
        context.error("interlay.require_client_cert",
                      "client certificates cannot be verified without interlay.tls.ca");
    }
    if (context.input.read_secrets && !tls.key_file.empty()) {
        if (auto status = check_secret_file(tls.key_file); !status) {
            context.error("interlay.tls.key", status.error().message, status.error().hint);
        }
    }
}

void check_together(const ResolveContext& context) {
    Settings& s = context.draft.settings;
    const bool both = !s.source.family.empty() && !s.target.family.empty();
    if (both && s.source.family != s.target.family) {
        context.error("target.uri",
                      fmt::format("the source is {}, the target is {}; both must be of one family",
                                  s.source.family, s.target.family));
    }
    s.family = s.source.family.empty() ? s.target.family : s.source.family;
    if (both && s.source.unix_path == s.target.unix_path && s.source.host == s.target.host &&
        s.source.port == s.target.port) {
        context.error("target.uri", fmt::format("source and target are the same server ({})",
                                                s.source.address()));
    }
    if (s.cutover.max_lag_ms >= s.cutover.hold_timeout_ms) {
        context.error(
            "cutover.max_lag",
            fmt::format(
                "{} is not less than cutover.hold_timeout ({}): a switch could never end in time",
                format_duration_ms(s.cutover.max_lag_ms),
                format_duration_ms(s.cutover.hold_timeout_ms)));
    }
    if (s.migration.empty() || s.migration.size() > 100 ||
        std::any_of(s.migration.begin(), s.migration.end(),
                    [](unsigned char c) { return c <= ' ' || c == 127; })) {
        context.error("migration", "the name must have 1 to 100 characters and no space",
                      "it is typed to confirm a switch");
    }
    if (s.state_path.empty()) context.error("state", "the path is empty");
}

void add(std::string& out, std::string_view key, const std::string& value) {
    out += key;
    out += '=';
    out += value;
    out += '\n';
}

}  // namespace

void ResolveContext::error(std::string_view key, std::string message,
                           std::string suggestion) const {
    ConfigError out = place(key);
    out.message = std::move(message);
    out.suggestion = std::move(suggestion);
    errors.push_back(std::move(out));
}

void resolve(const ResolveContext& context) {
    EndpointResolver(context, Side::source).run();
    EndpointResolver(context, Side::target).run();
    check_interlay(context);
    check_telemetry(context);
    check_together(context);
}

std::string settings_hash(const Settings& s) {
    std::string text = "exodus-config-1\n";
    add(text, "migration", s.migration);
    add(text, "family", s.family);
    for (const Side side : {Side::source, Side::target}) {
        const Endpoint& end = s.endpoint(side);
        add(text, to_string(side),
            fmt::format("{} {} {} {}", end.address(), end.database, end.user, end.tls.enabled));
        add(text, "tls",
            fmt::format("{} {} {} {}", end.tls.verify, end.tls.ca_file, end.tls.cert_file,
                        end.tls.server_name));
    }
    const MigrateSettings& m = s.migrate;
    // The last word stands for a key that is gone: evidence of a migration that runs still counts.
    add(text, "migrate",
        fmt::format("{} {} {} {} true", static_cast<int>(m.strategy), static_cast<int>(m.conflict),
                    static_cast<int>(m.data_movement), static_cast<int>(m.write_consistency)));
    for (const CompareSettings::Rule& rule : s.compare.rules) {
        add(text, "rule", fmt::format("{} {}", rule.action, fmt::join(rule.commands, " ")));
    }
    add(text, "include", fmt::format("{}", fmt::join(s.scope.include, "\x1f")));
    add(text, "exclude", fmt::format("{}", fmt::join(s.scope.exclude, "\x1f")));
    for (const auto& [key, value] : s.family_options) add(text, key, value);
    for (const ClientUser& user : s.interlay.users) {
        add(text, "user",
            fmt::format("{} {} {} {}", user.name, user.certificate, user.source.user,
                        user.target.user));
    }
    return sha256_hex(text);
}

std::vector<ConfigError> check_uri(std::string_view key, std::string_view uri,
                                   std::string_view family,
                                   const std::vector<SchemeInfo>& schemes) {
    std::vector<ConfigError> errors;
    ConfigInput input;
    input.schemes = schemes;
    input.read_secrets = false;
    SettingsDraft draft;
    draft.source.uri = std::string(uri);
    draft.source.family = std::string(family);
    const ResolveContext context{input, draft, errors,
                                 [](std::string_view) { return ConfigError{}; }};
    EndpointResolver(context, Side::source).run();
    for (ConfigError& error : errors) error.key = std::string(key);
    return errors;
}

}  // namespace exodus
