// A realistic data set for tests and the example; see fill_server in ledger.h.
#include <fmt/format.h>
#include <random>
#include <stdexcept>

#include "tests/support/ledger.h"

namespace exodus::test {

namespace {

class Filler {
  public:
    Filler(redisContext* context, uint64_t seed) : context_(context), random_(seed) {}

    void send(const std::vector<std::string>& words) {
        std::vector<const char*> arguments;
        std::vector<size_t> sizes;
        for (const auto& word : words) {
            arguments.push_back(word.data());
            sizes.push_back(word.size());
        }
        redisAppendCommandArgv(context_, static_cast<int>(words.size()), arguments.data(),
                               sizes.data());
        if (++pending_ == 1000) settle();
    }

    void settle() {
        for (; pending_ > 0; --pending_) {
            void* raw = nullptr;
            if (redisGetReply(context_, &raw) != REDIS_OK)
                throw std::runtime_error("filling: connection lost");
            const ReplyPtr reply(static_cast<redisReply*>(raw), freeReplyObject);
            if (reply->type == REDIS_REPLY_ERROR)
                throw std::runtime_error("filling: " + to_text(reply.get()));
        }
    }

    uint64_t pick(uint64_t below) { return random_() % below; }

    std::string text(uint64_t size) {
        static constexpr char kAlphabet[] = "abcdefghijklmnopqrstuvwxyz0123456789-_ \r\n";
        std::string out;
        for (uint64_t i = 0; i < size; ++i) out += kAlphabet[pick(sizeof kAlphabet - 1)];
        return out;
    }

    void one(uint64_t i) {
        switch (pick(20)) {
            case 0:
            case 1: {
                const std::string key = fmt::format("user:{}", i);
                std::vector<std::string> words{"HSET", key};
                for (uint64_t f = 0, n = 3 + pick(12); f < n; ++f) {
                    words.push_back(fmt::format("field{}", f));
                    words.push_back(text(4 + pick(40)));
                }
                send(words);
                break;
            }
            case 2: {
                std::vector<std::string> words{"RPUSH", fmt::format("feed:{}", i)};
                for (uint64_t n = 1 + pick(30); n > 0; --n) words.push_back(text(1 + pick(60)));
                send(words);
                break;
            }
            case 3: {
                std::vector<std::string> words{"SADD", fmt::format("tags:{}", i)};
                const bool numbers = pick(2) == 0;
                for (uint64_t n = 1 + pick(30); n > 0; --n)
                    words.push_back(numbers ? std::to_string(pick(100000)) : text(12));
                send(words);
                break;
            }
            case 4: {
                std::vector<std::string> words{"ZADD", fmt::format("board:{}", i)};
                for (uint64_t n = 1 + pick(40); n > 0; --n) {
                    words.push_back(
                        fmt::format("{:.6f}", static_cast<double>(pick(1000000)) / 7.0));
                    words.push_back(fmt::format("player{}", pick(100000)));
                }
                send(words);
                break;
            }
            case 5:
                if (pick(10) == 0) {
                    stream(i);
                    break;
                }
                [[fallthrough]];
            case 6:
                send({"INCRBY", fmt::format("counter:{}", i), std::to_string(pick(1000000))});
                break;
            case 7:
                send({"SET", fmt::format("raw:{}", i), text(200 + pick(2000))});
                break;
            default: {
                const std::string key = fmt::format("session:{}", i);
                if (pick(2) == 0) {
                    send({"SET", key, text(64 + pick(100)), "PX",
                          std::to_string(3'600'000 + pick(3'600'000))});
                } else {
                    send({"SET", key, text(64)});
                }
            }
        }
    }

    void stream(uint64_t i) {
        const std::string key = fmt::format("log:{}", i);
        for (int n = 0; n < 5; ++n) send({"XADD", key, "*", "level", "info", "text", text(30)});
        send({"XGROUP", "CREATE", key, "workers", "0"});
        send({"XREADGROUP", "GROUP", "workers", "w1", "COUNT", "3", "STREAMS", key, ">"});
    }

    void specials(uint64_t big_fields) {
        for (int n = 0; n < 500; ++n) send({"PFADD", "visitors", std::to_string(pick(1000000))});
        for (int n = 0; n < 200; ++n) send({"SETBIT", "bitmap", std::to_string(pick(100000)), "1"});
        send({"GEOADD", "places", "13.361389", "38.115556", "Palermo", "15.087269", "37.502669",
              "Catania"});
        for (uint64_t n = 0; n < big_fields; n += 500) {
            std::vector<std::string> words{"HSET", "big:hash"};
            for (uint64_t f = 0; f < 500; ++f) {
                words.push_back(fmt::format("f{}", n + f));
                words.push_back(text(20));
            }
            send(words);
        }
        send({"FUNCTION", "LOAD", "REPLACE",
              "#!lua name=shop\nredis.register_function('total', function(keys, args) return "
              "redis.call('INCRBY', keys[1], args[1]) end)"});
    }

  private:
    redisContext* context_;
    std::mt19937_64 random_;
    int pending_ = 0;
};

}  // namespace

void fill_server(redisContext* context, uint64_t keys, uint64_t seed, uint64_t big_fields) {
    Filler filler(context, seed);
    filler.send({"SELECT", "0"});
    filler.specials(big_fields);
    for (uint64_t i = 0; i < keys; ++i) {
        if (i == keys - keys / 10) filler.send({"SELECT", "1"});
        filler.one(i);
    }
    filler.send({"SELECT", "0"});
    filler.settle();
}

}  // namespace exodus::test
