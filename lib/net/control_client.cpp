// Calls over the control socket.
#include "net/control_client.h"

#include <array>
#include <cerrno>
#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <sys/socket.h>
#include <system_error>
#include <unistd.h>

#include "core/json_text.h"
#include "net/control_wire.h"
#include "net/resolve.h"

namespace exodus {

namespace {

/// The code of an error that came over the wire.
ErrorCode code_from(std::string_view name) {
    for (int i = 0; i <= static_cast<int>(ErrorCode::internal); ++i) {
        const auto code = static_cast<ErrorCode>(i);
        if (to_string(code) == name) return code;
    }
    return ErrorCode::internal;
}

std::string text_of(const nlohmann::json& object, const char* name) {
    const auto at = object.find(name);
    return at != object.end() && at->is_string() ? at->get<std::string>() : std::string{};
}

Result<nlohmann::json> ask(const std::string& path, const nlohmann::json& request,
                           milliseconds timeout, std::vector<FileDescriptor>* received) {
    const Deadline deadline = Deadline::in(timeout);
    auto address = unix_address(path);
    if (!address) return tl::unexpected<Error>(std::move(address).error());
    const FileDescriptor socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    if (!socket.valid()) return fail_errno("socket", errno);
    if (::connect(socket.get(), address->raw(), address->length) != 0) {
        const int error = errno;
        if (error == EACCES || error == EPERM)
            return fail(
                ErrorCode::permission,
                fmt::format("control socket {}: {}", path, std::generic_category().message(error)),
                "it belongs to the user who started the interlay");
        return fail(ErrorCode::unreachable,
                    fmt::format("no interlay answers at {}: {}", path,
                                std::generic_category().message(error)),
                    "start it with: exodus interlay");
    }
    // The answer must come from a process of the same user: a path in a shared directory could be
    // anybody's.
    auto owner = peer_uid(socket.get());
    if (!owner) return tl::unexpected<Error>(std::move(owner).error());
    if (*owner != ::geteuid() && *owner != 0 && ::geteuid() != 0)
        return fail(ErrorCode::permission,
                    fmt::format("control socket {} is answered by another user", path));
    std::string text = json_text(request);
    EXODUS_TRY(send_line(socket.get(), std::move(text), deadline));
    LineReader reader(socket.get());
    auto line = reader.next(deadline, received);
    if (!line) return fail(std::move(line).error(), fmt::format("control socket {}", path));
    auto answer = nlohmann::json::parse(*line, nullptr, false);
    const auto ok = answer.is_object() ? answer.find("ok") : answer.end();
    if (!answer.is_object() || ok == answer.end() || !ok->is_boolean())
        return fail(ErrorCode::data, fmt::format("control socket {}: not an answer", path));
    if (!ok->get<bool>())
        return fail(code_from(text_of(answer, "code")), text_of(answer, "message"),
                    text_of(answer, "hint"));
    answer.erase("ok");
    return answer;
}

class ControlClient final : public ControlPort {
  public:
    explicit ControlClient(std::string path) : path_(std::move(path)) {}
    Result<nlohmann::json> call(const nlohmann::json& request, milliseconds timeout) override {
        return ask(path_, request, timeout, nullptr);
    }

  private:
    const std::string path_;
};

}  // namespace

std::unique_ptr<ControlPort> make_control_client(std::string path) {
    return std::make_unique<ControlClient>(std::move(path));
}

Result<std::vector<FileDescriptor>> take_listeners(const std::string& path, milliseconds timeout) {
    std::vector<FileDescriptor> received;
    auto answer = ask(path, {{"op", control_op::kTakeover}}, timeout, &received);
    if (!answer) return tl::unexpected<Error>(std::move(answer).error());
    if (received.empty())
        return fail(ErrorCode::data, fmt::format("{} handed over no socket", path));
    return received;
}

}  // namespace exodus
