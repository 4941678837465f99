// Bounds and deadlines of the workflow's newer parts, in one place (base/limits.h has all others).
#pragma once

#include <cstddef>
#include <cstdint>

namespace exodus::limits {

/// Answers that differ are read again for at most so long behind a compare; when its time was
/// bounded; when the others are enough to decide.
inline constexpr int64_t kRecheck_ms_max = 30'000;
inline constexpr int64_t kRecheckBounded_ms_max = 10'000;
inline constexpr int64_t kRecheckDecided_ms_max = 3'000;
/// A hold begins at this lag or less, or after so long at what the gate let pass: it takes some
/// 30 ms besides, and a stream under load comes to 20 ms many times a second.
inline constexpr int64_t kHoldLag_ms = 20;
inline constexpr int64_t kHoldLagWait_ms = 3'000;
/// Polls of a cutover while nobody waits: each is a connection to the interlay, which has work.
inline constexpr int64_t kCutoverCalmPoll_ms = 5;
/// A fence that could not be lifted: clients wait, but the server needs a moment.
inline constexpr int64_t kFenceLiftAgain_ms = 20;
/// A stream that has trouble and lags so much feeds nobody: the way back is closed.
inline constexpr int64_t kWayBackTrouble_ms = 5'000;
/// Writing an event waits so long for the state file (longer than one transaction of a healthy
/// disk, and nothing that a phase notices), and is tried again after this.
inline constexpr int64_t kEventsBusy_ms = 200;
inline constexpr int64_t kEventsAgain_ms = 1'000;
/// Events that wait: more than all conditions of a status can tell in some minutes.
inline constexpr std::size_t kEventsWaiting_max = 500;
/// How far back it is looked for what an earlier process told last: a read of some milliseconds,
/// and days of events.
inline constexpr std::size_t kEventsLookBack = 20'000;
/// Decisions in a status, newest first; more is history, which the report tells whole.
inline constexpr std::size_t kStatusDecisions_max = 50;

/// A certificate that ends within this time is a warning of pretest: a migration takes days, and
/// renewing one takes people.
inline constexpr int64_t kCertificateLeft_ms = 14LL * 24 * 3600 * 1000;

}  // namespace exodus::limits
