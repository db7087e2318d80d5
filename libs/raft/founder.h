#ifndef LIBS_RAFT_FOUNDER_H_
#define LIBS_RAFT_FOUNDER_H_

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

#include "falaj/internal/v1/raft.pb.h"

#include "libs/base/ids.h"
#include "libs/raft/core_state.h"
#include "libs/raft/role.h"

namespace falaj::raft {

// Founder is a first member whose directory is empty and which no membership names: either the
// cluster has not begun, or this node had a directory once and has lost it, and with it what it had
// promised. It does not vote, acknowledge, stand or listen to leaders before it knows which.
//
// RaftCore begins with it in a directory of term 0 without entries (CoreState::IsUnfounded). It
// asks the other founders at every heartbeat:
//
//   all of them are as empty, and this node has the lowest id  it asks once more; all still are: it
//                                                              decides the initial membership,
//                                                              which names every directory
//   one knows a membership that names this directory           it takes it as the initial one
//   one knows a membership that does not                       it takes no part, for good
//
// Invariants:
//   a directory is named by a decider that heard of its emptiness in answer to a question of this
//   life, asked when all had been heard and no longer than an election timeout ago; or by whoever
//   had the membership from a decider. One that has waited, and lost its disk, is named as it is
//   whoever knows a membership says so, so the cluster is not founded again while one founder that
//   knows it can be asked; while one cannot be asked, nothing is founded at all
//
// Threads: the core's. Failures: lost questions and answers are asked for again.
class Founder final : public RoleBehaviour {
 public:
  explicit Founder(CoreState* state) : state_(state) {}

  // Asks for the first time. Call once. A founder alone decides at once.
  Next Begin();

  Role role() const override { return Role::kFounder; }
  // Takes in questions and answers of founders, and nothing else.
  absl::StatusOr<Next> Step(const pb::RaftMessage& message) override;
  Next Tick() override;
  int TicksUntilDue() const override;

  // Who has not said that it is empty within an election timeout, ascending.
  std::vector<NodeId> awaited() const;

 private:
  struct Answer {
    Uuid directory;
    uint64_t question = 0;  // Its number.
  };

  const Membership& founders() const { return state_->members.current(); }
  // Whether the question was asked within an election timeout; 0: none was.
  bool IsRecent(uint64_t question) const;
  void Ask();
  void Reply(const pb::RaftMessage& question);
  Next Decide();
  Next Join(NodeId informant, Membership membership);

  CoreState* const state_;  // Not owned; outlives this.
  int elapsed_ = 0;         // Since it last asked.
  // The newest of each of the others, if that was empty.
  std::map<NodeId, Answer> empty_;
  // The one that was asked when all had been heard; 0: they have not.
  uint64_t last_question_ = 0;
};

}  // namespace falaj::raft

#endif  // LIBS_RAFT_FOUNDER_H_
