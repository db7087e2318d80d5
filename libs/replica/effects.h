// What a Replica wants done: rows to persist, and what to say to whom.
#ifndef LIBS_REPLICA_EFFECTS_H_
#define LIBS_REPLICA_EFFECTS_H_

#include <cstdint>
#include <optional>
#include <vector>

#include "absl/status/status.h"

#include "libs/base/ids.h"
#include "libs/replica/epoch_cache.h"
#include "libs/replica/input.h"

namespace falaj::replica {

// Where a batch goes. A leader's: stamp these into its header and write it. A follower's: write it
// as it came.
struct Placement {
  uint64_t token = 0;
  Offset base{};
  Offset last{};
  LeaderEpoch epoch{};
  // There is no batch yet: make a leader-change batch (record::MakeLeaderChangeBatch).
  bool leader_change = false;
};

struct AppendOutcome {
  Offset base{-1};  // -1 with Acks::kNone: not known yet.
  int32_t record_count = 0;
  // It had been appended before, at `base`, at that time; nothing was appended again.
  bool duplicate = false;
  int64_t first_append_time_ms = -1;
  int32_t in_sync_replicas = 0;
  bool durable = false;  // On this node's disk, not only in its page cache.
};

struct Reply {
  uint64_t token = 0;
  absl::Status status{};
  AppendOutcome outcome{};  // If status is OK.
};

// To a follower that attaches: go on from your log's end, or cut your log first and ask again.
struct AttachAnswer {
  uint64_t token = 0;
  std::optional<EpochEnd> diverging{};
  Offset log_start{};
  Offset high_watermark{};
};

// To the leader: where this follower's log ends.
struct AttachRequest {
  uint64_t attach_id = 0;
  LeaderEpoch epoch{};
  LeaderEpoch last_epoch{-1};
  Offset log_end{};
  Offset flushed_end{};
  Offset log_start{};
};

// To the leader: what this follower holds.
struct FollowerAck {
  uint64_t attach_id = 0;
  Offset written_end{};
  Offset flushed_end{};
  Offset log_start{};
};

// To the metadata service, in force once it says so.
struct IsrProposal {
  LeaderEpoch epoch{};
  PartitionEpoch partition_epoch{};
  std::vector<IsrMember> isr{};
};

// Step() adds to it; the shell takes out what it has done.
struct Effects {
  // Persist, in one atomic write; then Written or WriteFailed.
  std::vector<EpochEntry> epochs{};
  std::vector<Placement> placements{};
  std::optional<Offset> log_start{};
  // Remove everything from here on, by itself; then Truncated, or GoOffline if it fails.
  std::optional<Offset> truncate_suffix{};
  // Send.
  std::vector<Reply> replies{};
  std::vector<AttachAnswer> attach_answers{};
  std::optional<AttachRequest> attach{};
  std::optional<FollowerAck> ack{};
  std::optional<IsrProposal> isr_proposal{};

  bool nothing_to_persist() const {
    return epochs.empty() && placements.empty() && !log_start.has_value();
  }
};

}  // namespace falaj::replica

#endif  // LIBS_REPLICA_EFFECTS_H_
