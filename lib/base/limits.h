// Every bound of the program, each with its reason. Nothing else defines a limit or a default
// time-out; config may override those that say so. Sections are per layer; units are last in the
// name.
#pragma once

#include <cstddef>
#include <cstdint>

namespace exodus::limits {

// --- core and interlay
// -------------------------------------------------------------------------------------------
/// One read of a socket: large enough to batch a deep pipeline, small enough to stay in the L2
/// cache.
inline constexpr std::size_t kReadChunk_bytes = 64 * 1024;
/// A client that does not read: where the brain stops reading the other side, and where it goes on.
inline constexpr std::size_t kHighWater_bytes = 1024 * 1024;
inline constexpr std::size_t kLowWater_bytes = 256 * 1024;
/// Shadow queue per worker (redis.md 2.2): a slow target costs this much memory at the most, then
/// drops are counted.
inline constexpr std::size_t kShadowRequests_max = 10'000;
inline constexpr std::size_t kShadowQueue_bytes = 16 * 1024 * 1024;
inline constexpr int64_t kShadowAge_us_max = 1'000'000;
/// Pairs waiting for the comparator thread; beyond, they are dropped and counted, never waited for.
inline constexpr std::size_t kComparatorQueue_max = 4'096;
/// How long connecting to a backend may take before the client gets an error.
inline constexpr int64_t kBackendConnect_ms = 5'000;
/// One control message; they are small JSON objects, a profile is the largest.
inline constexpr std::size_t kControlMessage_bytes = 4 * 1024 * 1024;
/// A control request that is not answered by then counts as an unreachable worker.
inline constexpr int64_t kControlTimeout_ms = 5'000;

// --- wire/resp
// ---------------------------------------------------------------------------------------------------
inline constexpr std::size_t kRespBulk_bytes_max =
    512ULL * 1024 * 1024;  ///< proto-max-bulk-len's default
inline constexpr std::size_t kRespInline_bytes_max =
    64 * 1024;  ///< PROTO_INLINE_MAX_SIZE of the servers
inline constexpr int64_t kRespArguments_max = 1024 * 1024;  ///< multibulk limit of the servers
/// Nested replies: a table that contains itself comes back from a script 7,995 deep (redis-server
/// 7.0.15), EXEC and RESP3 maps around it add a few.
inline constexpr std::size_t kRespDepth_max = 16 * 1024;
/// Replies that are read as a tree are those of commands, 5 deep at most; this bounds a recursion.
inline constexpr int kRespTreeDepth_max = 64;
/// Commands that servers have and the built-in table lacks; the largest set of modules has some
/// 300.
inline constexpr std::size_t kRespOverlay_max = 4'096;
inline constexpr int64_t kRespUnauthArguments_max = 10;  ///< before AUTH, as the servers do
inline constexpr std::size_t kRespUnauthBulk_bytes_max = 16 * 1024;

// --- families/redis client and operations
// ------------------------------------------------------------------------
/// Dial and each login step of a workflow connection.
inline constexpr int64_t kRedisConnect_ms = 5'000;
/// One command of a workflow connection unless its caller knows better: long enough for a slow
/// script to end before it.
inline constexpr int64_t kRedisCommand_ms = 10'000;
/// Elements of one array in a reply; a server that announces more is not believed.
inline constexpr std::size_t kReplyElements_max = 16 * 1024 * 1024;
/// A write buffer larger than this is given back after the flush, so that one big RESTORE is not
/// kept for ever.
inline constexpr std::size_t kRedisClientBuffer_bytes = 1024 * 1024;
/// A write pause around the proof of the fence is bounded, whatever the hold: the fence itself does
/// not need it.
inline constexpr int64_t kFencePause_ms_max = 10'000;
inline constexpr unsigned kFenceCommandPoll_us = 10'000;
/// Largest value that the journal takes for a position, with room for its own framing.
inline constexpr std::size_t kJournalValue_bytes = 60 * 1024;
/// Canonical reads of big keys: elements and bytes per page, a few milliseconds of a server's time
/// each.
inline constexpr int kCanonicalPage_elements = 10'000;
inline constexpr std::size_t kCanonicalPiece_bytes = 4 * 1024 * 1024;
/// A key above this is read page by page instead of by DUMP (redis.md 4.8 uses the same size).
inline constexpr uint64_t kCanonicalBigKey_bytes = 8ULL * 1024 * 1024;
/// Keys and bytes of one MULTI of the verifier: the server is busy for about a millisecond.
inline constexpr std::size_t kVerifyBatch_keys = 64;
inline constexpr uint64_t kVerifyBatch_bytes = 4ULL * 1024 * 1024;
/// SCAN COUNT of the verifier: a fraction of a millisecond of the server. Keys between two waits
/// for the stream, and batches that are on their way to one server at a time.
inline constexpr int kVerifyScan_count = 512;
inline constexpr std::size_t kVerifyGroup_keys = 4'096;
inline constexpr std::size_t kVerifyBatchesAhead = 4;
/// How long the other side may take to apply what was just read before the verification gives up
/// (resumable).
inline constexpr int64_t kVerifyWait_ms = 60'000;
/// How often the mover is asked whether it has applied a position, and how often the cursor becomes
/// durable.
inline constexpr int64_t kVerifyPoll_ms = 5;
inline constexpr int64_t kVerifySave_ms = 2'000;
/// Candidates kept for the re-check rounds; more differences than this need no rounds to be a
/// failed verification.
inline constexpr std::size_t kVerifyCandidates_max = 100'000;
/// Rows with key and reason; the counters go on.
inline constexpr std::size_t kVerifySamples_max = 1'000;
/// Delays before the re-check rounds (redis.md 8).
inline constexpr int64_t kVerifyRounds_ms[] = {200, 1'000, 5'000};
/// A key that never stands still is read on both sides at one place of the stream, which stands for
/// this long at most: its lag grows by as much. How often that is tried before it is unresolved.
inline constexpr int64_t kStand_ms_max = 500;
inline constexpr int kStandTries = 5;
/// Of the time, the stream stands at most this share for comparisons; and pairs of answers that are
/// asked again while it stands once.
inline constexpr double kStandShare_max = 0.25;
inline constexpr std::size_t kRecheckBatch_pairs = 64;
/// Differences are written down this long after they were seen; when the file takes none, about so
/// many of them wait.
inline constexpr int64_t kNotes_ms = 100;
inline constexpr std::size_t kNotes_max = 1'024;
/// Such a key is read whole, in one command: the server is busy for some hundred milliseconds.
inline constexpr uint64_t kStandKey_bytes_max = 64ULL * 1024 * 1024;
/// Tries of a re-check of one pair of answers; more would hold up the comparator for keys that
/// never stand still.
inline constexpr int64_t kRecheckDelays_ms[] = {0, 50, 250};
/// Command names whose flags a re-checker remembers; servers have about 400.
inline constexpr std::size_t kRecheckCommands_max = 2'000;
/// How old the re-check's view of the target's own keys may be: reading it may be a large file.
inline constexpr int64_t kRecheckForeign_us = 1'000'000;
/// Pretest: over how long the write rate is measured, and how long the backlog must last at that
/// rate.
inline constexpr int64_t kPretestRate_ms = 200;
inline constexpr uint64_t kPretestBacklog_s = 60;
/// Pretest: clocks that differ more than this (redis.md 4.6).
inline constexpr int64_t kClockSkewWarn_ms = 50;
inline constexpr int64_t kClockSkewFail_ms = 1'000;
/// Pretest: keys looked at for payload samples, and the largest that is sent across.
inline constexpr std::size_t kPretestSample_keys = 4'096;
inline constexpr int64_t kPretestSample_bytes = 64 * 1024;
/// Pretest: SCAN calls to look for keys of exodus' own.
inline constexpr int kPretestScanTurns = 1'000;
/// Pretest: the change stream must find room for this long.
inline constexpr uint64_t kPretestSpool_s = 4 * 3600;
/// Data profile: keys per second that it looks at, keys in all, and big keys that are named.
inline constexpr std::size_t kProfileKeys_max = 1'000'000;
inline constexpr std::size_t kProfileBigKeys_max = 100;
inline constexpr double kProfileCpuShare = 0.3;
/// Lines of residue and stray writers that are listed by name.
inline constexpr std::size_t kListedNames_max = 100;
/// What the plan reckons with: keys at 30 % of a source core (redis.md 4.4), bytes over a 1 Gbit/s
/// link, lanes (redis.md 4.5).
inline constexpr double kPlanKeys_per_s = 75'000;
inline constexpr double kPlanBytes_per_s = 100.0 * 1024 * 1024;
inline constexpr int kPlanLanes = 1;

// --- workflow: mover and phases
// ----------------------------------------------------------------------------------
/// The mover reads the row this often; near a cutover a switch waits for it, else it only costs one
/// pragma.
inline constexpr int64_t kMoverPoll_ms = 200;
inline constexpr int64_t kMoverPollNear_ms = 20;
/// The way back is proven this often and may be at most this old at G6; one proof takes no longer
/// than the time-out.
inline constexpr int64_t kProveEvery_ms = 60'000;
inline constexpr int64_t kProveAge_ms_max = 300'000;
inline constexpr int64_t kProveTimeout_ms = 5'000;
/// Control calls that read an endpoint or move checkpoints take longer than the others.
inline constexpr int64_t kMoverCall_ms = 15'000;
/// How often a waiting phase looks and reports progress.
inline constexpr int64_t kPhasePoll_ms = 100;
/// compare waits this long for a target that is away before it ends; a restart that loads its data
/// is shorter, and run again it goes on.
inline constexpr int64_t kCompareTargetAway_ms = 60'000;
/// A switch, a rollback or a commit waits this long for a side that does not answer, or takes
/// nothing: a restart of the server.
inline constexpr int64_t kSideAway_ms = 30'000;
/// A data profile reads sampled keys; more time makes it no better.
inline constexpr int64_t kProfile_ms_max = 60'000;
/// A smoke or replay file is read into memory whole.
inline constexpr std::size_t kRequestFile_bytes_max = 64 * 1024 * 1024;
/// Differing or failed requests that a phase keeps as examples.
inline constexpr std::size_t kPhaseSamples_max = 20;
/// An interlay that is silent this long counts as unreachable for a phase that waits for it.
inline constexpr int64_t kInterlaySilent_ms_max = 30'000;

// --- families/redis movement
// -------------------------------------------------------------------------------------
/// One batch of a lane (redis.md 4.5): large enough that a round trip costs nothing per operation,
/// small enough for a MULTI.
inline constexpr std::size_t kBatchOperations_max = 512;
inline constexpr std::size_t kBatch_bytes = 1024 * 1024;
/// A group (MULTI) above this is applied in parts (redis.md 4.7).
inline constexpr std::size_t kGroupOperations_max = 10'000;
inline constexpr std::size_t kGroup_bytes_max = 16 * 1024 * 1024;
/// Copied keys per batch, per chunk, and waiting for the lane. A chunk is one transaction of the
/// origin: 256 small keys hold it for a third of a millisecond, and cost it a fifth less than in
/// chunks of 64.
inline constexpr std::size_t kBatchItems_max = 512;
inline constexpr std::size_t kChunkKeys_max = 256;
inline constexpr std::size_t kChunk_bytes = 1024 * 1024;
inline constexpr std::size_t kCopyQueue_bytes = 64 * 1024 * 1024;
inline constexpr int kScanCount = 512;
/// A key above this is copied in pieces (redis.md 4.8): DUMP of more would hold up the origin for
/// tens of milliseconds. Sets and streams that must be rewritten by commands are it from less on
/// (redis.md 4.9).
inline constexpr std::size_t kBigKey_bytes = 8 * 1024 * 1024;
inline constexpr std::size_t kBigKeyTyped_bytes = 1024 * 1024;
/// One piece: a few milliseconds of the origin, and what a batch of the lane carries.
inline constexpr std::size_t kBigKeyPiece_bytes = 1024 * 1024;
inline constexpr std::size_t kBigKeyPage_max = 10'000;
/// Elements of one command that reads named ones.
inline constexpr std::size_t kBigKeyAsk_names = 512;
/// Elements that changed while pieces were read: the table of names, and what the one transaction
/// at the end may read; more is read in a further round.
inline constexpr std::size_t kBigKeyNames_max = 1'000'000;
inline constexpr std::size_t kBigKeyNames_bytes = 256 * 1024 * 1024;
inline constexpr std::size_t kBigKeyFinal_names = 4'096;
inline constexpr std::size_t kBigKeyFinal_bytes = 16 * 1024 * 1024;
inline constexpr int kBigKeyRounds_max = 5;
/// Copies that start again before copy.big_key decides.
inline constexpr int kBigKeyRestarts_max = 3;
/// Pending entries of one group that the transaction at the end reads: some 100 ms of the origin.
inline constexpr std::size_t kBigKeyPending_max = 200'000;
/// Watermark entries; beyond, entries that are no longer needed are dropped, at the cost of one
/// more DUMP each.
inline constexpr std::size_t kWatermarks_max = 1024 * 1024;
/// Keys copied in one MULTI on the origin: it blocks the origin for this many DUMPs.
inline constexpr std::size_t kCopySet_max = 4096;
/// Names of changed keys that are kept for the final re-check (redis.md 8).
inline constexpr std::size_t kTouchedKeys_max = 10'000;
/// Spool: segment size (at most this part of spool.max, or nothing could be given back), what may
/// be unsynced, the default of spool.max and its least: a few reads of the link.
inline constexpr std::size_t kSpoolSegment_bytes = 64 * 1024 * 1024;
inline constexpr uint64_t kSpoolSegments_min = 16;
inline constexpr uint64_t kSpool_bytes_min = 4 * 1024 * 1024;
inline constexpr std::size_t kSpoolUnsynced_bytes = 8 * 1024 * 1024;
inline constexpr int64_t kSpoolSync_ms = 100;
inline constexpr int64_t kSpoolSlow_ms = 2'000;  ///< a write that takes longer is told
inline constexpr uint64_t kSpool_bytes_max = 64ULL * 1024 * 1024 * 1024;
/// What a direction in standby keeps of its stream for an abort; a hold lasts seconds.
inline constexpr std::size_t kStandbySpool_bytes = 256 * 1024 * 1024;
/// Share of spool.max at which copying stops, so that what is left serves the change stream; and
/// below which a link that was closed for a full spool is opened again.
inline constexpr double kSpoolCopyStop = 0.8;
/// Over which time the growth of the spool is measured, for the time until it is full; and how
/// often a reader looks whether a full one has room again.
inline constexpr int64_t kSpoolGrowth_ms = 3'000;
inline constexpr int64_t kSpoolFullLook_ms = 200;
/// A replica that does not acknowledge is dropped after repl-timeout (60 s by default); one ACK a
/// second is what replicas do.
inline constexpr int64_t kReplicaAck_ms = 1'000;
/// A link without a byte for this long is dead: the origin sends PING every 10 s.
inline constexpr int64_t kLinkSilent_ms = 60'000;
/// Back-off between tries of a broken connection or a destination that refuses writes for a while.
inline constexpr int64_t kRetry_ms_min = 50;
inline constexpr int64_t kRetry_ms_max = 2'000;
/// An idle lane writes its checkpoint after this time.
inline constexpr int64_t kIdleCheckpoint_ms = 100;
/// An idle lane looks this often whether the destination is there and still holds its data.
inline constexpr int64_t kIdleLook_ms = 1'000;
/// How often the place of the copy is made durable; what is copied again after a crash is this much
/// work.
inline constexpr int64_t kScanSave_ms = 500;
/// Conflicting names that are listed.
inline constexpr std::size_t kConflictNames_max = 1'000;
/// The target's own names that a conflict policy decides about: 16 bytes each in memory.
inline constexpr std::size_t kForeignKeys_max = 10'000'000;
/// A command of the lane may move a 512-MB value.
inline constexpr int64_t kLaneCommand_ms = 60'000;
/// hand_over waits this long for the last batch; the hold that it happens in is not much longer.
inline constexpr int64_t kHandOver_ms = 1'000;
/// A lane that was asked to stop ends its transaction within this time, or its connections are cut.
inline constexpr int64_t kWorkerStop_ms = 2'000;
/// A batch that fails this often for one key makes it an item error.
inline constexpr int kItemTries_max = 3;

// --- config and cli
// ----------------------------------------------------------------------------------------------
/// Longer is no password but the wrong file.
inline constexpr std::size_t kSecret_bytes_max = 4096;
/// A password command that asks somebody for something would hang a script for ever.
inline constexpr int64_t kSecretCommand_ms = 10'000;
/// A configuration file is a page; this stops reading a device or a dump by mistake.
inline constexpr std::size_t kConfigFile_bytes_max = 1024 * 1024;
/// Progress: how often a terminal's line is redrawn (readable, no flicker), and a plain line is
/// added to a log.
inline constexpr int64_t kProgressRedraw_ms = 250;
inline constexpr int64_t kProgressLine_ms = 10'000;
/// A spawned interlay that does not answer by then is reported with the end of its log.
inline constexpr int64_t kInterlayStart_ms = 30'000;
/// What a drained interlay may still need to close its files and connections before it is ended.
inline constexpr int64_t kInterlayEnd_ms = 5'000;
/// How soon a running interlay notices a signal.
inline constexpr int64_t kInterlayPoll_ms = 50;
/// Lists on a screen, exports to a file, and pages of events: memory stays bounded whatever the
/// table holds.
inline constexpr std::size_t kHistoryLines_max = 200;
inline constexpr std::size_t kExport_max = 100'000;
inline constexpr std::size_t kEventsPage_max = 1'000;
/// A live log of requests (MONITOR) ends at its time within this.
inline constexpr int64_t kRequestLogPoll_ms = 100;
/// How often `events --follow` looks; people do not read faster.
inline constexpr int64_t kEventsPoll_ms = 500;

// --- net and interlay host
// ---------------------------------------------------------------------------------------
/// Addresses of one name that are tried in turn; more than that is no sensible record.
inline constexpr std::size_t kResolvedAddresses_max = 8;
/// Name look-ups that may hang at once in blocking callers: each holds a thread until the resolver
/// gives up.
inline constexpr int kLookups_max = 16;
/// Client connections of one process (config: none; the file limit bounds it too). Redis' own
/// maxclients default.
inline constexpr std::size_t kClients_max = 10'000;
/// File descriptors kept free of clients: backends, state file, log, control.
inline constexpr std::size_t kReservedFiles = 128;
/// A client that does not finish its TLS handshake by then is closed.
inline constexpr int64_t kTlsHandshake_ms = 10'000;
/// How long the last bytes of a connection that is being closed may take.
inline constexpr int64_t kCloseFlush_ms = 5'000;
/// Unsent bytes of one connection: above the largest value (512 MiB) only a peer that never reads
/// gets here.
inline constexpr std::size_t kUnsent_bytes_max = 640ULL * 1024 * 1024;
/// Bytes waiting in one libuv write, so that the low mark is noticed on the way and not only at the
/// end.
inline constexpr std::size_t kWriteSlice_bytes = 128 * 1024;
/// Output buffers: what a connection keeps for ever, and how often larger ones that are idle are
/// given back.
inline constexpr std::size_t kBufferKeep_bytes = 16 * 1024;
inline constexpr int64_t kBufferTrim_ms = 5'000;
/// Silent peers are found by keep-alive probes after this time.
inline constexpr unsigned kKeepAlive_s = 60;
inline constexpr int kListenBacklog = 1024;
/// Pause after accept() found no file descriptor left.
inline constexpr int kAcceptRetry_ms = 100;
/// Tasks waiting in a loop's mailbox before the poster is refused: a loop that stands still must
/// not eat memory.
inline constexpr std::size_t kMailbox_max = 65'536;
/// Bytes of pairs waiting for the comparator, beside kComparatorQueue_max.
inline constexpr std::size_t kComparatorQueue_bytes = 64 * 1024 * 1024;
/// Bytes of a request or answer that go into a divergence sample.
inline constexpr std::size_t kSample_bytes = 512;
/// How often the state file is looked at: normally, and near a cutover (workflow.md, Processes).
inline constexpr int64_t kStatePoll_ms = 200;
inline constexpr int64_t kStatePollNear_ms = 20;
/// How long after a change or a look-now the short interval stays.
inline constexpr int64_t kStateNear_ms = 5'000;
/// A registered worker says at least this often that it lives, and at most this often how many
/// requests it holds.
inline constexpr int64_t kWorkerSeen_ms = 2'000;
inline constexpr int64_t kWorkerHeld_ms = 200;
/// A traffic loop that does not answer its mailbox by then counts as stalled.
inline constexpr int64_t kLoopAnswer_ms = 2'000;
/// How often a draining loop asks its sessions again.
inline constexpr int64_t kDrainStep_ms = 20;
/// Control connections served at once, and how long one may send nothing.
inline constexpr std::size_t kControlClients_max = 32;
inline constexpr int64_t kControlIdle_ms = 30'000;
/// Listening sockets that one takeover passes (SCM_MAX_FD is 253).
inline constexpr std::size_t kListeners_max = 64;

// --- wire/resp, observed on redis-server 7.0.15 and valkey-server 8.0.1
// ------------------------------------------
inline constexpr int64_t kRespMultibulk_max =
    2'147'483'647;  ///< `*N` above INT_MAX is "invalid multibulk length"
inline constexpr int64_t kRespReplyCount_max =
    int64_t{1}
    << 40;  ///< elements or bytes that a reply may announce; nothing is reserved for them

// --- store
// ---------------------------------------------------------------------------------------------------------
/// How long a call waits for another process' transaction; they take milliseconds, a stopped
/// process must not hang us. A phase outside a hold has more patience: decision 25.
inline constexpr int64_t kStoreBusy_ms = 5'000;
inline constexpr int64_t kPhaseBusy_ms = 45'000;
/// Positions are the family's own text (core/journal.h).
inline constexpr std::size_t kPosition_bytes_max = 64 * 1024;
/// Samples kept per class of differing answers: enough to see a pattern, few enough to read.
inline constexpr std::size_t kSamplesPerClass_max = 50;
inline constexpr std::size_t kSampleText_bytes_max = 4 * 1024;
/// Events kept; older ones go when the table has a quarter more. A busy migration writes some
/// thousands a day.
inline constexpr int64_t kEvents_max = 200'000;
/// Rows about repaired and conflicting items; beyond, the counts of exodus status go on.
inline constexpr uint64_t kItemChanges_max = 100'000;
/// Data divergences stored by one verify run; beyond, the counts say how many there are.
inline constexpr std::size_t kStoredDivergences_max = 100'000;

// --- workflow: gates, cutover, hooks
// -------------------------------------------------------------------------------
/// How often a waiting command tries the lock again; commands run for seconds.
inline constexpr int64_t kLockPoll_ms = 50;
inline constexpr std::size_t kLockFile_bytes = 256 * 1024;
/// Readiness is asked just before a switch; what is older says nothing about now.
inline constexpr int64_t kReadinessAge_ms_max = 60'000;
/// Polls inside a hold: clients wait for them, so they are short.
inline constexpr int64_t kCutoverPoll_us = 500;
/// One control call inside a hold. A worker that needs longer is asked again until the hold ends.
inline constexpr int64_t kCutoverCall_ms = 1'000;
/// From C7 on the release waits this long for every worker to follow the new authority; writes to
/// the loser are fenced anyway.
inline constexpr int64_t kCutoverAdopt_ms = 1'000;
/// Undoing after an abort, and completing after C7, keep trying this long before they leave the
/// rest to recover().
inline constexpr int64_t kCutoverUndo_ms = 10'000;
/// A resumed cutover needs at least this much of its hold, else it is aborted at once.
inline constexpr int64_t kCutoverResume_ms_min = 500;
/// Keys written in this span before the end are read once more inside the hold (redis.md 8).
inline constexpr int64_t kTouchedSpan_ms = 2'000;
/// A hook that takes longer is ended.
inline constexpr int64_t kHook_ms_max = 30'000;
inline constexpr int64_t kHookOfRollback_ms = 5'000;
inline constexpr std::size_t kHookOutput_bytes_max = 64 * 1024;

// --- families/redis session
// --------------------------------------------------------------------------------------
/// Identities remembered per process; beyond, a login still works but on a connection of its own.
inline constexpr std::size_t kRedisIdentities_max = 4'096;
/// Users that came through the interlay count for the gate this long, as all evidence does; how
/// exactly the time is known, and how soon it is in the journal.
inline constexpr int64_t kRedisSeenUser_ms_max = 24LL * 3600 * 1000;
inline constexpr int64_t kRedisSeenUserAgain_ms = 600'000;
inline constexpr int64_t kRedisSeenUsersSave_ms = 1'000;
/// Those of four processes that were full; and a name's beginning says enough.
inline constexpr std::size_t kRedisSeenUsers_max = 16'384;
inline constexpr std::size_t kRedisUserName_bytes_max = 512;
/// A key that proves the fence is kept per identity; longer ones are not worth their memory.
inline constexpr std::size_t kRedisSampleKey_bytes_max = 1024;
inline constexpr std::size_t kRedisScripts_max = 10'000;
inline constexpr std::size_t kRedisScripts_bytes = 64 * 1024 * 1024;
/// SCAN cursors whose side is remembered, and how long (redis.md 3.3).
inline constexpr std::size_t kRedisCursors_max = 100'000;
inline constexpr int64_t kRedisCursor_us_max = 600LL * 1'000'000;
/// A shared connection takes only requests up to this size; larger ones lease a connection and
/// stream.
inline constexpr std::size_t kRedisSharedRequest_bytes_max = 64 * 1024;
/// A reply longer than this on a shared connection moves its session to a lease for a while.
inline constexpr std::size_t kRedisSharedReply_bytes_max = 1024 * 1024;
inline constexpr int64_t kRedisSlowLease_us = 60LL * 1'000'000;
/// Unread replies of a client on a shared connection; then it is closed as
/// client-output-buffer-limit would.
inline constexpr std::size_t kRedisUnread_bytes_max = 64 * 1024 * 1024;
/// Unanswered requests of one session: its reading pauses there and goes on at half.
inline constexpr uint32_t kRedisUnanswered_max = 1'024;
/// Unanswered requests on a shared connection above which a second one is used.
inline constexpr std::size_t kRedisSharedDepth = 1'024;
/// Bytes of a stalled session kept before its reading pauses.
inline constexpr std::size_t kRedisBacklog_bytes = 256 * 1024;
/// Requests held during a switch, all sessions of a worker.
inline constexpr std::size_t kRedisHeld_bytes_max = 64 * 1024 * 1024;
/// Kept of a MULTI for its replay on the other side.
inline constexpr std::size_t kRedisMultiQueue_max = 1'000;
inline constexpr std::size_t kRedisMultiQueue_bytes = 1024 * 1024;
/// Kept of a session's subscriptions for the other side.
inline constexpr std::size_t kRedisChannels_max = 10'000;
inline constexpr std::size_t kRedisChannels_bytes = 1024 * 1024;
/// The longest CLIENT PAUSE that is believed; it only decides who gets a connection of its own.
inline constexpr int64_t kClientPause_ms_max = 366LL * 24 * 3600 * 1000;
/// Leased connections that wait for the next session, per worker, and how long.
inline constexpr std::size_t kRedisIdleLeases_max = 64;
inline constexpr int64_t kRedisIdleLease_us = 60LL * 1'000'000;
/// A shared connection that no client has used for this long is closed: it is a login on the
/// server. As long as a pause between two runs of a job that reconnects each time.
inline constexpr int64_t kRedisUnusedShared_us = 60LL * 1'000'000;
/// A reply that the session must see whole (AUTH, EVALSHA, CLIENT …) and that may be this long.
inline constexpr std::size_t kRedisCollected_bytes_max = 1024 * 1024;
/// Reconnecting to a side: first and longest pause.
inline constexpr int64_t kRedisRetryFirst_us = 50'000;
inline constexpr int64_t kRedisRetryLast_us = 2'000'000;
/// A shared connection that one slow reader holds up while others wait behind it.
inline constexpr int64_t kRedisSharedStall_us_max = 10'000'000;
/// [[interlay.user]] tables; each costs a comparison per login.
inline constexpr std::size_t kClientUsers_max = 1'000;
/// Clients that wait for replicas are looked at this often.
inline constexpr int64_t kRedisReplicaPoll_us = 5'000;
/// The command table of a server is read at most this often, and tried again this long after a
/// failure.
inline constexpr int64_t kRedisCommandTable_ms = 2'000;
/// Names of unknown commands that are kept for the analyze report, and their longest.
inline constexpr std::size_t kRedisUnknownNames_max = 32;
inline constexpr std::size_t kRedisUnknownName_bytes_max = 32;
/// The brain's own clock tick: hold deadlines, retries, age of the shadow.
inline constexpr int64_t kRedisTick_us = 25'000;

/// Requests that wait for the thread which writes a capture; beyond, they are dropped and counted.
inline constexpr std::size_t kCaptureQueue_bytes = 16 * 1024 * 1024;

// --- families/redis traffic profile and taps
// ---------------------------------------------------------------------
inline constexpr std::size_t kProfileHotKeys = 1'000;     ///< tracked per worker (redis.md 10)
inline constexpr std::size_t kProfileHotKeysShown = 100;  ///< in the profile's JSON
inline constexpr std::size_t kProfilePrefixes_max = 500;  ///< later ones count as "(other)"
inline constexpr std::size_t kProfileKey_bytes = 128;     ///< of a key kept as a label
inline constexpr std::size_t kProfileUnknown_max = 100;   ///< names of unknown commands, alike
inline constexpr std::size_t kTapPending_max = 65'536;    ///< requests of a client without reply
inline constexpr double kTapLoss_max = 0.001;  ///< share; above, a tap proves nothing (redis.md 10)
inline constexpr std::size_t kTapSessions_max = 65'536;  ///< at a time; they bound its memory

// --- status and report

/// Findings that a status lists.
inline constexpr std::size_t kStatusFindings_max = 50;
/// Switches and rollbacks that it lists, rehearsed ones (a test makes about ten), and the newest
/// hand-overs among which both are looked for: telemetry reads them once a second.
inline constexpr std::size_t kStatusSwitches_max = 100;
inline constexpr std::size_t kStatusRehearsals_max = 20;
inline constexpr std::size_t kStatusCutovers_max = 500;
/// Rows of one kind in a report.
inline constexpr std::size_t kReportRows_max = 10'000;

}  // namespace exodus::limits
