// The way from a phase command to the interlay of its migration: the control socket of one that
// runs, or a child process started for the length of the command. A child that we started is
// drained at the end, so that applications are told.
#pragma once

#include <atomic>
#include <map>
#include <memory>
#include <string>
#include <sys/types.h>
#include <vector>

#include "cli/output.h"
#include "core/control.h"
#include "core/settings.h"
#include "workflow/phase_context.h"

namespace exodus::cli {

class InterlayProcess final : public InterlayAccess {
  public:
    /// `overrides`: settings given as flags, which the child must see too, as it must `log_flags`.
    /// `config_file` may be empty.
    InterlayProcess(Output& out, const Settings& settings, std::string config_file,
                    std::map<std::string, std::string> overrides,
                    std::vector<std::string> log_flags);
    ~InterlayProcess() override;

    Result<ControlPort*> connect() override;
    Result<ControlPort*> ensure(const std::stop_token& stop) override;
    std::unique_ptr<ControlPort> open(const std::string& path) override;
    /// Drains the child, if we have one, and waits for its end. Idempotent.
    void finish();
    /// The second signal: the child ends at once. Called on the signal thread.
    void end_now() noexcept;
    [[nodiscard]] bool spawned() const { return child_ > 0; }

  private:
    Status spawn();
    Status wait_until_it_answers(const std::stop_token& stop);
    [[nodiscard]] bool child_ended();
    [[nodiscard]] std::string end_of_log() const;

    Output& out_;
    const Settings& settings_;
    std::string config_file_;
    std::map<std::string, std::string> overrides_;
    std::vector<std::string> log_flags_;
    std::string log_path_;
    std::unique_ptr<ControlPort> port_;
    std::atomic<pid_t> child_{-1};  ///< also read on the signal thread
    int child_status_ = 0;
};

/// The control socket's path, absolute when that is short enough for a Unix socket, so that it is
/// found from any directory.
std::string control_path(const Settings& settings);

}  // namespace exodus::cli
