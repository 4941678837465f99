#include "config/uri.h"

#include <algorithm>
#include <cctype>
#include <fmt/format.h>

#include "base/values.h"

namespace exodus {

namespace {

constexpr const char* kPasswordHint =
    "remove it from the URI and use password_file, password_env, password_command or "
    "password_credential";

int hex_value(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
}

Result<std::string> percent_decode(std::string_view text) {
    std::string out;
    for (std::size_t i = 0; i < text.size(); ++i) {
        if (text[i] != '%') {
            out += text[i];
            continue;
        }
        const int high = i + 2 < text.size() ? hex_value(text[i + 1]) : -1;
        const int low = i + 2 < text.size() ? hex_value(text[i + 2]) : -1;
        if (high < 0 || low < 0) {
            return fail(ErrorCode::config, "a '%' is not followed by two hexadecimal digits");
        }
        out += static_cast<char>(high * 16 + low);
        i += 2;
    }
    return out;
}

Status parse_host_port(std::string_view text, ParsedUri& out) {
    std::string_view port;
    if (text.starts_with('[')) {
        const auto end = text.find(']');
        if (end == std::string_view::npos) {
            return fail(ErrorCode::config, "the IPv6 address has no closing bracket");
        }
        out.host = std::string(text.substr(1, end - 1));
        const std::string_view rest = text.substr(end + 1);
        if (!rest.empty() && rest.front() != ':') {
            return fail(ErrorCode::config, "only :PORT may follow the IPv6 address");
        }
        port = rest.empty() ? rest : rest.substr(1);
        if (!rest.empty() && port.empty()) return fail(ErrorCode::config, "the port is empty");
    } else {
        const auto colon = text.rfind(':');
        if (colon != std::string_view::npos && text.find(':') != colon) {
            return fail(ErrorCode::config, "an IPv6 address must stand in brackets",
                        "write [::1]:6379");
        }
        out.host = std::string(text.substr(0, colon));
        if (colon != std::string_view::npos) {
            port = text.substr(colon + 1);
            if (port.empty()) return fail(ErrorCode::config, "the port is empty");
        }
    }
    if (out.host.empty()) return fail(ErrorCode::config, "the host is missing");
    if (!port.empty()) {
        const auto number = parse_integer(port);
        if (!number || *number < 1 || *number > 65535) {
            // Not shown: in a URI without its @HOST this is the password.
            return fail(ErrorCode::config, "what stands behind the host's ':' is not a port",
                        "a port is 1 … 65535; write for example redis://user@host:6379/0");
        }
        out.port = static_cast<uint16_t>(*number);
    }
    return {};
}

}  // namespace

Result<ParsedUri> parse_uri(std::string_view text) {
    text = trim(text);
    const auto colon = text.find("://");
    if (colon == std::string_view::npos || colon == 0) {
        return fail(ErrorCode::config, "not a URI: it does not start with SCHEME://",
                    "write for example redis://user@host:6379/0");
    }
    ParsedUri out;
    out.scheme = std::string(text.substr(0, colon));
    std::transform(out.scheme.begin(), out.scheme.end(), out.scheme.begin(),
                   [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
    std::string_view rest = text.substr(colon + 3);
    if (rest.find('#') != std::string_view::npos) {
        return fail(ErrorCode::config, "a fragment (#…) has no meaning here");
    }

    const bool is_unix = out.scheme == "unix" || out.scheme.ends_with("+unix");
    std::string_view query;
    const auto question = rest.find('?');
    // A '?' before the '@' may belong to a password; what follows must not be shown then.
    const auto last_at = rest.rfind('@');
    if (question != std::string_view::npos &&
        (last_at == std::string_view::npos || question > last_at)) {
        query = rest.substr(question + 1);
        rest = rest.substr(0, question);
    }
    const auto slash_limit = is_unix ? rest.find('/') : std::string_view::npos;
    const auto at = is_unix ? rest.substr(0, slash_limit).rfind('@') : rest.rfind('@');
    if (at != std::string_view::npos) {
        const std::string_view userinfo = rest.substr(0, at);
        if (userinfo.find(':') != std::string_view::npos) {
            return fail(
                ErrorCode::config,
                "a password inside a URI is not accepted, because URIs end in process lists, "
                "shell histories and logs",
                kPasswordHint);
        }
        auto user = percent_decode(userinfo);
        if (!user) return tl::unexpected(user.error());
        out.user = *user;
        rest.remove_prefix(at + 1);
    }
    if (is_unix) {
        if (rest.empty() || rest.front() != '/') {
            return fail(ErrorCode::config, "a Unix socket needs an absolute path",
                        "write unix:///run/redis/redis.sock");
        }
        auto path = percent_decode(rest);
        if (!path) return tl::unexpected(path.error());
        out.unix_path = *path;
        if (out.unix_path.size() > 107) {
            return fail(ErrorCode::config, "the path of a Unix socket is at most 107 bytes long");
        }
    } else {
        const auto slash = rest.find('/');
        if (slash != std::string_view::npos) {
            auto database = percent_decode(rest.substr(slash + 1));
            if (!database) return tl::unexpected(database.error());
            out.database = *database;
        }
        EXODUS_TRY(parse_host_port(rest.substr(0, slash), out));
    }
    while (!query.empty()) {
        const auto amp = query.find('&');
        const std::string_view pair = query.substr(0, amp);
        query = amp == std::string_view::npos ? std::string_view{} : query.substr(amp + 1);
        const auto equals = pair.find('=');
        const std::string_view name = pair.substr(0, equals);
        if (name == "password" || name == "pass") {
            return fail(
                ErrorCode::config,
                "a password inside a URI is not accepted, because URIs end in process lists, "
                "shell histories and logs",
                kPasswordHint);
        }
        if ((name == "db" || name == "database") && equals != std::string_view::npos) {
            out.database = std::string(pair.substr(equals + 1));
            continue;
        }
        return fail(ErrorCode::config, fmt::format("unknown parameter '{}' after '?'", name),
                    "only db=N is known; TLS has its own table, e.g. tls = { ca = \"ca.pem\" }");
    }
    return out;
}

}  // namespace exodus
