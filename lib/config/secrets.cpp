#include "config/secrets.h"

#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/limits.h"

namespace exodus {

namespace {

/// Closes a descriptor at the end of its life.
class Fd {
  public:
    explicit Fd(int fd) : fd_(fd) {}
    ~Fd() {
        if (fd_ >= 0) ::close(fd_);
    }
    Fd(const Fd&) = delete;
    Fd& operator=(const Fd&) = delete;
    [[nodiscard]] int get() const { return fd_; }

  private:
    int fd_;
};

Status check_mode(const struct stat& info, const std::string& path) {
    if (!S_ISREG(info.st_mode)) {
        return fail(ErrorCode::config, fmt::format("{} is not a regular file", path));
    }
    const bool roots_own = info.st_uid == 0;
    const unsigned forbidden = roots_own ? 0037U : 0077U;
    if ((info.st_mode & forbidden) != 0) {
        return fail(ErrorCode::config,
                    fmt::format("{} can be read by others (mode {:04o})", path,
                                static_cast<unsigned>(info.st_mode & 07777)),
                    fmt::format("chmod 600 {}", path));
    }
    return {};
}

Result<Secret> finish(std::string text, const std::string& what) {
    while (!text.empty() && (text.back() == '\n' || text.back() == '\r')) text.pop_back();
    if (text.empty()) return fail(ErrorCode::config, fmt::format("{} is empty", what));
    return Secret(std::move(text));
}

}  // namespace

Status check_secret_file(const std::string& path) {
    struct stat info {};
    if (::stat(path.c_str(), &info) != 0) {
        return fail(ErrorCode::config, fmt::format("{}: {}", path, std::strerror(errno)));
    }
    return check_mode(info, path);
}

Result<Secret> secret_from_file(const std::string& path) {
    const Fd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
    if (fd.get() < 0)
        return fail(ErrorCode::config, fmt::format("{}: {}", path, std::strerror(errno)));
    struct stat info {};
    if (::fstat(fd.get(), &info) != 0) {
        return fail(ErrorCode::config, fmt::format("{}: {}", path, std::strerror(errno)));
    }
    EXODUS_TRY(check_mode(info, path));
    std::string text(limits::kSecret_bytes_max + 1, '\0');
    std::size_t used = 0;
    while (used < text.size()) {
        const ssize_t got = ::read(fd.get(), text.data() + used, text.size() - used);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0)
            return fail(ErrorCode::config, fmt::format("{}: {}", path, std::strerror(errno)));
        if (got == 0) break;
        used += static_cast<std::size_t>(got);
    }
    if (used > limits::kSecret_bytes_max) {
        return fail(ErrorCode::config,
                    fmt::format("{} is longer than {} bytes; that is no password", path,
                                limits::kSecret_bytes_max));
    }
    text.resize(used);
    return finish(std::move(text), path);
}

Result<Secret> secret_from_command(const std::vector<std::string>& argv, milliseconds timeout) {
    EXODUS_ASSERT(!argv.empty());
    int ends[2];
    if (::pipe2(ends, O_CLOEXEC) != 0) return fail_errno("pipe", errno);
    const Fd reader(ends[0]);
    pid_t pid = -1;
    {
        const Fd writer(ends[1]);
        posix_spawn_file_actions_t actions;
        posix_spawn_file_actions_init(&actions);
        posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
        posix_spawn_file_actions_adddup2(&actions, writer.get(), 1);
        // The command must be stoppable although our own threads may block signals.
        posix_spawnattr_t attributes;
        posix_spawnattr_init(&attributes);
        sigset_t none;
        sigemptyset(&none);
        posix_spawnattr_setsigmask(&attributes, &none);
        posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK);
        std::vector<char*> pointers;
        pointers.reserve(argv.size() + 1);
        for (const std::string& word : argv) pointers.push_back(const_cast<char*>(word.c_str()));
        pointers.push_back(nullptr);
        const int error =
            ::posix_spawnp(&pid, pointers[0], &actions, &attributes, pointers.data(), environ);
        posix_spawnattr_destroy(&attributes);
        posix_spawn_file_actions_destroy(&actions);
        if (error != 0) {
            return fail(ErrorCode::config,
                        fmt::format("password_command: {}: {}", argv[0], std::strerror(error)));
        }
    }
    std::string text;
    bool too_long = false;
    bool late = false;
    const Deadline deadline = Deadline::in(timeout);
    for (;;) {
        pollfd wait{reader.get(), POLLIN, 0};
        const int ready = ::poll(&wait, 1, static_cast<int>(deadline.left().count()));
        if (ready < 0 && errno == EINTR) continue;
        if (ready <= 0) {
            late = true;
            break;
        }
        char buffer[1024];
        const ssize_t got = ::read(reader.get(), buffer, sizeof buffer);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) break;
        text.append(buffer, static_cast<std::size_t>(got));
        explicit_bzero(buffer, sizeof buffer);
        if (text.size() > limits::kSecret_bytes_max) {
            too_long = true;
            break;
        }
    }
    if (late || too_long) ::kill(pid, SIGKILL);
    int status = 0;
    while (::waitpid(pid, &status, 0) < 0 && errno == EINTR) {
    }
    if (late) {
        return fail(ErrorCode::config, fmt::format("password_command: {} did not end within {} s",
                                                   argv[0], timeout.count() / 1000));
    }
    if (too_long) {
        return fail(
            ErrorCode::config,
            fmt::format("password_command: {} printed more than {} bytes; that is no password",
                        argv[0], limits::kSecret_bytes_max));
    }
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
        return fail(ErrorCode::config,
                    WIFEXITED(status)
                        ? fmt::format("password_command: {} ended with exit code {}", argv[0],
                                      WEXITSTATUS(status))
                        : fmt::format("password_command: {} was ended by a signal", argv[0]));
    }
    return finish(std::move(text), fmt::format("what password_command ({}) printed", argv[0]));
}

Result<Secret> secret_from_credential(
    const std::string& name,
    const std::function<std::optional<std::string>(std::string_view)>& environment) {
    if (name.find('/') != std::string::npos || name.empty() || name == "." || name == "..") {
        return fail(ErrorCode::config, "password_credential is a name, not a path");
    }
    const auto directory = environment ? environment("CREDENTIALS_DIRECTORY") : std::nullopt;
    if (!directory || directory->empty()) {
        return fail(ErrorCode::config,
                    fmt::format("credential '{}': $CREDENTIALS_DIRECTORY is not set", name),
                    fmt::format("run exodus as a systemd unit with LoadCredential={}:FILE", name));
    }
    return secret_from_file(*directory + "/" + name);
}

int PasswordSource::given() const {
    return static_cast<int>(!password_file.empty()) + static_cast<int>(!password_env.empty()) +
           static_cast<int>(!password_command.empty()) +
           static_cast<int>(!password_credential.empty());
}

Secret read_password(const PasswordSource& source, bool read,
                     const std::function<std::optional<std::string>(std::string_view)>& environment,
                     const std::function<void(std::string_view key, std::string message,
                                              std::string suggestion)>& error) {
    if (source.given() > 1) {
        error(!source.password_file.empty() ? "password_file" : "password_env",
              "more than one source of the password is given",
              "keep one of password_file, password_env, password_command, password_credential");
        return {};
    }
    if (source.given() == 0 || !read) return {};
    Result<Secret> secret;
    std::string_view key;
    if (!source.password_file.empty()) {
        key = "password_file";
        secret = secret_from_file(source.password_file);
    } else if (!source.password_env.empty()) {
        key = "password_env";
        const auto value = environment ? environment(source.password_env) : std::nullopt;
        if (value && !value->empty()) {
            secret = Secret(*value);
        } else {
            secret = fail(ErrorCode::config, fmt::format("the environment variable {} is not set",
                                                         source.password_env));
        }
    } else if (!source.password_credential.empty()) {
        key = "password_credential";
        secret = secret_from_credential(source.password_credential, environment);
    } else {
        key = "password_command";
        secret =
            secret_from_command(source.password_command, milliseconds(limits::kSecretCommand_ms));
    }
    if (secret) return std::move(*secret);
    error(key, secret.error().message, secret.error().hint);
    return {};
}

}  // namespace exodus
