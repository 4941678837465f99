#include "cli/interlay_access.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <filesystem>
#include <fmt/format.h>
#include <fstream>
#include <nlohmann/json.hpp>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/limits.h"
#include "base/stop_token.h"
#include "config/config.h"
#include "net/control_client.h"

namespace exodus::cli {

namespace {

constexpr std::size_t kUnixPath_bytes_max = 107;

/// A child of ours is always this very program, whatever happened to the file on disk meanwhile.
constexpr const char* kSelf = "/proc/self/exe";

/// As exec takes them: with a null at the end.
std::vector<char*> pointers_to(std::vector<std::string>& words) {
    std::vector<char*> pointers;
    pointers.reserve(words.size() + 1);
    for (std::string& word : words) pointers.push_back(word.data());
    pointers.push_back(nullptr);
    return pointers;
}

}  // namespace

std::string control_path(const Settings& settings) {
    std::error_code ignored;
    std::string absolute =
        std::filesystem::absolute(settings.interlay.control, ignored).lexically_normal().string();
    return absolute.empty() || absolute.size() > kUnixPath_bytes_max ? settings.interlay.control
                                                                     : absolute;
}

InterlayProcess::InterlayProcess(Output& out, const Settings& settings, std::string config_file,
                                 std::map<std::string, std::string> overrides,
                                 std::vector<std::string> log_flags)
    : out_(out),
      settings_(settings),
      config_file_(std::move(config_file)),
      overrides_(std::move(overrides)),
      log_flags_(std::move(log_flags)),
      log_path_(settings.state_path + ".interlay.log") {}

InterlayProcess::~InterlayProcess() { finish(); }

std::unique_ptr<ControlPort> InterlayProcess::open(const std::string& path) {
    return path.empty() || path.size() > kUnixPath_bytes_max ? nullptr : make_control_client(path);
}

Result<ControlPort*> InterlayProcess::connect() {
    const std::string path = control_path(settings_);
    port_ = make_control_client(path);
    auto hello =
        port_->call({{"op", control_op::kHello}}, milliseconds(limits::kControlTimeout_ms));
    if (hello) return port_.get();
    if (hello.error().code != ErrorCode::unreachable)
        return tl::unexpected(std::move(hello.error()));
    const std::string config = config_file_.empty() ? "" : " -c " + config_file_;
    return fail(ErrorCode::unreachable,
                fmt::format("no interlay of this migration answers at {}", path),
                fmt::format("start one: exodus interlay{}", config));
}

Result<ControlPort*> InterlayProcess::ensure(const std::stop_token& stop) {
    auto port = connect();
    if (port || port.error().code != ErrorCode::unreachable) return port;
    EXODUS_TRY(spawn());
    EXODUS_TRY(wait_until_it_answers(stop));
    return port_.get();
}

Status InterlayProcess::spawn() {
    if (child_ > 0 && !child_ended()) return {};
    std::vector<std::string> words = {"exodus"};
    if (!config_file_.empty()) words.insert(words.end(), {"--config", config_file_});
    words.insert(words.end(), log_flags_.begin(), log_flags_.end());
    words.insert(words.end(), {"--no-input", "interlay"});
    // What this command got as flags the child must see too; the environment comes before the file
    // as flags do.
    std::vector<std::string> variables;
    for (char** at = environ; *at != nullptr; ++at) {
        const std::string_view entry(*at);
        const bool ours = std::any_of(overrides_.begin(), overrides_.end(), [&](const auto& one) {
            return entry.starts_with(environment_name(one.first) + "=");
        });
        // A crash point is meant for the command, not for the traffic.
        if (!ours && !entry.starts_with("EXODUS_CRASH_AT=") &&
            !entry.starts_with("EXODUS_STOP_AT="))
            variables.emplace_back(entry);
    }
    for (const auto& [key, value] : overrides_)
        variables.push_back(environment_name(key) + "=" + value);

    const std::vector<char*> argv = pointers_to(words);
    const std::vector<char*> envp = pointers_to(variables);

    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_addopen(&actions, 1, log_path_.c_str(), O_WRONLY | O_CREAT | O_APPEND,
                                     0600);
    posix_spawn_file_actions_adddup2(&actions, 1, 2);
    posix_spawnattr_t attributes;
    posix_spawnattr_init(&attributes);
    sigset_t none;
    sigemptyset(&none);
    posix_spawnattr_setsigmask(&attributes, &none);
    // A group of its own: Ctrl-C reaches this command, which then drains the child; it must not be
    // cut off by the terminal.
    posix_spawnattr_setpgroup(&attributes, 0);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETPGROUP);
    pid_t pid = -1;
    const int error = ::posix_spawn(&pid, kSelf, &actions, &attributes, argv.data(), envp.data());
    posix_spawnattr_destroy(&attributes);
    posix_spawn_file_actions_destroy(&actions);
    if (error != 0) {
        return fail(ErrorCode::cannot_create,
                    fmt::format("cannot start the interlay: {}", std::strerror(error)),
                    fmt::format("is {} writable?", log_path_));
    }
    child_ = pid;
    out_.note(Severity::info,
              fmt::format("no interlay runs; started one for this command (pid {}, log {}). To "
                          "keep one running: exodus interlay{}",
                          pid, log_path_, config_file_.empty() ? "" : " -c " + config_file_));
    return {};
}

Status InterlayProcess::wait_until_it_answers(const std::stop_token& stop) {
    const Deadline deadline = Deadline::in(milliseconds(limits::kInterlayStart_ms));
    for (;;) {
        if (child_ended()) {
            const std::string ended = WIFEXITED(child_status_)
                                          ? fmt::format("exit code {}", WEXITSTATUS(child_status_))
                                          : fmt::format("signal {}", WTERMSIG(child_status_));
            return fail(
                ErrorCode::unreachable,
                fmt::format("the interlay ended at once ({}): {}", ended, end_of_log()),
                fmt::format("its log: {}; applications that were connected to it are disconnected",
                            log_path_));
        }
        if (connect()) return {};
        if (stop.stop_requested())
            return fail(ErrorCode::cancelled, "stopped while the interlay was starting");
        if (deadline.passed()) {
            return fail(ErrorCode::unreachable,
                        fmt::format("the interlay does not answer after {} s: {}",
                                    limits::kInterlayStart_ms / 1000, end_of_log()),
                        fmt::format("its log: {}", log_path_));
        }
        wait_unless_stopped(stop, milliseconds(20));
    }
}

bool InterlayProcess::child_ended() {
    if (child_ <= 0) return true;
    int status = 0;
    const pid_t got = ::waitpid(child_, &status, WNOHANG);
    if (got != child_) return false;
    child_status_ = status;
    child_ = -1;
    return true;
}

std::string InterlayProcess::end_of_log() const {
    std::ifstream log(log_path_);
    std::string line;
    std::string last = "it wrote nothing";
    std::string headline;
    while (std::getline(log, line)) {
        if (line.empty()) continue;
        last = line;
        if (line.starts_with("exodus interlay:")) headline = line;
    }
    return printable(headline.empty() ? last : headline);
}

void InterlayProcess::finish() {
    if (child_ <= 0 || child_ended()) return;
    ::kill(child_, SIGTERM);
    // It ends itself within drain_timeout; a little more covers what comes after the last client.
    const Deadline deadline =
        Deadline::in(milliseconds(settings_.interlay.drain_timeout_ms + limits::kInterlayEnd_ms));
    while (!child_ended()) {
        if (deadline.passed()) {
            ::kill(child_, SIGKILL);
            int status = 0;
            ::waitpid(child_, &status, 0);
            child_ = -1;
            return;
        }
        wait_unless_stopped({}, milliseconds(10));
    }
}

void InterlayProcess::end_now() noexcept {
    const pid_t pid = child_;
    if (pid > 0) ::kill(pid, SIGKILL);
}

}  // namespace exodus::cli
