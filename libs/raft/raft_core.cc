#include "libs/raft/raft_core.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"

#include "libs/base/status.h"
#include "libs/raft/candidate.h"
#include "libs/raft/core_state.h"
#include "libs/raft/follower.h"
#include "libs/raft/founder.h"
#include "libs/raft/leader.h"
#include "libs/raft/role.h"
#include "libs/raft/validation.h"

namespace falaj::raft {
namespace {

constexpr size_t kReleasedPerTick = 1'000;  // Well under a millisecond's work.

bool IsFromLeader(const pb::RaftMessage& message) {
  return message.type() == pb::RAFT_MESSAGE_TYPE_APPEND ||
         message.type() == pb::RAFT_MESSAGE_TYPE_HEARTBEAT ||
         message.type() == pb::RAFT_MESSAGE_TYPE_SNAPSHOT;
}

bool IsVoteRequest(const pb::RaftMessage& message) {
  return message.type() == pb::RAFT_MESSAGE_TYPE_VOTE ||
         message.type() == pb::RAFT_MESSAGE_TYPE_PRE_VOTE;
}

bool IsOfFounding(const pb::RaftMessage& message) {
  return message.type() == pb::RAFT_MESSAGE_TYPE_FOUNDING ||
         message.type() == pb::RAFT_MESSAGE_TYPE_FOUNDING_REPLY;
}

// A pre-vote speaks of a term that nobody has entered yet.
bool IsOfFutureTerm(const pb::RaftMessage& message) {
  return message.type() == pb::RAFT_MESSAGE_TYPE_PRE_VOTE ||
         (message.type() == pb::RAFT_MESSAGE_TYPE_PRE_VOTE_REPLY && !message.reject());
}

pb::RaftMessageType ReplyTypeOf(const pb::RaftMessage& message) {
  switch (message.type()) {
    case pb::RAFT_MESSAGE_TYPE_VOTE:
      return pb::RAFT_MESSAGE_TYPE_VOTE_REPLY;
    case pb::RAFT_MESSAGE_TYPE_PRE_VOTE:
      return pb::RAFT_MESSAGE_TYPE_PRE_VOTE_REPLY;
    default:
      return pb::RAFT_MESSAGE_TYPE_APPEND_REPLY;
  }
}

absl::Status StorageFailedError() {
  return MakeError(Reason::kStorageFailed, "this node's disk refused a write of the Raft log");
}

}  // namespace

absl::StatusOr<std::unique_ptr<RaftCore>> RaftCore::Create(const Options& options,
                                                           Restored restored) {
  FALAJ_RETURN_IF_ERROR(options.Validate());
  FALAJ_RETURN_IF_ERROR(CheckRestored(restored));
  FALAJ_ASSIGN_OR_RETURN(Membership base,
                         Membership::FromProto(restored.snapshot.meta.membership()));
  FALAJ_ASSIGN_OR_RETURN(auto changes, MembershipChangesIn(restored));
  std::unique_ptr<RaftCore> core(new RaftCore(options, std::move(restored), std::move(base)));
  for (auto& [index, membership] : changes) {
    core->state_->members.Add(index, std::move(membership));
  }
  if (core->state_->IsUnfounded()) {
    auto founder = std::make_unique<Founder>(core->state_.get());
    core->founder_ = founder.get();
    core->role_ = std::move(founder);
    core->Become(core->founder_->Begin());
  } else if (core->state_->IsOnlyVoter()) {
    core->Become(Next::kCampaign);
  }
  return core;
}

RaftCore::RaftCore(const Options& options, Restored restored, Membership base)
    : state_(std::make_unique<CoreState>(options, std::move(restored), std::move(base))),
      role_(std::make_unique<Follower>(state_.get())) {}

RaftCore::~RaftCore() = default;

absl::Status RaftCore::Step(const pb::RaftMessage& message) {
  if (state_->storage_failed) return StorageFailedError();
  FALAJ_RETURN_IF_ERROR(CheckMessage(message, state_->self()));
  if (IsForAnotherDirectory(message)) return absl::OkStatus();
  if (founder_ != nullptr || IsOfFounding(message)) return StepFounding(message);
  const Term term(message.term());
  if (term < state_->term) {
    StepLowerTerm(message);
    return absl::OkStatus();
  }
  if (term > state_->term) {
    if (IsVoteRequest(message) && !message.transfer() && state_->HearsLeader()) {
      return absl::OkStatus();
    }
    if (!IsOfFutureTerm(message)) BecomeFollower(term);
  }
  if (IsVoteRequest(message)) {
    StepVoteRequest(message);
    return absl::OkStatus();
  }
  // Somebody else has won the election this node stands in.
  if (IsFromLeader(message) && (role() == Role::kCandidate || role() == Role::kPreCandidate)) {
    BecomeFollower(term);
  }
  FALAJ_ASSIGN_OR_RETURN(const Next next, role_->Step(message));
  Become(next);
  return absl::OkStatus();
}

// What another directory was asked to promise must not be promised by this one. If a leader counts
// on another one, this one has none to give.
bool RaftCore::IsForAnotherDirectory(const pb::RaftMessage& message) {
  const Uuid& own = state_->options.directory;
  if (message.to_directory().empty() || message.to_directory() == own.bytes()) return false;
  const NodeId self = state_->self();
  const bool is_named = state_->members.current().DirectoryOf(self) == own;
  if (IsFromLeader(message) && !is_named && state_->refusal.empty()) {
    state_->refusal = absl::StrCat(
        "the directory of node ", self, " is ", own.ToString(), ", but to node ", message.from(),
        ", which leads, another one stands for the node. ", LostDirectoryRemedy(self));
  }
  return true;
}

absl::Status RaftCore::StepFounding(const pb::RaftMessage& message) {
  if (founder_ != nullptr) {
    FALAJ_ASSIGN_OR_RETURN(const Next next, founder_->Step(message));
    Become(next);
  } else if (message.type() == pb::RAFT_MESSAGE_TYPE_FOUNDING) {
    FALAJ_ASSIGN_OR_RETURN(const Uuid directory, Uuid::FromBytes(message.from_directory()));
    state_->SendMembership(NodeId(message.from()), directory);
  }
  return absl::OkStatus();
}

void RaftCore::StepLowerTerm(const pb::RaftMessage& message) {
  // The answer's term tells an outdated leader or candidate. Without it a node that came back with
  // a higher term could neither follow the leader nor, since others hear the leader, replace it.
  if (!IsFromLeader(message) && !IsVoteRequest(message)) return;
  pb::RaftMessage reply = state_->NewMessage(ReplyTypeOf(message), NodeId(message.from()));
  reply.set_reject(true);
  state_->SendAfterPersist(std::move(reply));
}

void RaftCore::StepVoteRequest(const pb::RaftMessage& message) {
  const NodeId candidate(message.from());
  const bool pre = message.type() == pb::RAFT_MESSAGE_TYPE_PRE_VOTE;
  const bool free =
      pre ? Term(message.term()) > state_->term
          : state_->vote == candidate || (state_->vote == NodeId() && state_->leader == NodeId());
  const bool grant =
      free && state_->log.IsUpToDate(LogIndex(message.log_index()), Term(message.log_term()));
  pb::RaftMessage reply = state_->NewMessage(ReplyTypeOf(message), candidate);
  reply.set_reject(!grant);
  if (grant && pre) reply.set_term(message.term());
  if (grant && !pre) {
    state_->vote = candidate;
    state_->timer.Reset();
  }
  state_->SendAfterPersist(std::move(reply));
}

void RaftCore::Become(Next next) {
  while (next != Next::kStay) {
    if (next == Next::kFollow) return BecomeFollower(state_->term);
    role_->Retire();
    leader_ = nullptr;
    founder_ = nullptr;
    if (next == Next::kLead) {
      auto leader = std::make_unique<Leader>(state_.get());
      leader_ = leader.get();
      role_ = std::move(leader);
      return;
    }
    const auto kind = next == Next::kPreCampaign ? Candidate::Kind::kPreVote
                      : next == Next::kCampaign  ? Candidate::Kind::kVote
                                                 : Candidate::Kind::kTransferVote;
    if (kind != Candidate::Kind::kPreVote) state_->SetTerm(state_->term + 1);
    auto candidate = std::make_unique<Candidate>(state_.get(), kind);
    next = candidate->Start();
    role_ = std::move(candidate);
  }
}

void RaftCore::BecomeFollower(Term term) {
  role_->Retire();
  // A leader's timer stands still; it must not be the first to stand again.
  if (leader_ != nullptr) state_->timer.Reset();
  leader_ = nullptr;
  founder_ = nullptr;
  state_->SetTerm(term);
  state_->leader = NodeId();
  role_ = std::make_unique<Follower>(state_.get());
}

void RaftCore::Tick() {
  state_->log.ReleaseForgotten(kReleasedPerTick);
  if (!state_->storage_failed) Become(role_->Tick());
}

int RaftCore::TicksUntilDue() const {
  if (state_->log.HasForgotten()) return 1;
  if (state_->storage_failed) return kNoTickMatters;
  return std::max(1, role_->TicksUntilDue());
}

Answers RaftCore::awaited_answers() const {
  return leader_ != nullptr ? leader_->awaited_answers() : Answers{};
}

void RaftCore::Doubt(NodeId node) {
  if (node != NodeId() && node == state_->leader && leader_ == nullptr) state_->timer.Hasten();
}

void RaftCore::Persisted(uint64_t number) {
  if (state_->storage_failed) return;
  state_->Persisted(number);
  Become(role_->OnPersisted());
}

void RaftCore::Applied(LogIndex index) { state_->log.Applied(index); }

void RaftCore::StorageFailed() {
  BecomeFollower(state_->term);
  state_->storage_failed = true;
}

absl::Status RaftCore::CheckLeads() const {
  if (state_->storage_failed) return StorageFailedError();
  if (leader_ != nullptr) return absl::OkStatus();
  ErrorMetadata metadata;
  if (state_->leader != NodeId()) metadata["leader_id"] = absl::StrCat(state_->leader);
  return MakeError(Reason::kMetadataUnavailable, "this metadata node does not lead", metadata);
}

absl::StatusOr<EntryId> RaftCore::Propose(std::string command) {
  FALAJ_RETURN_IF_ERROR(CheckLeads());
  return leader_->Propose(std::move(command));
}

absl::StatusOr<EntryId> RaftCore::ProposeMembership(const MembershipChange& change) {
  FALAJ_RETURN_IF_ERROR(CheckLeads());
  return leader_->ProposeMembership(change);
}

absl::Status RaftCore::ReadIndex(uint64_t request_id, ReadPatience patience) {
  if (state_->storage_failed) return StorageFailedError();
  return role_->ReadIndex(request_id, patience);
}

absl::Status RaftCore::TransferLeadership(NodeId target) {
  FALAJ_RETURN_IF_ERROR(CheckLeads());
  return leader_->Transfer(target);
}

bool RaftCore::OwesCommits() const { return leader_ != nullptr && leader_->OwesCommits(); }

void RaftCore::TellCommits() {
  if (leader_ != nullptr) leader_->TellCommits();
}

bool RaftCore::HasReady() {
  role_->Flush();
  return state_->HasEffects() || told_soft_ != Soft();
}

Ready RaftCore::TakeReady() {
  role_->Flush();
  Ready ready = state_->TakeReady();
  if (told_soft_ != Soft()) ready.soft_state = told_soft_ = Soft();
  return ready;
}

bool RaftCore::SnapshotDue() const {
  const uint64_t applied = state_->log.applied().value();
  const uint64_t covered = state_->snapshot.meta.index();
  if (applied <= covered) return false;
  return SnapshotTurn(applied) > SnapshotTurn(covered) ||
         state_->log.applied_bytes() >= state_->options.snapshot_log_bytes;
}

// How many snapshots were due up to `index`: one every snapshot_entries, each member's in a part of
// that span of its own, so that the others go on at full speed while one makes its snapshot. As the
// members are now: after a change one may be due soon after the last, and never later than a span.
uint64_t RaftCore::SnapshotTurn(uint64_t index) const {
  const auto before_self = [self = state_->options.self](const std::vector<NodeId>& nodes) {
    return static_cast<uint64_t>(std::lower_bound(nodes.begin(), nodes.end(), self) -
                                 nodes.begin());
  };
  const Membership& members = membership();
  const uint64_t span = state_->options.snapshot_entries;
  // One part more than members: this node may not be one.
  const uint64_t parts = members.voters.size() + members.learners.size() + 1;
  const uint64_t place = before_self(members.voters) + before_self(members.learners);
  return (index + span - span * place / parts) / span;
}

absl::StatusOr<pb::RaftSnapshot> RaftCore::DescribeSnapshot(LogIndex index) const {
  if (index <= LogIndex(state_->snapshot.meta.index()) || index > state_->log.applied()) {
    return MakeError(Reason::kInvalidRequest,
                     "a snapshot must end after the last one and with an "
                     "applied entry");
  }
  pb::RaftSnapshot meta;
  meta.set_index(index.value());
  meta.set_term(state_->log.TermAt(index)->value());
  *meta.mutable_membership() = state_->members.At(index).ToProto();
  return meta;
}

LogIndex RaftCore::FirstIndexToKeep(LogIndex snapshot_index) const {
  const uint64_t index = snapshot_index.value();
  const uint64_t kept = std::min(index, state_->options.entries_kept);
  return std::max(LogIndex(index - kept + 1), state_->log.first_index());
}

absl::Status RaftCore::Compact(Snapshot snapshot) {
  const LogIndex index(snapshot.meta.index());
  if (index <= LogIndex(state_->snapshot.meta.index())) return absl::OkStatus();  // Overtaken.
  if (index > state_->log.applied()) {
    return MakeError(Reason::kInvalidRequest, "the snapshot covers entries not applied yet");
  }
  const LogIndex anchor = FirstIndexToKeep(index) - 1;
  state_->snapshot = std::move(snapshot);
  state_->log.Compact(anchor, index);
  state_->members.CompactTo(anchor);
  return absl::OkStatus();
}

Role RaftCore::role() const { return role_->role(); }

NodeId RaftCore::leader() const { return state_->leader; }

Term RaftCore::term() const { return state_->term; }

const Membership& RaftCore::committed_membership() const {
  return state_->members.At(state_->log.committed());
}

NodeId RaftCore::transferring_to() const {
  return leader_ == nullptr ? NodeId() : leader_->transferring_to();
}

LogIndex RaftCore::committed() const { return state_->log.committed(); }

LogIndex RaftCore::applied() const { return state_->log.applied(); }

LogIndex RaftCore::last_index() const { return state_->log.last_index(); }

const std::string& RaftCore::refusal() const { return state_->refusal; }

std::optional<MembershipChange> RaftCore::DueBinding() const {
  return leader_ == nullptr ? std::nullopt : leader_->DueBinding();
}

const Membership& RaftCore::membership() const { return state_->members.current(); }

std::optional<Term> RaftCore::term_at(LogIndex index) const { return state_->log.TermAt(index); }

SoftState RaftCore::Soft() const { return {role(), state_->leader, state_->term}; }

CoreStatus RaftCore::status() const {
  CoreStatus status;
  status.soft = Soft();
  status.vote = state_->vote;
  status.first_index = state_->log.first_index();
  status.last_index = state_->log.last_index();
  status.persisted = state_->log.persisted();
  status.committed = state_->log.committed();
  status.applied = state_->log.applied();
  status.snapshot_index = LogIndex(state_->snapshot.meta.index());
  status.membership = state_->members.current();
  status.storage_failed = state_->storage_failed;
  status.refusal = state_->refusal;
  if (founder_ != nullptr) status.founders_awaited = founder_->awaited();
  if (leader_ != nullptr) {
    status.transferring_to = leader_->transferring_to();
    status.followers = leader_->followers();
  }
  return status;
}

}  // namespace falaj::raft
