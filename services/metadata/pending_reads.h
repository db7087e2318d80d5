#ifndef SERVICES_METADATA_PENDING_READS_H_
#define SERVICES_METADATA_PENDING_READS_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <utility>
#include <vector>

#include "absl/status/status.h"

#include "libs/base/clock.h"
#include "libs/base/ids.h"
#include "libs/raft/ready.h"
#include "services/metadata/round_timer.h"

namespace falaj::metadata {

// PendingReads are the reads a metadata node cannot answer yet: those that wait for the quorum to
// say which index they must see, and those that wait until that index is applied.
//
//   added ──▶ waits for the quorum (linearizable) ──▶ waits for an index ──▶ answered
//
// MetadataNode owns it, asks the Raft core for read indexes, and tells it what came of that.
//
// Threads: none; one thread at a time.
class PendingReads {
 public:
  struct Options {
    bool linearizable = true;
    LogIndex min_index;      // Answer at this index or a later one.
    MonotonicTime deadline;  // Then TIMED_OUT.
    // Of linearizable ones: when the quorum is asked.
    raft::ReadPatience patience = raft::ReadPatience::kNone;
  };
  using Callback = std::function<void(absl::Status)>;

  // A read that waits for the quorum; returns the id to ask with.
  uint64_t AddUnconfirmed(const Options& options, Callback done);
  // A read that waits for an index only.
  void AddConfirmed(LogIndex index, MonotonicTime deadline, Callback done);

  // The quorum says that read `id` must see `index`.
  void Confirm(uint64_t id, LogIndex index);
  // The quorum could not say. Answers with `why`.
  void Drop(uint64_t id, const absl::Status& why);
  // Answers those whose index is applied.
  void Applied(LogIndex applied);
  // Answers those whose deadline has passed with TIMED_OUT.
  void Expire(MonotonicTime now);
  void FailAll(const absl::Status& why);
  // The first deadline; kForever if nobody waits.
  MonotonicTime NextDeadline() const {
    return by_deadline_.empty() ? kForever : by_deadline_.begin()->first;
  }

  size_t size() const { return reads_.size(); }

 private:
  struct Read {
    Options options;
    std::optional<LogIndex> index;  // Once confirmed.
    Callback done;
  };

  uint64_t Add(Read read);
  void Finish(std::map<uint64_t, Read>::iterator read, const absl::Status& status);

  uint64_t last_id_ = 0;
  std::map<uint64_t, Read> reads_;
  std::set<std::pair<LogIndex, uint64_t>> by_index_;
  std::set<std::pair<MonotonicTime, uint64_t>> by_deadline_;
};

}  // namespace falaj::metadata

#endif  // SERVICES_METADATA_PENDING_READS_H_
