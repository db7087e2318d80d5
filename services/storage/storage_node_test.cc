// The life of a storage node: restarts, sessions, disks, identities, topics that come and go.
#include <filesystem>
#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "services/storage/storage_server_fixture.h"

namespace falaj::storage {
namespace {

class StorageNodeTest : public StorageServerTest {};

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
  Append(0, Batch(5));
  const TopicState old = topic_;
  metadata_.DeleteTopic("t");
  CreateTopic("t", 1);
  EXPECT_EQ(Latest(0).offset(), 0);
  EXPECT_EQ(Append(0, Batch(1)).base_offset(), 0);
  topic_ = old;
  ASSERT_TRUE(Eventually([&] { return Latest(0).error().reason() == "PARTITION_NOT_FOUND"; }));
}

TEST_F(StorageNodeTest, TopicDeletedWhileTheNodeWasAwayIsDroppedWhenItComesBack) {
  StartNode();
  CreateTopic("gone", 1);
  Append(0, Batch(5));
  CreateTopic("kept", 1);
  Append(0, Batch(5));
  node_->Stop();
  metadata_.DeleteTopic("gone");
  StartNode();
  WaitForTopic("kept");
  EXPECT_EQ(Latest(0).offset(), 5);
  node_->Stop();
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

}  // namespace
}  // namespace falaj::storage
