// Tests of the gateway's pure parts: paging, message translation, plain records to batches, frames.
#include <set>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "libs/base/status.h"
#include "libs/cluster/topic_rules.h"
#include "libs/record/batch_builder.h"
#include "libs/record/batch_reader.h"
#include "libs/rpc/status_grpc.h"
#include "services/gateway/batch_frames.h"
#include "services/gateway/byte_budget.h"
#include "services/gateway/connection_budgets.h"
#include "services/gateway/paging.h"
#include "services/gateway/record_append.h"
#include "services/gateway/topic_messages.h"

namespace falaj::gateway {
namespace {

TEST(Paging, BoundsPageSizesAndRefusesNegativeOnes) {
  EXPECT_EQ(*PageSize(0), 50);
  EXPECT_EQ(*PageSize(7), 7);
  EXPECT_EQ(*PageSize(5000), 1000);
  EXPECT_EQ(ReasonOf(PageSize(-1).status()), Reason::kInvalidRequest);
}

TEST(Paging, TokensComeBackAndForeignOnesAreRefused) {
  const std::string token = MakePageToken("topics", "a:b");
  EXPECT_EQ(*ParsePageToken("topics", token), "a:b");
  EXPECT_EQ(*ParsePageToken("topics", ""), "");
  EXPECT_EQ(ReasonOf(ParsePageToken("nodes", token).status()), Reason::kInvalidRequest);
  EXPECT_EQ(ReasonOf(ParsePageToken("topics", "no token!").status()), Reason::kInvalidRequest);
}

TEST(TopicMessages, UnsetSettingsGetTheirDefaults) {
  const auto settings = ToSettings(v1::TopicConfig());
  ASSERT_TRUE(settings.ok());
  EXPECT_TRUE(cluster::SameTopicSettings(*settings, cluster::DefaultTopicSettings()));
}

TEST(TopicMessages, SettingsSurviveTheRoundTrip) {
  v1::TopicConfig config;
  config.mutable_retention()->set_seconds(60);
  config.set_retention_bytes(1000);
  config.set_durability(v1::DURABILITY_OS);
  config.set_compression(v1::COMPRESSION_ZSTD);
  config.set_batch_bytes_max(5000);
  config.set_min_in_sync_replicas(2);
  config.set_timestamp_type(v1::TIMESTAMP_TYPE_APPEND_TIME);
  config.mutable_unclean_election_after()->set_seconds(30);
  EXPECT_EQ(ToConfig(*ToSettings(config)).SerializeAsString(), config.SerializeAsString());
}

TEST(TopicMessages, APartitionWithoutALeaderNamesWhoMayLeadAgain) {
  cluster::TopicInfo topic;
  cluster::PartitionInfo& partition = topic.partitions.emplace_back();
  partition.replicas = {NodeId(1), NodeId(2), NodeId(3)};
  partition.elr = {NodeId(3), NodeId(2)};
  partition.last_leader = NodeId(2);
  const v1::Topic message = ToTopic(topic, true);
  EXPECT_FALSE(message.partitions(0).has_leader());
  EXPECT_THAT(message.partitions(0).eligible_leader_replicas(), testing::ElementsAre(3, 2));
  EXPECT_EQ(message.partitions(0).last_leader(), 2);
  topic.partitions[0].leader = NodeId(2);
  topic.partitions[0].last_leader = NodeId(0);
  EXPECT_FALSE(ToTopic(topic, true).partitions(0).has_last_leader());
}

TEST(TopicMessages, BadSettingsNameTheirField) {
  v1::TopicConfig config;
  config.mutable_retention()->set_seconds(-5);
  EXPECT_EQ(MetadataOf(ToSettings(config).status())["field"], "config.retention");
  config.mutable_retention()->set_seconds(std::numeric_limits<int64_t>::max());
  EXPECT_EQ(ReasonOf(ToSettings(config).status()), Reason::kInvalidConfig);
  v1::TopicConfig unknown;
  unknown.set_durability(static_cast<v1::Durability>(9));
  EXPECT_EQ(MetadataOf(ToSettings(unknown).status())["field"], "config.durability");
}

TEST(TopicMessages, MasksNameKnownFieldsOnly) {
  google::protobuf::FieldMask mask;
  EXPECT_EQ(ReasonOf(SettingsOfMask(mask).status()), Reason::kInvalidRequest);
  mask.add_paths("durability");
  EXPECT_THAT(*SettingsOfMask(mask), testing::ElementsAre("fsync"));
  mask.add_paths("colour");
  EXPECT_EQ(MetadataOf(SettingsOfMask(mask).status())["value"], "colour");
}

cluster::TopicInfo Topic(int partitions, int batch_bytes_max = 1 << 20) {
  cluster::TopicInfo topic;
  topic.name = "t";
  topic.settings = cluster::DefaultTopicSettings();
  topic.settings.set_batch_bytes_max(batch_bytes_max);
  for (int i = 0; i < partitions; ++i) {
    cluster::PartitionInfo info;
    info.index = PartitionIndex(i);
    info.leader = NodeId(1);
    topic.partitions.push_back(std::move(info));
  }
  return topic;
}

record::StickyPartitioner Sticky(const cluster::TopicInfo& topic) {
  record::StickyPartitioner sticky(Random(1), {});
  sticky.SetPartitions(LedPartitions(topic));
  return sticky;
}

v1::ProduceRequest Keyed(int count, int value_bytes = 10) {
  v1::ProduceRequest request;
  for (int i = 0; i < count; ++i) {
    v1::Record* record = request.add_records();
    record->set_key(absl::StrCat("key-", i));
    record->set_value(std::string(static_cast<size_t>(value_bytes), 'v'));
  }
  return request;
}

TEST(EncodeRecords, EveryRecordGoesToThePartitionOfItsKeyInOrder) {
  const cluster::TopicInfo topic = Topic(4);
  auto sticky = Sticky(topic);
  const v1::ProduceRequest request = Keyed(100);
  const auto batches = EncodeRecords(request.records(), std::nullopt, topic, &sticky, 5);
  ASSERT_TRUE(batches.ok());
  std::set<int> seen;
  for (const EncodedBatch& batch : *batches) {
    EXPECT_TRUE(std::is_sorted(batch.records.begin(), batch.records.end()));
    size_t at = 0;
    ASSERT_TRUE(record::ForEachRecord(batch.batch, {}, [&](const record::RecordView& view) {
                  const int index = batch.records[at++];
                  EXPECT_EQ(*view.key, request.records(index).key());
                  EXPECT_EQ(record::PartitionForKey(*view.key, 4), batch.partition);
                  EXPECT_EQ(view.timestamp_ms, 5);
                  seen.insert(index);
                }).ok());
    EXPECT_EQ(at, batch.records.size());
  }
  EXPECT_EQ(seen.size(), 100u);
}

TEST(EncodeRecords, SplitsBatchesAtTheTopicsLimit) {
  const cluster::TopicInfo topic = Topic(1, 2000);
  auto sticky = Sticky(topic);
  const auto batches = EncodeRecords(Keyed(50, 200).records(), std::nullopt, topic, &sticky, 5);
  ASSERT_TRUE(batches.ok());
  EXPECT_GT(batches->size(), 5u);
  for (const EncodedBatch& batch : *batches) EXPECT_LE(batch.batch.size(), 2000u);
}

TEST(EncodeRecords, RefusesARecordThatFitsNoBatch) {
  const cluster::TopicInfo topic = Topic(1, 2000);
  auto sticky = Sticky(topic);
  const auto batches = EncodeRecords(Keyed(1, 3000).records(), std::nullopt, topic, &sticky, 5);
  EXPECT_EQ(ReasonOf(batches.status()), Reason::kRecordTooLarge);
  EXPECT_EQ(MetadataOf(batches.status())["limit_bytes"], "2000");
}

TEST(EncodeRecords, RefusesBadInput) {
  const cluster::TopicInfo topic = Topic(2);
  auto sticky = Sticky(topic);
  const auto reason = [&](const v1::ProduceRequest& request, std::optional<int32_t> partition) {
    return ReasonOf(EncodeRecords(request.records(), partition, topic, &sticky, 5).status());
  };
  EXPECT_EQ(reason(v1::ProduceRequest(), std::nullopt), Reason::kInvalidRequest);
  EXPECT_EQ(reason(Keyed(1), 2), Reason::kPartitionNotFound);
  EXPECT_EQ(reason(Keyed(1), -1), Reason::kPartitionNotFound);
  v1::ProduceRequest header = Keyed(1);
  header.mutable_records(0)->add_headers();
  EXPECT_EQ(reason(header, std::nullopt), Reason::kInvalidRequest);
  v1::ProduceRequest early = Keyed(1);
  early.mutable_records(0)->mutable_timestamp()->set_seconds(-1);
  EXPECT_EQ(reason(early, std::nullopt), Reason::kInvalidRequest);
}

TEST(AppendGather, AnswersOnceWithPositionsInTheOrderOfTheRequest) {
  const std::vector<EncodedBatch> batches{{PartitionIndex(0), Bytes(), {0, 2}},
                                          {PartitionIndex(1), Bytes(), {1}}};
  std::vector<AppendGather::Result> results;
  AppendGather gather(batches, 3,
                      [&](AppendGather::Result result) { results.push_back(std::move(result)); });
  internal::v1::AppendOutcome appended;
  appended.set_base_offset(70);
  gather.Complete(0, appended);
  EXPECT_TRUE(results.empty());
  gather.Complete(1, MakeError(Reason::kNotEnoughReplicas, "few"));
  ASSERT_EQ(results.size(), 1u);
  EXPECT_EQ(results[0].positions[0].offset(), 70);
  EXPECT_EQ(results[0].positions[1].offset(), -1);
  EXPECT_EQ(results[0].positions[2].offset(), 71);
  EXPECT_TRUE(results[0].any_appended);
  EXPECT_EQ(results[0].appends[1].error().reason(), "NOT_ENOUGH_REPLICAS");
}

TEST(BatchFrames, WrappedBatchesParseAsTheMessageTheyStandFor) {
  v1::PartitionRecords message;
  message.set_topic("t");
  message.set_next_offset(9);
  const std::string framed = FramePrefix(3, message, 4) + "abcd";
  v1::PartitionRecords expected = message;
  expected.set_batches("abcd");
  std::string body;
  ASSERT_EQ(framed[0], 3 << 3 | 2);
  body = framed.substr(2);
  v1::PartitionRecords parsed;
  ASSERT_TRUE(parsed.ParseFromString(body));
  EXPECT_EQ(parsed.SerializeAsString(), expected.SerializeAsString());
}

TEST(BatchFrames, ReadAnswersComeApartAndMalformedOnesAreRefused) {
  internal::v1::ReadResponse response;
  auto* part = response.add_partitions();
  part->set_high_watermark(10);
  part->set_next_offset(8);
  part->set_batches("xyz");
  rpc::ToProto(MakeError(Reason::kNotLeader, "moved"), response.add_partitions()->mutable_error());
  const auto reads = ParseReadResponse(Bytes::Own(response.SerializeAsString()));
  ASSERT_TRUE(reads.ok());
  ASSERT_EQ(reads->size(), 2u);
  EXPECT_EQ((*reads)[0].high_watermark, Offset(10));
  EXPECT_EQ((*reads)[0].batches.ToString(), "xyz");
  EXPECT_EQ(ReasonOf((*reads)[1].error), Reason::kNotLeader);
  EXPECT_FALSE(ParseReadResponse(Bytes::Copy("\xff\xff\xff")).ok());
}

TEST(BatchFrames, DecodingSkipsRecordsBelowTheOffsetAskedFor) {
  record::BatchBuilder builder;
  for (int i = 0; i < 5; ++i) builder.Add(1000 + i, std::nullopt, absl::string_view("v"));
  record::BatchBuilder::BuildOptions options;
  options.base_offset = Offset(100);
  const Bytes batch = *builder.Build(options);
  v1::PartitionRecords description;
  description.set_next_offset(105);
  const auto runs = DecodeRuns(batch, Offset(103), description, {.run_bytes_max = 1 << 20});
  ASSERT_TRUE(runs.ok()) << runs.status();
  ASSERT_EQ(runs->size(), 1u);
  const v1::PartitionRecords& out = runs->front();
  ASSERT_EQ(out.records_size(), 2);
  EXPECT_EQ(out.records(0).offset(), 103);
  EXPECT_FALSE(out.records(0).has_key());
  EXPECT_EQ(out.next_offset(), 105);
  EXPECT_EQ(out.size_bytes(), static_cast<int64_t>(batch.size()));
  std::string damaged = batch.ToString();
  damaged.back() ^= 1;
  EXPECT_EQ(
      ReasonOf(
          DecodeRuns(Bytes::Own(damaged), Offset(0), description, {.run_bytes_max = 1}).status()),
      Reason::kCorruptRecord);
}

TEST(BatchFrames, LargeDecodedRunsAreCutWithoutLosingARecord) {
  Bytes batches;
  for (int b = 0; b < 3; ++b) {
    record::BatchBuilder builder;
    for (int i = 0; i < 10; ++i) builder.Add(1000, std::nullopt, std::string(1000, 'v'));
    record::BatchBuilder::BuildOptions options;
    options.codec = record::Codec::kZstd;
    options.base_offset = Offset(10 * b);
    batches = Bytes::Concat(batches, *builder.Build(options));
  }
  v1::PartitionRecords description;
  description.set_next_offset(30);
  const auto runs =
      DecodeRuns(batches, Offset(0), description, {.run_bytes_max = 4000, .runs_max = 1000});
  ASSERT_TRUE(runs.ok()) << runs.status();
  int64_t next = 0;
  int64_t size = 0;
  for (const v1::PartitionRecords& run : *runs) {
    EXPECT_LE(run.ByteSizeLong(), 4100u);
    for (const v1::Record& record : run.records()) EXPECT_EQ(record.offset(), next++);
    EXPECT_EQ(run.next_offset(), next);
    size += run.size_bytes();
  }
  EXPECT_EQ(next, 30);
  EXPECT_EQ(size, static_cast<int64_t>(batches.size()));
  const auto first = DecodeRuns(batches, Offset(0), description, {.run_bytes_max = 4000});
  ASSERT_TRUE(first.ok());
  ASSERT_EQ(first->size(), 1u);
  EXPECT_EQ(first->front().next_offset(), first->front().records_size());
  EXPECT_LT(first->front().next_offset(), 30);
}

TEST(BatchFrames, ABatchIsCutBetweenRecordsAndCountsWhereItsRecordsBegin) {
  Bytes batches;
  size_t one = 0;
  for (int b = 0; b < 2; ++b) {
    record::BatchBuilder builder;
    for (int i = 0; i < 3; ++i) builder.Add(1000, std::nullopt, std::string(1000, 'v'));
    record::BatchBuilder::BuildOptions options;
    options.base_offset = Offset(3 * b);
    const Bytes batch = *builder.Build(options);
    one = batch.size();
    batches = Bytes::Concat(batches, batch);
  }
  v1::PartitionRecords description;
  description.set_next_offset(6);
  const auto decode = [&](int64_t asked, const RunLimits& limits) {
    // As a read returns them: from the batch that holds the offset.
    const Bytes read = asked < 3 ? batches : batches.Subrange(one, one);
    return DecodeRuns(read, Offset(asked), description, limits)->front();
  };
  // The first three fit: the second batch has not begun.
  EXPECT_EQ(decode(0, {.run_bytes_max = 3500}).next_offset(), 3);
  EXPECT_EQ(decode(0, {.run_bytes_max = 3500}).size_bytes(), static_cast<int64_t>(one));
  const v1::PartitionRecords middle = decode(2, {.run_bytes_max = 2500});
  EXPECT_EQ(middle.records(0).offset(), 2);
  EXPECT_EQ(middle.next_offset(), 4);
  EXPECT_EQ(middle.size_bytes(), static_cast<int64_t>(2 * one));
  const v1::PartitionRecords large = decode(4, {.run_bytes_max = 10});
  EXPECT_EQ(large.records_size(), 1) << "a record larger than a message comes whole";
  EXPECT_EQ(large.next_offset(), 5);
  const v1::PartitionRecords none = decode(4, {.run_bytes_max = 10, .first_comes_whole = false});
  EXPECT_EQ(none.records_size(), 0);
  EXPECT_EQ(none.next_offset(), 4);
  EXPECT_EQ(none.size_bytes(), 0);
}

TEST(BatchFrames, EveryRunSaysOfWhichEpochItsLastRecordIs) {
  Bytes batches;
  for (int b = 0; b < 2; ++b) {
    record::BatchBuilder builder;
    for (int i = 0; i < 3; ++i) builder.Add(1000, std::nullopt, std::string(1000, 'v'));
    batches = Bytes::Concat(
        batches, record::StampBatch(*builder.Build({}), Offset(3 * b), LeaderEpoch(4 + 3 * b)));
  }
  v1::PartitionRecords description;
  description.set_next_offset(6);
  description.set_last_epoch(7);
  const auto runs =
      DecodeRuns(batches, Offset(0), description, {.run_bytes_max = 2500, .runs_max = 9});
  ASSERT_TRUE(runs.ok()) << runs.status();
  ASSERT_EQ(runs->size(), 3u) << "two records each";
  EXPECT_EQ(runs->at(0).last_epoch(), 4) << "the batch is cut, but known";
  EXPECT_EQ(runs->at(1).last_epoch(), 7) << "its last record is of the second batch";
  EXPECT_EQ(runs->at(2).last_epoch(), 7);
  const RunLimits no_room = {.run_bytes_max = 10, .first_comes_whole = false};
  EXPECT_FALSE(DecodeRuns(batches, Offset(0), description, no_room)->front().has_last_epoch())
      << "nothing was taken";
  const auto all = DecodeRuns(batches, Offset(0), description, {.run_bytes_max = 1 << 20});
  EXPECT_EQ(all->front().last_epoch(), 7);
}

TEST(BatchFrames, FirstBatchesFitTheBoundExceptTheVeryFirst) {
  PartitionRead read;
  size_t one = 0;
  for (int b = 0; b < 3; ++b) {
    record::BatchBuilder builder;
    builder.Add(1000, std::nullopt, std::string(100, 'v'));
    const Bytes batch = record::StampBatch(*builder.Build({}), Offset(b), LeaderEpoch(5 + b));
    one = batch.size();
    read.batches = Bytes::Concat(read.batches, batch);
  }
  const auto keep = [&read](size_t bytes_max) {
    PartitionRead kept = read;
    const absl::Status status = KeepFirstBatches(static_cast<int64_t>(bytes_max), &kept);
    EXPECT_TRUE(status.ok()) << status;
    return kept;
  };
  EXPECT_EQ(keep(1).batches.size(), one);
  EXPECT_EQ(keep(1).next_offset, Offset(1));
  EXPECT_EQ(keep(1).last_epoch, LeaderEpoch(5));
  EXPECT_EQ(keep(3 * one - 1).batches.size(), 2 * one);
  EXPECT_EQ(keep(3 * one - 1).next_offset, Offset(2));
  EXPECT_EQ(keep(3 * one - 1).last_epoch, LeaderEpoch(6));
  EXPECT_EQ(keep(1 << 20).batches.size(), 3 * one);
  EXPECT_EQ(keep(1 << 20).last_epoch, LeaderEpoch(7));
  read.batches = read.batches.Subrange(0, one / 2);
  EXPECT_FALSE(KeepFirstBatches(1 << 20, &read).ok());
}

TEST(ByteBudget, CallsWaitersOnceThereIsRoom) {
  ByteBudget budget(100);
  int calls = 0;
  EXPECT_TRUE(budget.HasRoomOrWait([&] { ++calls; }));
  budget.Add(150);
  EXPECT_FALSE(budget.HasRoomOrWait([&] { ++calls; }));
  budget.Remove(20);
  EXPECT_EQ(calls, 0);
  budget.Remove(50);
  EXPECT_EQ(calls, 1);
  budget.Remove(80);
  EXPECT_EQ(calls, 1);
  EXPECT_EQ(budget.used_bytes(), 0);
}

TEST(ConnectionBudgets, AFullConnectionLeavesTheOthersAlone) {
  ConnectionBudgets budgets(100, 1000);
  const CallBudget first = budgets.Open("ipv4:10.0.0.1:1");
  const CallBudget second = budgets.Open("ipv4:10.0.0.1:1");
  const CallBudget other = budgets.Open("ipv4:10.0.0.1:2");
  first.Add(60);
  EXPECT_EQ(first.Full(), std::nullopt);
  second.Add(60);
  EXPECT_EQ(first.Full(), BudgetScope::kConnection);
  EXPECT_EQ(second.Full(), BudgetScope::kConnection);
  EXPECT_EQ(other.Full(), std::nullopt);
  int calls = 0;
  EXPECT_EQ(other.AwaitRoom([&] { ++calls; }), std::nullopt);
  EXPECT_EQ(first.AwaitRoom([&] { ++calls; }), BudgetScope::kConnection);
  other.Add(10);
  other.Remove(10);
  EXPECT_EQ(calls, 0);
  second.Remove(60);
  EXPECT_EQ(calls, 1);
  first.Remove(60);
  EXPECT_EQ(budgets.used_bytes(), 0);
}

TEST(ConnectionBudgets, WhatAllHoldTogetherStopsEachOfThem) {
  ConnectionBudgets budgets(100, 150);
  const CallBudget first = budgets.Open("a");
  const CallBudget second = budgets.Open("b");
  first.Add(80);
  second.Add(80);
  EXPECT_EQ(first.Full(), BudgetScope::kGateway);
  std::vector<std::optional<BudgetScope>> found;
  EXPECT_EQ(second.AwaitRoom([&] { found.push_back(second.Full()); }), BudgetScope::kGateway);
  first.Add(30);
  EXPECT_EQ(first.AwaitRoom([&] { found.push_back(first.Full()); }), BudgetScope::kConnection);
  first.Remove(110);
  EXPECT_THAT(found, testing::ElementsAre(std::nullopt, std::nullopt));
  second.Remove(80);
}

TEST(ConnectionBudgets, AConnectionIsForgottenWithItsLastCall) {
  ConnectionBudgets budgets(100, 1000);
  {
    const CallBudget call = budgets.Open("a");
    call.Add(500);
    const CallBudget another = budgets.Open("a");
    const CallBudget other = budgets.Open("b");
    EXPECT_EQ(budgets.connections(), 2U);
    EXPECT_EQ(another.Full(), BudgetScope::kConnection);
    call.Remove(500);
  }
  EXPECT_EQ(budgets.connections(), 0U);
  EXPECT_EQ(budgets.Open("a").Full(), std::nullopt);
  EXPECT_EQ(budgets.connections(), 0U) << "a call that has ended";
}

TEST(ConnectionBudgets, TheRefusalNamesTheBudget) {
  const absl::Status status = BudgetExceeded(BudgetScope::kConnection);
  EXPECT_EQ(ReasonOf(status), Reason::kQuotaExceeded);
  EXPECT_EQ(MetadataOf(status)["scope"], "connection");
  EXPECT_EQ(MetadataOf(BudgetExceeded(BudgetScope::kGateway))["scope"], "gateway");
}

}  // namespace
}  // namespace falaj::gateway
