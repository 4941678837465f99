// The dashboard's files, embedded at build time from lib/telemetry/dashboard.
#pragma once

#include <string_view>
#include <vector>

namespace exodus {

struct DashboardFile {
    std::string_view name;  ///< "index.html"
    std::string_view type;  ///< MIME
    std::string_view text;
};

const std::vector<DashboardFile>& dashboard_files();

}  // namespace exodus
