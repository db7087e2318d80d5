// Where the leader epochs of a log begin (KIP-101). The index of a replica (libs/replica) and the
// rows of the store (libs/log) must say the same of a log whose start has moved, so what becomes of
// the epochs then is here, once.
//
// Plain values. Threads: one at a time.
#ifndef LIBS_RECORD_EPOCH_START_H_
#define LIBS_RECORD_EPOCH_START_H_

#include <vector>

#include "libs/base/ids.h"

namespace falaj::record {

// The first offset written under a leader epoch.
struct EpochStart {
  LeaderEpoch epoch;
  Offset start;

  friend bool operator==(const EpochStart&, const EpochStart&) = default;
};

// Forgets what lies below `log_start`: the epochs that ended there, which are returned, and where
// the one that holds it began before. That begins at `log_start` now: in a log that lost all it had
// it has no record left, and who took it for the epoch of one would be told that the logs part ways
// below what is committed.
std::vector<EpochStart> TrimEpochs(Offset log_start, std::vector<EpochStart>* epochs);

}  // namespace falaj::record

#endif  // LIBS_RECORD_EPOCH_START_H_
