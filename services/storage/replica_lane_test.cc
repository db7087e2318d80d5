// The two lanes of replica streams, seen by a follower that is this test: who is told to attach
// where, and that whatever a follower does or leaves undone costs the leader little.
#include <deque>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"

#include "libs/http/testing/scrape.h"
#include "libs/rpc/testing/small_window.h"
#include "services/storage/replica_stream_fixture.h"

namespace falaj::storage {
namespace {

using internal::v1::REPLICA_LANE_CATCH_UP;
using internal::v1::REPLICA_LANE_LIVE;
using internal::v1::ReplicaAttached;
using internal::v1::ReplicaLane;
using internal::v1::ReplicateRequest;
using internal::v1::ReplicateResponse;

constexpr int kBatches = 40;
constexpr int kBatchBytes = 20'000;
constexpr int64_t kEnd = 1 + kBatches;  // The first is the start of the epoch.
constexpr int32_t kNoPartition = 700;

class ReplicaLaneTest : public ReplicaStreamTest {
 protected:
  // Else the node, when it stops, waits for the follower to take over.
  ~ReplicaLaneTest() override { EndSession(kFollower); }

  // The follower is not in sync, and lacks all but the start of the epoch: some hundred kilobytes,
  // of which the leader has the last two batches in memory.
  void LeaveBehind() { LeaveBehind(Options(), 2); }
  void LeaveBehind(StorageServer::Options options, int partitions) {
    options.tail_cache_bytes = 5 * kBatchBytes / 2;
    Start(options, partitions, /*min_in_sync=*/1);
    Attach(1 << 20);
    NextBatches();
    Ack(index_, 1);
    ASSERT_TRUE(Eventually([&] { return !Latest(partition_).has_error(); }));
    context_->TryCancel();
    EndSession(kFollower);
    ASSERT_TRUE(Eventually(
        [&] { return metadata_.Topic("copied").partitions(partition_).isr_size() == 1; }));
    RegisterFollower();
    AppendBatches(kBatches);
  }
  void AppendBatches(int count) {
    Producer producer(stub_.get());
    for (int i = 0; i < count; ++i) {
      const AppendOutcome answer = producer.Append(
          Request(partition_, Batch(1, std::string(kBatchBytes, 'v')), v1::ACKS_LEADER));
      ASSERT_FALSE(answer.has_error()) << answer.DebugString();
    }
  }
  // Appends to all other partitions that node 1 leads, too. Returns those it leads; partition_ is
  // the last of them.
  std::vector<int> AppendToOthers(int count) {
    std::vector<int> led = {partition_};
    for (int i = 0; i < topic_.partitions_size(); ++i) {
      if (i == led[0] || topic_.partitions(i).leader() != 1) continue;
      EXPECT_TRUE(Eventually([&] { return !Latest(i).has_error(); }));
      led.push_back(i);
      partition_ = i;
      AppendBatches(count);
    }
    return led;
  }
  // Attaches partitions that have the start of the epoch, and awaits the answers.
  void AttachAll(const std::vector<int>& partitions, int64_t credit, ReplicaLane lane) {
    Open();
    ReplicateRequest request = Hello(credit, lane);
    for (const int partition : partitions) {
      partition_ = partition;
      AddAttach(static_cast<uint32_t>(partition + 1), 1, &request);
    }
    ASSERT_TRUE(stream_->Write(request));
    ReplicateResponse response;
    for (int left = static_cast<int>(partitions.size()); left > 0;) {
      ASSERT_TRUE(stream_->Read(&response));
      left -= response.attached_size();
      for (const auto& answer : response.attached()) {
        ASSERT_FALSE(answer.has_error() || answer.has_cut()) << answer.DebugString();
      }
      KeepNews(response);  // Of those that were answered first.
    }
  }
  // The next news with batches.
  internal::v1::ReplicaNews NextNews() {
    ReplicateResponse response;
    while (news_.empty() && stream_->Read(&response)) KeepNews(response);
    if (news_.empty()) {
      ADD_FAILURE() << "the stream has ended";
      return {};
    }
    internal::v1::ReplicaNews next = std::move(news_.front());
    news_.pop_front();
    return next;
  }
  void KeepNews(const ReplicateResponse& response) {
    for (const auto& news : response.news()) {
      if (!news.batches().empty()) news_.push_back(news);
    }
  }
  void Grant(int64_t bytes) {
    ReplicateRequest request;
    request.set_credit_bytes(bytes);
    ASSERT_TRUE(stream_->Write(request));
  }
  // The next answer to an attach. Takes the batches that come before.
  ReplicaAttached NextAnswer() {
    ReplicateResponse response;
    while (stream_->Read(&response)) {
      for (const auto& news : response.news()) TakeBatches(news);
      if (response.attached_size() > 0) return response.attached(0);
    }
    ADD_FAILURE() << "the stream has ended";
    return {};
  }
  // Whether the leader has nothing to say about attaches when it is asked what makes no sense.
  bool IsQuiet() {
    ReplicateRequest request;
    AddAttach(++asked_, 0, &request);
    request.mutable_attaches(0)->set_partition(kNoPartition);
    EXPECT_TRUE(stream_->Write(request));
    return NextAnswer().index() == asked_;
  }
  // Takes batches until the log has come up to `end`.
  void ReadUpTo(int64_t end) {
    ReplicateResponse response;
    while (end_ < end && stream_->Read(&response)) {
      for (const auto& news : response.news()) TakeBatches(news);
    }
    EXPECT_EQ(end_, end);
  }
  void TakeBatches(const internal::v1::ReplicaNews& news) {
    record::BatchIterator batches(Bytes::Copy(news.batches()));
    for (auto batch = batches.Next(); batch.ok() && batch->has_value(); batch = batches.Next()) {
      const auto header = record::VerifyStoredBatch(**batch);
      ASSERT_TRUE(header.ok()) << header.status();
      EXPECT_EQ(header->base_offset.value(), end_) << "without a gap, and once";
      end_ = header->next_offset().value();
    }
  }
  // So many attaches that make no sense: they are answered at once, which is all it takes.
  ReplicateRequest Questions(int count) {
    ReplicateRequest request;
    for (int i = 1; i <= count; ++i) AddAttach(static_cast<uint32_t>(i), 0, &request);
    for (ReplicaAttach& attach : *request.mutable_attaches()) attach.set_partition(kNoPartition);
    return request;
  }
  bool IsPaused(const std::string& metrics) {
    return absl::StrContains(metrics, "falaj_replica_streams_paused 1\n");
  }
  bool NothingIsKept() {
    const std::string metrics = Get(node_->http_address(), "/metrics");
    return absl::StrContains(metrics, "falaj_replica_streams_paused 0\n") &&
           absl::StrContains(metrics, "falaj_replica_unread_answers 0\n");
  }

  int64_t end_ = 1;
  uint32_t asked_ = 1'000'000;
  std::deque<internal::v1::ReplicaNews> news_;  // With batches, and not asked for yet.
};

TEST_F(ReplicaLaneTest, WhoLagsCatchesUpOnTheOtherLaneAndComesBackWhenAllIsAcknowledged) {
  LeaveBehind();
  Attach(1 << 20, 1, REPLICA_LANE_LIVE);
  const ReplicaAttached away = NextAnswer();
  EXPECT_EQ(away.index(), index_);
  EXPECT_EQ(away.lane(), REPLICA_LANE_CATCH_UP);
  EXPECT_EQ(end_, 1) << "not on the live lane";
  context_->TryCancel();

  Attach(1 << 20, 1, REPLICA_LANE_CATCH_UP);
  ReadUpTo(kEnd);
  Ack(index_, kEnd - 1);
  EXPECT_TRUE(IsQuiet()) << "not all of it is acknowledged";
  Ack(index_, kEnd);
  const ReplicaAttached back = NextAnswer();
  EXPECT_EQ(back.index(), index_);
  EXPECT_EQ(back.lane(), REPLICA_LANE_LIVE);
  context_->TryCancel();

  Attach(1 << 20, kEnd, REPLICA_LANE_LIVE);
  AppendBatches(1);
  ReadUpTo(kEnd + 1);
  context_->TryCancel();
}

TEST_F(ReplicaLaneTest, WhoLacksLittleThatIsInMemoryStaysOnTheLiveLane) {
  LeaveBehind();
  Attach(1 << 20, kEnd - 2, REPLICA_LANE_LIVE);
  end_ = kEnd - 2;
  ReadUpTo(kEnd);
  EXPECT_TRUE(IsQuiet());
  context_->TryCancel();
}

TEST_F(ReplicaLaneTest, WhoIsInSyncIsReadForOnTheLiveLaneHoweverMuchItLacks) {
  StorageServer::Options options = Options();
  options.tail_cache_bytes = 5 * kBatchBytes / 2;
  options.replica_lag_max = absl::Minutes(10);
  Start(options, /*partitions=*/2, /*min_in_sync=*/1);
  Attach(1);  // Enough for one frame: the start of the epoch.
  NextBatches();
  Ack(index_, 1);
  ASSERT_TRUE(Eventually([&] { return !Latest(partition_).has_error(); }));
  AppendBatches(kBatches);
  Grant(10 << 20);
  ReadUpTo(kEnd);
  EXPECT_TRUE(IsQuiet());
  context_->TryCancel();
}

TEST_F(ReplicaLaneTest, TheLaneKeepsToItsCredit) {
  LeaveBehind();
  Attach(1, 1, REPLICA_LANE_CATCH_UP);
  ReplicateResponse response;
  while (end_ == 1 && stream_->Read(&response)) {
    for (const auto& news : response.news()) TakeBatches(news);
  }
  const int64_t first = end_;
  EXPECT_LT(first, kEnd) << "that was one frame";
  EXPECT_TRUE(IsQuiet());
  EXPECT_EQ(end_, first) << "there is no credit left";
  Grant(10 << 20);
  ReadUpTo(kEnd);
  context_->TryCancel();
}

TEST_F(ReplicaLaneTest, WhatWasReadBelowWhereTheLogBeginsNowIsNotSent) {
  LeaveBehind(Options(), /*partitions=*/4);
  const std::vector<int> led = AppendToOthers(kBatches);
  ASSERT_EQ(led.size(), 2u);
  AttachAll(led, /*credit=*/0, REPLICA_LANE_CATCH_UP);
  Grant(1);  // Both are read for, and one may be sent.
  const int64_t first = NextNews().index();
  ASSERT_EQ(first, led[0] + 1);
  ASSERT_TRUE(DeleteBefore(20).ok());  // Of the other one.
  Grant(10 << 20);
  internal::v1::ReplicaNews news;
  do {
    news = NextNews();
  } while (news.index() == first);
  EXPECT_EQ(news.log_start(), 20);
  EXPECT_EQ(record::ParseBatchHeader(news.batches())->base_offset, Offset{20})
      << "the follower, whose log ends at 1, begins anew where the leader's does";
  context_->TryCancel();
}

TEST_F(ReplicaLaneTest, APublishCostsTheSameHoweverManyWaitToBeReadFor) {
  constexpr int kAppends = 30;
  StorageServer::Options options = Options();
  options.catch_up_bytes_per_second = 1;  // After the first read there is none for a long time.
  LeaveBehind(options, /*partitions=*/32);
  const std::vector<int> led = AppendToOthers(3);
  ASSERT_GE(led.size(), 16u);
  AttachAll(led, /*credit=*/1 << 20, REPLICA_LANE_CATCH_UP);
  NextNews();
  const auto looks = [&] {
    return http::ScrapeMetric(node_->http_address(), "falaj_replica_looks_total").value_or(-1);
  };
  const double before = looks();
  Producer producer(stub_.get());
  for (int i = 0; i < kAppends; ++i) {
    ASSERT_FALSE(producer.Append(Request(partition_, Batch(1), v1::ACKS_LEADER)).has_error());
  }
  // One look for the batch and one for the high watermark, and a few for the attaches.
  EXPECT_LE(looks() - before, 4 * kAppends);
  EXPECT_GE(looks() - before, 1);
  context_->TryCancel();
}

TEST_F(ReplicaLaneTest, APartitionIsCopiedOnTheStreamWhereItAttachedLast) {
  LeaveBehind();
  Attach(0, 1, REPLICA_LANE_CATCH_UP);
  const auto first_context = std::move(context_);
  auto first = std::move(stream_);
  Attach(1 << 20, 1, REPLICA_LANE_CATCH_UP);
  ReadUpTo(kEnd);
  std::swap(first, stream_);
  EXPECT_EQ(NextAnswer().error().reason(), "EPOCH_FENCED") << "it may be news to the follower";
  Grant(10 << 20);
  EXPECT_TRUE(IsQuiet());
  EXPECT_EQ(end_, kEnd) << "nothing comes twice";
  first_context->TryCancel();
  context_->TryCancel();
}

TEST_F(ReplicaLaneTest, WhoTakesEverythingAndAcknowledgesNothingIsACursorOnTheCatchUpLane) {
  LeaveBehind();
  Attach(1 << 29, 1, REPLICA_LANE_CATCH_UP);
  ReadUpTo(kEnd);
  AppendBatches(2);
  EXPECT_TRUE(IsQuiet()) << "it is about to move, and does not say what it has";
  EXPECT_EQ(end_, kEnd) << "nothing more leaves on this lane";
  context_->TryCancel();
}

TEST_F(ReplicaLaneTest, WhoTakesEverythingAndAcknowledgesNothingIsACursorOnTheLiveLane) {
  LeaveBehind();
  Attach(1 << 29, kEnd, REPLICA_LANE_LIVE);
  end_ = kEnd;
  for (int64_t end = kEnd + 1; end < 2 * kEnd; ++end) {
    AppendBatches(1);
    ReadUpTo(end);
  }
  EXPECT_TRUE(IsQuiet());
  context_->TryCancel();
}

// A follower that asks, and reads when it is told to.
class Asker {
 public:
  Asker(const std::string& address, const ReplicateRequest& hello, int frames,
        const ReplicateRequest& frame)
      : stub_(StorageService::NewStub(rpc::SmallWindowChannel(address))),
        stream_(stub_->Replicate(&context_)),
        thread_([this, hello, frames, frame] {
          stream_->Write(hello);
          for (int i = 0; i < frames && stream_->Write(frame); ++i) {
          }
        }) {}
  ~Asker() {
    context_.TryCancel();
    thread_.join();
  }
  int ReadAnswers() {
    ReplicateResponse response;
    return stream_->Read(&response) ? response.attached_size() : 0;
  }

 private:
  const std::unique_ptr<StorageService::Stub> stub_;
  grpc::ClientContext context_;
  std::unique_ptr<grpc::ClientReaderWriter<ReplicateRequest, ReplicateResponse>> stream_;
  std::thread thread_;  // Blocks when nothing more is read from it.
};

TEST_F(ReplicaLaneTest, WhoAsksAndDoesNotReadTheAnswersIsNotReadFrom) {
  constexpr int kFrames = 100;
  constexpr int kQuestions = 250;  // In a frame.
  constexpr int kAnswersMax = 10'000;
  Start();
  for (const ReplicaLane lane : {REPLICA_LANE_LIVE, REPLICA_LANE_CATCH_UP}) {
    Asker asker(node_->grpc_address(), Hello(0, lane), kFrames, Questions(kQuestions));
    ASSERT_TRUE(Eventually([&] { return IsPaused(Get(node_->http_address(), "/metrics")); }));
    // It looks after each frame whether it may read the next one.
    const auto unread = http::ScrapeMetric(node_->http_address(), "falaj_replica_unread_answers");
    ASSERT_TRUE(unread.has_value());
    EXPECT_LE(*unread, kAnswersMax + kQuestions);
    int answers = 0;
    while (answers < kFrames * kQuestions) {
      const int more = asker.ReadAnswers();
      ASSERT_GT(more, 0);
      answers += more;
    }
    EXPECT_EQ(answers, kFrames * kQuestions) << "nothing was lost meanwhile";
    EXPECT_TRUE(Eventually([&] { return NothingIsKept(); }));
  }
}

TEST_F(ReplicaLaneTest, WhoAsksAndGoesAwayLeavesNothingBehind) {
  Start();
  {
    Asker asker(node_->grpc_address(), Hello(0), 1000, Questions(1000));
    ASSERT_TRUE(Eventually([&] { return IsPaused(Get(node_->http_address(), "/metrics")); }));
  }
  EXPECT_TRUE(Eventually([&] { return NothingIsKept(); }));
}

}  // namespace
}  // namespace falaj::storage
