#include "libs/raft/follower.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "absl/strings/str_cat.h"

#include "libs/base/crc32c.h"
#include "libs/base/status.h"

namespace falaj::raft {
namespace {

constexpr int kPatienceFactor = 4;  // Of the longest election timeout: whoever asked sets a limit.

bool IsSameSnapshot(const pb::RaftSnapshot& a, const pb::RaftSnapshot& b) {
  return a.index() == b.index() && a.term() == b.term() && a.size_bytes() == b.size_bytes() &&
         a.checksum() == b.checksum();
}

}  // namespace

Role Follower::role() const {
  return state_->members.current().IsLearner(state_->self()) ? Role::kLearner : Role::kFollower;
}

absl::StatusOr<Next> Follower::Step(const pb::RaftMessage& message) {
  switch (message.type()) {
    case pb::RAFT_MESSAGE_TYPE_APPEND:
      HearLeader(message);
      FALAJ_RETURN_IF_ERROR(StepAppend(message));
      return Next::kStay;
    case pb::RAFT_MESSAGE_TYPE_HEARTBEAT:
      HearLeader(message);
      StepHeartbeat(message);
      return Next::kStay;
    case pb::RAFT_MESSAGE_TYPE_SNAPSHOT:
      HearLeader(message);
      FALAJ_RETURN_IF_ERROR(StepSnapshot(message));
      return Next::kStay;
    case pb::RAFT_MESSAGE_TYPE_READ_INDEX_REPLY:
      StepReadIndexReply(message);
      return Next::kStay;
    case pb::RAFT_MESSAGE_TYPE_TIMEOUT_NOW:
      return state_->IsVoter() ? Next::kTransferCampaign : Next::kStay;
    default:
      return Next::kStay;  // Answers to what an earlier role of this term asked.
  }
}

Next Follower::Tick() {
  for (ReadBatch& batch : batches_) --batch.ticks_left;
  if (!state_->timer.Tick()) return Next::kStay;
  if (state_->MayStand()) return state_->IsOnlyVoter() ? Next::kCampaign : Next::kPreCampaign;
  // It cannot stand for election. But it may have been left behind, and must not pass for one that
  // knows the newest for ever.
  state_->leader = NodeId();
  return Next::kStay;
}

int Follower::TicksUntilDue() const {
  const bool waits = state_->MayStand() || state_->leader != NodeId();
  const int election = waits ? state_->timer.TicksLeft() : kNoTickMatters;
  return std::accumulate(
      batches_.begin(), batches_.end(), election,
      [](int first, const ReadBatch& batch) { return std::min(first, batch.ticks_left); });
}

void Follower::HearLeader(const pb::RaftMessage& message) {
  state_->leader = NodeId(message.from());
  state_->timer.Reset();
}

absl::Status Follower::StepAppend(const pb::RaftMessage& message) {
  CoreState& state = *state_;
  const NodeId leader(message.from());
  const LogIndex previous(message.log_index());
  if (previous < state.log.committed()) {
    // Committed entries agree with every leader's; no need to look.
    state.SendAck(leader, state.log.committed());
    return absl::OkStatus();
  }
  if (!state.log.Matches(previous, Term(message.log_term()))) {
    const EntryId hint = state.log.LastNotAbove(previous, Term(message.log_term()));
    pb::RaftMessage reply = state.NewMessage(pb::RAFT_MESSAGE_TYPE_APPEND_REPLY, leader);
    reply.set_reject(true);
    reply.set_log_index(previous.value());
    reply.set_hint_index(hint.index.value());
    reply.set_hint_term(hint.term.value());
    state.SendAfterPersist(std::move(reply));
    return absl::OkStatus();
  }
  FALAJ_RETURN_IF_ERROR(state.AppendFromLeader(message.entries()));
  const LogIndex last_new = previous + static_cast<uint64_t>(message.entries_size());
  // Behind last_new this log may still differ from the leader's.
  state.log.CommitTo(std::min(LogIndex(message.commit()), last_new));
  // Without entries it told the commit index, to a follower that has acknowledged all before.
  if (!message.entries().empty()) state.SendAck(leader, last_new);
  return absl::OkStatus();
}

void Follower::StepHeartbeat(const pb::RaftMessage& message) {
  // The leader never names an index here that this node has not acknowledged to it.
  state_->log.CommitTo(LogIndex(message.commit()));
  pb::RaftMessage reply =
      state_->NewMessage(pb::RAFT_MESSAGE_TYPE_HEARTBEAT_REPLY, NodeId(message.from()));
  reply.set_read_round(message.read_round());
  state_->SendAfterPersist(std::move(reply));
}

absl::Status Follower::StepSnapshot(const pb::RaftMessage& message) {
  CoreState& state = *state_;
  const pb::RaftSnapshot& meta = message.snapshot();
  const LogIndex index(meta.index());
  if (index <= state.log.committed()) {
    state.SendAck(NodeId(message.from()), state.log.committed());
    return absl::OkStatus();
  }
  if (state.log.Matches(index, Term(meta.term()))) {
    state.log.CommitTo(index);
    state.SendAck(NodeId(message.from()), index);
    return absl::OkStatus();
  }
  if (meta.size_bytes() < 0 || meta.size_bytes() > state.options.snapshot_bytes_max) {
    return MakeError(Reason::kInvalidRequest,
                     absl::StrCat("a snapshot of ", meta.size_bytes(), " bytes is not accepted"));
  }
  FALAJ_ASSIGN_OR_RETURN(Membership membership, Membership::FromProto(meta.membership()));
  if (!state.incoming || !IsSameSnapshot(state.incoming->meta, meta)) {
    state.incoming = CoreState::Incoming{meta, {}};
  }
  std::string& data = state.incoming->data;
  const auto size = static_cast<uint64_t>(meta.size_bytes());
  if (message.chunk_offset() == data.size() && message.chunk().size() <= size - data.size()) {
    data.append(message.chunk());
  }
  if (data.size() < size) {
    ReplyHeld(message, data.size(), false);
    return absl::OkStatus();
  }
  return InstallSnapshot(message, std::move(membership));
}

absl::Status Follower::InstallSnapshot(const pb::RaftMessage& message, Membership membership) {
  CoreState::Incoming received = *std::exchange(state_->incoming, std::nullopt);
  if (crc32c::Of(received.data) != received.meta.checksum()) {
    ReplyHeld(message, 0, true);
    return absl::OkStatus();
  }
  const LogIndex index(received.meta.index());
  state_->Install({std::move(received.meta), Bytes::Own(std::move(received.data))},
                  std::move(membership));
  state_->SendAck(NodeId(message.from()), index);
  return absl::OkStatus();
}

void Follower::ReplyHeld(const pb::RaftMessage& message, uint64_t held, bool refused) {
  pb::RaftMessage reply =
      state_->NewMessage(pb::RAFT_MESSAGE_TYPE_SNAPSHOT_REPLY, NodeId(message.from()));
  reply.mutable_snapshot()->set_index(message.snapshot().index());
  reply.mutable_snapshot()->set_term(message.snapshot().term());
  reply.set_chunk_offset(held);
  reply.set_reject(refused);
  state_->SendAfterPersist(std::move(reply));
}

absl::Status Follower::ReadIndex(uint64_t request_id, ReadPatience patience) {
  if (state_->leader == NodeId()) return RoleBehaviour::ReadIndex(request_id, patience);
  const bool patient = patience == ReadPatience::kNextHeartbeat;
  if (!patient && reads_waiting_ >= state_->options.reads_waiting_max) {
    return MakeError(Reason::kQuotaExceeded, "too many reads wait for the leader");
  }
  (patient ? new_patient_reads_ : new_reads_).push_back(request_id);
  ++reads_waiting_;
  return absl::OkStatus();
}

void Follower::Flush() {
  GiveUpReads();
  Ask(false, &new_reads_);
  Ask(true, &new_patient_reads_);
}

void Follower::Ask(bool patient, std::vector<uint64_t>* requests) {
  if (requests->empty()) return;
  const Options& options = state_->options;
  batches_.push_back({.number = ++state_->read_batch,
                      .ticks_left = patient ? kPatienceFactor * options.election_ticks_max
                                            : options.election_ticks_min,
                      .requests = std::exchange(*requests, {})});
  pb::RaftMessage ask = state_->NewMessage(pb::RAFT_MESSAGE_TYPE_READ_INDEX, state_->leader);
  ask.set_read_round(batches_.back().number);
  ask.set_patient(patient);
  state_->SendNow(std::move(ask));
}

void Follower::StepReadIndexReply(const pb::RaftMessage& message) {
  const auto batch = std::find_if(batches_.begin(), batches_.end(), [&](const ReadBatch& waiting) {
    return waiting.number == message.read_round();
  });
  if (batch == batches_.end()) return;  // Given up, or answered already.
  if (message.reject()) {
    Drop(batch->requests);
  } else {
    for (uint64_t request_id : batch->requests) {
      state_->reads.push_back({request_id, LogIndex(message.log_index())});
    }
    reads_waiting_ -= batch->requests.size();
  }
  batches_.erase(batch);
}

// Not as soon as the ticks are counted: a node that waited for its disk counts them before it takes
// in the answers that have come meanwhile.
void Follower::GiveUpReads() {
  std::erase_if(batches_, [this](const ReadBatch& batch) {
    if (batch.ticks_left > 0) return false;
    Drop(batch.requests);
    return true;
  });
}

void Follower::Drop(const std::vector<uint64_t>& requests) {
  state_->dropped_reads.insert(state_->dropped_reads.end(), requests.begin(), requests.end());
  reads_waiting_ -= requests.size();
}

void Follower::Retire() {
  for (const ReadBatch& batch : batches_) Drop(batch.requests);
  for (std::vector<uint64_t>* requests : {&new_reads_, &new_patient_reads_}) {
    Drop(*requests);
    requests->clear();
  }
  batches_.clear();
}

}  // namespace falaj::raft
