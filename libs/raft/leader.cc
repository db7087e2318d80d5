#include "libs/raft/leader.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"

#include "libs/base/status.h"
#include "libs/raft/quorum.h"

namespace falaj::raft {

namespace {

// For PlantedBug::kCommitOldTermByCounting: entries of different terms travel apart, as they do
// when a follower is far behind.
void CutAtTerm(EntryList* entries) {
  while (!entries->empty() && TermOf(*entries->rbegin()) != TermOf(*entries->begin())) {
    entries->RemoveLast();
  }
}

}  // namespace

Leader::Leader(CoreState* state) : state_(state) {
  state_->leader = state_->self();
  state_->timer.Reset();
  FollowMembership();
  if (state_->has_bug(PlantedBug::kCommitOldTermByCounting)) {
    // Sends its last old entry again, so that it sees who holds it.
    for (auto& [node, progress] : progress_)
      progress = Progress(std::max(state_->log.last_index(), state_->log.first_index()), ticks_);
  }
  no_op_ = state_->AppendOwn(pb::RAFT_ENTRY_TYPE_NO_OP, "").index;
}

void Leader::FollowMembership() {
  const Membership& members = state_->members.current();
  std::vector<NodeId> nodes = members.All();
  if (state_->has_bug(PlantedBug::kRemovedMemberCounts)) {
    for (NodeId node : state_->members.ever_voted()) nodes.push_back(node);
  } else {
    std::erase_if(progress_, [&](const auto& item) { return !members.Contains(item.first); });
  }
  for (NodeId node : nodes) {
    if (node != state_->self()) progress_.try_emplace(node, state_->log.last_index() + 1, ticks_);
  }
}

absl::StatusOr<Next> Leader::Step(const pb::RaftMessage& message) {
  if (message.type() == pb::RAFT_MESSAGE_TYPE_APPEND ||
      message.type() == pb::RAFT_MESSAGE_TYPE_HEARTBEAT ||
      message.type() == pb::RAFT_MESSAGE_TYPE_SNAPSHOT) {
    return MakeError(Reason::kInternal,
                     absl::StrCat("node ", message.from(), " claims to lead term ", state_->term,
                                  ", which this node leads"));
  }
  const auto found = progress_.find(NodeId(message.from()));
  if (found == progress_.end()) return Next::kStay;  // Not a member any more.
  Progress* progress = &found->second;
  if (!IsOfDirectory(message, progress)) return Next::kStay;
  progress->heard_at = ticks_;
  switch (message.type()) {
    case pb::RAFT_MESSAGE_TYPE_APPEND_REPLY:
      return StepAppendReply(message, progress);
    case pb::RAFT_MESSAGE_TYPE_HEARTBEAT_REPLY:
      return StepHeartbeatReply(message, progress);
    case pb::RAFT_MESSAGE_TYPE_SNAPSHOT_REPLY:
      if (progress->state() == Progress::State::kSnapshot &&
          progress->snapshot().meta.index() == message.snapshot().index()) {
        progress->ChunkAnswered(message.chunk_offset(), message.reject());
      }
      return Next::kStay;
    case pb::RAFT_MESSAGE_TYPE_READ_INDEX:
      StepReadIndex(message);
      return Next::kStay;
    default:
      return Next::kStay;
  }
}

// What a directory has acknowledged, another one under the same id has not. A learner may begin
// anew with an empty one: nothing was counted.
bool Leader::IsOfDirectory(const pb::RaftMessage& message, Progress* progress) const {
  if (!state_->IsOfMember(message)) return false;
  if (message.from_directory().empty()) return true;
  const absl::StatusOr<Uuid> directory = Uuid::FromBytes(message.from_directory());
  if (!directory.ok()) return false;
  if (*directory == progress->directory) return true;
  if (!progress->directory.is_nil()) {
    if (!state_->members.current().IsLearner(NodeId(message.from()))) return false;
    *progress = Progress(state_->log.last_index(), ticks_);  // Asks at once what it has.
  }
  progress->directory = *directory;
  return true;
}

Next Leader::StepAppendReply(const pb::RaftMessage& message, Progress* progress) {
  const LogIndex index(message.log_index());
  if (message.reject()) {
    // Skip whole terms: behind the last entry of a term not above the hint's, the logs cannot
    // agree.
    const EntryId hint =
        state_->log.LastNotAbove(LogIndex(message.hint_index()), Term(message.hint_term()));
    progress->Refused(index, std::min(hint.index, LogIndex(message.hint_index())));
    return Next::kStay;
  }
  if (index > state_->log.last_index() || !progress->Acked(index)) return Next::kStay;
  TransferIfCaughtUp();
  return AdvanceCommit();
}

Next Leader::StepHeartbeatReply(const pb::RaftMessage& message, Progress* progress) {
  progress->read_round =
      std::max(progress->read_round, std::min(message.read_round(), read_round_));
  progress->BeatAnswered(state_->log.last_index());
  ConfirmReads();
  return Next::kStay;
}

Next Leader::AdvanceCommit() {
  const auto reached = ReachedByMajority<LogIndex>(state_->electorate(), [this](NodeId voter) {
    return voter == state_->self() ? state_->log.persisted() : progress_.at(voter).match();
  });
  if (reached >= no_op_ || state_->has_bug(PlantedBug::kCommitOldTermByCounting)) {
    state_->log.CommitTo(reached);
  }
  const bool removed =
      !state_->IsVoter() && state_->members.current_index() <= state_->log.committed();
  if (!removed) return Next::kStay;
  TellCommits();  // So that the others learn of it before they miss the leader.
  Flush();
  return Next::kFollow;
}

Next Leader::Tick() {
  ++ticks_;
  if (transfer_target_ != NodeId() && ++transfer_elapsed_ >= state_->options.election_ticks_min) {
    transfer_target_ = NodeId();
  }
  if (++quorum_elapsed_ >= state_->options.election_ticks_min) {
    quorum_elapsed_ = 0;
    if (!HearsMajority()) return Next::kFollow;
  }
  if (++heartbeat_elapsed_ >= state_->options.heartbeat_ticks) {
    // Who is in haste has a round of his own when the Ready is taken, and the patient go with him.
    if (MayStartReadRound() && !in_haste_) {
      StartReadRound();
    } else {
      SendHeartbeats();
    }
  }
  return Next::kStay;
}

// Without the look at the majority: that it is a heartbeat late does no harm, and it needs no round
// of its own.
int Leader::TicksUntilDue() const {
  int due = kNoTickMatters;
  if (!progress_.empty()) due = state_->options.heartbeat_ticks - heartbeat_elapsed_;
  if (transfer_target_ != NodeId()) {
    due = std::min(due, state_->options.election_ticks_min - transfer_elapsed_);
  }
  return due;
}

Answers Leader::awaited_answers() const {
  const LogIndex last = state_->log.last_index();
  Answers awaited = {
      // A read waits for them, or, below, a follower may have lost something.
      .to_heartbeats = !round_reads_.empty(),
      // They commit something, let the lead be handed over, or, below, let more be told.
      .to_appends = state_->log.committed() < last || transfer_target_ != NodeId(),
  };
  for (const auto& [node, progress] : progress_) {
    const bool in_step = progress.state() == Progress::State::kReplicate;
    awaited.to_heartbeats |= !in_step || progress.match() < last;
    awaited.to_appends |=
        !in_step || progress.next() <= last || progress.IsPaused(state_->options.inflight_max);
  }
  return awaited;
}

bool Leader::HearsMajority() const {
  return HoldsForMajority(state_->electorate(), [this](NodeId voter) {
    return voter == state_->self() || IsActive(progress_.at(voter));
  });
}

void Leader::Retire() {
  // Followers give theirs up by themselves.
  for (const std::vector<Read>* reads : {&round_reads_, &new_reads_}) {
    for (const Read& read : *reads) {
      if (read.node == state_->self()) state_->dropped_reads.push_back(read.number);
    }
  }
  round_reads_.clear();
  new_reads_.clear();
  in_haste_ = false;
}

absl::Status Leader::CheckMayPropose(size_t bytes) const {
  if (transfer_target_ != NodeId()) {
    return MakeError(Reason::kMetadataUnavailable, "the leader is handing over",
                     {{"leader_id", absl::StrCat(transfer_target_)}});
  }
  if (bytes > state_->options.entry_bytes_max) {
    return MakeError(Reason::kInvalidRequest,
                     absl::StrCat("a command of ", bytes, " bytes is larger than the allowed ",
                                  state_->options.entry_bytes_max));
  }
  if (state_->log.uncommitted_bytes() + bytes > state_->options.uncommitted_bytes_max) {
    return MakeError(Reason::kQuotaExceeded, "too many commands wait to be committed");
  }
  return absl::OkStatus();
}

absl::StatusOr<EntryId> Leader::Propose(std::string command) {
  FALAJ_RETURN_IF_ERROR(CheckMayPropose(command.size()));
  return state_->AppendOwn(pb::RAFT_ENTRY_TYPE_COMMAND, std::move(command));
}

absl::Status Leader::CheckCaughtUp(NodeId node, const Progress& progress) const {
  const uint64_t lag = state_->log.last_index() - progress.match();
  if (lag <= state_->options.promote_lag_max_entries) return absl::OkStatus();
  return MakeError(Reason::kNodeLags,
                   absl::StrCat("node ", node, " lags by ", lag, " entries: too far"),
                   {{"node_id", absl::StrCat(node)}, {"lag", absl::StrCat(lag)}});
}

absl::StatusOr<EntryId> Leader::ProposeMembership(const MembershipChange& change) {
  FALAJ_RETURN_IF_ERROR(CheckMayPropose(0));
  if (state_->members.current_index() > state_->log.committed()) {
    return MakeError(Reason::kMembershipChanging, "another membership change is not committed yet");
  }
  // Closes the hole found in the thesis' single-step changes in 2015.
  if (!HasCommittedOwnTerm()) {
    return MakeError(Reason::kMetadataUnavailable,
                     "the membership cannot change before the leader's first entry is committed",
                     {{"leader_id", absl::StrCat(state_->self())}});
  }
  MembershipChange complete = change;
  if (change.kind == MembershipChange::Kind::kPromote && progress_.contains(change.node)) {
    complete.directory = progress_.at(change.node).directory;
  }
  FALAJ_ASSIGN_OR_RETURN(Membership next, state_->members.current().With(complete));
  if (change.kind == MembershipChange::Kind::kPromote) {
    const Progress& progress = progress_.at(change.node);
    FALAJ_RETURN_IF_ERROR(CheckCaughtUp(change.node, progress));
    // A voter that is not there would only count against the majority.
    if (progress.match() == LogIndex(0) || !IsActive(progress)) {
      return MakeError(Reason::kNodeLags,
                       absl::StrCat("node ", change.node, " was not heard from lately"),
                       {{"node_id", absl::StrCat(change.node)}});
    }
  }
  const LogIndex before = state_->log.last_index();
  const EntryId id =
      state_->AppendOwn(pb::RAFT_ENTRY_TYPE_MEMBERSHIP, next.ToProto().SerializeAsString());
  state_->members.Add(id.index, std::move(next));
  FollowMembership();
  // A newcomer needs the entry that names it, too.
  if (change.kind == MembershipChange::Kind::kAddLearner) {
    progress_.insert_or_assign(change.node, Progress(before + 1, ticks_));
  }
  return id;
}

std::optional<MembershipChange> Leader::DueBinding() const {
  const Membership& members = state_->members.current();
  for (NodeId voter : members.voters) {
    if (!members.DirectoryOf(voter).is_nil()) continue;
    MembershipChange change;
    change.kind = MembershipChange::Kind::kBindDirectory;
    change.node = voter;
    change.directory =
        voter == state_->self() ? state_->options.directory : progress_.at(voter).directory;
    if (!change.directory.is_nil()) return change;
  }
  return std::nullopt;
}

absl::Status Leader::ReadIndex(uint64_t request_id, ReadPatience patience) {
  if (patience == ReadPatience::kNone && reads_waiting() >= state_->options.reads_waiting_max) {
    return MakeError(Reason::kQuotaExceeded, "too many reads wait for the quorum");
  }
  TakeIn({state_->self(), request_id, patience});
  return absl::OkStatus();
}

void Leader::TakeIn(const Read& read) {
  if (state_->has_bug(PlantedBug::kReadWithoutReadIndex)) {
    Answer(read, state_->log.committed());
  } else {
    new_reads_.push_back(read);
    in_haste_ = in_haste_ || read.patience == ReadPatience::kNone;
  }
}

void Leader::StepReadIndex(const pb::RaftMessage& message) {
  const NodeId node(message.from());
  if (message.patient() || reads_waiting() < state_->options.reads_waiting_max) {
    return TakeIn({node, message.read_round(),
                   message.patient() ? ReadPatience::kNextHeartbeat : ReadPatience::kNone});
  }
  pb::RaftMessage reply = state_->NewMessage(pb::RAFT_MESSAGE_TYPE_READ_INDEX_REPLY, node);
  reply.set_read_round(message.read_round());
  reply.set_reject(true);
  state_->SendNow(std::move(reply));
}

absl::Status Leader::CheckMayLead(NodeId target) const {
  const Membership& members = state_->members.current();
  const auto refuse = [target](Reason reason, absl::string_view why) {
    return MakeError(reason, absl::StrCat("node ", target, " ", why),
                     {{"node_id", absl::StrCat(target)}});
  };
  if (!members.Contains(target)) return refuse(Reason::kNodeNotFound, "is not a member");
  if (target == state_->self()) return refuse(Reason::kInvalidRequest, "leads already");
  if (!members.IsVoter(target)) return refuse(Reason::kInvalidRequest, "does not vote");
  const Progress& progress = progress_.at(target);
  if (!IsActive(progress)) return refuse(Reason::kNodeLags, "was not heard from lately");
  return CheckCaughtUp(target, progress);
}

absl::Status Leader::Transfer(NodeId target) {
  FALAJ_RETURN_IF_ERROR(CheckMayLead(target));
  transfer_target_ = target;
  transfer_told_ = false;
  transfer_elapsed_ = 0;
  TransferIfCaughtUp();
  return absl::OkStatus();
}

void Leader::TransferIfCaughtUp() {
  if (transfer_target_ == NodeId() || transfer_told_) return;
  if (progress_.at(transfer_target_).match() != state_->log.last_index()) return;
  state_->SendNow(state_->NewMessage(pb::RAFT_MESSAGE_TYPE_TIMEOUT_NOW, transfer_target_));
  transfer_told_ = true;
}

void Leader::Flush() {
  // Patience that saves no message is for nothing.
  if (MayStartReadRound() && (in_haste_ || progress_.empty())) StartReadRound();
  for (auto& [node, progress] : progress_) Replicate(node, &progress);
  tell_commits_ = false;
}

bool Leader::OwesCommits() const {
  return std::any_of(progress_.begin(), progress_.end(), [this](const auto& item) {
    const Progress& progress = item.second;
    return progress.state() == Progress::State::kReplicate &&
           progress.commit_told < state_->log.committed() &&
           !progress.IsPaused(state_->options.inflight_max);
  });
}

void Leader::Replicate(NodeId node, Progress* progress) {
  const RaftEntries& log = state_->log;
  while (!progress->IsPaused(state_->options.inflight_max)) {
    if (progress->state() == Progress::State::kSnapshot) return SendChunk(node, progress);
    const bool commit_is_news = progress->state() == Progress::State::kReplicate &&
                                progress->commit_told < log.committed() &&
                                (tell_commits_ || !state_->options.commits_ride);
    if (progress->next() > log.last_index() && !commit_is_news) return;
    const LogIndex previous = progress->next() - 1;
    const std::optional<Term> previous_term = log.TermAt(previous);
    if (!previous_term) {
      progress->StartSnapshot(state_->snapshot);
      continue;
    }
    pb::RaftMessage append = state_->NewMessage(pb::RAFT_MESSAGE_TYPE_APPEND, node);
    append.set_log_index(previous.value());
    append.set_log_term(previous_term->value());
    append.set_commit(log.committed().value());
    log.CopyFrom(progress->next(), state_->options.message_bytes_max, append.mutable_entries());
    if (state_->has_bug(PlantedBug::kCommitOldTermByCounting)) CutAtTerm(append.mutable_entries());
    progress->Sent(previous + static_cast<uint64_t>(append.entries_size()));
    progress->commit_told = log.committed();
    state_->SendNow(std::move(append));
  }
}

void Leader::SendChunk(NodeId node, Progress* progress) {
  const Snapshot& snapshot = progress->snapshot();
  const uint64_t offset = progress->chunk_offset();
  const uint64_t size =
      std::min<uint64_t>(state_->options.snapshot_chunk_bytes, snapshot.data.size() - offset);
  pb::RaftMessage chunk = state_->NewMessage(pb::RAFT_MESSAGE_TYPE_SNAPSHOT, node);
  *chunk.mutable_snapshot() = snapshot.meta;
  chunk.set_chunk_offset(offset);
  chunk.set_chunk(snapshot.data.Subrange(offset, size).ToString());
  progress->ChunkSent();
  state_->SendNow(std::move(chunk));
}

void Leader::SendHeartbeats() {
  heartbeat_elapsed_ = 0;
  for (const auto& [node, progress] : progress_) {
    pb::RaftMessage heartbeat = state_->NewMessage(pb::RAFT_MESSAGE_TYPE_HEARTBEAT, node);
    heartbeat.set_commit(std::min(progress.match(), state_->log.committed()).value());
    heartbeat.set_read_round(read_round_);
    state_->SendNow(std::move(heartbeat));
  }
}

bool Leader::MayStartReadRound() const {
  return !new_reads_.empty() && round_reads_.empty() && HasCommittedOwnTerm();
}

void Leader::StartReadRound() {
  ++read_round_;
  round_index_ = state_->log.committed();
  round_reads_.swap(new_reads_);
  in_haste_ = false;
  SendHeartbeats();
  ConfirmReads();
}

void Leader::ConfirmReads() {
  if (round_reads_.empty()) return;
  const auto confirmed = HoldsForMajority(state_->electorate(), [this](NodeId voter) {
    return voter == state_->self() || progress_.at(voter).read_round == read_round_;
  });
  if (!confirmed) return;
  for (const Read& read : round_reads_) Answer(read, round_index_);
  round_reads_.clear();
}

void Leader::Answer(const Read& read, LogIndex index) {
  if (read.node == state_->self()) {
    state_->reads.push_back({read.number, index});
    return;
  }
  TellCommits();  // It cannot read before it has applied them.
  pb::RaftMessage reply = state_->NewMessage(pb::RAFT_MESSAGE_TYPE_READ_INDEX_REPLY, read.node);
  reply.set_read_round(read.number);
  reply.set_log_index(index.value());
  state_->SendNow(std::move(reply));
}

std::vector<FollowerStatus> Leader::followers() const {
  std::vector<FollowerStatus> result;
  for (const auto& [node, progress] : progress_) {
    result.push_back({.node = node,
                      .learner = state_->members.current().IsLearner(node),
                      .active = IsActive(progress),
                      .receiving_snapshot = progress.state() == Progress::State::kSnapshot,
                      .match = progress.match()});
  }
  return result;
}

}  // namespace falaj::raft
