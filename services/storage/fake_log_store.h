// FakeLogStore is a LogStore in memory for tests of the store shard: it remembers the rounds it was
// given, can be held in the middle of one, and fails when told to.
#ifndef SERVICES_STORAGE_FAKE_LOG_STORE_H_
#define SERVICES_STORAGE_FAKE_LOG_STORE_H_

#include <map>
#include <optional>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"

#include "libs/base/mutex.h"
#include "libs/base/status.h"
#include "libs/log/log_store.h"

namespace falaj::storage {

class FakeLogStore final : public log::LogStore {
 public:
  struct CommittedRound {
    log::Round round;
    bool sync = false;
  };

  // Commit() returns this from now on.
  void SetResult(absl::Status status) {
    MutexLock lock(&mu_);
    result_ = std::move(status);
  }
  // CommitInSteps() returns this once the round is written.
  void SetSyncResult(absl::Status status) {
    MutexLock lock(&mu_);
    sync_result_ = std::move(status);
  }
  // DropPartition() returns this from now on.
  void SetDropResult(absl::Status status) {
    MutexLock lock(&mu_);
    drop_result_ = std::move(status);
  }
  // Commit() waits inside until Release().
  void Hold() {
    MutexLock lock(&mu_);
    held_ = true;
  }
  void Release() {
    MutexLock lock(&mu_);
    held_ = false;
    changed_.NotifyAll();
  }
  void WaitUntilInside() {
    MutexLock lock(&mu_);
    while (!inside_) changed_.Wait(&mu_);
  }
  std::vector<CommittedRound> rounds() const {
    MutexLock lock(&mu_);
    return rounds_;
  }

  std::vector<log::StoredPartition> ListPartitions() const override {
    MutexLock lock(&mu_);
    std::vector<log::StoredPartition> all;
    for (const auto& [id, partition] : partitions_) all.push_back(partition);
    return all;
  }
  absl::StatusOr<log::StoredPartition> OpenPartition(const log::PartitionKey& key,
                                                     const log::RetentionPolicy&) override {
    MutexLock lock(&mu_);
    if (!result_.ok()) return result_;
    for (const auto& [id, partition] : partitions_) {
      if (partition.key == key) return partition;
    }
    log::StoredPartition partition;
    partition.id = LocalPartitionId{++next_id_};
    partition.key = key;
    partitions_[partition.id] = partition;
    return partition;
  }
  absl::Status SetRetention(LocalPartitionId, const log::RetentionPolicy&) override {
    return absl::OkStatus();
  }
  absl::Status DropPartition(LocalPartitionId id) override {
    MutexLock lock(&mu_);
    if (drop_result_.ok()) partitions_.erase(id);
    return drop_result_;
  }
  absl::StatusOr<std::vector<record::ProducerRow>> LoadProducers(
      LocalPartitionId id) const override {
    MutexLock lock(&mu_);
    std::vector<record::ProducerRow> rows;
    for (const auto& [key, row] : producers_) {
      if (key.first == id) rows.push_back(row);
    }
    return rows;
  }
  absl::Status Commit(const log::Round& round, bool sync) override {
    MutexLock lock(&mu_);
    inside_ = true;
    changed_.NotifyAll();
    while (held_) changed_.Wait(&mu_);
    inside_ = false;
    if (!result_.ok()) return result_;
    for (const log::BatchWrite& write : round.batches) {
      partitions_.at(write.partition).log_end = write.last_offset + 1;
    }
    for (const auto& [id, start] : round.epochs) partitions_.at(id).epochs.push_back(start);
    for (const auto& [id, hw] : round.high_watermarks) partitions_.at(id).high_watermark = hw;
    for (const auto& [id, start] : round.log_starts) partitions_.at(id).log_start = start;
    for (const auto& [id, row] : round.producers) {
      producers_[{id, row.producer}] = row;
      if (row.history.window().empty()) producers_.erase({id, row.producer});
    }
    rounds_.push_back({round, sync});
    return absl::OkStatus();
  }
  // As Commit(), unless it is to fail after `written`.
  absl::Status CommitInSteps(const log::Round& round, absl::FunctionRef<void()> written) override {
    FALAJ_RETURN_IF_ERROR(Commit(round, /*sync=*/true));
    written();
    MutexLock lock(&mu_);
    return sync_result_;
  }
  absl::Status TruncateSuffix(LocalPartitionId, Offset) override { return absl::OkStatus(); }
  absl::StatusOr<log::ReadResult> Read(LocalPartitionId, Offset, Offset, size_t) const override {
    return MakeError(Reason::kUnsupported, "the shard never reads");
  }
  absl::StatusOr<std::optional<log::TimeResult>> FindTime(LocalPartitionId, int64_t,
                                                          Offset) const override {
    return std::nullopt;
  }
  absl::StatusOr<std::optional<Offset>> PlanRetention(LocalPartitionId, absl::Time,
                                                      Offset) const override {
    return std::nullopt;
  }
  absl::Status Maintain(absl::Time) override { return absl::OkStatus(); }

 private:
  mutable Mutex mu_;
  CondVar changed_;
  bool held_ ABSL_GUARDED_BY(mu_) = false;
  bool inside_ ABSL_GUARDED_BY(mu_) = false;
  absl::Status result_ ABSL_GUARDED_BY(mu_);
  absl::Status drop_result_ ABSL_GUARDED_BY(mu_);
  absl::Status sync_result_ ABSL_GUARDED_BY(mu_);
  uint32_t next_id_ ABSL_GUARDED_BY(mu_) = 0;
  std::map<LocalPartitionId, log::StoredPartition> partitions_ ABSL_GUARDED_BY(mu_);
  std::map<std::pair<LocalPartitionId, ProducerId>, record::ProducerRow> producers_
      ABSL_GUARDED_BY(mu_);
  std::vector<CommittedRound> rounds_ ABSL_GUARDED_BY(mu_);
};

}  // namespace falaj::storage

#endif  // SERVICES_STORAGE_FAKE_LOG_STORE_H_
