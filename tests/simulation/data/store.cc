#include "tests/simulation/data/store.h"

#include <algorithm>

#include "libs/base/status.h"
#include "libs/record/epoch_start.h"

namespace falaj::simulation::data {
namespace {

void ApplyLogStart(Offset start, StoredLog* log) {
  if (start <= log->log_start) return;
  log->log_start = start;
  while (!log->batches.empty() && log->batches.front().last < start) log->batches.pop_front();
  if (start > log->log_end) log->log_end = start;
  record::TrimEpochs(start, &log->epochs);
  log->high_watermark = std::max(log->high_watermark, start);
}

void ApplyEpoch(const replica::EpochEntry& entry, StoredLog* log) {
  replica::EpochCache epochs;
  for (const replica::EpochEntry& known : log->epochs) epochs.Assign(known);
  epochs.Assign(entry);
  log->epochs = epochs.entries();
}

// The producers' rows of a log that is about to end at `end`.
void CutProducers(Offset end, StoredLog* log) {
  for (auto it = log->producers.begin(); it != log->producers.end();) {
    if (it->second.window().end_offset() <= end) {
      ++it;
      continue;
    }
    record::HistoryRebuild rebuild(it->second, end, log->log_start);
    for (const Batch& batch : log->batches) {
      if (batch.producer != it->first || batch.leader_change) continue;
      if (batch.base < rebuild.from() || batch.base >= rebuild.to()) continue;
      rebuild.Add(batch.producer_epoch, {.base = batch.base,
                                         .append_time_ms = 0,
                                         .base_sequence = batch.sequence,
                                         .record_count = batch.record_count});
    }
    it->second = rebuild.Finish();
    it = it->second.window().empty() ? log->producers.erase(it) : std::next(it);
  }
}

void Cut(Offset end, StoredLog* log) {
  if (end >= log->log_end) return;
  Offset new_end = end;
  for (const Batch& batch : log->batches) {
    if (batch.base < end && batch.last >= end) new_end = batch.base;
  }
  const bool emptied = new_end < log->log_start;
  if (emptied) log->log_start = new_end = std::min(end, log->log_start);
  CutProducers(new_end, log);
  while (!log->batches.empty() && (emptied || log->batches.back().last >= new_end)) {
    log->batches.pop_back();
  }
  while (!log->epochs.empty() && log->epochs.back().start >= new_end) log->epochs.pop_back();
  log->log_end = new_end;
  log->high_watermark = std::clamp(log->high_watermark, log->log_start, log->log_end);
}

}  // namespace

const Batch* StoredLog::Find(Offset offset) const {
  const auto it =
      std::lower_bound(batches.begin(), batches.end(), offset,
                       [](const Batch& batch, Offset wanted) { return batch.last < wanted; });
  return it == batches.end() || it->base > offset ? nullptr : &*it;
}

std::vector<record::ProducerRow> StoredLog::Rows() const {
  std::vector<record::ProducerRow> rows;
  rows.reserve(producers.size());
  for (const auto& [producer, history] : producers) rows.push_back({producer, history});
  return rows;
}

void Store::Apply(const Round& round, Logs* logs) {
  // Log starts first, as the store has it: what a round appends comes behind them.
  for (const auto& [partition, start] : round.log_starts) {
    ApplyLogStart(start, &(*logs)[partition]);
  }
  for (const auto& [partition, entry] : round.epochs) ApplyEpoch(entry, &(*logs)[partition]);
  for (const auto& [partition, batch] : round.batches) {
    StoredLog& log = (*logs)[partition];
    log.batches.push_back(batch);
    log.log_end = batch.end();
  }
  for (const auto& [partition, offset] : round.high_watermarks) {
    (*logs)[partition].high_watermark = offset;
  }
  for (const auto& [partition, row] : round.producers) {
    auto& producers = (*logs)[partition].producers;
    if (row.history.window().empty()) {
      producers.erase(row.producer);
    } else {
      producers[row.producer] = row.history;
    }
  }
}

absl::Status Store::Commit(Round round) {
  if (full_) return MakeError(Reason::kDiskFull, "no room");
  Apply(round, &written_);
  pending_.push_back(std::move(round));
  return absl::OkStatus();
}

void Store::Sync() {
  for (const Round& round : pending_) Apply(round, &durable_);
  pending_.clear();
}

absl::Status Store::TrySync() {
  full_ = full_ || full_at_sync_;
  if (full_) return MakeError(Reason::kDiskFull, "no room");
  Sync();
  return absl::OkStatus();
}

void Store::TruncateSuffix(PartitionNumber partition, Offset end) {
  Sync();
  Cut(end, &written_[partition]);
  Cut(end, &durable_[partition]);
  ++cuts_;
}

void Store::LosePower(Random* random) {
  const uint64_t kept = random->Below(pending_.size() + 1);
  for (uint64_t i = 0; i < kept; ++i) Apply(pending_[i], &durable_);
  pending_.clear();
  written_ = durable_;
  ++cuts_;
}

void Store::LoseEverything(const Uuid& directory) {
  directory_ = directory;
  clean_epoch_ = NodeEpoch{0};
  written_.clear();
  durable_.clear();
  pending_.clear();
  image_.reset();
  ++cuts_;
}

void Store::Drop(PartitionNumber partition) {
  Sync();
  written_.erase(partition);
  durable_.erase(partition);
  ++cuts_;
}

std::vector<PartitionNumber> Store::List() const {
  std::vector<PartitionNumber> partitions;
  for (const auto& [partition, log] : written_) partitions.push_back(partition);
  return partitions;
}

void Store::MakeWhole(PartitionNumber partition) {
  for (Logs* const logs : {&written_, &durable_}) {
    for (Batch& batch : (*logs)[partition].batches) batch.damaged = false;
  }
}

bool Store::IsDamaged(PartitionNumber partition) const {
  const StoredLog* const log = Find(partition, View::kWritten);
  return log != nullptr && std::any_of(log->batches.begin(), log->batches.end(),
                                       [](const Batch& batch) { return batch.damaged; });
}

void Store::TakeImage() { image_ = Image{durable_, directory_, clean_epoch_}; }

void Store::GoBackToImage() {
  if (!image_.has_value()) return;
  durable_ = written_ = image_->logs;
  for (auto& [partition, log] : written_) MakeWhole(partition);  // Other bits, not those.
  pending_.clear();
  directory_ = image_->directory;
  clean_epoch_ = image_->clean_epoch;
  ++cuts_;
}

const StoredLog* Store::Find(PartitionNumber partition, View view) const {
  const Logs& logs = view == View::kDurable ? durable_ : written_;
  const auto it = logs.find(partition);
  return it == logs.end() ? nullptr : &it->second;
}

Batch* Store::BatchAt(PartitionNumber partition, Offset offset, View view) {
  Logs& logs = view == View::kDurable ? durable_ : written_;
  const auto it = logs.find(partition);
  return it == logs.end() ? nullptr : it->second.Find(offset);
}

replica::Stored Store::Open(PartitionNumber partition) const {
  const StoredLog* const log = Find(partition, View::kWritten);
  if (log == nullptr) return {};
  return {.log_start = log->log_start,
          .log_end = log->log_end,
          .high_watermark = std::min(log->high_watermark, log->log_end),
          .epochs = log->epochs,
          .producers = log->Rows()};
}

}  // namespace falaj::simulation::data
