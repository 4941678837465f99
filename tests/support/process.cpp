#include "tests/support/process.h"

#include <algorithm>
#include <arpa/inet.h>
#include <csignal>
#include <cstdlib>
#include <fcntl.h>
#include <filesystem>
#include <fstream>
#include <random>
#include <sstream>
#include <stdexcept>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>
#include <utility>

namespace exodus::test {

TempDir::TempDir() {
    std::string name = (std::filesystem::temp_directory_path() / "exodus-test-XXXXXX").string();
    if (::mkdtemp(name.data()) == nullptr) throw std::runtime_error("mkdtemp failed");
    path_ = name;
}

TempDir::~TempDir() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
}

namespace {

bool is_free(int port) {
    const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.sin_port = htons(static_cast<uint16_t>(port));
    const bool bound =
        fd >= 0 && ::bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0;
    if (fd >= 0) ::close(fd);
    return bound;
}

}  // namespace

int free_port() {
    int first_of_clients = 32'768;
    std::ifstream("/proc/sys/net/ipv4/ip_local_port_range") >> first_of_clients;
    static thread_local std::mt19937 random{std::random_device{}()};
    std::uniform_int_distribution<int> ports(10'000, std::max(first_of_clients, 20'000) - 1);
    for (int attempt = 0; attempt < 1'000; ++attempt)
        if (const int port = ports(random); is_free(port)) return port;
    throw std::runtime_error("no free loopback port");
}

std::string read_file(const std::string& path) {
    std::ifstream in(path, std::ios::binary);
    std::ostringstream text;
    text << in.rdbuf();
    return text.str();
}

void write_file(const std::string& path, const std::string& content, unsigned mode) {
    std::ofstream(path, std::ios::binary | std::ios::trunc) << content;
    ::chmod(path.c_str(), mode);
}

namespace {

void redirect(int to, const std::string& path, int flags) {
    const int fd = ::open(path.c_str(), flags, 0600);
    if (fd < 0) ::_exit(127);
    ::dup2(fd, to);
    if (fd != to) ::close(fd);
}

}  // namespace

std::optional<int> code_of(int status) {
    if (WIFEXITED(status)) return WEXITSTATUS(status);
    if (WIFSIGNALED(status)) return 128 + WTERMSIG(status);
    return std::nullopt;
}

pid_t fork_child() {
    const pid_t parent = ::getpid();
    const pid_t pid = ::fork();
    if (pid < 0) throw std::runtime_error("fork failed");
    if (pid > 0) return pid;
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (::getppid() != parent) ::_exit(127);
    return 0;
}

std::vector<char*> arguments_of(const std::vector<std::string>& argv) {
    std::vector<char*> out;
    for (const auto& argument : argv) out.push_back(const_cast<char*>(argument.c_str()));
    out.push_back(nullptr);
    return out;
}

Process::Process(const std::vector<std::string>& argv, const ProcessOptions& options) {
    const auto arguments = arguments_of(argv);
    pid_ = fork_child();
    if (pid_ == 0) {
        redirect(0, options.input.empty() ? "/dev/null" : options.input, O_RDONLY);
        redirect(1, options.output.empty() ? "/dev/null" : options.output,
                 O_WRONLY | O_CREAT | O_APPEND);
        if (options.errors.empty()) {
            ::dup2(1, 2);
        } else {
            redirect(2, options.errors, O_WRONLY | O_CREAT | O_APPEND);
        }
        if (!options.directory.empty() && ::chdir(options.directory.c_str()) != 0) ::_exit(127);
        for (const auto& [name, value] : options.environment)
            ::setenv(name.c_str(), value.c_str(), 1);
        ::execvp(arguments[0], arguments.data());
        ::_exit(127);
    }
}

Process::~Process() { kill(); }

Process::Process(Process&& other) noexcept
    : pid_(std::exchange(other.pid_, -1)), result_(std::exchange(other.result_, std::nullopt)) {}

Process& Process::operator=(Process&& other) noexcept {
    if (this != &other) {
        kill();
        pid_ = std::exchange(other.pid_, -1);
        result_ = std::exchange(other.result_, std::nullopt);
    }
    return *this;
}

bool Process::running() { return pid_ > 0 && !wait(milliseconds(0)).has_value(); }

void Process::signal(int number) {
    if (running()) ::kill(pid_, number);
}

bool Process::wait_stopped(milliseconds timeout) {
    bool stopped = false;
    eventually(
        timeout,
        [&] {
            // PID (NAME) STATE …, where the name may hold anything.
            const std::string stat = read_file("/proc/" + std::to_string(pid_) + "/stat");
            const auto bracket = stat.rfind(')');
            stopped = bracket != std::string::npos && bracket + 2 < stat.size() &&
                      stat[bracket + 2] == 'T';
            return stopped || !running();
        },
        milliseconds(2));
    return stopped;
}

std::optional<int> Process::wait(milliseconds timeout) {
    if (pid_ <= 0 || result_) return result_;
    eventually(
        timeout,
        [this] {
            int status = 0;
            if (::waitpid(pid_, &status, WNOHANG) == pid_) result_ = code_of(status);
            return result_.has_value();
        },
        milliseconds(2));
    return result_;
}

void Process::kill() {
    if (pid_ <= 0 || result_) return;
    ::kill(pid_, SIGKILL);
    int status = 0;
    ::waitpid(pid_, &status, 0);
    result_ = code_of(status);
}

RunResult run(const std::vector<std::string>& argv, milliseconds timeout, ProcessOptions options) {
    const TempDir directory;
    options.output = directory.file("out");
    options.errors = directory.file("err");
    Process process(argv, options);
    const auto code = process.wait(timeout);
    if (!code) process.kill();
    return {code.value_or(-1), read_file(options.output), read_file(options.errors)};
}

void sleep_ms(int64_t span) { std::this_thread::sleep_for(milliseconds(span)); }

}  // namespace exodus::test
