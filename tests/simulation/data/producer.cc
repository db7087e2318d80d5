#include "tests/simulation/data/producer.h"

#include <utility>

#include "absl/strings/str_cat.h"

#include "libs/base/status.h"
#include "tests/simulation/data/history.h"
#include "tests/simulation/data/invariants.h"
#include "tests/simulation/data/metadata.h"
#include "tests/simulation/data/storage_node.h"
#include "tests/simulation/data/storage_process.h"

namespace falaj::simulation::data {
namespace {

constexpr SimTime kReplyPatienceMin = 100 * kMillisecond;
constexpr SimTime kReplyPatienceMax = 400 * kMillisecond;
constexpr SimTime kAskPatience = 80 * kMillisecond;
constexpr SimTime kBackoffMax = 40 * kMillisecond;
constexpr int kRefusalsMax = 10;

}  // namespace

Producer::Producer(World* world, const Options& options)
    : world_(world),
      options_(options),
      random_(options.seed),
      id_(options.idempotent ? ProducerId{options.endpoint} : ProducerId{-1}) {}

void Producer::Start() {
  Pump();
  Recover();
}

void Producer::Pump() {
  world_->queue->After(pace_ * random_.Between(1, options_.pause_max), EventKind::kClient,
                       [this] { Pump(); });
  if (!finishing_ && !recovering_ && pending_.size() < options_.in_flight_max) Make();
}

void Producer::Make() {
  Pending& pending = pending_.emplace_back();
  Batch& batch = pending.batch;
  batch.value = static_cast<int64_t>(world_->NextId());
  batch.record_count = static_cast<int32_t>(random_.Between(1, 3));
  if (options_.idempotent) {
    batch.producer = id_;
    batch.producer_epoch = epoch_;
    batch.sequence = next_;
    next_ = record::SequenceAfter(next_, batch.record_count);
  }
  pending.acked_before = world_->invariants->acked_max(options_.partition);
  world_->history->OnSend(options_.partition, options_.endpoint, batch.value);
  Send(&pending);
}

void Producer::Send(Pending* pending) {
  const uint64_t request = pending->request = world_->NextId();
  const int64_t value = pending->batch.value;
  ++pending->tries;
  StorageNode* const node = world_->nodes.at(leader_).get();
  const Produce produce{.partition = options_.partition,
                        .epoch = leader_epoch_,
                        .acks = options_.acks,
                        .batch = pending->batch};
  Acknowledged told{.node = leader_,
                    .partition = options_.partition,
                    .epoch = leader_epoch_,
                    .acks = options_.acks,
                    .value = value,
                    .base = Offset{-1},
                    .acked_before = pending->acked_before};
  const auto answer = [this, request, told](const absl::Status& status,
                                            const replica::AppendOutcome& outcome) mutable {
    if (status.ok()) {
      told.base = outcome.base;
      told.record_count = outcome.record_count;
      told.duplicate = outcome.duplicate;
      world_->invariants->OnAcknowledged(told);
    }
    const auto reply = [this, request, value = told.value, status, outcome] {
      OnReply(request, value, status, outcome);
    };
    world_->network->Call(At(told.node), options_.endpoint, reply);
  };
  world_->network->Call(options_.endpoint, At(leader_), [node, produce, answer] {
    node->Deliver([node, produce, answer] { node->process()->shard().Append(produce, answer); });
  });
  world_->queue->After(random_.Between(kReplyPatienceMin, kReplyPatienceMax), EventKind::kTimer,
                       [this, request, value] {
                         OnReply(request, value, MakeError(Reason::kTimedOut, "no reply"), {});
                       });
}

Producer::Pending* Producer::Find(int64_t value) {
  for (Pending& pending : pending_) {
    if (pending.batch.value == value) return &pending;
  }
  return nullptr;
}

void Producer::OnReply(uint64_t request, int64_t value, const absl::Status& status,
                       const replica::AppendOutcome& outcome) {
  Pending* const pending = Find(value);
  if (pending == nullptr || pending->acknowledged) return;
  if (status.ok()) {
    OnAcknowledged(pending, outcome);  // Whichever try it is.
  } else if (pending->request == request) {
    if (ReasonOf(status) == Reason::kTimedOut && options_.idempotent) {
      world_->findings->Reach(Mark::kReplyLost);
    }
    OnRefused(pending, status);
  } else {
    return;
  }
  while (!pending_.empty() && pending_.front().acknowledged) pending_.pop_front();
  if (recovering_) Recover();
}

void Producer::OnAcknowledged(Pending* pending, const replica::AppendOutcome& outcome) {
  pending->request = 0;
  pending->acknowledged = true;
  refusals_ = 0;
  ++acknowledged_;
  if (outcome.duplicate && world_->invariants->begun_anew(options_.partition)) {
    world_->history->Forgive(pending->batch.value);
  }
  const bool for_ever = options_.acks == replica::Acks::kAll;
  world_->history->OnSent(options_.partition, pending->batch.value,
                          for_ever ? Outcome::kAcknowledged : Outcome::kUnknown, outcome.base);
}

void Producer::OnRefused(Pending* pending, const absl::Status& status) {
  pending->request = 0;
  recovering_ = true;
  const Reason reason = ReasonOf(status);
  if (reason == Reason::kOutOfOrderSequence && pending == &pending_.front()) ++refusals_;
  if (reason == Reason::kProducerFenced) {
    world_->findings->Report("I8 fenced", absl::StrCat("producer ", id_, ": ", status.message()));
  }
  if (options_.idempotent) return;
  GiveUp(*pending, status);
  pending->acknowledged = true;  // Done with, one way or the other.
}

void Producer::GiveUp(const Pending& pending, const absl::Status& status) {
  const bool definite = IsDefinite(ReasonOf(status)) && ReasonOf(status) != Reason::kTimedOut;
  world_->history->OnSent(options_.partition, pending.batch.value,
                          definite ? Outcome::kFailed : Outcome::kUnknown, Offset{-1});
}

void Producer::Recover() {
  for (const Pending& pending : pending_) {
    if (pending.request != 0) return;  // It is waited for.
  }
  if (std::exchange(scheduled_, true)) return;
  world_->queue->After(random_.Between(1, kBackoffMax), EventKind::kTimer, [this] {
    scheduled_ = false;
    if (!recovering_) return;
    const bool knows = leader_ != NodeId{0};
    // Now and then it has not heard of a new leader, and asks the old one again.
    if (knows && random_.Below(4) == 0) return Resend();
    AskWhoLeads();
  });
}

void Producer::AskWhoLeads() {
  const uint64_t asked = asking_ = world_->NextId();
  world_->metadata->Ask(options_.endpoint, options_.partition,
                        [this, asked](const pb::PartitionState& state) {
                          if (asking_ != asked) return;
                          asking_ = 0;
                          if (state.leader() == 0) return Recover();
                          leader_ = NodeId{state.leader()};
                          leader_epoch_ = LeaderEpoch{state.leader_epoch()};
                          Resend();
                        });
  world_->queue->After(kAskPatience, EventKind::kTimer, [this, asked] {
    if (asking_ == asked) AskWhoLeads();
  });
}

void Producer::Resend() {
  recovering_ = false;
  if (refusals_ > kRefusalsMax) BeginNewEpoch();
  for (Pending& pending : pending_) {
    if (!pending.acknowledged) Send(&pending);
  }
}

void Producer::BeginNewEpoch() {
  world_->findings->Reach(Mark::kNewProducerEpoch);
  refusals_ = 0;
  for (const Pending& pending : pending_) {
    if (pending.acknowledged) continue;
    world_->history->OnSent(options_.partition, pending.batch.value, Outcome::kUnknown, Offset{-1});
  }
  pending_.clear();
  epoch_ = ProducerEpoch(static_cast<int16_t>(epoch_.value() + 1));
  next_ = Sequence{0};
}

}  // namespace falaj::simulation::data
