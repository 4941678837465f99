#include "families/redis/reply_reader.h"

#include <algorithm>
#include <cstring>
#include <hiredis/hiredis.h>
#include <new>
#include <string>

#include "base/limits.h"

namespace exodus::redis {

/// Called from C: nothing may throw; a nullptr is hiredis' "out of memory".
struct ReplyReader::Objects {
    static std::pmr::memory_resource& memory_of(const redisReadTask* task) {
        auto& memory = static_cast<ReplyReader*>(task->privdata)->memory_;
        if (!memory) memory = std::make_unique<ReplyMemory>();
        return memory->arena;
    }
    static redisReply* make(const redisReadTask* task) {
        void* place = memory_of(task).allocate(sizeof(redisReply), alignof(redisReply));
        auto* reply = new (place) redisReply{};
        reply->type = task->type;
        if (task->parent != nullptr)
            static_cast<redisReply*>(task->parent->obj)->element[task->idx] = reply;
        return reply;
    }
    static void* string(const redisReadTask* task, char* text, std::size_t size) noexcept try {
        redisReply* reply = make(task);
        reply->str = static_cast<char*>(memory_of(task).allocate(size + 1, 1));
        std::memcpy(reply->str, text, size);
        reply->str[size] = '\0';
        reply->len = size;
        return reply;
    } catch (const std::bad_alloc&) {
        return nullptr;
    }
    static void* array(const redisReadTask* task, int count) noexcept try {
        const auto elements = static_cast<std::size_t>(count);
        if (elements > limits::kReplyElements_max) return nullptr;
        redisReply* reply = make(task);
        reply->elements = elements;
        if (elements == 0) return reply;
        reply->element = static_cast<redisReply**>(
            memory_of(task).allocate(elements * sizeof(redisReply*), alignof(redisReply*)));
        std::fill_n(reply->element, elements, nullptr);
        return reply;
    } catch (const std::bad_alloc&) {
        return nullptr;
    }
    static void* integer(const redisReadTask* task, long long value) noexcept try {
        redisReply* reply = make(task);
        reply->integer = value;
        return reply;
    } catch (const std::bad_alloc&) {
        return nullptr;
    }
    static void* nil(const redisReadTask* task) noexcept try {
        redisReply* reply = make(task);
        reply->type = REDIS_REPLY_NIL;  // the task is one of a string or an array without value
        return reply;
    } catch (const std::bad_alloc&) {
        return nullptr;
    }
    static void release(void*) noexcept {}  // with the memory of the whole reply
};

ReplyReader::ReplyReader() {
    static redisReplyObjectFunctions functions{Objects::string, Objects::array, Objects::integer,
                                               Objects::nil, Objects::release};
    reader_ = redisReaderCreateWithFunctions(&functions);
    if (reader_ == nullptr) throw std::bad_alloc();
    reader_->privdata = this;
}

ReplyReader::~ReplyReader() { redisReaderFree(reader_); }

Status ReplyReader::feed(std::span<const char> bytes) {
    if (redisReaderFeed(reader_, bytes.data(), bytes.size()) == REDIS_OK) return {};
    return fail(ErrorCode::protocol, std::string("reply: ") + reader_->errstr);
}

Result<Reply> ReplyReader::next() {
    void* raw = nullptr;
    if (redisReaderGetReply(reader_, &raw) != REDIS_OK) {
        return fail(ErrorCode::protocol, std::string("not a Redis reply: ") + reader_->errstr,
                    "is there really a Redis or Valkey server at this address?");
    }
    if (raw == nullptr) return Reply();
    return Reply(static_cast<redisReply*>(raw), std::move(memory_));
}

bool ReplyReader::skip(std::string_view text) {
    if (reader_->ridx != -1 || !unread().starts_with(text)) return false;
    consume(text.size());
    return true;
}

std::string_view ReplyReader::unread() const {
    return {reader_->buf + reader_->pos, reader_->len - reader_->pos};
}

void ReplyReader::consume(std::size_t bytes) { reader_->pos += bytes; }

}  // namespace exodus::redis
