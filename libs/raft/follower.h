#ifndef LIBS_RAFT_FOLLOWER_H_
#define LIBS_RAFT_FOLLOWER_H_

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
class Follower final : public RoleBehaviour {
 public:
  explicit Follower(CoreState* state) : state_(state) {}

  Role role() const override;
  absl::StatusOr<Next> Step(const pb::RaftMessage& message) override;
  Next Tick() override;

 private:
  void HearLeader(const pb::RaftMessage& message);
  absl::Status StepAppend(const pb::RaftMessage& message);
  void StepHeartbeat(const pb::RaftMessage& message);
  absl::Status StepSnapshot(const pb::RaftMessage& message);
  absl::Status FinishSnapshot(const pb::RaftMessage& message, Membership membership);
  void ReplyHeld(const pb::RaftMessage& message, uint64_t held, bool refused);

  CoreState* const state_;  // Not owned; outlives this.
};

}  // namespace falaj::raft

#endif  // LIBS_RAFT_FOLLOWER_H_
