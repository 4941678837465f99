#include "tests/support/redis_server.h"

#include <csignal>
#include <random>
#include <sstream>
#include <stdexcept>

namespace exodus::test {

ContextPtr connect_to(int port, milliseconds timeout) {
    const timeval limit{timeout.count() / 1000, (timeout.count() % 1000) * 1000};
    ContextPtr context(redisConnectWithTimeout("127.0.0.1", port, limit), redisFree);
    if (!context || context->err != 0) {
        throw std::runtime_error("cannot connect to port " + std::to_string(port) + ": " +
                                 (context ? context->errstr : "no memory"));
    }
    redisSetTimeout(context.get(), limit);
    return context;
}

ReplyPtr send_command(redisContext* context, const std::vector<std::string>& words) {
    std::vector<const char*> arguments;
    std::vector<size_t> sizes;
    for (const auto& word : words) {
        arguments.push_back(word.data());
        sizes.push_back(word.size());
    }
    return {static_cast<redisReply*>(redisCommandArgv(context, static_cast<int>(words.size()),
                                                      arguments.data(), sizes.data())),
            freeReplyObject};
}

std::string random_text(std::size_t bytes) {
    std::mt19937_64 random(7);
    std::string text(bytes, '\0');
    for (char& c : text) c = static_cast<char>(random());
    return text;
}

std::string to_text(const redisReply* reply) {
    if (reply == nullptr) return "(connection lost)";
    switch (reply->type) {
        case REDIS_REPLY_NIL:
            return "(nil)";
        case REDIS_REPLY_INTEGER:
            return std::to_string(reply->integer);
        case REDIS_REPLY_ERROR:
            return "(error) " + std::string(reply->str, reply->len);
        case REDIS_REPLY_ARRAY: {
            std::string text = "[";
            for (size_t i = 0; i < reply->elements; ++i) {
                if (i != 0) text += ", ";
                text += to_text(reply->element[i]);
            }
            return text + "]";
        }
        default:
            return {reply->str, reply->len};
    }
}

RedisServer::RedisServer(ServerOptions options)
    : options_(std::move(options)), directory_(std::make_unique<TempDir>()) {
    std::string failure;
    for (int attempt = 0; attempt < 3; ++attempt) {
        port_ = free_port();
        try {
            start();
            return;
        } catch (const std::runtime_error& error) {
            failure = error.what();
            process_.kill();
        }
    }
    throw std::runtime_error(failure);
}

void RedisServer::start() {
    std::ostringstream config;
    config << "port " << port_ << "\nbind 127.0.0.1\ndir " << directory_->path()
           << "\nsave \"\"\nappendonly no\ndaemonize no\nenable-debug-command yes\nlogfile \"\"\n";
    for (const auto& line : options_.config) config << line << "\n";
    if (!options_.acl.empty()) {
        const std::string acl_path = directory_->file("users.acl");
        if (read_file(acl_path).empty()) {
            std::string rules;
            for (const auto& line : options_.acl) rules += line + "\n";
            write_file(acl_path, rules);
        }
        config << "aclfile " << acl_path << "\n";
    }
    const std::string path = directory_->file("server.conf");
    write_file(path, config.str());
    admin_.reset();
    process_ = Process({options_.engine == Engine::redis ? "redis-server" : "valkey-server", path},
                       {.environment = {},
                        .directory = {},
                        .output = directory_->file("log"),
                        .errors = {},
                        .input = {}});
    const bool up = eventually(milliseconds(15'000), [this] {
        if (!process_.running()) return true;
        try {
            const auto context = connect_to(port_, milliseconds(500));
            const std::string pong = to_text(send_command(context.get(), {"PING"}).get());
            return pong == "PONG" || pong.find("NOAUTH") != std::string::npos;
        } catch (const std::runtime_error&) {
            return false;
        }
    });
    if (!up || !process_.running()) throw std::runtime_error("server did not start: " + log());
}

std::string RedisServer::log() const { return read_file(directory_->file("log")); }

ContextPtr RedisServer::connect() const { return connect_to(port_); }

void RedisServer::login(const std::string& user, const std::string& password) {
    user_ = user;
    password_ = password;
    admin_.reset();
}

ReplyPtr RedisServer::command(const std::vector<std::string>& words) {
    if (!admin_ || admin_->err != 0) {
        admin_ = connect();
        if (!user_.empty()) {
            const std::string answer =
                to_text(send_command(admin_.get(), {"AUTH", user_, password_}).get());
            if (answer != "OK") throw std::runtime_error("AUTH: " + answer);
        }
    }
    auto reply = send_command(admin_.get(), words);
    if (!reply) throw std::runtime_error("connection to test server lost in " + words.at(0));
    return reply;
}

std::string RedisServer::text(const std::vector<std::string>& words) {
    return to_text(command(words).get());
}

std::string RedisServer::info(const std::string& field) {
    const std::string all = text({"INFO", "everything"});
    const std::string needle = "\n" + field + ":";
    const auto at = all.find(needle);
    if (at == std::string::npos) return {};
    const auto from = at + needle.size();
    return all.substr(from, all.find('\r', from) - from);
}

void RedisServer::kill() { process_.kill(); }

void RedisServer::freeze(bool frozen) { process_.signal(frozen ? SIGSTOP : SIGCONT); }

void RedisServer::shutdown() {
    process_.signal(SIGTERM);
    if (!process_.wait(milliseconds(30'000))) process_.kill();
}

}  // namespace exodus::test
