// Who votes and who only listens, now and at earlier entries of the log.
#ifndef LIBS_RAFT_MEMBERSHIP_H_
#define LIBS_RAFT_MEMBERSHIP_H_

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

#include "falaj/internal/v1/raft.pb.h"

#include "libs/base/ids.h"

namespace falaj::raft {

// A change of one node; larger changes are several of these (thesis, section 4.1: with one node at
// a time any two majorities overlap, so no joint configuration is needed).
struct MembershipChange {
  enum class Kind { kAddLearner, kPromote, kRemove, kSetAddress, kBindDirectory };
  Kind kind = Kind::kAddLearner;
  NodeId node;
  std::string address;  // kAddLearner: may be empty. kSetAddress: the new one.
  Uuid directory;       // kBindDirectory. kPromote: the leader fills it in if it knows it.
};

// What to do about a node whose directory is not the one that stands for it, as a sentence or two.
std::string LostDirectoryRemedy(NodeId node);

// INVALID_REQUEST unless it is host:port of at most 261 bytes.
absl::Status CheckAddress(absl::string_view address);

// Membership is a value: two disjoint ascending lists of node ids, where the nodes are found, and
// which directories stand for them. A directory is named once and stays: a node that comes back
// with another one has lost what it promised.
struct Membership {
  std::vector<NodeId> voters;
  std::vector<NodeId> learners;
  std::map<NodeId, std::string> addresses;  // Of members only; some may be missing.
  std::map<NodeId, Uuid> directories;       // As well; none is nil.

  // Returns INVALID_REQUEST if an id is below 1, not ascending, on both lists, or nobody votes, or
  // an address or a directory is malformed or of no member.
  static absl::StatusOr<Membership> FromProto(const internal::v1::RaftMembership& proto);
  internal::v1::RaftMembership ToProto() const;

  bool IsVoter(NodeId node) const;
  bool IsLearner(NodeId node) const;
  bool Contains(NodeId node) const { return IsVoter(node) || IsLearner(node); }
  // Nil if none is named.
  Uuid DirectoryOf(NodeId node) const;
  // All nodes, ascending.
  std::vector<NodeId> All() const;

  // The membership after `change`. Returns NODE_NOT_FOUND if it is about a node that is no member,
  // INVALID_REQUEST if it would change nothing, would leave nobody to vote, or is malformed.
  absl::StatusOr<Membership> With(const MembershipChange& change) const;

  friend bool operator==(const Membership&, const Membership&) = default;
};

// MembershipHistory knows the membership as of every entry from the log's anchor on. RaftCore uses
// the newest, committed or not (thesis, section 4.1), and goes back when the entry that brought it
// is overwritten by a new leader's.
//
// Invariant: indices ascend; the first is the anchor's or before it.
class MembershipHistory {
 public:
  MembershipHistory(LogIndex base_index, Membership base);

  const Membership& current() const { return changes_.back().second; }
  // The entry that brought current(); the base index if there has been none since.
  LogIndex current_index() const { return changes_.back().first; }
  // All that this node has ever known as voters, ascending; for PlantedBug::kRemovedMemberCounts.
  const std::vector<NodeId>& ever_voted() const { return ever_voted_; }
  // As of entry `index`. Requires index >= the base index.
  const Membership& At(LogIndex index) const;

  // Entry `index` brings `membership`. Requires index > current_index().
  void Add(LogIndex index, Membership membership);
  // Forgets what entries from `index` on brought. Requires index > the base index.
  void TruncateFrom(LogIndex index);
  // Moves the base up to `index`.
  void CompactTo(LogIndex index);

 private:
  void Remember(const Membership& membership);

  std::vector<std::pair<LogIndex, Membership>> changes_;  // Never empty; first is the base.
  std::vector<NodeId> ever_voted_;
};

}  // namespace falaj::raft

#endif  // LIBS_RAFT_MEMBERSHIP_H_
