// One SQLite file, opened the way exodus needs it, with every library exception turned into an
// Error. Used by the store's own files only. Thread-safe: calls are serialised by a mutex.
#pragma once

#include <SQLiteCpp/SQLiteCpp.h>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/error.h"
#include "base/limits.h"

namespace exodus {

/// Which file this is: both numbers are in its header.
struct FileKind {
    int32_t application_id = 0;
    std::string_view what;                ///< "state file", for messages
    std::vector<std::string_view> steps;  ///< numbered schema steps
};
FileKind state_file_kind();
FileKind samples_file_kind();

class Database {
  public:
    enum class Mode : uint8_t { create, existing, read_only };
    static constexpr milliseconds kBusy{limits::kStoreBusy_ms};

    /// Rollback journal (TRUNCATE), synchronous=FULL, foreign keys, mode 0600; brings the schema to
    /// this program's version. Errors: data (damaged, foreign, or of a newer version), no_input
    /// (absent), cannot_create (directory or file not writable, disk full), locked, permission.
    /// Nothing is changed when it fails. `busy`: how long each call waits for the transaction of
    /// another process.
    static Result<std::unique_ptr<Database>> open(const std::string& path, Mode mode,
                                                  const FileKind& kind, milliseconds busy = kBusy);

    /// Runs `action(SQLite::Database&)` outside a transaction (SELECTs); `what` is the context of
    /// an error.
    template <class Action>
    auto read(std::string_view what, Action&& action)
        -> Result<std::invoke_result_t<Action, SQLite::Database&>> {
        const std::scoped_lock lock(mutex_);
        try {
            return action(connection_);
        } catch (const std::exception& error) {
            return tl::unexpected(translate(error, what));
        }
    }

    /// Runs `action(SQLite::Database&) -> Result<T>` in BEGIN IMMEDIATE; commits when it succeeded,
    /// else rolls back.
    template <class Action>
    auto write(std::string_view what, Action&& action)
        -> std::invoke_result_t<Action, SQLite::Database&> {
        const std::scoped_lock lock(mutex_);
        try {
            SQLite::Transaction transaction(connection_, SQLite::TransactionBehavior::IMMEDIATE);
            auto result = action(connection_);
            if (result) transaction.commit();
            return result;
        } catch (const std::exception& error) {
            return tl::unexpected(translate(error, what));
        }
    }

    [[nodiscard]] const std::string& path() const { return path_; }
    void set_busy(milliseconds busy) {
        const std::scoped_lock lock(mutex_);
        connection_.setBusyTimeout(static_cast<int>(busy.count()));
    }

  private:
    Database(const std::string& path, int flags, std::string_view what, milliseconds busy);
    [[nodiscard]] Error translate(const std::exception& error, std::string_view doing) const;
    static Status prepare_file(const std::string& path, Mode mode, const FileKind& kind);
    Status check_schema(Mode mode, const FileKind& kind);

    std::string path_;
    std::string_view what_;
    std::mutex mutex_;
    SQLite::Database connection_;
};

}  // namespace exodus
