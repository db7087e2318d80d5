#ifndef LIBS_RAFT_ROLE_H_
#define LIBS_RAFT_ROLE_H_

#include <cstdint>
#include <limits>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "falaj/internal/v1/raft.pb.h"

#include "libs/base/status.h"
#include "libs/raft/ready.h"

namespace falaj::raft {

// What a role asks RaftCore to make of the node next; the table in RaftCore's comment.
enum class Next {
  kStay,
  kFollow,            // A follower of this term that knows no leader.
  kPreCampaign,       // Ask whether an election could be won.
  kCampaign,          // Stand for election in a new term.
  kTransferCampaign,  // The same, at the wish of the leader.
  kLead,
};

// An answer of TicksUntilDue(): no tick matters.
constexpr int kNoTickMatters = std::numeric_limits<int>::max();

// RoleBehaviour is how a node behaves while it holds one role. RaftCore owns the one in office, and
// replaces it whenever a method asks for another; it never outlives its term.
class RoleBehaviour {
 public:
  virtual ~RoleBehaviour() = default;

  virtual Role role() const = 0;
  // Takes a message of the node's term that is not a request for a vote.
  virtual absl::StatusOr<Next> Step(const pb::RaftMessage& message) = 0;
  virtual Next Tick() = 0;
  // How many ticks from now on the next one matters; RaftCore::TicksUntilDue().
  virtual int TicksUntilDue() const = 0;
  // Something more of what was asked to be stored is stored.
  virtual Next OnPersisted() { return Next::kStay; }
  // Asks for a point from which a linearizable read may be served; RaftCore::ReadIndex().
  virtual absl::Status ReadIndex(uint64_t, ReadPatience) {
    return MakeError(Reason::kMetadataUnavailable, "this metadata node knows no leader");
  }
  // Makes the messages that are due; called before a Ready is taken. Does nothing if called again
  // at once.
  virtual void Flush() {}
  // Another role takes over. Gives up the reads that wait.
  virtual void Retire() {}
};

}  // namespace falaj::raft

#endif  // LIBS_RAFT_ROLE_H_
