// RaftNode on a disk whose syncs are held up: what goes on meanwhile, what must not, and for how
// long.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <filesystem>
#include <functional>
#include <future>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "libs/base/mutex.h"
#include "libs/base/random.h"
#include "libs/base/status.h"
#include "libs/log/faulty_file_system.h"
#include "services/metadata/agreeing_voter.h"
#include "services/metadata/raft_node.h"

namespace falaj::metadata {
namespace {

using ::testing::ElementsAre;
using Disk = log::FaultyFileSystem;
using raft::pb::RaftMessage;

constexpr std::chrono::seconds kAnswerPatience(20);  // Much more than it takes.

// Node 1 of three; the test is the two others. Its ticks are so long that nothing happens by
// itself.
class RaftNodeReliefTest : public testing::Test {
 protected:
  RaftNodeReliefTest() : disk_(std::make_shared<Disk>()), env_(log::MakeEnv(disk_)) {
    directory_ =
        absl::StrCat(testing::TempDir(), "/raft_relief_test_", Random::FromSystem().Next());
    RaftNode::Options options;
    options.node.raft.self = NodeId(1);
    options.node.cluster_id = Uuid::FromRandomBits(1, 2);
    options.node.on_health = [this](bool live, bool ready) {
      if (!live) dead_ = true;
      if (!ready) ++unready_;
    };
    options.tick = kTick;
    options.clock = &clock_;
    options.send = [this](RaftMessage message) { Sent(std::move(message)); };
    node_ = *RaftNode::Create(options, OpenLog(), &registry_);
    node_->Start();
  }
  ~RaftNodeReliefTest() override {
    ReleaseSync();
    End();
    std::error_code ignored;
    std::filesystem::remove_all(directory_, ignored);
  }

  // Node 2 does, in a term of its own.
  void LetAnotherLead() {
    RaftMessage heartbeat;
    heartbeat.set_type(raft::pb::RAFT_MESSAGE_TYPE_HEARTBEAT);
    heartbeat.set_from(2);
    heartbeat.set_to(1);
    heartbeat.set_term(100);
    node_->Step(heartbeat);
  }
  void End() {
    if (node_ == nullptr) return;
    const auto leads = [](MetadataNode* node) { return node->core().is_leader(); };
    if (!stopped_ && InRound<bool>(leads)) LetAnotherLead();  // To hand over takes a while.
    node_->Stop();                                            // It still gets answers meanwhile.
    node_.reset();
  }
  // What the disk holds once the node has ended.
  raft::Restored Restored() {
    End();
    return OpenLog()->TakeRestored();
  }

  std::unique_ptr<log::RaftLog> OpenLog() {
    log::RaftLog::Options options;
    options.directory = directory_;
    options.node_id = NodeId(1);
    options.cluster_id_if_new = Uuid::FromRandomBits(1, 2);
    options.initial_membership.voters = {NodeId(1), NodeId(2), NodeId(3)};
    options.env = env_.get();
    auto log = log::RaftLog::Open(options);
    return *std::move(log);
  }

  // Node 2 or 3 agrees with everything, unless they are to be silent about entries.
  void Sent(RaftMessage message) {
    const bool append = message.type() == raft::pb::RAFT_MESSAGE_TYPE_APPEND;
    auto answer = AgreeingAnswer(message);
    if (answer.has_value() && !(append && silent_)) node_->Step(*std::move(answer));
    MutexLock lock(&mu_);
    sent_.push_back(std::move(message));
    was_sent_.NotifyAll();
  }

  // Whether such a message is sent, or was already.
  bool AwaitSent(const std::function<bool(const RaftMessage&)>& is_it) {
    const absl::Time end = absl::Now() + absl::FromChrono(kAnswerPatience);
    MutexLock lock(&mu_);
    while (!std::any_of(sent_.begin(), sent_.end(), is_it)) {
      if (!was_sent_.WaitFor(&mu_, end - absl::Now()) && absl::Now() >= end) return false;
    }
    return true;
  }
  static std::function<bool(const RaftMessage&)> EntryAt(uint64_t index) {
    return [index](const RaftMessage& message) {
      return message.type() == raft::pb::RAFT_MESSAGE_TYPE_APPEND &&
             message.log_index() + static_cast<uint64_t>(message.entries_size()) >= index;
    };
  }
  static std::function<bool(const RaftMessage&)> CommitOf(uint64_t index) {
    return [index](const RaftMessage& message) {
      return message.type() == raft::pb::RAFT_MESSAGE_TYPE_APPEND && message.commit() >= index;
    };
  }
  // What promises something, in the order in which it was sent: "ack 5", "vote", "beat".
  std::vector<std::string> Promises() {
    MutexLock lock(&mu_);
    std::vector<std::string> promises;
    for (const RaftMessage& message : sent_) {
      if (message.reject()) promises.push_back("refusal");
      if (message.type() == raft::pb::RAFT_MESSAGE_TYPE_APPEND_REPLY) {
        promises.push_back(absl::StrCat("ack ", message.log_index()));
      } else if (message.type() == raft::pb::RAFT_MESSAGE_TYPE_VOTE_REPLY) {
        promises.push_back(absl::StrCat("vote for ", message.to()));
      } else if (message.type() == raft::pb::RAFT_MESSAGE_TYPE_HEARTBEAT_REPLY) {
        promises.push_back("beat");
      }
    }
    return promises;
  }

  static RaftMessage FromTwo(raft::pb::RaftMessageType type, uint64_t previous, int entries) {
    RaftMessage message;
    message.set_type(type);
    message.set_from(2);
    message.set_to(1);
    message.set_term(1);
    message.set_log_index(previous);
    message.set_log_term(previous == 0 ? 0 : 1);
    for (int i = 1; i <= entries; ++i) {
      raft::pb::RaftEntry* const entry = message.add_entries();
      entry->set_index(previous + static_cast<uint64_t>(i));
      entry->set_term(1);
      entry->set_type(raft::pb::RAFT_ENTRY_TYPE_NO_OP);
    }
    return message;
  }
  // A follower whose disk writes the first entry, and that is to acknowledge it and two more, a
  // heartbeat and a vote in the next term.
  void HoldPromises() {
    HoldSync([&] { node_->Step(FromTwo(raft::pb::RAFT_MESSAGE_TYPE_APPEND, 0, 1)); });
    node_->Step(FromTwo(raft::pb::RAFT_MESSAGE_TYPE_APPEND, 1, 2));
    ASSERT_EQ(3u, LastIndex()) << "the relief has taken it in";
    node_->Step(FromTwo(raft::pb::RAFT_MESSAGE_TYPE_HEARTBEAT, 0, 0));
    RaftMessage candidacy = FromTwo(raft::pb::RAFT_MESSAGE_TYPE_VOTE, 3, 0);
    candidacy.set_from(3);
    candidacy.set_term(2);
    candidacy.set_transfer(true);
    node_->Step(candidacy);
    const auto term = [](MetadataNode* node) { return node->core().term().value(); };
    ASSERT_EQ(2u, InRound<uint64_t>(term));
    ASSERT_EQ(2u, InRound<uint64_t>(term)) << "a round later: whatever it sends is sent";
    EXPECT_EQ(1, disk_->hanging());
    EXPECT_THAT(Promises(), ElementsAre());
  }

  // What `ask` says in a round of the node.
  template <typename T>
  T InRound(std::function<T(MetadataNode*)> ask) {
    std::promise<T> answer;
    node_->Post([&](MetadataNode* node, const absl::Status&) { answer.set_value(ask(node)); });
    return answer.get_future().get();
  }
  uint64_t LastIndex() {
    return InRound<uint64_t>([](MetadataNode* node) { return node->core().last_index().value(); });
  }

  // A round tells its status at its end, when what it has answered is answered already.
  NodeStatus StatusAfterARound() {
    LastIndex();
    return node_->status();
  }

  void Lead() {
    const auto leads = [this] {
      return InRound<bool>([](MetadataNode* node) { return node->core().is_leader(); });
    };
    while (!leads()) clock_.Advance(kTick);
    ASSERT_TRUE(Answered(Execute()).ok());
  }

  // What becomes of a command, and in which order.
  std::future<absl::Status> Execute() {
    auto answered = std::make_shared<std::promise<absl::Status>>();
    node_->Post([answered, this, number = ++commands_](MetadataNode* node, const absl::Status& no) {
      if (node == nullptr) return answered->set_value(no);
      internal::v1::ClusterCommand command;
      command.mutable_allocate_producer_ids()->set_count(1);
      node->Execute(std::move(command), [answered, this, number](const auto& done) {
        order_.push_back(number);
        answered->set_value(done.status());
      });
    });
    return answered->get_future();
  }
  static absl::Status Answered(std::future<absl::Status> answer) {
    if (answer.wait_for(kAnswerPatience) == std::future_status::ready) return answer.get();
    return absl::DeadlineExceededError("no answer");
  }
  static bool IsAnswered(const std::future<absl::Status>& answer) {
    return answer.wait_for(std::chrono::seconds(0)) == std::future_status::ready;
  }

  // The next sync does not return, and the relief is there.
  void HoldSync(const std::function<void()>& write) {
    disk_->Set(Disk::Fault::kHangingSync);
    write();
    while (disk_->hanging() == 0) std::this_thread::yield();
    clock_.Advance(kReliefAfter);
  }
  // Whether it comes about although the disk still hangs.
  bool AwaitEndOfRelief() const {
    const absl::Time end = absl::Now() + absl::FromChrono(kAnswerPatience);
    while (!node_->relief_sleeps()) {
      if (absl::Now() >= end) return false;
      std::this_thread::yield();
    }
    return disk_->hanging() > 0;
  }
  void ReleaseSync() { disk_->Set(Disk::Fault::kNone); }

  int64_t syncs() {
    return registry_.AddHistogram("falaj_raft_sync_seconds", "", {{"raft_group", "metadata"}})
        ->count();
  }

  static constexpr absl::Duration kTick = absl::Seconds(10);
  ManualClock clock_;
  telemetry::Registry registry_;
  std::string directory_;
  const std::shared_ptr<Disk> disk_;
  const std::unique_ptr<rocksdb::Env> env_;
  std::unique_ptr<RaftNode> node_;
  std::atomic<bool> silent_ = false;
  bool stopped_ = false;
  std::atomic<int> unready_ = 0;  // How often it was said.
  std::atomic<bool> dead_ = false;
  int commands_ = 0;
  std::vector<int> order_;  // Of the answers; of the rounds.

  Mutex mu_;
  CondVar was_sent_;
  std::vector<RaftMessage> sent_ ABSL_GUARDED_BY(mu_);
};

TEST_F(RaftNodeReliefTest, AnAnswerThatComesInTheRoundThatAsksIsTakenInAtOnce) {
  Lead();
  // The followers answer from within the round that sends. Nothing else is due for ten seconds.
  for (int i = 0; i < 3; ++i) EXPECT_EQ(absl::OkStatus(), Answered(Execute()));
}

TEST_F(RaftNodeReliefTest, ALeaderGoesOnWhileItsDiskWrites) {
  Lead();
  const uint64_t before = LastIndex();
  std::future<absl::Status> first;
  HoldSync([&] { first = Execute(); });
  std::future<absl::Status> second = Execute();
  EXPECT_TRUE(AwaitSent(EntryAt(before + 2))) << "it leaves before the first is on this disk";
  EXPECT_TRUE(AwaitSent(CommitOf(before + 2))) << "the others have it, and are heard";
  EXPECT_EQ(1, disk_->hanging());
  EXPECT_FALSE(IsAnswered(first) || IsAnswered(second)) << "applied only once they are on disk";
  ReleaseSync();
  EXPECT_EQ(absl::OkStatus(), Answered(std::move(first)));
  EXPECT_EQ(absl::OkStatus(), Answered(std::move(second)));
  EXPECT_GE(
      registry_.AddCounter("falaj_raft_relief_rounds_total", "", {{"raft_group", "metadata"}})
          ->value(),
      2);
}

TEST_F(RaftNodeReliefTest, AReadIsAnsweredWhileTheDiskWrites) {
  Lead();
  silent_ = true;  // What is being written is not committed.
  std::future<absl::Status> write;
  HoldSync([&] { write = Execute(); });
  std::promise<absl::Status> read;
  node_->Post([&](MetadataNode* node, const absl::Status&) {
    PendingReads::Options options;
    options.deadline = kForever;
    node->Read(options, [&](const absl::Status& status) { read.set_value(status); });
  });
  EXPECT_EQ(absl::OkStatus(), Answered(read.get_future()));
  EXPECT_EQ(1, disk_->hanging());
  EXPECT_FALSE(IsAnswered(write));
}

TEST_F(RaftNodeReliefTest, ANodeThatWaitsForItsDiskIsReady) {
  Lead();
  ASSERT_TRUE(StatusAfterARound().ready);
  const int unready_before = unready_;
  for (int i = 0; i < 3; ++i) EXPECT_EQ(absl::OkStatus(), Answered(Execute()));
  EXPECT_EQ(unready_before, unready_);
  const uint64_t before = LastIndex();
  std::future<absl::Status> write;
  HoldSync([&] { write = Execute(); });
  ASSERT_TRUE(AwaitSent(CommitOf(before + 1)));
  EXPECT_TRUE(StatusAfterARound().ready) << "its state is as new as before";
  EXPECT_EQ(unready_before, unready_);
}

TEST_F(RaftNodeReliefTest, WhatGathersIsOneWriteAndKeepsItsOrder) {
  Lead();
  const uint64_t before = LastIndex();
  const int64_t syncs_before = syncs();
  order_.clear();
  std::vector<std::future<absl::Status>> answers;
  HoldSync([&] { answers.push_back(Execute()); });
  for (uint64_t i = 2; i <= 4; ++i) {
    answers.push_back(Execute());
    ASSERT_TRUE(AwaitSent(EntryAt(before + i))) << "a round of its own";
  }
  ReleaseSync();
  for (auto& answer : answers) EXPECT_EQ(absl::OkStatus(), Answered(std::move(answer)));
  EXPECT_EQ(2, syncs() - syncs_before);
  EXPECT_THAT(order_, ElementsAre(2, 3, 4, 5));
  EXPECT_EQ(before + 4, Restored().entries.back().index());
}

TEST_F(RaftNodeReliefTest, PromisesLeaveAfterWhatTheyPromiseIsOnDisk) {
  HoldPromises();
  ReleaseSync();
  ASSERT_TRUE(AwaitSent([](const RaftMessage& message) { return message.to() == 3; }));
  EXPECT_THAT(Promises(), ElementsAre("ack 1", "ack 3", "beat", "vote for 3"));
  const raft::Restored restored = Restored();
  EXPECT_EQ(3, restored.hard_state.vote());
  EXPECT_EQ(3u, restored.entries.size());
}

TEST_F(RaftNodeReliefTest, ASnapshotOfTheLeaderEndsTheRelief) {
  HoldSync([&] { node_->Step(FromTwo(raft::pb::RAFT_MESSAGE_TYPE_APPEND, 0, 1)); });
  SnapshotJob job;
  job.meta.set_index(20);
  job.meta.set_term(1);
  for (const int voter : {1, 2, 3}) job.meta.mutable_membership()->add_voters(voter);
  job.state.Skip(LogIndex(20));
  const raft::Snapshot snapshot = job.Build();
  RaftMessage chunk = FromTwo(raft::pb::RAFT_MESSAGE_TYPE_SNAPSHOT, 0, 0);
  *chunk.mutable_snapshot() = snapshot.meta;
  chunk.set_chunk(snapshot.data.ToString());
  node_->Step(std::move(chunk));
  EXPECT_TRUE(AwaitEndOfRelief()) << "nothing may be applied before it is stored";
  std::promise<uint64_t> applied;
  node_->Post([&](MetadataNode* node, const absl::Status&) {
    applied.set_value(node->core().applied().value());
  });
  EXPECT_THAT(Promises(), ElementsAre());
  EXPECT_EQ(1, disk_->hanging());
  ReleaseSync();
  EXPECT_EQ(20u, applied.get_future().get()) << "in the next round of the node's thread";
  EXPECT_THAT(Promises(), ElementsAre("ack 1", "ack 20"));
  const raft::Restored restored = Restored();
  EXPECT_EQ(20u, restored.snapshot.meta.index());
  EXPECT_TRUE(restored.entries.empty());
}

TEST_F(RaftNodeReliefTest, WhatADiskThatFailsDoesNotHoldIsNotPromised) {
  HoldPromises();
  disk_->Set(Disk::Fault::kSyncIoError);
  while (!dead_) std::this_thread::yield();
  EXPECT_FALSE(StatusAfterARound().ready) << "whatever it sends is sent";
  EXPECT_THAT(Promises(), ElementsAre());
}

TEST_F(RaftNodeReliefTest, ADiskThatFailsTakesEverythingThatGatheredWithIt) {
  Lead();
  const uint64_t before = LastIndex();
  std::future<absl::Status> first;
  HoldSync([&] { first = Execute(); });
  std::future<absl::Status> second = Execute();
  ASSERT_TRUE(AwaitSent(EntryAt(before + 2)));
  disk_->Set(Disk::Fault::kSyncIoError);
  EXPECT_EQ(Reason::kMetadataUnavailable, ReasonOf(Answered(std::move(first))));
  EXPECT_EQ(Reason::kMetadataUnavailable, ReasonOf(Answered(std::move(second))));
  EXPECT_FALSE(StatusAfterARound().ready);
}

TEST_F(RaftNodeReliefTest, ADiskThatHangsStopsTheNodeAfterAWhile) {
  Lead();
  std::future<absl::Status> write;
  HoldSync([&] { write = Execute(); });
  std::promise<void> in_round;
  std::promise<void> go_on;
  node_->Post([&](MetadataNode*, const absl::Status&) {
    in_round.set_value();
    go_on.get_future().wait();
  });
  in_round.get_future().wait();  // Of the relief, which is now kept from looking at the clock.
  std::atomic<bool> ran = false;
  std::promise<int> hanging;
  node_->Post([&](MetadataNode*, const absl::Status&) {
    ran = true;
    hanging.set_value(disk_->hanging());
  });
  clock_.Advance(ReliefMax(kTick) - kReliefAfter);
  go_on.set_value();
  EXPECT_TRUE(AwaitEndOfRelief());
  EXPECT_FALSE(ran);
  ReleaseSync();
  EXPECT_EQ(0, hanging.get_future().get()) << "the node's thread ran it";
  EXPECT_EQ(absl::OkStatus(), Answered(std::move(write)));
}

TEST_F(RaftNodeReliefTest, AStoppingNodeWaitsForItsDiskAndAnswers) {
  Lead();
  std::future<absl::Status> write;
  HoldSync([&] { write = Execute(); });
  std::atomic<bool> has_stopped = false;
  std::thread stopper([this, &has_stopped] {
    node_->Stop();
    has_stopped = true;
  });
  std::atomic<bool> stops = false;
  while (!stops) {
    node_->Post([&stops](MetadataNode* node, const absl::Status& refused) {
      if (node == nullptr && ReasonOf(refused) == Reason::kShuttingDown) stops = true;
    });
  }
  EXPECT_FALSE(IsAnswered(write));
  ReleaseSync();
  EXPECT_EQ(absl::OkStatus(), Answered(std::move(write)));
  while (!has_stopped) {  // More than once: what was posted may have filled the queue.
    LetAnotherLead();
    std::this_thread::yield();
  }
  stopper.join();
  stopped_ = true;
}

}  // namespace
}  // namespace falaj::metadata
