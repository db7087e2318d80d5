// The leader's end of a replica stream, with a follower that is this test: node 2.
#include <map>
#include <string>
#include <thread>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "libs/http/testing/scrape.h"
#include "services/storage/replica_stream_fixture.h"

namespace falaj::storage {
namespace {

TEST_F(ReplicaStreamTest, PushesWhatIsWrittenAndCommitsWhatIsHeld) {
  Serve();
  Producer producer(stub_.get());
  producer.Send(Request(partition_, Batch(3)));
  const auto header = record::VerifyStoredBatch(Bytes::Copy(NextBatches()));
  EXPECT_EQ(header->base_offset, Offset{1});
  EXPECT_EQ(header->leader_epoch.value(), topic_.partitions(partition_).leader_epoch());
  EXPECT_EQ(Latest(partition_).high_watermark(), 1) << "the follower has not said that it holds it";
  Ack(index_, 4);
  const AppendOutcome answer = producer.Receive();
  EXPECT_FALSE(answer.has_error()) << answer.DebugString();
  EXPECT_EQ(answer.base_offset(), 1);
  EXPECT_EQ(answer.in_sync_replicas(), 2);
  context_->TryCancel();
}

TEST_F(ReplicaStreamTest, WhatOneRoundHasWrittenOfAllPartitionsLeavesTogether) {
  constexpr int kRounds = 50;
  Start(4);
  const int first = partition_;
  int second = 3;
  while (second == first || topic_.partitions(second).leader() != 1) --second;
  Attach(1 << 20);
  ReplicateRequest request;
  partition_ = second;
  AddAttach(70, 0, &request);
  ASSERT_TRUE(stream_->Write(request));
  for (int starts = 0; starts < 2;) {
    ReplicateResponse response;
    ASSERT_TRUE(stream_->Read(&response));
    for (const auto& news : response.news()) {
      if (news.batches().empty()) continue;
      Ack(news.index(), 1);
      ++starts;
    }
  }
  for (const int partition : {first, second}) {
    ASSERT_TRUE(Eventually([&] { return !Latest(partition).has_error(); }));
  }
  const auto sent = [&] {
    return http::ScrapeMetric(node_->http_address(),
                              "falaj_replica_messages_total{direction=\"sent\"}")
        .value_or(-1);
  };
  const double before = sent();
  Producer producer(stub_.get());
  for (int i = 0; i < kRounds; ++i) {
    internal::v1::AppendRequest both;
    *both.add_batches() = Request(first, Batch(1), v1::ACKS_LEADER);
    *both.add_batches() = Request(second, Batch(1), v1::ACKS_LEADER);
    ASSERT_TRUE(producer.Send(both));
    for (int k = 0; k < 2; ++k) ASSERT_FALSE(producer.Receive().has_error());
  }
  EXPECT_GT(before, 0);
  // Mostly one for both: now and then the shard's thread is up already and begins with the first.
  EXPECT_LT(sent() - before, 1.5 * kRounds);
  context_->TryCancel();
}

TEST_F(ReplicaStreamTest, ALeaderLeftAloneIsReadRefusesAcksAllAndGoesOnWhenTheFollowerIsBack) {
  Serve();
  {
    Producer producer(stub_.get());
    AppendThree(&producer);
  }
  context_->TryCancel();
  EndSession(kFollower);
  EndSession(1);  // It opens another one, and is elected as the last that was in sync.
  WaitForNextEpoch();

  Producer producer(stub_.get());
  EXPECT_EQ(producer.Append(Request(partition_, Batch(1))).error().reason(), "NOT_ENOUGH_REPLICAS");
  EXPECT_EQ(producer.Append(Request(partition_, Batch(1), v1::ACKS_LEADER)).error().reason(),
            "NOT_LEADER");
  EXPECT_THAT(Offsets(ReadOne(partition_, 1)), testing::ElementsAre(1, 2, 3));
  const PartitionBatches end = ReadOne(partition_, 4);
  EXPECT_FALSE(end.has_error()) << end.DebugString();
  EXPECT_EQ(end.high_watermark(), 4);
  EXPECT_EQ(ReadOne(partition_, 5).error().reason(), "LEADER_UNAVAILABLE") << "it cannot know";
  EXPECT_EQ(Latest(partition_).error().reason(), "LEADER_UNAVAILABLE");
  EXPECT_TRUE(Latest(partition_).error().retryable());
  v1::OffsetTarget target;
  target.set_named(v1::NAMED_OFFSET_EARLIEST);
  EXPECT_EQ(Find(partition_, target).offset(), 0);
  EXPECT_FALSE(Find(partition_, target).has_error());
  target.mutable_time()->set_seconds(1);
  EXPECT_EQ(Find(partition_, target).offset(), 1) << "control records have no time";
  target.mutable_time()->set_seconds(int64_t{1} << 33);
  EXPECT_EQ(Find(partition_, target).error().reason(), "LEADER_UNAVAILABLE");

  RegisterFollower();
  Attach(1 << 20);
  NextBatches();
  Ack(index_, 5);
  ASSERT_TRUE(Eventually([&] { return !Latest(partition_).has_error(); }));
  EXPECT_EQ(Latest(partition_).offset(), 5);
  producer.Send(Request(partition_, Batch(1)));
  NextBatches();
  Ack(index_, 6);
  EXPECT_EQ(producer.Receive().base_offset(), 5);
  context_->TryCancel();
  EndSession(kFollower);  // Else the node, when it stops, waits for it to take over.
}

TEST_F(ReplicaStreamTest, RecordsAreDeletedOnceTheFollowerSaysThatItHasDeletedThem) {
  Serve();
  Producer producer(stub_.get());
  AppendThree(&producer);

  internal::v1::TruncatePrefixRequest request;
  request.set_topic_id(topic_.topic_id());
  request.set_partition(partition_);
  request.set_leader_epoch(topic_.partitions(partition_).leader_epoch());
  request.mutable_before()->set_offset(3);
  internal::v1::TruncatePrefixResponse response;
  grpc::ClientContext context;
  grpc::CompletionQueue queue;
  auto call = stub_->AsyncTruncatePrefix(&context, request, &queue);
  grpc::Status status;
  call->Finish(&response, &status, this);
  // The follower hears of it, and so the leader has done it.
  ReplicateResponse news;
  int64_t log_start = 0;
  while (log_start < 3 && stream_->Read(&news)) {
    for (const auto& one : news.news()) log_start = one.log_start();
  }
  EXPECT_EQ(ReadOne(partition_, 2).error().reason(), "OFFSET_OUT_OF_RANGE");
  void* tag = nullptr;
  bool ok = false;
  const bool early =
      queue.AsyncNext(&tag, &ok, gpr_time_0(GPR_CLOCK_MONOTONIC)) != grpc::CompletionQueue::TIMEOUT;
  EXPECT_FALSE(early) << "the follower may lead next";
  Ack(index_, 4, 3);
  ASSERT_TRUE(early || queue.Next(&tag, &ok));
  EXPECT_TRUE(status.ok()) << status.error_message();
  EXPECT_EQ(response.log_start_offset(), 3);
  context_->TryCancel();
}

// Who has nothing left after the cut begins there.
TEST_F(ReplicaStreamTest, ACutComesWithWhereTheLogBeginsAndWhatIsCommitted) {
  Serve();
  Producer producer(stub_.get());
  AppendThree(&producer);
  std::thread deletion([&] { EXPECT_TRUE(DeleteBefore(3).ok()); });
  ReplicateResponse response;
  for (int64_t log_start = 0; log_start < 3;) {
    ASSERT_TRUE(stream_->Read(&response));
    for (const auto& news : response.news()) log_start = news.log_start();
  }
  Ack(index_, 4, 3);
  deletion.join();
  ReplicateRequest request;
  AddAttach(60, 10, &request);  // Beyond the leader's end.
  ASSERT_TRUE(stream_->Write(request));
  do {
    ASSERT_TRUE(stream_->Read(&response));
  } while (response.attached().empty());
  const internal::v1::ReplicaAttached& answer = response.attached(0);
  EXPECT_EQ(answer.cut().epoch(), topic_.partitions(partition_).leader_epoch());
  EXPECT_EQ(answer.cut().end(), 4);
  EXPECT_EQ(answer.log_start(), 3);
  EXPECT_EQ(answer.high_watermark(), 4);
  context_->TryCancel();
}

TEST_F(ReplicaStreamTest, SendsNoMoreThanItHasCreditFor) {
  Start();
  Attach(1);
  EXPECT_EQ(record::VerifyStoredBatch(Bytes::Copy(NextBatches()))->base_offset, Offset{0});
  Ack(index_, 1);
  ASSERT_TRUE(Eventually([&] { return !Latest(partition_).has_error(); }));
  Producer producer(stub_.get());
  EXPECT_FALSE(producer.Append(Request(partition_, Batch(2), v1::ACKS_LEADER)).has_error());
  // The batch is due, and would come before this answer.
  ReplicateRequest request;
  AddAttach(50, 0, &request);
  request.mutable_attaches(0)->set_partition(7);
  ASSERT_TRUE(stream_->Write(request));
  ReplicateResponse response;
  while (stream_->Read(&response) && response.attached().empty()) {
    for (const auto& news : response.news()) EXPECT_TRUE(news.batches().empty());
  }
  request.Clear();
  request.set_credit_bytes(1 << 20);
  ASSERT_TRUE(stream_->Write(request));
  EXPECT_EQ(record::VerifyStoredBatch(Bytes::Copy(NextBatches()))->base_offset, Offset{1});
  context_->TryCancel();
}

TEST_F(ReplicaStreamTest, WhoWaitsForCreditKeepsItsTurn) {
  Start(4);
  const int first = partition_;
  int second = 3;
  while (second == first || topic_.partitions(second).leader() != 1) --second;
  Attach(10'000);
  int64_t credit = 10'000 - static_cast<int64_t>(NextBatches().size());
  Ack(index_, 1);
  ASSERT_TRUE(Eventually([&] { return !Latest(first).has_error(); }));
  // There is none left after this one.
  Producer producer(stub_.get());
  EXPECT_FALSE(producer.Append(Request(first, Batch(400, std::string(100, 'v')), v1::ACKS_LEADER))
                   .has_error());
  credit -= static_cast<int64_t>(NextBatches().size());
  ASSERT_LE(credit, 0);
  EXPECT_FALSE(producer.Append(Request(first, Batch(1), v1::ACKS_LEADER)).has_error());
  ReplicateRequest request;
  partition_ = second;
  AddAttach(70, 0, &request);
  ASSERT_TRUE(stream_->Write(request));
  ReplicateResponse response;
  while (response.attached().empty()) ASSERT_TRUE(stream_->Read(&response));
  ASSERT_FALSE(response.attached(0).has_error()) << response.DebugString();
  // The start of its epoch is due now, and came later.
  request.Clear();
  request.set_credit_bytes(1 - credit);
  ASSERT_TRUE(stream_->Write(request));
  EXPECT_EQ(record::VerifyStoredBatch(Bytes::Copy(NextBatches()))->base_offset, Offset{401});
  context_->TryCancel();
}

TEST_F(ReplicaStreamTest, GoesOnWhereTheFollowersLogEnds) {
  Start();
  Attach(1 << 20);
  NextBatches();
  ReplicateRequest again;
  AddAttach(77, 1, &again);
  ASSERT_TRUE(stream_->Write(again));
  ReplicateResponse response;
  while (stream_->Read(&response) && response.attached().empty()) {
  }
  ASSERT_EQ(response.attached_size(), 1);
  EXPECT_FALSE(response.attached(0).has_cut());
  index_ = 77;
  ASSERT_TRUE(Eventually([&] { return !Latest(partition_).has_error(); })) << "it serves soon";
  Producer producer(stub_.get());
  EXPECT_FALSE(producer.Append(Request(partition_, Batch(2), v1::ACKS_LEADER)).has_error());
  EXPECT_EQ(record::VerifyStoredBatch(Bytes::Copy(NextBatches()))->base_offset, Offset{1});
  context_->TryCancel();
}

TEST_F(ReplicaStreamTest, TellsTheFollowerWhenTheAttachIsOver) {
  Start();
  Attach(1 << 20);
  internal::v1::ClusterCommand command;
  command.mutable_elect_leaders()->set_topic("copied");
  command.mutable_elect_leaders()->add_partitions(partition_);
  command.mutable_elect_leaders()->set_node_id(kFollower);
  ASSERT_TRUE(metadata_.Apply(command).ok());
  ReplicateResponse response;
  while (stream_->Read(&response) && response.attached().empty()) {
  }
  ASSERT_EQ(response.attached_size(), 1);
  EXPECT_EQ(response.attached(0).index(), index_);
  EXPECT_EQ(response.attached(0).error().reason(), "NOT_LEADER");
  context_->TryCancel();
}

TEST_F(ReplicaStreamTest, AnAttachThatMakesNoSenseIsAnsweredAndTheStreamGoesOn) {
  Start();
  Attach(0);
  ReplicateRequest request;
  AddAttach(10, 0, &request);
  request.mutable_attaches(0)->set_leader_epoch(99);
  AddAttach(11, 0, &request);
  request.mutable_attaches(1)->set_partition(7);
  AddAttach(12, 0, &request);
  request.mutable_attaches(2)->set_topic_id("short");
  AddAttach(13, 5, &request);  // The leader's log ends at 1.
  ASSERT_TRUE(stream_->Write(request));
  std::map<uint32_t, internal::v1::ReplicaAttached> answers;
  ReplicateResponse response;
  while (answers.size() < 4 && stream_->Read(&response)) {
    for (const auto& answer : response.attached()) answers[answer.index()] = answer;
  }
  EXPECT_EQ(answers[10].error().reason(), "NOT_LEADER");
  EXPECT_EQ(answers[11].error().reason(), "PARTITION_NOT_FOUND");
  EXPECT_EQ(answers[12].error().reason(), "INVALID_REQUEST");
  ASSERT_TRUE(answers[13].has_cut());
  EXPECT_EQ(answers[13].cut().end(), 1);
  context_->TryCancel();
}

TEST_F(ReplicaStreamTest, AFrameThatMakesNoSenseEndsTheStream) {
  Start();
  Open();
  ReplicateRequest request;
  request.set_credit_bytes(5);
  stream_->Write(request);
  ReplicateResponse response;
  EXPECT_FALSE(stream_->Read(&response));
  EXPECT_EQ(MetadataOf(rpc::FromGrpc(stream_->Finish()))["field"], "hello");
  EXPECT_EQ(MetadataOf(EndOf(Hello(0)))["field"], "hello") << "it is said once";
  Open();
  stream_->Write(Hello(0, internal::v1::REPLICA_LANE_UNSPECIFIED));
  EXPECT_FALSE(stream_->Read(&response));
  EXPECT_EQ(MetadataOf(rpc::FromGrpc(stream_->Finish()))["field"], "hello.lane");
  request.set_credit_bytes(-1);
  EXPECT_EQ(MetadataOf(EndOf(request))["field"], "credit_bytes");
  request.set_credit_bytes(int64_t{1} << 40);
  EXPECT_EQ(ReasonOf(EndOf(request)), Reason::kCreditOverflow);
}

}  // namespace
}  // namespace falaj::storage
