#include <gmock/gmock.h>

#include <algorithm>
#include <atomic>
#include <thread>

#include "libs/record/batch_builder.h"
#include "libs/rpc/status_grpc.h"
#include "services/gateway/testing/consume_fixture.h"

namespace falaj::gateway {
namespace {

using ::testing::ElementsAre;
using ::testing::UnorderedElementsAre;

TEST_F(ConsumeTest, FetchReturnsRecordsAndBatches) {
  CreateTopic("t", 1);
  MustProduce("t", 0, MakeBatch(3, "a"));
  MustProduce("t", 0, MakeBatch(2, "b"));
  v1::FetchRequest request = FetchOf("t", {0}, 1);
  auto response = Fetch(request);
  ASSERT_TRUE(response.ok()) << response.status();
  const v1::PartitionRecords& records = response->partitions(0);
  ASSERT_EQ(records.records_size(), 4);
  EXPECT_EQ(records.records(0).offset(), 1);
  EXPECT_EQ(records.records(0).value(), "a1");
  EXPECT_FALSE(records.records(0).has_key());
  EXPECT_EQ(records.records(3).offset(), 4);
  EXPECT_EQ(records.next_offset(), 5);
  EXPECT_EQ(records.high_watermark(), 5);
  request.set_format(v1::RECORD_FORMAT_BATCHES);
  response = Fetch(request);
  ASSERT_TRUE(response.ok()) << response.status();
  EXPECT_THAT(ValuesOf(response->partitions(0).batches()),
              ElementsAre("a0", "a1", "a2", "b0", "b1"));
}

TEST_F(ConsumeTest, AFormatNobodyKnowsIsRefused) {
  CreateTopic("t", 1);
  constexpr auto kUnknown = static_cast<v1::RecordFormat>(99);
  v1::FetchRequest request = FetchOf("t", {0});
  request.set_format(kUnknown);
  const absl::Status fetch = Fetch(request).status();
  EXPECT_EQ(ReasonOf(fetch), Reason::kInvalidRequest);
  EXPECT_EQ(MetadataOf(fetch)["field"], "format");
  EXPECT_EQ(MetadataOf(fetch)["value"], "99");
  v1::ConsumeRequest open = OpenFrame("t", {0}, 100);
  open.mutable_open()->set_format(kUnknown);
  const absl::Status consume = EndOf({open});
  EXPECT_EQ(ReasonOf(consume), Reason::kInvalidRequest);
  EXPECT_EQ(MetadataOf(consume)["field"], "open.format");
}

TEST_F(ConsumeTest, FetchMergesPartitionsOfAllNodesInTheOrderAskedFor) {
  CreateTopic("t", 6);
  for (int p = 0; p < 6; ++p) MustProduce("t", p, MakeBatch(1, absl::StrCat("p", p, "-")));
  EXPECT_GT(storage1_.appends(), 0);
  EXPECT_GT(storage2_.appends(), 0);
  const auto response = Fetch(FetchOf("t", {5, 0, 3, 1, 4, 2}));
  ASSERT_TRUE(response.ok()) << response.status();
  std::vector<int32_t> order;
  for (const v1::PartitionRecords& part : response->partitions()) {
    order.push_back(part.partition());
    ASSERT_EQ(part.records_size(), 1);
    EXPECT_EQ(part.records(0).value(), absl::StrCat("p", part.partition(), "-0"));
  }
  EXPECT_THAT(order, ElementsAre(5, 0, 3, 1, 4, 2));
}

TEST_F(ConsumeTest, FetchLooksAgainForALeaderThatHasNotTakenOverYet) {
  CreateTopic("t", 1);
  MustProduce("t", 0, MakeBatch(2));
  const absl::Status moved = MakeError(Reason::kNotLeader, "not yet");
  storage1_.RefuseReads(moved, 3);
  storage2_.RefuseReads(moved, 3);
  const auto response = Fetch(FetchOf("t", {0}));
  ASSERT_TRUE(response.ok()) << response.status();
  EXPECT_FALSE(response->partitions(0).has_error()) << response->partitions(0).error().message();
  EXPECT_EQ(response->partitions(0).records_size(), 2);
}

// The gateway hears of a new topic before the node that leads it does.
TEST_F(ConsumeTest, ANodeThatDoesNotKnowAPartitionYetIsAskedAgain) {
  CreateTopic("t", 1);
  MustProduce("t", 0, MakeBatch(2));
  FakeStorage* const leader = LeaderOf("t", 0);
  const absl::Status unknown = MakeError(Reason::kPartitionNotFound, "never heard of it");
  leader->RefuseReads(unknown, 3);
  const auto response = Fetch(FetchOf("t", {0}));
  ASSERT_TRUE(response.ok()) << response.status();
  EXPECT_FALSE(response->partitions(0).has_error()) << response->partitions(0).error().message();
  EXPECT_EQ(response->partitions(0).records_size(), 2);
  leader->RefuseReads(unknown, 3);
  grpc::ClientContext context;
  auto stream = Start(&context, OpenFrame("t", {0}, 1 << 20));
  EXPECT_EQ(ReadRecords(stream.get()).next_offset(), 2);
  context.TryCancel();
}

TEST_F(ConsumeTest, AFetchWaitsNoLongerHoweverOftenTheLeadMoves) {
  CreateTopic("t", 1);
  MustProduce("t", 0, MakeBatch(1));
  FakeStorage* const leader = LeaderOf("t", 0);
  v1::FetchRequest request = FetchOf("t", {0}, 1);
  request.mutable_max_wait()->set_seconds(1);
  std::atomic<bool> done{false};
  std::thread waiter([&] {
    EXPECT_TRUE(Fetch(request).ok());
    done = true;
  });
  const MonotonicTime start = Clock::Real()->MonotonicNow();
  EXPECT_TRUE(Eventually([&] {
    leader->RefuseReads(MakeError(Reason::kNotLeader, "moved"), 1);
    return HappensSoon([&] { return done.load(); });
  }));
  EXPECT_LT(Clock::Real()->MonotonicNow() - start, absl::Seconds(5));
  leader->RefuseReads(absl::OkStatus(), 0);
  waiter.join();
}

TEST_F(ConsumeTest, AFetchThatHasRecordsWaitsForALeaderHardlyAtAll) {
  CreateTopic("t", 2);
  MustProduce("t", 0, MakeBatch(2));
  MustProduce("t", 1, MakeBatch(2));
  FakeStorage* const gone = LeaderOf("t", 1);
  ASSERT_NE(LeaderOf("t", 0), gone);
  gone->RefuseReads(MakeError(Reason::kNotLeader, "never"), 1'000'000);
  const MonotonicTime start = Clock::Real()->MonotonicNow();
  const auto response = Fetch(FetchOf("t", {0, 1}));
  EXPECT_LT(Clock::Real()->MonotonicNow() - start, absl::Milliseconds(1500));
  ASSERT_TRUE(response.ok()) << response.status();
  EXPECT_EQ(response->partitions(0).records_size(), 2);
  EXPECT_EQ(response->partitions(1).error().reason(), "LEADER_UNAVAILABLE");
}

TEST_F(ConsumeTest, ClientsHearThatThereIsNoLeaderNotWhereItIsNot) {
  CreateTopic("t", 1);
  MustProduce("t", 0, MakeBatch(2));
  const absl::Status moved = MakeError(Reason::kNotLeader, "never");
  storage1_.RefuseReads(moved, 1'000'000);
  storage2_.RefuseReads(moved, 1'000'000);
  const auto response = Fetch(FetchOf("t", {0}));
  ASSERT_TRUE(response.ok()) << response.status();
  EXPECT_EQ(response->partitions(0).error().reason(), "LEADER_UNAVAILABLE");
  EXPECT_TRUE(response->partitions(0).error().retryable());
}

TEST_F(ConsumeTest, ErrorsOfAPartitionLeaveTheOthersAlone) {
  CreateTopic("t", 2);
  MustProduce("t", 0, MakeBatch(2));
  v1::FetchRequest request = FetchOf("t", {0, 9});
  v1::FetchPartition* unknown = request.add_partitions();
  unknown->set_topic("nope");
  unknown->mutable_start()->set_offset(0);
  v1::FetchPartition* beyond = request.add_partitions();
  beyond->set_topic("t");
  beyond->mutable_start()->set_offset(77);
  const auto response = Fetch(request);
  ASSERT_TRUE(response.ok()) << response.status();
  EXPECT_EQ(response->partitions(0).records_size(), 2);
  EXPECT_EQ(response->partitions(1).error().reason(), "PARTITION_NOT_FOUND");
  EXPECT_EQ(response->partitions(2).error().reason(), "TOPIC_NOT_FOUND");
  const v1::Error& error = response->partitions(3).error();
  EXPECT_EQ(error.reason(), "OFFSET_OUT_OF_RANGE");
  EXPECT_EQ(error.metadata().at("high_watermark"), "2");
  EXPECT_EQ(error.metadata().at("log_start_offset"), "0");
}

TEST_F(ConsumeTest, FetchRefusesBadRequests) {
  CreateTopic("t", 1);
  std::vector<v1::FetchRequest> bad(6, FetchOf("t", {0}));
  bad[0].clear_partitions();
  bad[1].set_max_bytes(-1);
  bad[2].set_min_bytes(-1);
  bad[3].mutable_max_wait()->set_seconds(31);
  bad[4].mutable_partitions(0)->clear_start();
  bad[5].mutable_partitions(0)->mutable_start()->set_named(v1::NAMED_OFFSET_UNSPECIFIED);
  for (const v1::FetchRequest& request : bad) {
    EXPECT_EQ(ReasonOf(Fetch(request).status()), Reason::kInvalidRequest)
        << request.ShortDebugString();
  }
}

TEST_F(ConsumeTest, ALongPollIsAnsweredWhenARecordComes) {
  CreateTopic("t", 4);
  v1::FetchRequest request = FetchOf("t", {0, 1, 2, 3});
  request.mutable_max_wait()->set_seconds(20);
  absl::StatusOr<v1::FetchResponse> response;
  const MonotonicTime start = Clock::Real()->MonotonicNow();
  std::thread poll([&] { response = Fetch(request); });
  EXPECT_FALSE(HappensSoon([&] { return response.ok(); }));
  MustProduce("t", 2, MakeBatch(1));
  poll.join();
  EXPECT_LT(Clock::Real()->MonotonicNow() - start, absl::Seconds(5));
  ASSERT_TRUE(response.ok()) << response.status();
  EXPECT_EQ(response->partitions(2).records_size(), 1);
}

TEST_F(ConsumeTest, ALongPollDoesNotWaitForANodeThatHasLeft) {
  CreateTopic("t", 1);
  v1::FetchRequest request = FetchOf("t", {0});
  request.mutable_max_wait()->set_seconds(30);
  absl::StatusOr<v1::FetchResponse> response;
  const MonotonicTime start = Clock::Real()->MonotonicNow();
  std::thread poll([&] { response = Fetch(request); });
  EXPECT_FALSE(HappensSoon([&] { return response.ok(); }));
  metadata_.EndSession(LeaderIdOf("t", 0) == 1 ? session1_ : session2_);
  poll.join();
  EXPECT_LT(Clock::Real()->MonotonicNow() - start, absl::Seconds(20));
  ASSERT_TRUE(response.ok()) << response.status();
  EXPECT_EQ("LEADER_UNAVAILABLE", response->partitions(0).error().reason());
}

TEST_F(ConsumeTest, ALongPollWithNothingEndsInTime) {
  CreateTopic("t", 1);
  v1::FetchRequest request = FetchOf("t", {0});
  request.mutable_max_wait()->set_nanos(50'000'000);
  const auto response = Fetch(request);
  ASSERT_TRUE(response.ok()) << response.status();
  EXPECT_EQ(response->partitions(0).records_size(), 0);
  EXPECT_EQ(response->partitions(0).next_offset(), 0);
}

TEST_F(ConsumeTest, AnswersStayBelowWhatClientsTakeUnasked) {
  CreateTopic("t", 2);
  record::BatchBuilder builder;
  for (int i = 0; i < 6000; ++i) builder.Add(1000 + i, std::nullopt, std::string(1000, 'z'));
  const Bytes batch = *builder.Build({.codec = record::Codec::kZstd});
  ASSERT_LT(batch.size(), 1u << 20);
  MustProduce("t", 0, batch);
  MustProduce("t", 1, batch);
  int64_t next = 0;
  while (next < 6000) {
    const auto response = Fetch(FetchOf("t", {0}, next));
    ASSERT_TRUE(response.ok()) << response.status();
    EXPECT_LT(response->ByteSizeLong(), 4u << 20);
    ASSERT_GT(response->partitions(0).next_offset(), next);
    for (const v1::Record& record : response->partitions(0).records()) {
      ASSERT_EQ(record.offset(), next++);
    }
  }
}

TEST_F(ConsumeTest, AStreamSendsWithinItsCreditAndGoesOnWithAGrant) {
  CreateTopic("t", 4);
  const int64_t size = static_cast<int64_t>(MakeBatch(10).size());
  for (int i = 0; i < 40; ++i) MustProduce("t", i % 4, MakeBatch(10));
  grpc::ClientContext context;
  auto stream = Start(&context, OpenFrame("t", {0, 1, 2, 3}, 3 * size + 5));
  EXPECT_EQ(opened_.offsets_size(), 4);
  int64_t received = 0;
  int64_t granted = 3 * size + 5;
  int records = 0;
  while (records < 400) {
    // All the credit is used, and one batch more at most.
    while (received < granted && records < 400) {
      const v1::PartitionRecords frame = ReadRecords(stream.get());
      ASSERT_EQ(frame.size_bytes(), static_cast<int64_t>(frame.batches().size()));
      ASSERT_GT(frame.size_bytes(), 0);
      EXPECT_TRUE(received + frame.size_bytes() <= granted || frame.size_bytes() == size)
          << "only a single batch may overshoot";
      received += frame.size_bytes();
      records += static_cast<int>(ValuesOf(frame.batches()).size());
    }
    granted += 7 * size;
    stream->Write(GrantFrame(7 * size));
  }
  stream->WritesDone();
  EXPECT_TRUE(stream->Finish().ok());
}

TEST_F(ConsumeTest, ARecordThatComesLaterIsSent) {
  CreateTopic("t", 2);
  grpc::ClientContext context;
  v1::ConsumeRequest open = OpenFrame("t", {0, 1}, 1 << 20);
  open.mutable_open()->set_format(v1::RECORD_FORMAT_RECORDS);
  auto stream = Start(&context, open);
  MustProduce("t", 1, MakeBatch(1, "late"));
  const v1::PartitionRecords frame = ReadRecords(stream.get());
  EXPECT_EQ(frame.partition(), 1);
  ASSERT_EQ(frame.records_size(), 1);
  EXPECT_EQ(frame.records(0).value(), "late0");
  context.TryCancel();
  EXPECT_FALSE(stream->Finish().ok());
}

TEST_F(ConsumeTest, WithCreditForThemANodeHasTwoReadsOfDifferentPartitions) {
  CreateTopic("t", 4);
  const auto [leader, led] = OneLeader("t", 4);
  ASSERT_EQ(led.size(), 2U);
  grpc::ClientContext context;
  auto stream = Start(&context, OpenFrame("t", led, 16 << 20));
  ASSERT_TRUE(IsReadTimes(leader, 2));
  EXPECT_THAT(leader->read_calls(), UnorderedElementsAre(ElementsAre(led[0]), ElementsAre(led[1])));
  MustProduce("t", led[0], MakeBatch(1));
  EXPECT_EQ(ReadRecords(stream.get()).partition(), led[0]);
  ASSERT_TRUE(IsReadTimes(leader, 3));
  EXPECT_THAT(leader->read_calls()[2], ElementsAre(led[0]));
  context.TryCancel();
}

TEST_F(ConsumeTest, WithLittleCreditANodeHasOneRead) {
  CreateTopic("t", 4);
  const auto [leader, led] = OneLeader("t", 4);
  MustProduce("t", led[0], MakeBatch(1));
  grpc::ClientContext context;
  auto stream = Start(&context, OpenFrame("t", led, 1 << 20));
  EXPECT_EQ(ReadRecords(stream.get()).partition(), led[0]);
  ASSERT_TRUE(IsReadTimes(leader, 2));
  // Whoever has had nothing is read first.
  EXPECT_THAT(leader->read_calls(),
              ElementsAre(ElementsAre(led[0], led[1]), ElementsAre(led[1], led[0])));
  context.TryCancel();
}

TEST_F(ConsumeTest, OfTwoReadsOneIsLeftWhenThereIsLittleCreditLeft) {
  CreateTopic("t", 4);
  const auto [leader, led] = OneLeader("t", 4);
  grpc::ClientContext context;
  auto stream = Start(&context, OpenFrame("t", led, 4 << 20));
  ASSERT_TRUE(IsReadTimes(leader, 2));
  MustProduce("t", led[0], MakeBatch(1));
  EXPECT_EQ(ReadRecords(stream.get()).partition(), led[0]);
  ASSERT_TRUE(IsReadTimes(leader, 3));
  EXPECT_THAT(leader->read_calls()[2], ElementsAre(led[1], led[0]));
  context.TryCancel();
}

// Both Reads wait for new records when another partition is to be read, as after its leader moved.
TEST_F(ConsumeTest, APartitionThatIsToBeReadDoesNotWaitForReadsThatWait) {
  CreateTopic("t", 8);
  const auto [leader, led] = OneLeader("t", 8);
  ASSERT_EQ(led.size(), 4U);
  grpc::ClientContext context;
  auto stream = Start(&context, OpenFrame("t", led, 16 << 20));
  ASSERT_TRUE(IsReadTimes(leader, 2));
  leader->RefuseReads(MakeError(Reason::kNotLeader, "not yet"), 1);
  // The other one of its Read is asked for at once, so that both Reads wait again.
  ASSERT_TRUE(IsReadTimes(leader, 3));
  ASSERT_EQ(leader->read_calls()[2].size(), 1U);
  const int32_t other = leader->read_calls()[2][0];
  const auto at = std::find(led.begin(), led.end(), other) - led.begin();
  const int32_t refused = led[static_cast<size_t>((at + 2) % 4)];
  const MonotonicTime start = Clock::Real()->MonotonicNow();
  EXPECT_TRUE(Eventually([&leader = leader, refused] {
    const auto calls = leader->read_calls();
    return std::ranges::any_of(calls.begin() + 3, calls.end(), [refused](const auto& asked) {
      return std::ranges::find(asked, refused) != asked.end();
    });
  }));
  EXPECT_LT(Clock::Real()->MonotonicNow() - start, absl::Seconds(5)) << "they wait for 10 s";
  context.TryCancel();
}

TEST_F(ConsumeTest, SeeksTakeEffectInTheirOrder) {
  CreateTopic("t", 1);
  for (int i = 0; i < 5; ++i) MustProduce("t", 0, MakeBatch(1, absl::StrCat("b", i, "-")));
  grpc::ClientContext context;
  auto stream = Start(&context, OpenFrame("t", {0}, 1 << 20));
  while (ReadRecords(stream.get()).next_offset() < 5) {
  }
  stream->Write(SeekFrame("t", 0));
  stream->Write(SeekFrame("t", 3));
  v1::PartitionRecords frame;
  do {
    frame = ReadRecords(stream.get());
  } while (ValuesOf(frame.batches()).front() != "b3-0");
  EXPECT_EQ(frame.next_offset(), 5);
  MustProduce("t", 0, MakeBatch(1, "last"));
  EXPECT_THAT(ValuesOf(ReadRecords(stream.get()).batches()), ElementsAre("last0"));
  context.TryCancel();
}

TEST_F(ConsumeTest, PausedPartitionsAreSilentUntilTheyAreResumed) {
  CreateTopic("t", 1);
  grpc::ClientContext context;
  auto stream = Start(&context, OpenFrame("t", {0}, 1 << 20));
  v1::ConsumeRequest pause;
  pause.mutable_pause()->add_partitions()->set_topic("t");
  stream->Write(pause);
  stream->Write(SeekFrame("t", 0));
  MustProduce("t", 0, MakeBatch(1));
  std::atomic<bool> received{false};
  v1::PartitionRecords frame;
  std::thread reader([&] {
    frame = ReadRecords(stream.get());
    received = true;
  });
  EXPECT_FALSE(HappensSoon([&] { return received.load(); }));
  v1::ConsumeRequest resume;
  resume.mutable_resume()->add_partitions()->set_topic("t");
  stream->Write(resume);
  reader.join();
  EXPECT_EQ(frame.next_offset(), 1);
  context.TryCancel();
}

TEST_F(ConsumeTest, FramesThatBreakTheProtocolEndTheStream) {
  CreateTopic("t", 1);
  const v1::ConsumeRequest open = OpenFrame("t", {0}, 100);
  EXPECT_EQ(ReasonOf(EndOf({GrantFrame(1)})), Reason::kInvalidRequest);
  EXPECT_EQ(ReasonOf(EndOf({open, open})), Reason::kInvalidRequest);
  EXPECT_EQ(ReasonOf(EndOf({v1::ConsumeRequest()})), Reason::kInvalidRequest);
  EXPECT_EQ(ReasonOf(EndOf({OpenFrame("t", {}, 100)})), Reason::kInvalidRequest);
  EXPECT_EQ(ReasonOf(EndOf({OpenFrame("t", {0, 0}, 100)})), Reason::kInvalidRequest);
  EXPECT_EQ(ReasonOf(EndOf({OpenFrame("nope", {0}, 100)})), Reason::kTopicNotFound);
  EXPECT_EQ(ReasonOf(EndOf({OpenFrame("t", {7}, 100)})), Reason::kPartitionNotFound);
  EXPECT_EQ(ReasonOf(EndOf({open, SeekFrame("other", 0)})), Reason::kInvalidRequest);
  EXPECT_EQ(ReasonOf(EndOf({open, GrantFrame(-1)})), Reason::kInvalidRequest);
  EXPECT_EQ(ReasonOf(SendRawFrames(channel_, kConsume, {"\xff\xff"})), Reason::kInvalidRequest);
}

TEST_F(ConsumeTest, TooMuchCreditIsAnOverflow) {
  CreateTopic("t", 1);
  const v1::ConsumeRequest open = OpenFrame("t", {0}, 100);
  EXPECT_EQ(ReasonOf(EndOf({open, GrantFrame(int64_t{1} << 30)})), Reason::kCreditOverflow);
  EXPECT_EQ(ReasonOf(EndOf({OpenFrame("t", {0}, int64_t{1} << 40)})), Reason::kCreditOverflow);
}

TEST_F(ConsumeTest, ReadingBeyondTheEndEndsTheStreamWithTheBounds) {
  CreateTopic("t", 1);
  v1::ConsumeRequest open = OpenFrame("t", {0}, 100);
  open.mutable_open()->mutable_partitions()->mutable_positions(0)->mutable_position()->set_offset(
      50);
  const absl::Status status = EndOf({open});
  EXPECT_EQ(ReasonOf(status), Reason::kOffsetOutOfRange);
  EXPECT_EQ(MetadataOf(status)["high_watermark"], "0");
  EXPECT_EQ(MetadataOf(status)["topic"], "t") << "it may read many";
  EXPECT_EQ(MetadataOf(status)["partition"], "0");
}

TEST_F(ConsumeTest, TheEpochOfWhatWasReadGoesAlongWithTheNextRead) {
  CreateTopic("t", 1);
  MustProduce("t", 0, MakeBatch(1, "one"));
  FakeStorage* const node = LeaderOf("t", 0);
  grpc::ClientContext context;
  auto stream = Start(&context, OpenFrame("t", {0}, 1 << 20));
  const v1::PartitionRecords first = ReadRecords(stream.get());
  ASSERT_TRUE(first.has_last_epoch());
  const int32_t epoch = node->headers().back().leader_epoch();
  EXPECT_EQ(first.last_epoch(), epoch);
  EXPECT_FALSE(node->reads().front().has_last_epoch()) << "nothing was known";
  MustProduce("t", 0, MakeBatch(1, "two"));
  EXPECT_EQ(ReadRecords(stream.get()).next_offset(), 2);
  for (const internal::v1::ReadPartition& read : node->reads()) {
    if (read.offset() == 0) continue;
    EXPECT_EQ(read.last_epoch(), epoch);
    EXPECT_TRUE(read.has_last_epoch());
  }
  context.TryCancel();
}

TEST_F(ConsumeTest, AStreamFollowsItsPartitionsToAnotherNode) {
  CreateTopic("t", 1);
  MustProduce("t", 0, MakeBatch(1, "one"));
  FakeStorage* const node = LeaderOf("t", 0);
  grpc::ClientContext context;
  auto stream = Start(&context, OpenFrame("t", {0}, 1 << 20));
  EXPECT_THAT(ValuesOf(ReadRecords(stream.get()).batches()), ElementsAre("one0"));
  node->Stop();
  node->Start();
  v1::ProduceRequest request;
  request.set_topic("t");
  request.set_partition(0);
  request.set_acks(v1::ACKS_ALL);
  request.set_batch(MakeBatch(1, "two").ToString());
  // The gateway may still write to the connection that has just died, to a node that is no more.
  absl::Status produced;
  do {
    produced = Produce(request).status();
  } while (ReasonOf(produced) == Reason::kAppendUncertain);
  ASSERT_TRUE(produced.ok()) << produced;
  EXPECT_THAT(ValuesOf(ReadRecords(stream.get()).batches()), ElementsAre("two0"));
  context.TryCancel();
}

// The bounds leave room for a machine that stands still for seconds, and for gRPC, which sends a
// deadline rounded up. Without a deadline it would be 30 s.
TEST_F(ConsumeTest, StorageNodesAreGivenNoMoreTimeThanTheClientHas) {
  CreateTopic("t", 1);
  FakeStorage* const leader = LeaderOf("t", 0);
  v1::ProduceRequest produce;
  produce.set_topic("t");
  produce.set_partition(0);
  produce.set_acks(v1::ACKS_ALL);
  produce.add_records()->set_value("a");
  ASSERT_TRUE(Produce(produce, absl::Seconds(20)).ok());
  EXPECT_GT(leader->headers().back().timeout_ms(), 10'000);
  EXPECT_LT(leader->headers().back().timeout_ms(), 25'000);

  v1::ListOffsetsRequest list;
  list.add_queries()->set_topic("t");
  list.mutable_queries(0)->mutable_target()->set_named(v1::NAMED_OFFSET_LATEST);
  v1::ListOffsetsResponse listed;
  grpc::ClientContext context;
  context.set_deadline(absl::ToChronoTime(Clock::Real()->Now() + absl::Seconds(20)));
  ASSERT_TRUE(consumers_->ListOffsets(&context, list, &listed).ok());
  ASSERT_EQ(leader->time_left().size(), 1u);
  EXPECT_GT(leader->time_left().back(), absl::Seconds(10));
  EXPECT_LT(leader->time_left().back(), absl::Seconds(25));

  // A fetch is given as long as it wants to wait, and a moment for the answer.
  v1::FetchRequest fetch = FetchOf("t", {0}, 1);
  fetch.mutable_max_wait()->set_seconds(20);
  std::thread waiting([&] { EXPECT_TRUE(Fetch(fetch).ok()); });
  EXPECT_TRUE(Eventually([&] {
    const absl::Duration left = leader->time_left().back();
    return left > absl::Seconds(15) && left < absl::Seconds(28);
  }));
  MustProduce("t", 0, MakeBatch(1));
  waiting.join();
}

TEST_F(ConsumeTest, ListOffsetsAnswersEveryQueryInOrder) {
  CreateTopic("t", 1);
  MustProduce("t", 0, MakeBatch(8));
  v1::ListOffsetsRequest request;
  for (const auto named : {v1::NAMED_OFFSET_LATEST, v1::NAMED_OFFSET_EARLIEST}) {
    v1::OffsetQuery* query = request.add_queries();
    query->set_topic("t");
    query->mutable_target()->set_named(named);
  }
  *request.add_queries() = request.queries(0);
  request.mutable_queries(2)->set_partition(4);
  grpc::ClientContext context;
  v1::ListOffsetsResponse response;
  ASSERT_TRUE(consumers_->ListOffsets(&context, request, &response).ok());
  EXPECT_EQ(response.results(0).offset(), 8);
  EXPECT_EQ(response.results(0).high_watermark(), 8);
  EXPECT_FALSE(response.results(0).has_timestamp());
  EXPECT_EQ(response.results(1).offset(), 0);
  EXPECT_EQ(response.results(2).error().reason(), "PARTITION_NOT_FOUND");

  request.mutable_queries(0)->mutable_target()->clear_target();
  grpc::ClientContext second;
  EXPECT_EQ(ReasonOf(rpc::FromGrpc(consumers_->ListOffsets(&second, request, &response))),
            Reason::kInvalidRequest);
}

}  // namespace
}  // namespace falaj::gateway
