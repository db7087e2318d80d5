#ifndef LIBS_RAFT_CANDIDATE_H_
#define LIBS_RAFT_CANDIDATE_H_

#include <map>

#include "absl/status/statusor.h"

#include "falaj/internal/v1/raft.pb.h"

#include "libs/base/ids.h"
#include "libs/raft/core_state.h"
#include "libs/raft/role.h"

namespace falaj::raft {

// Candidate collects votes. A pre-candidate only asks whether it would get them, without touching
// its term, so that a node that was cut off does not disturb the others when it returns
// (thesis 9.6).
//
// Its own vote counts only once it is on disk: an election won in memory and forgotten in a crash
// could be won again by somebody else in the same term.
class Candidate final : public RoleBehaviour {
 public:
  enum class Kind { kPreVote, kVote, kTransferVote };

  // For kVote and kTransferVote the state's term must be the new one.
  Candidate(CoreState* state, Kind kind) : state_(state), kind_(kind) {}

  // Votes for itself and asks the others. Call once.
  Next Start();

  Role role() const override {
    return kind_ == Kind::kPreVote ? Role::kPreCandidate : Role::kCandidate;
  }
  absl::StatusOr<Next> Step(const pb::RaftMessage& message) override;
  Next Tick() override;
  int TicksUntilDue() const override { return state_->timer.TicksLeft(); }
  Next OnPersisted() override;

 private:
  Next Count() const;

  CoreState* const state_;  // Not owned; outlives this.
  const Kind kind_;
  std::map<NodeId, bool> votes_;  // What each answered; the first answer stands.
};

}  // namespace falaj::raft

#endif  // LIBS_RAFT_CANDIDATE_H_
