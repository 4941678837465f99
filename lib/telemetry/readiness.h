// Whether applications should be sent to this interlay, as an orchestrator asks it (/readyz). Pure:
// it is given the object of /status once a second. The target never counts.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>

namespace exodus {

class Readiness {
  public:
    /// Why they should not; empty: they should. `now_us` is steady and grows.
    std::string after(const nlohmann::json& status, int64_t now_us);

  private:
    int64_t silent_since_us_ = 0;  ///< the authority, or this process' loops; 0: they answer
};

}  // namespace exodus
