// InSyncSet is what the leader of a partition knows of the other replicas: how much of its log each
// holds, who is in sync, and which change of the in-sync replicas is under way.
//
// A Replica owns one and uses it while it leads. The rules are Kafka's (KIP-497, 841, 903, 966):
//
//   in sync    it holds everything, or was caught up no longer ago than replica_lag_max. Caught up,
//              at an acknowledgement: it holds what the log held then, or (the log grows on) what
//              the log held at its acknowledgement before.
//   maximal    the ISR of record together with the one proposed. As nobody knows which of the two
//              is in force, everybody in either must hold a record before it is committed.
//   joining    who is caught up but not yet in the ISR also holds the high watermark back:
//              otherwise a leader alone in its ISR would always be a step ahead of who wants in.
//   expand     once the follower holds everything committed, and everything the leader began its
//              epoch with.
//   one change at a time; it stays under way until the metadata service has said what became of it.
//
// Acknowledgements count for the epoch, the incarnation (node epoch) and the stream they were given
// under: the set is emptied when a leader epoch begins, and an attach starts anew. The end of a
// stream may be noticed long after the follower has attached on the next one.
//
// Pure: no threads, no clock, no disk.
#ifndef LIBS_REPLICA_IN_SYNC_SET_H_
#define LIBS_REPLICA_IN_SYNC_SET_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/container/inlined_vector.h"
#include "absl/status/status.h"

#include "libs/base/clock.h"
#include "libs/base/ids.h"
#include "libs/replica/effects.h"
#include "libs/replica/input.h"
#include "libs/replica/planted_bug.h"

namespace falaj::replica {

struct FollowerLag {
  NodeId node;
  int64_t records = 0;

  friend bool operator==(const FollowerLag&, const FollowerLag&) = default;
};
using FollowerLags = absl::InlinedVector<FollowerLag, 2>;

class InSyncSet {
 public:
  explicit InSyncSet(NodeId self, PlantedBug bug = PlantedBug::kNone) : self_(self), bug_(bug) {}

  // A leader epoch begins: nobody has said anything yet, everybody in the ISR gets a full
  // replica_lag_max.
  void Begin(const BecomeLeader& input);
  // The metadata service has changed the ISR or the replicas under the same leader epoch.
  void Confirm(const BecomeLeader& input);
  void Clear();

  // EPOCH_FENCED: an older incarnation. PARTITION_NOT_FOUND: the node is not assigned the
  // partition.
  absl::Status Check(const IsrMember& from) const;
  // Requires: Check() is OK, and the follower's log is part of the leader's.
  void Attach(const AttachFollower& input, Offset leader_end);
  // EPOCH_FENCED: another incarnation or stream than has attached, or it has left.
  absl::Status Advance(const FollowerProgress& input, Offset leader_end, bool fsync);
  void Leave(const FollowerLeft& input, Offset leader_end, bool fsync);
  // The leader's log is about to grow beyond `leader_end`: who holds that much is caught up now.
  void Grow(Offset leader_end, bool fsync, MonotonicTime now);

  // The leader's log, and the rules, as of now.
  struct View {
    LeaderEpoch epoch{};
    Offset leader_end{};
    const Settings& settings;
    MonotonicTime now{};
  };

  // What everybody holds who must, of a log of which the leader holds `leader_held`; nullopt if
  // somebody has not been heard of.
  std::optional<Offset> HeldByAll(Offset leader_held, const View& view) const;

  // The change that is due, if none is under way; it is under way from here on.
  //   ProposeJoin   for followers that hold everything below `at_least`.
  //   ProposeShrink also asks again for a change whose outcome is unknown.
  std::optional<IsrProposal> ProposeJoin(Offset at_least, const View& view);
  std::optional<IsrProposal> ProposeShrink(const View& view);
  void Resolve(const IsrAnswered& answer);

  // True if time alone changes nothing: every replica is a member, attached, and holds all there
  // is.
  bool IsSettled(const View& view) const;

  const std::vector<NodeId>& isr() const { return isr_; }   // As the metadata service has it.
  std::string Fingerprint(const Settings& settings) const;  // See Replica.
  // Everybody in sync has deleted what is below; the leader what is below `own`.
  Offset LeastLogStart(Offset own) const;
  // Offsets of the leader's log that are missing at each follower. Who has not been heard of holds
  // what is committed, if it is in sync, and else perhaps nothing.
  FollowerLags Lags(Offset log_start, Offset high_watermark, Offset leader_end) const;

 private:
  struct Follower {
    IsrMember who;
    uint64_t stream = 0;    // On which it attached last.
    bool heard = false;     // Has attached under this leader epoch.
    bool attached = false;  // Its stream stands.
    Offset written{0};
    Offset flushed{0};
    Offset log_start{0};
    std::optional<MonotonicTime> caught_up;  // Nullopt: never, and not in the ISR it began with.
    Offset leader_end_at_ack{0};
    MonotonicTime acked_at;
    std::optional<MonotonicTime> refused_at;  // Its joining was.
  };

  Follower* Find(NodeId node);
  const Follower* Find(NodeId node) const;
  void Reassign(const BecomeLeader& input);
  bool IsMember(NodeId node) const;
  bool MustHold(NodeId node) const;
  static bool IsInSync(const Follower& follower, const View& view);
  static bool MayJoin(const Follower& follower, const View& view);
  // Whether what it says is of the incarnation and the stream that has attached.
  bool IsOfAttach(const FollowerProgress& input, const Follower& follower) const;
  bool has_bug(PlantedBug bug) const { return bug_ == bug; }
  IsrProposal Propose(LeaderEpoch epoch, std::vector<IsrMember> isr);
  IsrMember Named(NodeId node) const;
  static Offset Held(const Follower& follower, bool fsync) {
    return fsync ? follower.flushed : follower.written;
  }

  const NodeId self_;
  const PlantedBug bug_;
  PartitionEpoch partition_epoch_{-1};
  std::vector<NodeId> isr_;
  std::vector<Follower> followers_;  // Every assigned replica but the leader.
  std::optional<IsrProposal> pending_;
  bool ask_again_ = false;  // The outcome of pending_ is unknown.
};

}  // namespace falaj::replica

#endif  // LIBS_REPLICA_IN_SYNC_SET_H_
