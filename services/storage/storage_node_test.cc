// The life of a storage node: restarts, sessions, disks, identities, topics that come and go.
#include <atomic>
#include <cmath>
#include <filesystem>
#include <memory>
#include <string>
#include <system_error>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "libs/cluster/election.h"
#include "services/storage/known_history.h"
#include "services/storage/storage_server_fixture.h"

namespace falaj::storage {
namespace {

class StorageNodeTest : public StorageServerTest {
 protected:
  // A node that looks after its slabs, which are small, all the time.
  void StartTidyNode() {
    StorageServer::Options options = Options();
    options.maintain_interval = absl::Milliseconds(5);
    options.retention_interval = absl::Milliseconds(5);
    options.slab_bytes_max = 1 << 20;
    StartNode(options);
  }
  // The bytes of the node's tables, as the directory shows them.
  int64_t TableBytes() const {
    uintmax_t bytes = 0;
    for (const auto& file : std::filesystem::directory_iterator(dir_ + "/log")) {
      std::error_code gone;
      const uintmax_t size = file.path().extension() == ".sst" ? file.file_size(gone) : 0;
      if (!gone) bytes += size;
    }
    return static_cast<int64_t>(bytes);
  }
  void BeginHistory(uint64_t recoveries) {
    internal::v1::ClusterCommand command;
    command.mutable_begin_history()->set_recoveries(recoveries);
    ASSERT_TRUE(metadata_.Apply(command).ok());
  }
  // The value of a series; -1 if there is none.
  double Metric(const std::string& series) const {
    return http::ScrapeMetric(node_->http_address(), series).value_or(-1);
  }
  int64_t Earliest() {
    v1::OffsetTarget target;
    target.set_named(v1::NAMED_OFFSET_EARLIEST);
    return Find(0, target).offset();
  }
  TopicSettings Settings() {
    TopicSettings settings;
    settings.set_fsync(true);
    settings.set_batch_bytes_max(1 << 20);
    settings.set_min_in_sync_replicas(1);
    settings.set_compression(v1::COMPRESSION_NONE);
    return settings;
  }
};

TEST_F(StorageNodeTest, CleanRestartKeepsEverythingAndOffsetsGoOn) {
  StartNode();
  CreateTopic("t", 3);
  for (int i = 0; i < 30; ++i) Append(i % 3, Batch(2));
  const internal::v1::NodeState before = metadata_.Node(1);
  node_->Stop();
  EXPECT_EQ(metadata_.Node(1).session_id(), 0) << "the session must be ended, not left to expire";
  EXPECT_EQ(metadata_.Node(1).node_epoch(), before.node_epoch())
      << "stopping is no time to register";
  EXPECT_TRUE(std::filesystem::exists(dir_ + "/clean"));
  StartNode();
  EXPECT_FALSE(std::filesystem::exists(dir_ + "/clean"));
  EXPECT_EQ(metadata_.Node(1).directory_id(), before.directory_id());
  WaitForTopic("t");
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(Offsets(ReadOne(i, 0)).size(), 20u);
    EXPECT_EQ(Append(i, Batch(1)).base_offset(), 20);
  }
}

TEST_F(StorageNodeTest, LeavingWithoutStopLosesNothingAcknowledged) {
  StartNode();
  CreateTopic("t", 1);
  for (int i = 0; i < 20; ++i) ASSERT_EQ(Append(0, Batch(1)).base_offset(), i);
  node_.reset();
  EXPECT_FALSE(std::filesystem::exists(dir_ + "/clean"));
  StartNode();
  WaitForTopic("t");
  EXPECT_EQ(Offsets(ReadOne(0, 0)).size(), 20u);
  EXPECT_EQ(Append(0, Batch(1)).base_offset(), 20);
}

TEST_F(StorageNodeTest, ProduceAndFetchGoOnWhileTheMetadataServiceIsDown) {
  StartNode();
  CreateTopic("t", 1);
  Append(0, Batch(1));
  metadata_.StopServing();
  ASSERT_TRUE(Eventually([&] { return !node_->Ready(); })) << "the session's timeout must pass";
  EXPECT_EQ(Append(0, Batch(1)).base_offset(), 1);
  EXPECT_THAT(Offsets(ReadOne(0, 0)), testing::ElementsAre(0, 1));
  metadata_.StartServing();
  ASSERT_TRUE(Eventually([&] { return node_->Ready(); }));
  CreateTopic("u", 1);
  EXPECT_EQ(Append(0, Batch(1)).base_offset(), 0);
}

TEST_F(StorageNodeTest, ExpiredSessionIsOpenedAgain) {
  StartNode();
  CreateTopic("t", 1);
  Append(0, Batch(1));
  const internal::v1::NodeState before = metadata_.Node(1);
  internal::v1::ClusterCommand expire;
  expire.mutable_end_session()->set_session_id(before.session_id());
  ASSERT_TRUE(metadata_.Apply(expire).ok());
  ASSERT_TRUE(Eventually([&] {
    const int64_t session = metadata_.Node(1).session_id();
    return session != 0 && session != before.session_id();
  }));
  ASSERT_TRUE(Eventually([&] { return metadata_.Topic("t").partitions(0).leader() == 1; }));
  WaitForTopic("t");
  EXPECT_EQ(Append(0, Batch(1)).base_offset(), 1);
}

TEST_F(StorageNodeTest, AReaderIsToldWhereTheLogPartsFromWhatItHasRead) {
  StartNode();
  CreateTopic("t", 1);
  Append(0, Batch(3));
  const int32_t first = topic_.partitions(0).leader_epoch();
  internal::v1::ClusterCommand expire;
  expire.mutable_end_session()->set_session_id(metadata_.Node(1).session_id());
  ASSERT_TRUE(metadata_.Apply(expire).ok());
  ASSERT_TRUE(Eventually([&] {
    return metadata_.Topic("t").partitions(0).leader_epoch() > first &&
           metadata_.Topic("t").partitions(0).leader() == 1;
  }));
  WaitForTopic("t");
  Append(0, Batch(2));
  const int32_t second = topic_.partitions(0).leader_epoch();
  const auto read_after = [this](int64_t offset, int32_t epoch) {
    ReadRequest request = ReadFrom(0, offset);
    request.mutable_partitions(0)->set_last_epoch(epoch);
    ReadResponse response;
    const absl::Status status = Read(request, &response);
    EXPECT_TRUE(status.ok()) << status;
    return response.partitions(0);
  };
  EXPECT_EQ(read_after(1, first).last_epoch(), second);
  EXPECT_FALSE(read_after(3, first).has_error());
  EXPECT_FALSE(read_after(4, second).has_error());
  EXPECT_FALSE(read_after(5, second).has_last_epoch()) << "there is nothing";
  const v1::Error error = read_after(4, first).error();
  EXPECT_EQ(error.reason(), "OFFSET_OUT_OF_RANGE") << "the first epoch ended at 3";
  EXPECT_EQ(error.metadata().at("diverging_offset"), "3");
  EXPECT_EQ(read_after(9, second).error().metadata().at("diverging_offset"), "5");
  EXPECT_EQ(read_after(3, second + 1).error().reason(), "NOT_LEADER");
  ReadRequest negative = ReadFrom(0, 3);
  negative.mutable_partitions(0)->set_last_epoch(-1);
  ReadResponse response;
  EXPECT_EQ(ReasonOf(Read(negative, &response)), Reason::kInvalidRequest);
}

TEST_F(StorageNodeTest, FullDiskRefusesProduceNamingTheNodeAndRecoversByItself) {
  StartNode();
  CreateTopic("t", 1);
  Append(0, Batch(1));
  free_bytes_ = int64_t{2} << 30;
  AppendOutcome response;
  ASSERT_TRUE(Eventually([&] {
    response = Append(0, Batch(1));
    return response.has_error();
  }));
  EXPECT_EQ(response.error().reason(), "DISK_FULL");
  EXPECT_EQ(response.error().metadata().at("node"), "1");
  EXPECT_TRUE(response.error().has_retry_delay());
  EXPECT_EQ(Offsets(ReadOne(0, 0)).front(), 0) << "reads go on";
  free_bytes_ = int64_t{500} << 30;
  EXPECT_TRUE(Eventually([&] { return !Append(0, Batch(1)).has_error(); }));
}

TEST_F(StorageNodeTest, DeletedTopicLeavesTheDiskAndARecreatedOneIsEmpty) {
  StartNode();
  CreateTopic("t", 1);
  for (int i = 0; i < 10; ++i) Append(0, Batch(1, std::string(100'000, 'x')));
  node_->Stop();  // All of it is in tables then.
  ASSERT_GT(TableBytes(), 1'000'000);
  StartTidyNode();
  WaitForTopic("t");
  const TopicState old = topic_;
  metadata_.DeleteTopic("t");
  EXPECT_TRUE(Eventually([&] { return TableBytes() < 100'000; })) << TableBytes();
  EXPECT_TRUE(Eventually([&] { return Metric("falaj_storage_table_bytes") < 100'000; }));
  CreateTopic("t", 1);
  EXPECT_EQ(Latest(0).offset(), 0);
  EXPECT_EQ(Append(0, Batch(1)).base_offset(), 0);
  topic_ = old;
  ASSERT_TRUE(Eventually([&] { return Latest(0).error().reason() == "PARTITION_NOT_FOUND"; }));
}

TEST_F(StorageNodeTest, TopicDeletedWhileTheNodeWasAwayIsDroppedWhenItComesBack) {
  StartNode();
  CreateTopic("gone", 1);
  for (int i = 0; i < 10; ++i) Append(0, Batch(1, std::string(100'000, 'x')));
  node_->Stop();
  metadata_.DeleteTopic("gone");
  ASSERT_GT(TableBytes(), 1'000'000);
  StartTidyNode();
  EXPECT_TRUE(Eventually([&] { return TableBytes() < 100'000; })) << TableBytes();
  CreateTopic("kept", 1);
  Append(0, Batch(5));
  node_->Stop();
  StartNode();
  WaitForTopic("kept");
  EXPECT_EQ(Latest(0).offset(), 5);
}

TEST_F(StorageNodeTest, LeadsInANewHistoryOnceItHasSaidWhatItHolds) {
  StartNode();
  CreateTopic("t", 1);
  Append(0, Batch(3));
  const int32_t before = metadata_.Topic("t").partitions(0).leader_epoch();
  BeginHistory(1);
  ASSERT_TRUE(Eventually([&] { return metadata_.Topic("t").partitions(0).leader() == 1; }));
  EXPECT_GT(metadata_.Topic("t").partitions(0).leader_epoch(), before + cluster::kEpochsOfHistory);
  WaitForTopic("t");
  EXPECT_EQ(Append(0, Batch(1)).base_offset(), 3);
  EXPECT_EQ(Metric("falaj_storage_quarantined_partitions"), 0);
}

TEST_F(StorageNodeTest, WhatANewHistoryDoesNotKnowStaysOnDiskUntilItIsReleased) {
  StartNode();
  CreateTopic("unknown", 1);
  for (int i = 0; i < 10; ++i) Append(0, Batch(1, std::string(100'000, 'x')));
  node_->Stop();
  metadata_.DeleteTopic("unknown");
  BeginHistory(1);
  StartTidyNode();
  ASSERT_TRUE(Eventually([&] { return Metric("falaj_storage_quarantined_partitions") == 1; }));
  node_->Stop();
  StartTidyNode();
  CreateTopic("t", 1);
  EXPECT_EQ(Append(0, Batch(1)).base_offset(), 0);
  EXPECT_EQ(Metric("falaj_storage_quarantined_partitions"), 1);
  EXPECT_GT(TableBytes(), 1'000'000);
  node_->Stop();
  ASSERT_TRUE(KnownHistory::Open(dir_).value()->Release().ok());
  StartTidyNode();
  EXPECT_TRUE(Eventually([&] { return TableBytes() < 100'000; })) << TableBytes();
}

TEST_F(StorageNodeTest, RetentionBySizeKeepsTheNewestAndCountsWhatGoes) {
  StartTidyNode();
  TopicSettings settings = Settings();
  settings.set_retention_ms(absl::ToInt64Milliseconds(absl::Hours(24 * 7)));
  settings.set_retention_bytes(100'000);
  CreateTopic("t", 1, settings);
  const std::string batch = Batch(1, std::string(2000, 'x'));
  const auto batch_bytes = static_cast<int64_t>(batch.size());
  int64_t end = 0;
  // A slab takes what is appended between two looks, and at least 8 KiB.
  ASSERT_TRUE(Eventually([&] {
    EXPECT_EQ(Append(0, batch).base_offset(), end++);
    const int64_t kept = (end - Earliest()) * batch_bytes;
    EXPECT_TRUE(Earliest() == 0 || kept >= 100'000) << kept;
    return Earliest() > 0 && kept < 200'000;
  })) << Earliest()
      << " of " << end;
  EXPECT_EQ(Offsets(ReadOne(0, Earliest())).front(), Earliest());
  EXPECT_TRUE(Eventually([&] {
    const auto gone = static_cast<double>(Earliest() * batch_bytes);
    const double counted = Metric("falaj_storage_retention_deleted_bytes_total{topic=\"t\"}");
    return std::abs(counted - gone) < gone / 10;
  })) << Get(node_->http_address(), "/metrics");
  EXPECT_TRUE(Eventually([&] { return TableBytes() < 300'000; })) << TableBytes();
}

TEST_F(StorageNodeTest, RetentionByAgeEmptiesATopicNobodyWritesTo) {
  StartTidyNode();
  CreateTopic("t", 1);
  for (int i = 0; i < 10; ++i) Append(0, Batch(1, std::string(100'000, 'x')));
  internal::v1::ClusterCommand command;
  internal::v1::UpdateTopicCommand& update = *command.mutable_update_topic();
  update.set_name("t");
  *update.mutable_settings() = topic_.settings();
  update.mutable_settings()->set_retention_ms(1000);
  update.add_fields("retention_ms");
  ASSERT_TRUE(metadata_.Apply(command).ok());
  EXPECT_TRUE(Eventually([&] { return Earliest() == 10; })) << Earliest();
  EXPECT_TRUE(Eventually([&] { return TableBytes() < 100'000; })) << TableBytes();
  EXPECT_GT(Metric("falaj_storage_retention_deleted_bytes_total{topic=\"t\"}"), 900'000);
  EXPECT_EQ(Append(0, Batch(1)).base_offset(), 10);
}

TEST_F(StorageNodeTest, ForeignClusterNeitherTakesTheNodeInNorHasItsDataDropped) {
  StartNode();
  CreateTopic("t", 1);
  Append(0, Batch(5));
  node_->Stop();
  FakeMetadata foreign(99);
  foreign.StartServing();
  StorageServer::Options options = Options();
  options.metadata_addresses = {foreign.address()};
  const uint64_t index = foreign.index();
  auto node = StorageServer::Start(options);
  ASSERT_TRUE(node.ok()) << node.status();
  ASSERT_TRUE(Eventually([&] { return foreign.index() > index; })) << "it must have tried";
  EXPECT_FALSE((*node)->Ready());
  std::string health;
  EXPECT_TRUE(Eventually([&] {
    health = Get((*node)->http_address(), "/healthz");
    return absl::StrContains(health, "CLUSTER_MISMATCH");
  })) << health;
  EXPECT_THAT(health, testing::HasSubstr("not ready: CLUSTER_MISMATCH: the data directory belongs "
                                         "to another cluster"));
  (*node)->Stop();
  StartNode();
  WaitForTopic("t");
  EXPECT_EQ(Latest(0).offset(), 5);
}

TEST_F(StorageNodeTest, DataDirectoryOfAnotherNodeIsRefused) {
  StartNode();
  node_->Stop();
  StorageServer::Options options = Options();
  options.node_id = 2;
  EXPECT_EQ(ReasonOf(StorageServer::Start(options).status()), Reason::kClusterMismatch);
}

TEST_F(StorageNodeTest, DamagedOrMissingIdentityIsRefused) {
  StartNode();
  node_->Stop();
  std::filesystem::rename(dir_ + "/identity", dir_ + "/identity.old");
  EXPECT_EQ(ReasonOf(StorageServer::Start(Options()).status()), Reason::kCorruptRecord);
  std::filesystem::copy(dir_ + "/clean", dir_ + "/identity");
  EXPECT_EQ(ReasonOf(StorageServer::Start(Options()).status()), Reason::kCorruptRecord);
}

TEST_F(StorageNodeTest, OptionsThatMakeNoSenseAreRefused) {
  StorageServer::Options options = Options();
  options.node_id = 0;
  EXPECT_EQ(ReasonOf(StorageServer::Start(options).status()), Reason::kInvalidConfig);
  options = Options();
  options.metadata_addresses.clear();
  EXPECT_EQ(ReasonOf(StorageServer::Start(options).status()), Reason::kInvalidConfig);
  // One that nobody knows, and one that only a simulated host makes.
  for (const char* bug : {"", "no-such-bug", "follower-acks-before-fsync"}) {
    options = Options();
    options.planted_bug = bug;
    EXPECT_EQ(ReasonOf(StorageServer::Start(options).status()), Reason::kInvalidConfig) << bug;
  }
}

TEST_F(StorageNodeTest, SettingsChangeWhileRunning) {
  StartNode();
  CreateTopic("t", 1);
  internal::v1::ClusterCommand command;
  internal::v1::UpdateTopicCommand& update = *command.mutable_update_topic();
  update.set_name("t");
  *update.mutable_settings() = topic_.settings();
  update.mutable_settings()->set_batch_bytes_max(2000);
  update.mutable_settings()->set_append_time(true);
  update.mutable_settings()->set_fsync(false);
  for (const char* field : {"batch_bytes_max", "append_time", "fsync"}) update.add_fields(field);
  ASSERT_TRUE(metadata_.Apply(command).ok());
  ASSERT_TRUE(Eventually([&] {
    return Append(0, Batch(1, std::string(3000, 'x'))).error().reason() == "RECORD_TOO_LARGE";
  }));
  const AppendOutcome response = Append(0, Batch(1));
  EXPECT_FALSE(response.durable());
  const PartitionBatches part = ReadOne(0, response.base_offset());
  const auto header = record::ParseBatchHeader(part.batches());
  ASSERT_TRUE(header.ok());
  EXPECT_TRUE(header->append_time());
  EXPECT_EQ(header->max_timestamp_ms, response.append_time_ms());
  EXPECT_TRUE(record::VerifyStoredBatch(Bytes::Copy(part.batches())).ok());
}

TEST_F(StorageNodeTest, DeliveryIsMeasuredForBatchesFromTheTailAndNotForThoseFromTheDisk) {
  StartNode();
  CreateTopic("t", 1);
  const auto deliveries = [&](const char* count) {
    const std::string metrics = Get(node_->http_address(), "/metrics");
    return metrics.find(absl::StrCat("falaj_delivery_seconds_count ", count, "\n")) !=
           std::string::npos;
  };
  for (int i = 0; i < 3; ++i) Append(0, Batch(2));
  EXPECT_TRUE(deliveries("0"));
  EXPECT_EQ(ReadOne(0, 0).next_offset(), 6);
  EXPECT_TRUE(deliveries("3"));
  EXPECT_EQ(ReadOne(0, 3).next_offset(), 6) << "from within the second batch";
  EXPECT_TRUE(deliveries("5"));
  EXPECT_EQ(ReadOne(0, 6).batches(), "");
  EXPECT_TRUE(deliveries("5"));
  const std::string metrics = Get(node_->http_address(), "/metrics");
  EXPECT_THAT(metrics, testing::HasSubstr("falaj_delivery_seconds_bucket{le=\"10\"} 5"))
      << "appended a moment ago";

  // A node that starts has nothing in memory, and the disk does not say when a batch was appended.
  node_->Stop();
  StartNode();
  WaitForTopic("t");
  EXPECT_EQ(ReadOne(0, 0).next_offset(), 6);
  EXPECT_TRUE(deliveries("0"));
}

TEST_F(StorageNodeTest, MetricsNameTopicsAndPartitionsUntilTheyAreGone) {
  StartNode();
  CreateTopic("t", 1);
  Append(0, Batch(3));
  ReadOne(0, 0);
  const std::string metrics = Get(node_->http_address(), "/metrics");
  for (const char* line :
       {"falaj_produced_records_total{topic=\"t\"} 3", "falaj_fetched_records_total{topic=\"t\"} 3",
        "falaj_partition_high_watermark{partition=\"0\",topic=\"t\"} 3",
        "falaj_produce_seconds_count{acks=\"all\"} 1", "falaj_storage_disk_free_bytes",
        "falaj_rocksdb_memtable_bytes", "falaj_build_info", "process_resident_memory_bytes"}) {
    EXPECT_THAT(metrics, testing::HasSubstr(line));
  }
  EXPECT_TRUE(Eventually(
      [&] { return Get(node_->http_address(), "/healthz").find("200") != std::string::npos; }));
  metadata_.DeleteTopic("t");
  EXPECT_TRUE(Eventually([&] {
    return Get(node_->http_address(), "/metrics").find("topic=\"t\"") == std::string::npos;
  }));
}

TEST_F(StorageNodeTest, ADiskWithoutRoomShowsInTheMetrics) {
  std::atomic<int64_t> free_bytes = int64_t{500} << 30;
  StorageServer::Options options = Options();
  options.disk_check_interval = absl::Milliseconds(5);
  options.disk_probe = [&](const std::string&) -> absl::StatusOr<log::DiskSpace> {
    return log::DiskSpace{int64_t{1000} << 30, free_bytes.load()};
  };
  StartNode(options);
  CreateTopic("t", 3);
  EXPECT_EQ(Metric("falaj_storage_read_only_partitions"), 0);
  EXPECT_EQ(Metric("falaj_storage_disk_total_bytes"), 1000.0 * (1 << 30));
  free_bytes = 1 << 20;
  EXPECT_TRUE(Eventually([&] { return Metric("falaj_storage_read_only_partitions") == 3; }));
  EXPECT_EQ(Metric("falaj_storage_disk_free_bytes"), 1 << 20);
  const AppendOutcome refused = Append(0, Batch(1));
  EXPECT_EQ(refused.error().reason(), "DISK_FULL");
  EXPECT_TRUE(refused.error().has_retry_delay());
  EXPECT_EQ(Metric("falaj_errors_total{reason=\"DISK_FULL\"}"), 1);
  free_bytes = int64_t{500} << 30;
  EXPECT_TRUE(Eventually([&] { return Metric("falaj_storage_read_only_partitions") == 0; }));
  EXPECT_FALSE(Append(0, Batch(1)).has_error());
  node_->Stop();  // Before what its probe looks at.
}

}  // namespace
}  // namespace falaj::storage
