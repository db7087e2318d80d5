// EpochCache knows where in a partition's log each leader epoch began (KIP-101).
//
// A Replica owns one. It is the index by which a follower and a leader find out how far their logs
// agree after a change of leader; the high watermark is never used for that (KIP-279, KIP-320).
//
// Invariant: epochs and start offsets both rise strictly. An epoch under which nothing was written
// vanishes when the next one begins at the same offset.
//
// Pure: no threads, no clock, no disk.
#ifndef LIBS_REPLICA_EPOCH_CACHE_H_
#define LIBS_REPLICA_EPOCH_CACHE_H_

#include <optional>
#include <vector>

#include "libs/base/ids.h"
#include "libs/record/epoch_start.h"

namespace falaj::replica {

// The first offset of a leader epoch.
using EpochEntry = record::EpochStart;

// Where a leader epoch ended: one past its last record.
struct EpochEnd {
  LeaderEpoch epoch;
  Offset end;

  friend bool operator==(const EpochEnd&, const EpochEnd&) = default;
};

class EpochCache {
 public:
  // Adds an entry. Entries it contradicts (same or later epoch, same or later start) go.
  void Assign(EpochEntry entry);

  // Forgets the epochs that began at or after `end`.
  void TruncateSuffix(Offset end);
  // Forgets what lies below `start`; the epoch that holds `start` is kept, beginning there.
  void TruncatePrefix(Offset start);

  // The end of the largest epoch known that is not above `epoch`, in a log that ends at `log_end`:
  //   the latest epoch        -> it ends at log_end
  //   an epoch after the last -> nullopt, nothing can be said
  //   one before the first    -> (`epoch`, start of the first)
  //   one in between          -> (largest known epoch <= `epoch`, start of the next)
  std::optional<EpochEnd> EndOf(LeaderEpoch epoch, Offset log_end) const;

  // Whether a reader that has read the record before `offset`, appended in `epoch`, has read a log
  // that parts from this one before `offset`, and where: at the end. Requires: `epoch` is not after
  // the last one known.
  std::optional<EpochEnd> PartsAt(LeaderEpoch epoch, Offset offset, Offset log_end) const;

  // The epoch of the record at `offset`, which is in the log; nullopt below the first epoch known.
  std::optional<LeaderEpoch> EpochAt(Offset offset) const;

  std::optional<EpochEntry> Latest() const {
    if (entries_.empty()) return std::nullopt;
    return entries_.back();
  }
  const std::vector<EpochEntry>& entries() const { return entries_; }

 private:
  std::vector<EpochEntry> entries_;  // Ascending.
};

}  // namespace falaj::replica

#endif  // LIBS_REPLICA_EPOCH_CACHE_H_
