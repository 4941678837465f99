#include "families/redis/reply.h"

#include <hiredis/hiredis.h>
#include <string>

#include "families/redis/stream_command.h"

namespace exodus::redis {

ReplyType ReplyView::type() const {
    if (raw_ == nullptr) return ReplyType::nil;
    switch (raw_->type) {
        case REDIS_REPLY_STRING:
            return ReplyType::string;
        case REDIS_REPLY_ARRAY:
            return ReplyType::array;
        case REDIS_REPLY_INTEGER:
            return ReplyType::integer;
        case REDIS_REPLY_STATUS:
            return ReplyType::status;
        case REDIS_REPLY_ERROR:
            return ReplyType::error;
        default:
            return ReplyType::nil;
    }
}

bool ReplyView::is_ok() const { return type() == ReplyType::status && text() == "OK"; }

std::string_view ReplyView::text() const {
    switch (type()) {
        case ReplyType::string:
        case ReplyType::status:
        case ReplyType::error:
            return {raw_->str, raw_->len};
        default:
            return {};
    }
}

int64_t ReplyView::integer() const {
    if (type() == ReplyType::integer) return raw_->integer;
    return to_number(text()).value_or(0);
}

std::size_t ReplyView::size() const { return is_array() ? raw_->elements : 0; }

ReplyView ReplyView::operator[](std::size_t index) const {
    return index < size() ? ReplyView(raw_->element[index]) : ReplyView();
}

ReplyView ReplyView::field(std::string_view name) const {
    for (std::size_t i = 0; i + 1 < size(); i += 2) {
        if ((*this)[i].text() == name) return (*this)[i + 1];
    }
    return {};
}

std::string_view error_word(ReplyView reply) {
    const auto text = reply.text();
    return text.substr(0, text.find(' '));
}

Error error_of(ReplyView reply, std::string_view what) {
    const auto word = error_word(reply);
    Error error;
    error.code = ErrorCode::data;
    if (word == "NOPERM" || word == "NOAUTH" || word == "WRONGPASS") {
        error.code = ErrorCode::permission;
    } else if (word == "LOADING" || word == "MASTERDOWN" || word == "CLUSTERDOWN" ||
               word == "READONLY") {
        error.code = ErrorCode::unreachable;
    }
    if (!what.empty()) error.message.append(what).append(": ");
    error.message.append(reply.text());
    return error;
}

Result<Reply> reject_error(Result<Reply> reply, std::string_view what) {
    if (!reply) return fail(std::move(reply).error(), what);
    if (reply->is_error()) return tl::unexpected<Error>(error_of(*reply, what));
    return reply;
}

}  // namespace exodus::redis
