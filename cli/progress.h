// Progress of long work for people and scripts: a line redrawn in place on a terminal, plain lines
// each 10 s and at each change elsewhere, objects with --json. Thread-safe.
#pragma once

#include <array>
#include <mutex>
#include <string>

#include "base/clock.h"
#include "cli/output.h"
#include "workflow/phase_context.h"

namespace exodus::cli {

class ProgressPrinter {
  public:
    explicit ProgressPrinter(Output& out) : out_(out) {}
    /// `now_us`: of the steady clock.
    void show(const Progress& progress, int64_t now_us = steady_us());

  private:
    Output& out_;
    std::mutex mutex_;
    /// Phase, step and reason of waiting: a change of these is shown at once, but not a change back
    /// and forth.
    std::array<std::string, 2> last_keys_;
    int64_t last_shown_us_ = 0;
};

std::string progress_text(const Progress& progress);
nlohmann::json to_json(const Progress& progress);

}  // namespace exodus::cli
