#include "tests/simulation/data/invariants.h"

#include <algorithm>
#include <iterator>

#include "absl/strings/str_cat.h"

#include "libs/cluster/election.h"
#include "tests/simulation/data/history.h"
#include "tests/simulation/data/metadata.h"
#include "tests/simulation/data/storage_node.h"
#include "tests/simulation/data/storage_process.h"

namespace falaj::simulation::data {

namespace {

// -1: it has no record.
LeaderEpoch LastEpoch(const replica::Replica& core) {
  const std::vector<replica::EpochEntry>& epochs = core.epochs().entries();
  const auto last = std::find_if(epochs.rbegin(), epochs.rend(), [&core](const auto& entry) {
    return entry.start < core.written_end();
  });
  return last == epochs.rend() ? LeaderEpoch{-1} : last->epoch;
}

}  // namespace

const Batch* Invariants::PartitionTruth::Find(Offset offset) const {
  const auto it =
      std::lower_bound(committed.begin(), committed.end(), offset,
                       [](const Batch& batch, Offset wanted) { return batch.last < wanted; });
  return it == committed.end() || it->base > offset ? nullptr : &*it;
}

void Invariants::Report(absl::string_view invariant, NodeId node, PartitionNumber partition,
                        const std::string& what) {
  world_->findings->Report(invariant,
                           absl::StrCat("node ", node, " partition ", partition, ": ", what));
}

// ---- Metadata ----

void Invariants::OnRegistered(NodeId node) {
  damaged_.erase(node);
  CheckHoldings(node);
}

void Invariants::OnDamaged(NodeId node) {
  was_damaged_ = true;
  damaged_.insert(node);
}

void Invariants::OnDropped(NodeId node, PartitionNumber partition) {
  was_damaged_ = true;
  OnLeft(node, partition);
}

void Invariants::OnLeft(NodeId node, PartitionNumber partition) {
  replicas_.erase({node, partition});
  if (MustHold(node, partition)) CheckHolder(node, partition);
}

void Invariants::OnMetadata(const pb::ClusterDelta& delta) {
  for (const pb::TopicDelta& change : delta.topics()) {
    const auto topic = Uuid::FromBytes(change.topic().topic_id());
    for (const pb::PartitionState& state : change.topic().partitions()) {
      CheckPartition(state, world_->Number(*topic, PartitionIndex{state.partition()}));
    }
  }
}

void Invariants::CheckPartition(const pb::PartitionState& state, PartitionNumber partition) {
  PartitionTruth& truth = partitions_[partition];
  const NodeId leader{state.leader()};
  const LeaderEpoch epoch{state.leader_epoch()};
  if (epoch < truth.leader_epoch ||
      PartitionEpoch{state.partition_epoch()} <= truth.partition_epoch) {
    Report("I4 epochs rise", leader, partition, "an epoch of the metadata fell");
  }
  truth.leader_epoch = epoch;
  truth.partition_epoch = PartitionEpoch{state.partition_epoch()};
  const auto [known, first] = truth.leaders.emplace(epoch, leader);
  if (!first && known->second != leader) {
    Report("I4 one leader", leader, partition,
           absl::StrCat("leads epoch ", epoch, ", which was node ", known->second, "'s"));
  }
  if (state.leader() != 0 && !cluster::Contains(state.isr(), state.leader())) {
    Report("I4 leader in sync", leader, partition, "leads, but is not in the ISR");
  }
  std::set<int32_t> isr(state.isr().begin(), state.isr().end());
  for (const int32_t member : isr) {
    if (!cluster::Contains(state.replicas(), member)) {
      Report("I4 ISR of replicas", NodeId{member}, partition, "is in the ISR, but is no replica");
    }
    if (!truth.isr.contains(member) && unclean_.erase(NodeId{member}) > 0) {
      world_->findings->Reach(Mark::kUncleanRejoin);
    }
  }
  truth.isr = std::move(isr);
  if (LeaderEpoch{state.unclean_epoch()} != truth.unclean_epoch) {
    truth.unclean_epoch = LeaderEpoch{state.unclean_epoch()};
    truth.unsettled = true;
    world_->history->Exempt(partition);
    world_->findings->Reach(Mark::kUncleanElection);
    (*world_->trace)("partition ", partition, ": node ", leader, " is elected uncleanly");
  }
  CheckHolders(partition);
}

void Invariants::Settle(NodeId node, PartitionNumber partition, const replica::Replica& core) {
  PartitionTruth& truth = partitions_[partition];
  const StoredLog& log = *world_->nodes.at(node)->store().Find(partition, Store::View::kWritten);
  truth.unsettled = false;
  truth.committed.assign(log.batches.begin(), log.batches.end());
  truth.begin = truth.committed.empty() ? core.log_start() : truth.committed.front().base;
  truth.end = core.high_watermark();
  truth.acked_max = Offset{-1};
  truth.producers.clear();
  for (const record::ProducerRow& row : core.producers().Rows()) {
    const record::ProducerWindow& window = row.history.window();
    truth.producers[row.producer] = {window.epoch(), window.next_sequence()};
  }
  std::erase_if(replicas_, [partition](const auto& one) { return one.first.second == partition; });
  std::erase_if(copies_, [partition](const auto& one) { return one.first.second == partition; });
}

// ---- Copies ----

void Invariants::OnRound(NodeId node, const Round& round) {
  const Store& store = world_->nodes.at(node)->store();
  for (const auto& [partition, batch] : round.batches) {
    const auto [known, first] =
        partitions_[partition].placed.emplace(std::pair(batch.base, batch.epoch), batch);
    if (!first && !known->second.Equals(batch)) {
      Report("I1b offset and epoch are unique", node, partition,
             absl::StrCat(batch.ToString(), " where ", known->second.ToString(), " was"));
    }
    const StoredLog* const log = store.Find(partition, Store::View::kWritten);
    if (batch.end() <= log->log_start) continue;  // Deleted by the same round.
    const Batch* const before = log->Find(batch.base - 1);
    const Batch* const first_held = log->Find(log->log_start);
    const bool first_of_all =
        before == nullptr &&
        (batch.base == log->log_start || (first_held != nullptr && first_held->Equals(batch)));
    if (!first_of_all && (before == nullptr || before->end() != batch.base)) {
      Report("I1b logs are dense", node, partition,
             absl::StrCat("a hole before ", batch.ToString(), " in a log that begins at ",
                          log->log_start));
    } else if (before != nullptr && before->epoch > batch.epoch) {
      Report("I1b epochs rise along a log", node, partition, batch.ToString());
    }
  }
}

void Invariants::OnReplica(NodeId node, PartitionNumber partition) {
  const StorageNode& machine = *world_->nodes.at(node);
  if (!machine.running()) return;
  const replica::Replica& core = *machine.process()->shard().Find(partition);
  world_->queue->Note(static_cast<uint64_t>(core.high_watermark().value()) << 20 |
                      static_cast<uint64_t>(core.log_end().value()) << 4 |
                      static_cast<uint64_t>(core.role()));
  ReplicaSeen& seen = replicas_[{node, partition}];
  if (seen.generation != machine.generation()) {
    seen = {.generation = machine.generation(), .high_watermark = Offset{0}, .checked = Offset{0}};
  }
  // A log that is about to begin anew is not written yet.
  const bool begins_anew = core.log_start() > core.written_end();
  if ((!begins_anew && core.log_start() > core.high_watermark()) ||
      core.high_watermark() > core.written_end() || core.written_end() > core.log_end()) {
    Report("bounds", node, partition,
           absl::StrCat("log start ", core.log_start(), ", high watermark ", core.high_watermark(),
                        ", written to ", core.written_end(), " of ", core.log_end()));
  }
  PartitionTruth& truth = partitions_[partition];
  const bool past = truth.unsettled || LastEpoch(core) < truth.unclean_epoch;
  if (core.high_watermark() < seen.high_watermark && !past) {
    Report("I3 high watermark", node, partition,
           absl::StrCat("fell from ", seen.high_watermark, " to ", core.high_watermark()));
  }
  seen.high_watermark = core.high_watermark();
  if (core.role() == replica::Role::kLeader) {
    const auto leader = truth.leaders.find(core.epoch());
    if (leader == truth.leaders.end() || leader->second != node) {
      Report("I4 one leader", node, partition,
             absl::StrCat("leads epoch ", core.epoch(), ", which is not its own"));
    }
    if (machine.process()->shard().wanted_epoch(partition) > core.epoch()) {
      Report("I4 a deposed leader that knows", node, partition,
             absl::StrCat("goes on leading epoch ", core.epoch()));
    }
  }
  if (truth.unsettled && core.epoch() >= truth.unclean_epoch && core.serving()) {
    Settle(node, partition, core);
  } else if (!begins_anew && !past) {
    CheckCommitted(node, partition, core);
  }
  if (MustHold(node, partition)) CheckHolder(node, partition);
}

void Invariants::CheckCommitted(NodeId node, PartitionNumber partition,
                                const replica::Replica& core) {
  PartitionTruth& truth = partitions_[partition];
  ReplicaSeen& seen = replicas_[{node, partition}];
  const StoredLog* const log =
      world_->nodes.at(node)->store().Find(partition, Store::View::kWritten);
  const Offset end_before = truth.end;
  Offset at = std::max({seen.checked, core.log_start(), truth.begin});
  while (at < core.high_watermark() && !world_->findings->first()) {
    const Batch* const batch = log == nullptr ? nullptr : log->Find(at);
    if (batch == nullptr || batch->end() > core.high_watermark()) {
      Report("I1 a high watermark is a record's end", node, partition, absl::StrCat("at ", at));
      return;
    }
    if (at >= truth.end) {
      Extend(node, partition, core, *batch);
    } else if (const Batch* const known = truth.Find(at);
               known == nullptr || !known->Equals(*batch)) {
      Report("I1 logs match", node, partition,
             absl::StrCat("has ", batch->ToString(), ", committed is ",
                          known == nullptr ? "nothing" : known->ToString()));
    }
    at = batch->end();
  }
  seen.checked = at;
  if (truth.end != end_before) CheckHolders(partition);
}

void Invariants::Extend(NodeId node, PartitionNumber partition, const replica::Replica& core,
                        const Batch& batch) {
  PartitionTruth& truth = partitions_[partition];
  if (core.role() != replica::Role::kLeader) {
    return Report(
        "I6 a follower's high watermark", node, partition,
        absl::StrCat(core.high_watermark(), " is above what a leader has committed, ", truth.end));
  }
  const int32_t required =
      std::min(core.settings().min_in_sync_replicas, core.replication_factor());
  if (static_cast<int32_t>(core.isr().size()) < required) {
    Report("I4b minimum in sync", node, partition,
           absl::StrCat("commits with ", core.isr().size(), " of ", required));
  }
  if (batch.base != truth.end) {
    return Report("I1 committed records are dense", node, partition, batch.ToString());
  }
  truth.committed.push_back(batch);
  truth.end = batch.end();
  CheckSequence(node, partition, batch);
}

void Invariants::CheckSequence(NodeId node, PartitionNumber partition, const Batch& batch) {
  if (batch.producer.value() < 0) return;
  PartitionTruth& truth = partitions_[partition];
  const auto [it, first] = truth.producers.try_emplace(batch.producer);
  Sequences& known = it->second;
  const bool continues = !first && batch.producer_epoch == known.epoch;
  const bool begins =
      (first || batch.producer_epoch > known.epoch) && batch.sequence == Sequence{0};
  // The one exception that is documented: a replica whose log began anew knows no producer, and
  // takes a very first batch again.
  const bool may_forget = truth.begun_anew || truth.unclean_epoch > LeaderEpoch{0};
  const bool repeated_first = may_forget && batch.sequence == Sequence{0};
  if (!begins && !(continues && batch.sequence == known.next) && !repeated_first) {
    Report("I8 sequences", node, partition,
           absl::StrCat("commits ", batch.ToString(), " of producer ", batch.producer, " epoch ",
                        batch.producer_epoch, " sequence ", batch.sequence, "; expected is ",
                        known.next, " of epoch ", known.epoch));
  }
  known = {batch.producer_epoch, record::SequenceAfter(batch.sequence, batch.record_count)};
}

bool Invariants::MustHold(NodeId node, PartitionNumber partition) const {
  const pb::PartitionState& state = world_->metadata->partition(partition);
  return cluster::Contains(state.isr(), node.value()) ||
         cluster::Contains(state.elr(), node.value());
}

void Invariants::CheckHolders(PartitionNumber partition) {
  const pb::PartitionState& state = world_->metadata->partition(partition);
  for (const int32_t node : state.isr()) CheckHolder(NodeId{node}, partition);
  for (const int32_t node : state.elr()) CheckHolder(NodeId{node}, partition);
}

void Invariants::CheckHoldings(NodeId node) {
  for (const auto& [partition, truth] : partitions_) {
    if (MustHold(node, partition)) CheckHolder(node, partition);
  }
}

// StrongIsr: who may be elected holds everything.
void Invariants::CheckHolder(NodeId node, PartitionNumber partition) {
  const PartitionTruth& truth = partitions_[partition];
  if (damaged_.contains(node) || truth.unsettled || world_->findings->first()) return;
  const Store& store = world_->nodes.at(node)->store();
  const StoredLog* const log = store.Find(partition, view());
  const Offset end = log == nullptr ? Offset{0} : log->log_end;
  if (end < truth.end) {
    return Report("I4 who is in sync holds everything", node, partition,
                  absl::StrCat("holds what is below ", end, ", committed is up to ", truth.end));
  }
  CopySeen& seen = copies_[{node, partition}];
  if (seen.cuts != store.cuts()) seen = {.cuts = store.cuts(), .checked = Offset{0}};
  Offset at = log == nullptr ? truth.end : std::max({seen.checked, log->log_start, truth.begin});
  while (at < truth.end) {
    const Batch* const own = log->Find(at);
    const Batch* const known = truth.Find(at);
    if (own == nullptr || !own->Equals(*known)) {
      return Report("I4 who is in sync holds everything", node, partition,
                    absl::StrCat("has ", own == nullptr ? "nothing" : own->ToString(),
                                 ", committed is ", known->ToString()));
    }
    at = own->end();
  }
  seen.checked = at;
}

void Invariants::OnCut(NodeId node, PartitionNumber partition, Offset end) {
  const StorageNode& machine = *world_->nodes.at(node);
  const replica::Replica& core = *machine.process()->shard().Find(partition);
  const PartitionTruth& truth = partitions_[partition];
  if (end < core.high_watermark() && LastEpoch(core) < truth.unclean_epoch) {
    world_->findings->Reach(Mark::kCommittedCut);
  } else if (end < core.high_watermark()) {
    Report("I3 cut", node, partition,
           absl::StrCat("at ", end, ", below its high watermark ", core.high_watermark()));
  }
  (*world_->trace)("node ", node, " cuts partition ", partition, " at ", end, " of ",
                   core.log_end());
  world_->findings->Reach(Mark::kTruncated);
  const auto [it, first] = cut_in_.try_emplace({node, partition}, core.epoch());
  if (!first && std::exchange(it->second, core.epoch()) == core.epoch()) {
    world_->findings->Reach(Mark::kCutTwice);
  }
  const StoredLog* const log = machine.store().Find(partition, Store::View::kWritten);
  const Batch* const gone = log == nullptr ? nullptr : log->Find(end);
  if (gone == nullptr) return;
  const auto leader = truth.leaders.find(gone->epoch);
  if (leader != truth.leaders.end() && leader->second == node) {
    world_->findings->Reach(Mark::kOwnRecordsCut);
  }
}

void Invariants::OnDown(NodeId node) {
  unclean_.insert(node);
  CheckHoldings(node);
}

// ---- Clients ----

int Invariants::HoldersOf(PartitionNumber partition, const Batch& batch) const {
  int holders = 0;
  for (const auto& [id, node] : world_->nodes) {
    const StoredLog* const log = node->store().Find(partition, view());
    if (log == nullptr) continue;
    // Deleted from the front is as good as held: only what is committed is deleted, and nobody will
    // ask this replica for it.
    const Batch* const own = log->Find(batch.base);
    if (log->log_start > batch.base || (own != nullptr && own->Equals(batch))) ++holders;
  }
  return holders;
}

void Invariants::OnAcknowledged(const Acknowledged& told) {
  world_->queue->Note(static_cast<uint64_t>(told.value));
  PartitionTruth& truth = partitions_[told.partition];
  if (world_->metadata->partition(told.partition).leader_epoch() > told.epoch.value()) {
    world_->findings->Reach(Mark::kZombieAppended);
  }
  if (told.acks != replica::Acks::kAll || truth.IsPast(told.epoch)) return;
  if (told.base < truth.begin) return;  // A repetition of what has been deleted.
  const Offset end = told.base + told.record_count;
  const Batch* const batch = truth.Find(told.base);
  if (end > truth.end || batch == nullptr || batch->base != told.base ||
      batch->value != told.value) {
    return Report("I2 acknowledged is committed", told.node, told.partition,
                  absl::StrCat("value ", told.value, " at ", told.base, ", committed there is ",
                               batch == nullptr ? "nothing" : batch->ToString()));
  }
  // More may be asked for since it was committed: who told knows how many it committed with.
  const replica::Replica* const core =
      world_->nodes.at(told.node)->process()->shard().Find(told.partition);
  const int32_t required = std::min(world_->metadata->min_in_sync(told.partition),
                                    core == nullptr ? 0 : core->required_in_sync());
  if (!told.duplicate && !was_damaged_ && told.base >= Offset{0}) {
    const int holders = HoldersOf(told.partition, *batch);
    if (holders < required) {
      Report("I2 acknowledged is held", told.node, told.partition,
             absl::StrCat(batch->ToString(), " by ", holders));
    }
  }
  if (told.base <= told.acked_before && truth.unclean_epoch == LeaderEpoch{0}) {
    Report("I5 offsets rise in real time", told.node, told.partition,
           absl::StrCat("value ", told.value, " at ", told.base, ", sent after ", told.acked_before,
                        " was acknowledged"));
  }
  truth.acked_max = std::max(truth.acked_max, end - 1);
}

void Invariants::OnFetched(NodeId node, PartitionNumber partition, LeaderEpoch epoch,
                           const Fetched& fetched) {
  const PartitionTruth& truth = partitions_[partition];
  if (world_->metadata->partition(partition).leader_epoch() > epoch.value()) {
    world_->findings->Reach(Mark::kDeposedRead);
  }
  if (truth.IsPast(epoch)) return;
  if (fetched.high_watermark > truth.end) {
    Report("I6 reads", node, partition,
           absl::StrCat("high watermark ", fetched.high_watermark, " of ", truth.end));
  }
  for (const Batch& batch : fetched.batches) {
    if (batch.base < truth.begin) continue;
    const Batch* const known = truth.Find(batch.base);
    if (batch.end() > truth.end || known == nullptr || !known->Equals(batch)) {
      Report("I6 reads", node, partition, absl::StrCat("of ", batch.ToString()));
    }
  }
}

// ---- The end ----

void Invariants::CheckEqual() {
  for (const auto& [partition, truth] : partitions_) {
    for (const int32_t node : world_->metadata->partition(partition).replicas()) {
      CheckCopy(NodeId{node}, partition);
      CheckProducers(NodeId{node}, partition);
    }
  }
}

void Invariants::CheckCopy(NodeId node, PartitionNumber partition) {
  const StoredLog* const log =
      world_->nodes.at(node)->store().Find(partition, Store::View::kWritten);
  const PartitionTruth& truth = partitions_[partition];
  if (log == nullptr || log->log_end != truth.end) {
    return Report(
        "equal copies", node, partition,
        absl::StrCat("ends at ", log == nullptr ? Offset{-1} : log->log_end, " of ", truth.end));
  }
  CheckHolder(node, partition);
  // The epoch cache is exactly the index of the log.
  replica::EpochCache index;
  for (const Batch& batch : log->batches) {
    const auto latest = index.Latest();
    const Offset start = std::max(batch.base, log->log_start);
    if (!latest.has_value() || latest->epoch != batch.epoch) index.Assign({batch.epoch, start});
  }
  std::vector<replica::EpochEntry> known = log->epochs;
  while (!known.empty() && known.back().start >= log->log_end) known.pop_back();
  if (known != index.entries()) {
    Report("I1b epochs index the log", node, partition, "they do not");
  }
}

void Invariants::CheckProducers(NodeId node, PartitionNumber partition) {
  const PartitionTruth& truth = partitions_[partition];
  if (truth.begun_anew || truth.unclean_epoch > LeaderEpoch{0}) return;  // Some may know less.
  const replica::ProducerStates* const states =
      world_->nodes.at(node)->process()->shard().Producers(partition);
  if (states == nullptr || states->size() != truth.producers.size()) {
    return Report("I8 producers are the same everywhere", node, partition,
                  absl::StrCat("knows ", states == nullptr ? 0 : states->size(), " of ",
                               truth.producers.size()));
  }
  for (const auto& [producer, known] : truth.producers) {
    const record::ProducerWindow* const window = states->Find(producer);
    if (window == nullptr || window->epoch() != known.epoch ||
        window->next_sequence() != known.next) {
      Report("I8 producers are the same everywhere", node, partition,
             absl::StrCat("producer ", producer));
    }
  }
}

}  // namespace falaj::simulation::data
