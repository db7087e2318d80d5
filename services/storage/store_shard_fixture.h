// What the tests of the store shard share: a shard on a store in memory, whose other nodes are the
// test.
#ifndef SERVICES_STORAGE_STORE_SHARD_FIXTURE_H_
#define SERVICES_STORAGE_STORE_SHARD_FIXTURE_H_

#include <atomic>
#include <map>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "gtest/gtest.h"

#include "libs/base/bytes.h"
#include "libs/base/mutex.h"
#include "libs/record/batch_builder.h"
#include "libs/telemetry/registry.h"
#include "services/storage/fake_log_store.h"
#include "services/storage/store_shard.h"

namespace falaj::storage {

// Keeps what a shard has to say to others.
class FakeOutbox final : public ReplicaOutbox {
 public:
  bool Attach(const log::PartitionKey& /*key*/, const Source& source,
              const replica::AttachRequest& request) override {
    MutexLock lock(&mu_);
    attaches_.emplace_back(source, request);
    return true;
  }
  void Acknowledge(const log::PartitionKey& /*key*/, const Source& /*source*/,
                   const replica::FollowerAck& ack) override {
    MutexLock lock(&mu_);
    acks_.push_back(ack);
  }
  void Consumed(const Source& /*source*/, int64_t /*bytes*/) override {}
  void Flush() override {}
  void Propose(const log::PartitionKey& /*key*/, const replica::IsrProposal& proposal) override {
    MutexLock lock(&mu_);
    proposals_.push_back(proposal);
  }

  void ReportDamage(const log::PartitionKey& /*key*/, const DamageReport& report) override {
    MutexLock lock(&mu_);
    damages_.push_back(report);
  }

  std::vector<DamageReport> damages() const {
    MutexLock lock(&mu_);
    return damages_;
  }
  std::vector<std::pair<Source, replica::AttachRequest>> attaches() const {
    MutexLock lock(&mu_);
    return attaches_;
  }
  std::vector<replica::FollowerAck> acks() const {
    MutexLock lock(&mu_);
    return acks_;
  }
  std::vector<replica::IsrProposal> proposals() const {
    MutexLock lock(&mu_);
    return proposals_;
  }

 private:
  mutable Mutex mu_;
  std::vector<std::pair<Source, replica::AttachRequest>> attaches_ ABSL_GUARDED_BY(mu_);
  std::vector<replica::FollowerAck> acks_ ABSL_GUARDED_BY(mu_);
  std::vector<DamageReport> damages_ ABSL_GUARDED_BY(mu_);
  std::vector<replica::IsrProposal> proposals_ ABSL_GUARDED_BY(mu_);
};

// Keeps the answers it is given.
class Answers final : public AppendSink {
 public:
  bool Abandoned() const override { return abandoned_.load(); }
  void Abandon() { abandoned_.store(true); }
  void Answer(AppendAnswer answer) override {
    MutexLock lock(&mu_);
    ++answered_[answer.request_id];
    answers_[answer.request_id] = std::move(answer);
    came_.NotifyAll();
  }
  void Flush() override {}

  AppendAnswer Wait(uint64_t request_id) {
    MutexLock lock(&mu_);
    while (!answers_.contains(request_id)) came_.Wait(&mu_);
    EXPECT_EQ(answered_[request_id], 1) << "answered more than once";
    return answers_[request_id];
  }
  bool Has(uint64_t request_id) {
    MutexLock lock(&mu_);
    return answers_.contains(request_id);
  }

 private:
  std::atomic<bool> abandoned_ = false;
  Mutex mu_;
  CondVar came_;
  std::map<uint64_t, AppendAnswer> answers_ ABSL_GUARDED_BY(mu_);
  std::map<uint64_t, int> answered_ ABSL_GUARDED_BY(mu_);
};

class CountingWaiter final : public Partition::Waiter {
 public:
  void Wake(GoOn /*where*/) override { ++woken; }
  std::atomic<int> woken = 0;
};

class StoreShardTest : public testing::Test {
 protected:
  StoreShardTest() { Reopen(); }

  void Reopen() {
    shard_.reset();
    shard_.emplace(
        StoreShard::Options{.node = NodeId{1}, .mailbox_bytes_max = 1 << 20},
        StoreShard::Parts{&store_, &tail_cache_, &metrics_, &clock_, &outbox_, history_.get()});
  }
  static log::PartitionKey Key(int32_t partition) {
    return {Uuid::FromRandomBits(1, 1), PartitionIndex{partition}};
  }
  // Of two replicas.
  static Assignment Two() {
    Assignment assignment;
    assignment.replicas = {NodeId{1}, NodeId{2}};
    return assignment;
  }
  // One of two replicas, in sync alone unless `isr` names others.
  std::shared_ptr<Partition> LeadTwo(std::vector<NodeId> isr = {NodeId{1}}) {
    return Lead(0, true, Two(), std::move(isr));
  }
  std::shared_ptr<Partition> Lead(int32_t partition, bool fsync = true, Assignment assignment = {},
                                  std::vector<NodeId> isr = {NodeId{1}}) {
    assignment.key = Key(partition);
    assignment.topic = "t";
    assignment.settings.fsync = fsync;
    assignment.leader = NodeId{1};
    assignment.epoch = LeaderEpoch{3};
    assignment.partition_epoch = PartitionEpoch{++partition_epoch_};
    assignment.isr = std::move(isr);
    shard_->Assign(assignment);
    Drain();
    return shard_->Find(assignment.key);
  }
  // Node 2 leads, or nobody if nobody is in sync, and node 1 has the partition, too.
  std::shared_ptr<Partition> Follow(int32_t partition, int32_t epoch = 3,
                                    std::vector<NodeId> isr = {NodeId{1}, NodeId{2}},
                                    Assignment assignment = Two()) {
    assignment.key = Key(partition);
    assignment.topic = "t";
    assignment.leader = NodeId{isr.empty() ? 0 : 2};
    assignment.epoch = LeaderEpoch{epoch};
    assignment.partition_epoch = PartitionEpoch{++partition_epoch_};
    assignment.isr = std::move(isr);
    shard_->Assign(assignment);
    Drain();
    return shard_->Find(assignment.key);
  }
  // Has the leader answer that the follower shall go on from where it is; returns the attach.
  uint64_t Attach(int32_t partition) {
    const uint64_t attach_id = outbox_.attaches().back().second.attach_id;
    shard_->AttachAnswered(Key(partition), {.attach_id = attach_id,
                                            .diverging = std::nullopt,
                                            .log_start = Offset{0},
                                            .high_watermark = Offset{0}});
    Drain();
    return attach_id;
  }
  // A batch of one record.
  ReplicateTask FromLeader(int32_t partition, uint64_t attach_id, Offset base) {
    ReplicateTask task;
    task.key = Key(partition);
    task.source = {.leader = NodeId{2}};
    task.marks = {.attach_id = attach_id, .log_start = Offset{0}, .high_watermark = Offset{0}};
    task.batches.push_back({.base = base,
                            .last = base,
                            .epoch = LeaderEpoch{3},
                            .max_timestamp_ms = 1000,
                            .producer = {},
                            .batch = Bytes::Copy("batch")});
    return task;
  }
  Offset StoredEnd(int32_t partition) {
    for (const log::StoredPartition& stored : store_.ListPartitions()) {
      if (stored.key == Key(partition)) return stored.log_end;
    }
    return Offset{-1};
  }
  // Waits until the shard has done everything asked so far.
  void Drain() {
    Mutex mu;
    CondVar done_cv;
    bool done = false;
    shard_->Post([&] {
      // The round of what came before is written when the turn ends: ask for one more turn.
      shard_->Post([&] {
        MutexLock lock(&mu);
        done = true;
        done_cv.NotifyAll();
      });
    });
    MutexLock lock(&mu);
    while (!done) done_cv.Wait(&mu);
  }
  AppendTask Task(std::shared_ptr<Partition> partition, uint64_t request_id, int records = 1) {
    record::BatchBuilder builder;
    for (int i = 0; i < records; ++i) builder.Add(1000, "k", "v");
    AppendTask task;
    task.partition = std::move(partition);
    task.epoch = LeaderEpoch{3};
    task.batch = builder.Build({}).value();
    task.info = {.record_count = records,
                 .size_bytes = static_cast<int64_t>(task.batch.size()),
                 .max_timestamp_ms = 1000};
    task.received = clock_.MonotonicNow();
    task.request_id = request_id;
    task.sink = answers_;
    return task;
  }

  AppendTask Numbered(std::shared_ptr<Partition> partition, uint64_t request_id, int32_t sequence,
                      int records) {
    AppendTask task = Task(std::move(partition), request_id, records);
    task.info.producer_id = ProducerId{7};
    task.info.producer_epoch = ProducerEpoch{0};
    task.info.base_sequence = Sequence{sequence};
    return task;
  }

  ManualClock clock_;
  telemetry::Registry registry_;
  StorageMetrics metrics_{&registry_};
  FakeLogStore store_;
  FakeOutbox outbox_;
  log::TailCache tail_cache_{log::TailCache::Options()};
  std::shared_ptr<Answers> answers_ = std::make_shared<Answers>();
  int64_t partition_epoch_ = 0;
  std::unique_ptr<KnownHistory> history_;  // Null, unless a test sets it and reopens.
  std::optional<StoreShard> shard_;
};

}  // namespace falaj::storage

#endif  // SERVICES_STORAGE_STORE_SHARD_FIXTURE_H_
