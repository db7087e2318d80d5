// What consumers hear when records they have read, or topics they read, are gone; and what the
// gateway must know for that.
#include <gmock/gmock.h>

#include <atomic>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"

#include "libs/client/consumer.h"
#include "libs/rpc/status_grpc.h"
#include "services/gateway/testing/consume_fixture.h"

namespace falaj::gateway {
namespace {

using ::testing::ElementsAre;
using ::testing::UnorderedElementsAreArray;

class LostRecordsTest : public ConsumeTest {
 protected:
  // An open frame that names the record before the position.
  static v1::ConsumeRequest OpenAfter(const std::string& topic, int64_t offset,
                                      int32_t last_epoch) {
    v1::ConsumeRequest open = OpenFrame(topic, {0}, 1 << 20);
    v1::PartitionPosition* const at =
        open.mutable_open()->mutable_partitions()->mutable_positions(0);
    at->mutable_position()->set_offset(offset);
    at->set_last_epoch(last_epoch);
    return open;
  }
  static v1::FetchRequest FetchAfter(const std::string& topic, int64_t offset, int32_t last_epoch) {
    v1::FetchRequest request;
    v1::FetchPartition* const partition = request.add_partitions();
    partition->set_topic(topic);
    partition->mutable_start()->set_offset(offset);
    partition->set_last_epoch(last_epoch);
    return request;
  }
  // Which the gateway took for the last batch.
  static int32_t EpochOf(FakeStorage* node) { return node->headers().back().leader_epoch(); }
  // The leader of partition 0 begins another epoch.
  void Elect(const std::string& topic) {
    const int32_t leader = LeaderIdOf(topic, 0);
    int64_t* const session = leader == 1 ? &session1_ : &session2_;
    metadata_.EndSession(*session);
    ASSERT_TRUE(Eventually([&] { return LeaderIdOf(topic, 0) == 0; }));
    *session = metadata_.AddNode(leader, LeaderOfId(leader)->address());
    ASSERT_TRUE(Eventually([&] { return LeaderIdOf(topic, 0) == leader; }));
  }
  FakeStorage* LeaderOfId(int32_t id) { return id == 1 ? &storage1_ : &storage2_; }
  void DeleteTopic(const std::string& name) {
    grpc::ClientContext context;
    v1::DeleteTopicRequest request;
    v1::DeleteTopicResponse response;
    request.set_name(name);
    ASSERT_TRUE(topics_->DeleteTopic(&context, request, &response).ok());
  }
  // Runs `call` while the metadata service says every now and then that it is there.
  void WhileMetadataIsThere(const std::function<void()>& call) {
    std::atomic<bool> done{false};
    std::thread caller([&] {
      call();
      done = true;
    });
    EXPECT_TRUE(Eventually([&] {
      metadata_.Keepalive();
      return done.load();
    }));
    caller.join();
  }
};

TEST_F(LostRecordsTest, AClientMaySayWhatItHasRead) {
  CreateTopic("t", 1);
  MustProduce("t", 0, MakeBatch(2, "v"));
  FakeStorage* const node = LeaderOf("t", 0);
  const int32_t first = EpochOf(node);
  Elect("t");
  MustProduce("t", 0, MakeBatch(2, "w"));
  const int32_t second = EpochOf(node);
  ASSERT_GT(second, first);

  grpc::ClientContext context;
  auto stream = Start(&context, OpenAfter("t", 1, first));
  EXPECT_EQ(ReadRecords(stream.get()).next_offset(), 4);
  EXPECT_EQ(node->reads().front().last_epoch(), first);
  context.TryCancel();
  const auto fetched = Fetch(FetchAfter("t", 2, first));
  ASSERT_TRUE(fetched.ok()) << fetched.status();
  EXPECT_EQ(fetched->partitions(0).records_size(), 2);
  EXPECT_EQ(fetched->partitions(0).last_epoch(), second);

  // There are three records before it, but the first epoch had two.
  const absl::Status lost = EndOf({OpenAfter("t", 3, first)});
  EXPECT_EQ(ReasonOf(lost), Reason::kOffsetOutOfRange) << lost;
  EXPECT_EQ(MetadataOf(lost)["diverging_offset"], "2");
  const auto refused = Fetch(FetchAfter("t", 3, first));
  ASSERT_TRUE(refused.ok()) << refused.status();
  EXPECT_EQ(refused->partitions(0).error().reason(), "OFFSET_OUT_OF_RANGE");
  EXPECT_EQ(refused->partitions(0).error().metadata().at("diverging_offset"), "2");

  EXPECT_EQ(ReasonOf(EndOf({OpenAfter("t", 1, -1)})), Reason::kInvalidRequest);
  const absl::Status negative = Fetch(FetchAfter("t", 1, -1)).status();
  EXPECT_EQ(ReasonOf(negative), Reason::kInvalidRequest);
  EXPECT_EQ(MetadataOf(negative)["field"], "partitions.last_epoch");
}

TEST_F(LostRecordsTest, APositionOfATopicMadeAgainIsOutOfRange) {
  CreateTopic("t", 1);
  Elect("t");
  MustProduce("t", 0, MakeBatch(2));
  const int32_t old = EpochOf(LeaderOf("t", 0));
  DeleteTopic("t");
  CreateTopic("t", 1);
  MustProduce("t", 0, MakeBatch(5));
  ASSERT_LT(EpochOf(LeaderOf("t", 0)), old);
  absl::Status end;
  WhileMetadataIsThere([&] { end = EndOf({OpenAfter("t", 2, old)}); });
  EXPECT_EQ(ReasonOf(end), Reason::kOffsetOutOfRange) << end;
  EXPECT_EQ(MetadataOf(end)["high_watermark"], "5");
  EXPECT_EQ(MetadataOf(end)["log_start_offset"], "0");
  EXPECT_EQ(MetadataOf(end)["topic"], "t");
  EXPECT_EQ(MetadataOf(end)["partition"], "0");
  EXPECT_FALSE(MetadataOf(end).contains("diverging_offset")) << "nobody knows";
}

TEST_F(LostRecordsTest, AFetchAfterAnEpochNobodyHasReachedIsOutOfRange) {
  CreateTopic("t", 1);
  CreateTopic("u", 1);
  MustProduce("t", 0, MakeBatch(5));
  MustProduce("u", 0, MakeBatch(1));
  v1::FetchRequest request = FetchAfter("t", 2, INT32_MAX);
  absl::StatusOr<v1::FetchResponse> response;
  WhileMetadataIsThere([&] { response = Fetch(request); });
  ASSERT_TRUE(response.ok()) << response.status();
  EXPECT_EQ(response->partitions(0).error().reason(), "OFFSET_OUT_OF_RANGE");
  EXPECT_EQ(response->partitions(0).error().metadata().at("high_watermark"), "5");
  // Others always have records: it must not be put off until they have none.
  *request.add_partitions() = FetchOf("u", {0}).partitions(0);
  WhileMetadataIsThere([&] { response = Fetch(request); });
  ASSERT_TRUE(response.ok()) << response.status();
  EXPECT_EQ(response->partitions(0).error().reason(), "OFFSET_OUT_OF_RANGE");
  EXPECT_EQ(response->partitions(1).records_size(), 1);
}

TEST_F(LostRecordsTest, AGatewayThatIsCutOffDoesNotSayThatRecordsAreLost) {
  CreateTopic("t", 1);
  MustProduce("t", 0, MakeBatch(5));  // From here on the metadata service says nothing.
  std::thread reader([&] {
    grpc::ClientContext context;
    auto stream = Start(&context, OpenAfter("t", 2, INT32_MAX));
    std::atomic<bool> ended{false};
    std::thread waiter([&] {
      v1::ConsumeResponse response;
      EXPECT_FALSE(stream->Read(&response));
      ended = true;
    });
    const MonotonicTime enough = Clock::Real()->MonotonicNow() + absl::Milliseconds(2500);
    EXPECT_TRUE(Eventually([&] { return Clock::Real()->MonotonicNow() > enough; }));
    EXPECT_FALSE(ended);
    context.TryCancel();
    waiter.join();
  });
  // It hears of something meanwhile, but not that this was all.
  std::thread creator([&] {
    const MonotonicTime soon = Clock::Real()->MonotonicNow() + absl::Milliseconds(500);
    EXPECT_TRUE(Eventually([&] { return Clock::Real()->MonotonicNow() > soon; }));
    CreateTopic("u", 1);
  });
  const auto response = Fetch(FetchAfter("t", 2, INT32_MAX));
  creator.join();
  reader.join();
  ASSERT_TRUE(response.ok()) << response.status();
  EXPECT_EQ(response->partitions(0).error().reason(), "LEADER_UNAVAILABLE");
}

TEST_F(LostRecordsTest, AFetchDoubtsARecordFromTheFirstAnswerOnNotFromItsOwnBegin) {
  CreateTopic("t", 1);
  CreateTopic("away", 2);
  MustProduce("t", 0, MakeBatch(2));
  const int32_t first = EpochOf(LeaderOf("t", 0));
  Elect("t");
  MustProduce("t", 0, MakeBatch(2));
  FakeStorage* const node = LeaderOf("t", 0);
  const int32_t next = EpochOf(node) + (EpochOf(node) - first);
  // The lookup of a partition nobody leads takes longer than a doubt may last.
  const int32_t other = LeaderIdOf("t", 0) == 1 ? 2 : 1;
  const int32_t away = LeaderIdOf("away", 0) == other ? 0 : 1;
  ASSERT_EQ(LeaderIdOf("away", away), other);
  metadata_.EndSession(other == 1 ? session1_ : session2_);
  ASSERT_TRUE(Eventually([&] { return LeaderIdOf("away", away) == 0; }));
  v1::FetchRequest request = FetchAfter("t", 4, next);
  v1::FetchPartition* const by_name = request.add_partitions();
  by_name->set_topic("away");
  by_name->set_partition(away);
  by_name->mutable_start()->set_named(v1::NAMED_OFFSET_EARLIEST);
  const size_t reads = node->reads().size();
  absl::StatusOr<v1::FetchResponse> response;
  std::thread fetcher([&] { response = Fetch(request); });
  ASSERT_TRUE(Eventually([&] {
    metadata_.Keepalive();
    return node->reads().size() > reads;
  }));
  Elect("t");
  MustProduce("t", 0, MakeBatch(1, "new"));
  ASSERT_EQ(EpochOf(node), next);
  fetcher.join();
  ASSERT_TRUE(response.ok()) << response.status();
  EXPECT_FALSE(response->partitions(0).has_error())
      << response->partitions(0).error().ShortDebugString();
  EXPECT_EQ(response->partitions(0).records_size(), 1);
}

TEST_F(LostRecordsTest, AnEpochTheGatewayHasNotHeardOfYetIsWaitedFor) {
  CreateTopic("t", 1);
  MustProduce("t", 0, MakeBatch(2));
  FakeStorage* const node = LeaderOf("t", 0);
  const int32_t first = EpochOf(node);
  Elect("t");
  MustProduce("t", 0, MakeBatch(2));
  const int32_t next = EpochOf(node) + (EpochOf(node) - first);
  grpc::ClientContext context;
  auto stream = Start(&context, OpenAfter("t", 4, next));
  ASSERT_TRUE(Eventually([&] { return node->reads().size() > 2; })) << "it asks again";
  Elect("t");
  MustProduce("t", 0, MakeBatch(1, "new"));
  ASSERT_EQ(EpochOf(node), next);
  EXPECT_THAT(ValuesOf(ReadRecords(stream.get()).batches()), ElementsAre("new0"));
  context.TryCancel();
}

TEST_F(LostRecordsTest, AStreamThatWasPausedWhileItsTopicWasMadeAgainIsTold) {
  CreateTopic("t", 1);
  MustProduce("t", 0, MakeBatch(2));
  grpc::ClientContext context;
  // No credit is left after the first frame, so nothing is under way.
  auto stream = Start(&context, OpenFrame("t", {0}, 1));
  EXPECT_EQ(ReadRecords(stream.get()).next_offset(), 2);
  DeleteTopic("t");
  CreateTopic("t", 1);
  MustProduce("t", 0, MakeBatch(5));
  stream->Write(GrantFrame(1 << 20));
  v1::ConsumeResponse response;
  while (stream->Read(&response)) EXPECT_FALSE(response.has_records()) << "of another topic";
  const absl::Status end = rpc::FromGrpc(stream->Finish());
  EXPECT_EQ(ReasonOf(end), Reason::kOffsetOutOfRange) << end;
  EXPECT_EQ(MetadataOf(end)["topic"], "t");
  EXPECT_EQ(MetadataOf(end)["partition"], "0");
}

TEST_F(LostRecordsTest, TheEpochIsKnownHoweverSmallTheCreditIs) {
  CreateTopic("t", 1);
  FakeStorage* const node = LeaderOf("t", 0);
  for (int i = 0; i < 3; ++i) MustProduce("t", 0, MakeBatch(10));
  for (const v1::RecordFormat format : {v1::RECORD_FORMAT_BATCHES, v1::RECORD_FORMAT_RECORDS}) {
    grpc::ClientContext context;
    v1::ConsumeRequest open = OpenFrame("t", {0}, 1);
    open.mutable_open()->set_format(format);
    auto stream = Start(&context, open);
    for (int64_t next = 10; next <= 30; next += 10) {
      const v1::PartitionRecords frame = ReadRecords(stream.get());
      EXPECT_EQ(frame.next_offset(), next);
      EXPECT_TRUE(frame.has_last_epoch());
      EXPECT_EQ(frame.last_epoch(), EpochOf(node));
      stream->Write(GrantFrame(frame.size_bytes()));
    }
    context.TryCancel();
  }
  for (const internal::v1::ReadPartition& read : node->reads()) {
    EXPECT_EQ(read.has_last_epoch(), read.offset() > 0) << read.ShortDebugString();
  }
}

TEST_F(LostRecordsTest, WhateverEndsAStreamSaysWhichPartitionItIs) {
  const auto expect_located = [](absl::Status end, Reason reason, const std::string& topic) {
    EXPECT_EQ(ReasonOf(end), reason) << end;
    EXPECT_EQ(MetadataOf(end)["topic"], topic);
    EXPECT_EQ(MetadataOf(end)["partition"], "0");
  };
  CreateTopic("t", 1);
  expect_located(EndOf({OpenFrame("none", {0}, 100)}), Reason::kTopicNotFound, "none");
  v1::ConsumeRequest by_name = OpenFrame("none", {0}, 100);
  by_name.mutable_open()->mutable_partitions()->mutable_positions(0)->mutable_position()->set_named(
      v1::NAMED_OFFSET_LATEST);
  expect_located(EndOf({by_name}), Reason::kTopicNotFound, "none");
  MustProduce("t", 0, MakeBatch(2));
  LeaderOf("t", 0)->DamageBatches();
  v1::ConsumeRequest decoded = OpenFrame("t", {0}, 100);
  decoded.mutable_open()->set_format(v1::RECORD_FORMAT_RECORDS);
  expect_located(EndOf({decoded}), Reason::kCorruptRecord, "t");
}

TEST_F(LostRecordsTest, AConsumerOfManyGoesOnWithoutTheTopicThatIsDeleted) {
  CreateTopic("gone", 1);
  CreateTopic("stays", 4);
  client::ConsumerOptions options;
  options.address = gateway_->grpc_address();
  std::vector<client::ConsumerPosition> positions = {
      {"gone", PartitionIndex(0), client::AtOffset(Offset(0))}};
  for (int p = 0; p < 4; ++p) {
    positions.push_back({"stays", PartitionIndex(p), client::AtOffset(Offset(0))});
  }
  auto consumer = *client::Consumer::Create(options, positions);
  std::vector<absl::Status> errors;
  const auto read = [&](size_t count) {
    std::vector<std::string> values;
    EXPECT_TRUE(Eventually([&] {
      const absl::StatusOr<client::RecordRun> run = consumer->Poll(absl::Milliseconds(100));
      if (!run.ok()) {
        errors.push_back(run.status());
        return errors.size() > 5;
      }
      for (const auto& record : run->records()) values.emplace_back(*record.value);
      return values.size() >= count;
    }));
    return values;
  };
  MustProduce("gone", 0, MakeBatch(1, "last"));
  EXPECT_THAT(read(1), ElementsAre("last0"));
  DeleteTopic("gone");
  for (int round = 0; round < 2; ++round) {
    // At both nodes, so that neither waits with what is asked of the topic that is gone.
    std::vector<std::string> sent;
    for (int p = 0; p < 4; ++p) {
      const std::string text = absl::StrCat(round, "-", p, "-");
      MustProduce("stays", p, MakeBatch(1, text));
      sent.push_back(text + "0");
    }
    EXPECT_THAT(read(4), UnorderedElementsAreArray(sent));
  }
  ASSERT_EQ(errors.size(), 1u);
  EXPECT_EQ(ReasonOf(errors[0]), Reason::kTopicNotFound) << errors[0];
  EXPECT_EQ(MetadataOf(errors[0])["topic"], "gone");
  EXPECT_EQ(MetadataOf(errors[0])["partition"], "0");
}

}  // namespace
}  // namespace falaj::gateway
