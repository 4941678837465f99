// A whole migration for tests/real and tests/interlay: two real servers with users of their own, a
// configuration, the exodus binary of this build and an interlay process. Everything lives in a
// temporary directory and ends with the rig.
#pragma once

#include <csignal>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "tests/support/redis_server.h"

namespace exodus::test {

struct RigOptions {
    Engine source = Engine::redis;
    Engine target = Engine::valkey;
    std::vector<std::string> source_config;
    std::vector<std::string> target_config;
    /// Lines per TOML table that replace or add to the rig's own: {"cutover", "hold_timeout =
    /// \"5s\""}.
    std::vector<std::pair<std::string, std::string>> config;
    /// Appended as it is: arrays of tables. Paths in it are relative to the rig's directory.
    std::string tables;
    /// More pretest checks that bring_to_ready() acknowledges: ",redis.acl".
    std::string acks;
    int threads = 1;
};

/// The binary under test: this build's, or what EXODUS_BINARY in the environment names.
std::string exodus_binary();

class Rig {
  public:
    static constexpr const char* kUser = "app";
    static constexpr const char* kPassword = "app-secret-0123456789";
    static constexpr const char* kOwnUser = "exodus";
    static constexpr const char* kOwnPassword = "own-secret-9876543210";
    static constexpr const char* kName = "rig";

    explicit Rig(RigOptions options = {});
    ~Rig();

    RedisServer& source() { return *source_; }
    RedisServer& target() { return *target_; }
    [[nodiscard]] int port() const { return port_; }  ///< of the interlay
    [[nodiscard]] std::string file(const std::string& name) const { return directory_.file(name); }

    /// Starts `exodus interlay` and waits until it accepts.
    void start_interlay();
    /// Starts `exodus interlay --takeover` beside the one that runs; waits until that one has ended
    /// and gives its exit code, -1 when it did not end in 60 s.
    int take_over();
    void kill_interlay();  ///< SIGKILL
    /// SIGTERM; the exit code, or -1 when it did not end in 40 s.
    int stop_interlay();
    [[nodiscard]] bool interlay_running() { return interlay_.running(); }
    [[nodiscard]] pid_t interlay_pid() const { return interlay_.pid(); }
    void freeze_interlay(bool frozen) { interlay_.signal(frozen ? SIGSTOP : SIGCONT); }
    [[nodiscard]] std::string interlay_log() const {
        return read_file(directory_.file("interlay.log"));
    }

    /// Runs `exodus --no-input WORDS` to its end.
    RunResult exodus(std::vector<std::string> words,
                     std::map<std::string, std::string> environment = {},
                     milliseconds timeout = milliseconds(120'000));
    /// Begins it, to be watched, stopped or killed; its output goes to command.log.
    Process begin(std::vector<std::string> words,
                  std::map<std::string, std::string> environment = {});
    /// Runs it again and again until it ends with 0, as an operator would; fails the test after
    /// 60 s.
    void repeat_until_done(const std::vector<std::string>& words);
    /// The same, failing the test with everything printed when the exit code is another.
    std::string expect(int code, const std::vector<std::string>& words,
                       const std::map<std::string, std::string>& environment = {});
    /// init, pretest, analyze, then migrate --until ready with compare and test skipped by name.
    void bring_to_ready();
    void do_switch(const std::map<std::string, std::string>& environment = {});
    void do_rollback();
    /// "source" or "target", from `status --json`.
    std::string authority();

  private:
    Process spawn_interlay(const std::vector<std::string>& more);
    RigOptions options_;
    TempDir directory_;
    std::unique_ptr<RedisServer> source_;
    std::unique_ptr<RedisServer> target_;
    int port_;
    Process interlay_;
};

}  // namespace exodus::test
