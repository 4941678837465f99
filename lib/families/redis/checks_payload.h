// Samples of the data: one small payload per (type, encoding), of every database that has keys.
#pragma once

#include <string>
#include <vector>

#include "families/redis/client.h"

namespace exodus::redis {

struct Sample {
    std::string kind;  ///< "set/listpack"
    std::string payload;
};

struct Samples {
    std::vector<Sample> list;
    std::size_t databases = 0;  ///< that were looked at
    std::size_t left_out = 0;   ///< databases
};

/// Within bounds for all databases together; reads only. Database 0 is selected afterwards.
Result<Samples> take_samples(Client& client);

}  // namespace exodus::redis
