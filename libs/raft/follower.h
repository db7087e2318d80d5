#ifndef LIBS_RAFT_FOLLOWER_H_
#define LIBS_RAFT_FOLLOWER_H_

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "falaj/internal/v1/raft.pb.h"

#include "libs/raft/core_state.h"
#include "libs/raft/role.h"

namespace falaj::raft {

// Follower takes over the leader's log and stands for election when no leader is heard. A node that
// has no vote behaves the same but never stands.
//
// It acknowledges entries only together with the write that makes them durable, and never lets go
// of a committed one.
//
// Reads (thesis 6.4): the requests made since the last Ready go to the leader as one batch, which
// the leader puts into its own rounds. An answer is good for the batch whose number it carries, and
// for no other: a late one to an earlier batch says nothing of what was committed since. Nothing is
// sent twice: what is not answered in time is given up, and whoever asked asks again. The patient
// ones go in batches of their own and wait much longer: they are a node's own questions, which cost
// nobody anything, and slow disks must not keep it from ever getting an answer.
class Follower final : public RoleBehaviour {
 public:
  explicit Follower(CoreState* state) : state_(state) {}

  Role role() const override;
  absl::StatusOr<Next> Step(const pb::RaftMessage& message) override;
  Next Tick() override;
  int TicksUntilDue() const override;
  absl::Status ReadIndex(uint64_t request_id, ReadPatience patience) override;
  void Flush() override;
  void Retire() override;

 private:
  // Reads the leader was asked about.
  struct ReadBatch {
    uint64_t number = 0;
    int ticks_left = 0;
    std::vector<uint64_t> requests;
  };

  void HearLeader(const pb::RaftMessage& message);
  absl::Status StepAppend(const pb::RaftMessage& message);
  void StepHeartbeat(const pb::RaftMessage& message);
  absl::Status StepSnapshot(const pb::RaftMessage& message);
  absl::Status InstallSnapshot(const pb::RaftMessage& message, Membership membership);
  void ReplyHeld(const pb::RaftMessage& message, uint64_t held, bool refused);
  void StepReadIndexReply(const pb::RaftMessage& message);
  void Ask(bool patient, std::vector<uint64_t>* requests);
  void GiveUpReads();
  void Drop(const std::vector<uint64_t>& requests);

  CoreState* const state_;                   // Not owned; outlives this.
  std::vector<uint64_t> new_reads_;          // Wait for a batch.
  std::vector<uint64_t> new_patient_reads_;  // As well.
  std::vector<ReadBatch> batches_;           // Oldest first.
  size_t reads_waiting_ = 0;                 // In all of these.
};

}  // namespace falaj::raft

#endif  // LIBS_RAFT_FOLLOWER_H_
