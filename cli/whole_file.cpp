#include "cli/whole_file.h"

#include <cerrno>
#include <cstdio>
#include <fcntl.h>
#include <unistd.h>

namespace exodus::cli {

Status write_whole(const std::string& path, std::string_view text) {
    const std::string temporary = path + ".part";
    static_cast<void>(::unlink(temporary.c_str()));
    const int file =
        ::open(temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (file < 0) return fail_errno(temporary, errno);
    std::string_view left = text;
    int why = 0;
    while (!left.empty() && why == 0) {
        const ssize_t count = ::write(file, left.data(), left.size());
        if (count < 0 && errno != EINTR) why = errno;
        if (count > 0) left.remove_prefix(static_cast<std::size_t>(count));
    }
    if (why == 0 && ::fsync(file) != 0) why = errno;
    ::close(file);
    if (why == 0 && std::rename(temporary.c_str(), path.c_str()) != 0) why = errno;
    if (why == 0) return {};
    static_cast<void>(::unlink(temporary.c_str()));
    return fail_errno(path, why);
}

}  // namespace exodus::cli
