#include "tests/real/big-keys/big_data.h"

#include <functional>
#include <stdexcept>

namespace exodus::test {

namespace {

/// `count` elements, 500 to a command; `element` appends its words.
void fill_one(redisContext* context, const std::vector<std::string>& head, int count,
              const std::function<void(std::vector<std::string>&, int)>& element) {
    std::vector<std::vector<std::string>> commands;
    for (int i = 0; i < count;) {
        std::vector<std::string> words = head;
        for (int n = 0; n < 500 && i < count; ++n, ++i) element(words, i);
        commands.push_back(std::move(words));
        if (commands.size() == 100) {
            send_all(context, commands);
            commands.clear();
        }
    }
    send_all(context, commands);
}

}  // namespace

void send_all(redisContext* context, const std::vector<std::vector<std::string>>& commands) {
    for (const auto& words : commands) {
        std::vector<const char*> views;
        std::vector<size_t> sizes;
        for (const auto& word : words) {
            views.push_back(word.data());
            sizes.push_back(word.size());
        }
        redisAppendCommandArgv(context, static_cast<int>(words.size()), views.data(), sizes.data());
    }
    for (std::size_t i = 0; i < commands.size(); ++i) {
        void* raw = nullptr;
        if (redisGetReply(context, &raw) != REDIS_OK) throw std::runtime_error("connection lost");
        const ReplyPtr reply(static_cast<redisReply*>(raw), freeReplyObject);
        if (reply->type == REDIS_REPLY_ERROR) throw std::runtime_error(to_text(reply.get()));
    }
}

void fill_big(RedisServer& server, const BigSizes& sizes) {
    const auto context = server.connect();
    redisContext* to = context.get();
    const auto number = [](int i) { return std::to_string(i); };
    fill_one(to, {"HSET", "hash"}, sizes.fields, [&](auto& words, int i) {
        words.push_back("f" + number(i));
        words.push_back(number(i * 7));
    });
    fill_one(to, {"SADD", "set"}, sizes.members,
             [&](auto& words, int i) { words.push_back("member:" + number(i)); });
    send_all(to, {{"ZADD", "zset", "5", std::string(200, 'z')},
                  {"ZADD", "zset", "inf", "m:inf", "-inf", "m:-inf", "-0", "m:-0", "0", "m:0"}});
    fill_one(to, {"ZADD", "zset"}, sizes.members, [&](auto& words, int i) {
        words.push_back(number(i) + ".1428571428571428");
        words.push_back("m:" + number(i));
    });
    std::vector<std::vector<std::string>> entries;
    for (int i = 0; i < sizes.entries; ++i) {
        entries.push_back(
            {"XADD", "stream", number(i + 1) + "-0", "field",
             "value of the entry with the number " + number(i) + std::string(40, '.')});
        if (entries.size() < 5000 && i + 1 < sizes.entries) continue;
        send_all(to, entries);
        entries.clear();
    }
    send_all(to, {{"XGROUP", "CREATE", "stream", "one", "0"},
                  {"XGROUP", "CREATE", "stream", "two", "500-0"},
                  {"XREADGROUP", "GROUP", "one", "a", "COUNT", "3000", "STREAMS", "stream", ">"},
                  {"XREADGROUP", "GROUP", "two", "b", "COUNT", "2000", "STREAMS", "stream", ">"},
                  {"XDEL", "stream", "7-0", "2000-0", "2001-0", "600-0"}});
    for (const std::string list : {"list", "list:quiet"}) {
        fill_one(to, {"RPUSH", list}, sizes.items,
                 [&](auto& words, int i) { words.push_back(std::string(60, 'l') + number(i)); });
    }
    std::string block;
    for (int i = 0; block.size() < 1024 * 1024; ++i) block += number(i * 31) + " ";
    block.resize(1024 * 1024);
    for (int i = 0; i < sizes.string_mb; ++i) {
        block[0] = static_cast<char>('A' + i % 26);
        send_all(to, {{"APPEND", "string", block}});
    }
    send_all(to, {{"PEXPIREAT", "string", "33000000000000"}, {"SELECT", "1"}});
    fill_one(to, {"HSET", "hash"}, 150'000, [&](auto& words, int i) {
        words.push_back("f" + number(i));
        words.push_back("in database one " + number(i));
    });
    for (int i = 0; i < 2000; ++i) send_all(to, {{"SET", "small:" + number(i), number(i)}});
}

BigWriter::BigWriter(int port, Options options)
    : options_(options), random_(options.seed), port_(port) {
    thread_ = std::thread([this] {
        ContextPtr context = connect_to(port_);
        while (!stop_) {
            if (pick(10) == 0) {
                send_command(context.get(), {"MULTI"});
                for (uint64_t i = 0; i < 2 + pick(3); ++i) send_command(context.get(), command());
                send_command(context.get(), {"EXEC"});
            } else {
                send_command(context.get(), command());
            }
            ++count_;
            if (options_.pause_us > 0)
                std::this_thread::sleep_for(std::chrono::microseconds(options_.pause_us));
        }
    });
}

void BigWriter::stop() {
    stop_ = true;
    if (thread_.joinable()) thread_.join();
}

std::vector<std::string> BigWriter::command() {
    if (options_.hot_list && pick(3) == 0) {
        switch (pick(4)) {
            case 0:
                return {"LPUSH", "list", "new" + std::to_string(pick(1000))};
            case 1:
                return {"LPOP", "list"};
            case 2:
                return {"APPEND", "string", "x"};
            default:
                return {"RPUSH", "list", "a", "b"};
        }
    }
    if (options_.wholesale && pick(400) == 0) return wholesale();
    if (pick(4) == 0) return of_stream();
    return of_elements();
}

std::vector<std::string> BigWriter::of_elements() {
    const auto any = [&](int count) {
        return std::to_string(pick(static_cast<uint64_t>(count) + 500));
    };
    const BigSizes& sizes = options_.sizes;
    switch (pick(18)) {
        case 0:
        case 1:
            return {"HSET", "hash", "f" + any(sizes.fields), any(1000), "f" + any(20), any(1000)};
        case 2:
        case 3:
            return {"HDEL", "hash", "f" + any(sizes.fields), "f" + any(sizes.fields),
                    "f" + any(20)};
        case 4:
        case 5:
            return {"HINCRBY", "hash", "f" + any(30), "3"};
        case 6:
            return {"HINCRBYFLOAT", "hash", "f" + any(sizes.fields), "0.5"};
        case 7:
            return {"HSETNX", "hash", "f" + any(sizes.fields), "9"};
        case 8:
            return {"SADD", "set", "member:" + any(sizes.members), "new:" + any(50)};
        case 9:
            return {"SREM", "set", "member:" + any(sizes.members), "new:" + any(50)};
        case 10:
            return {"SPOP", "set", "3"};
        case 11:
            return {"SMEMBERS", "nothing"};
        case 12:
            return {"ZADD",    "zset",        any(1000), "m:" + any(sizes.members),
                    any(1000), "m:" + any(20)};
        case 13:
            return {"ZADD", "zset",        "GT", "CH", any(1'000'000), "m:" + any(sizes.members),
                    "-inf", "m:" + any(60)};
        case 14:
        case 15:
            return {"ZINCRBY", "zset", "1.25", "m:" + any(30)};
        case 16:
            return {"ZREM", "zset", "m:" + any(sizes.members), "m:" + any(30)};
        default:
            return {"SET", "small:" + any(2000), any(1000)};
    }
}

std::vector<std::string> BigWriter::of_stream() {
    const auto id = [&] {
        return std::to_string(1 + pick(static_cast<uint64_t>(options_.sizes.entries))) + "-0";
    };
    switch (pick(10)) {
        case 0:
        case 1:
        case 2:
            return {"XADD", "stream", "*", "k", std::to_string(pick(1000))};
        case 3:
            return {"XDEL", "stream", id(), id()};
        case 4:
            return {"XREADGROUP", "GROUP",  "one", "c" + std::to_string(pick(3)), "COUNT", "5",
                    "STREAMS",    "stream", ">"};
        case 5:
            return {"XACK", "stream", "one", std::to_string(1 + pick(4000)) + "-0", id()};
        case 6:
            return {"XTRIM", "stream", "MINID", std::to_string(count_ / 20) + "-0"};
        case 7:
            return {"XAUTOCLAIM", "stream", "two",
                    "d",          "0",      std::to_string(500 + pick(2000)) + "-0",
                    "COUNT",      "3"};
        case 8:
            return {"XADD", "stream", "MAXLEN", "~", std::to_string(options_.sizes.entries),
                    "*",    "k",      "v"};
        default:
            return {"XGROUP", "CREATECONSUMER", "stream", "two", "c" + std::to_string(pick(5))};
    }
}

std::vector<std::string> BigWriter::wholesale() {
    switch (pick(9)) {
        case 0:
            return {"ZPOPMIN", "zset", "2"};
        case 1:
            return {"ZREMRANGEBYRANK", "zset", "10", "12"};
        case 2:
            return {"PEXPIRE", "hash", "100000000"};
        case 3:
            return {"PERSIST", "hash"};
        case 4:
            return {"COPY", "set", "small:copy", "REPLACE"};
        case 5:
            return {"SUNIONSTORE", "small:union", "nothing", "set"};
        case 6:
            return {"EVAL",
                    "redis.call('DEL',KEYS[1]); for i=1,3000 do "
                    "redis.call('RPUSH',KEYS[1],ARGV[1]..i) end",
                    "1", "list", std::string(40, 'n')};
        case 7:
            return {"RENAME", "list:quiet", "list"};
        default:
            return {"RENAME", "list", "list:quiet"};
    }
}

}  // namespace exodus::test
