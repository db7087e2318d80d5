#include "services/metadata/raft_node.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

#include "libs/base/log.h"
#include "libs/base/status.h"
#include "libs/base/thread_priority.h"

namespace falaj::metadata {
namespace {

namespace pb = ::falaj::internal::v1;

constexpr absl::Duration kTasksTimeMax = absl::Milliseconds(8);  // Nobody waits for long.
constexpr absl::Duration kRestMax = absl::Milliseconds(5);       // The node's thread may be back.
constexpr absl::Duration kHandOverMax = absl::Seconds(1);

const telemetry::Labels kGroup = {{"raft_group", "metadata"}};

bool OnlyTellCommits(const std::vector<pb::RaftMessage>& messages) {
  return std::all_of(messages.begin(), messages.end(), [](const pb::RaftMessage& message) {
    return message.type() == pb::RAFT_MESSAGE_TYPE_APPEND && message.entries().empty();
  });
}

}  // namespace

RaftNode::Metrics::Metrics(telemetry::Registry* registry)
    : sync_seconds(registry->AddHistogram("falaj_raft_sync_seconds",
                                          "Time to write what a round must have on disk.", kGroup)),
      snapshot_seconds(
          registry->AddHistogram("falaj_raft_snapshot_seconds",
                                 "Time to make and store a snapshot, in the background.", kGroup)),
      relief_rounds(registry->AddCounter("falaj_raft_relief_rounds_total",
                                         "Rounds that went on while the disk was slow.", kGroup)) {}

absl::StatusOr<std::unique_ptr<RaftNode>> RaftNode::Create(const Options& options,
                                                           std::unique_ptr<log::RaftLog> log,
                                                           telemetry::Registry* registry) {
  auto node = std::unique_ptr<RaftNode>(new RaftNode(options, std::move(log), registry));
  FALAJ_ASSIGN_OR_RETURN(node->node_,
                         MetadataNode::Create(options.node, node->log_->TakeRestored(),
                                              options.clock->MonotonicNow(), registry));
  return node;
}

RaftNode::RaftNode(const Options& options, std::unique_ptr<log::RaftLog> log,
                   telemetry::Registry* registry)
    : options_(options),
      registry_(registry),
      log_(std::move(log)),
      metrics_(registry),
      baton_(options.clock, options.tick * options.node.raft.election_ticks_min),
      timer_(options.tick, options.clock->MonotonicNow()),
      meter_(registry) {}

RaftNode::~RaftNode() { Stop(); }

void RaftNode::Start() {
  thread_ = std::thread([this] { Run(); });
  relief_thread_ = std::thread([this] { RunRelief(); });
}

void RaftNode::Stop() {
  baton_.Close();
  {
    MutexLock lock(&mu_);
    stopping_ = needed_ = true;
    wake_.NotifyAll();
  }
  if (thread_.joinable()) thread_.join();
  if (relief_thread_.joinable()) relief_thread_.join();
  // Of a node that was never started.
  std::deque<Task> left;
  {
    MutexLock lock(&mu_);
    left.swap(tasks_);
  }
  const absl::Status stopping = MakeError(Reason::kShuttingDown, "the metadata node is stopping");
  for (Task& task : left) task(nullptr, stopping);
}

NodeStatus RaftNode::status() const {
  MutexLock lock(&mu_);
  return status_;
}

bool RaftNode::Enqueue(Task* task, std::optional<raft::AnswerTo> answer, bool also_stopping,
                       absl::Status* refused) {
  MutexLock lock(&mu_);
  if (stopping_ && !also_stopping) {
    *refused = MakeError(Reason::kShuttingDown, "the metadata node is stopping");
    return false;
  }
  if (tasks_.size() >= options_.queue_max) {
    *refused = MakeError(Reason::kQuotaExceeded,
                         absl::StrCat("more than ", options_.queue_max, " requests are waiting"),
                         {{"limit", absl::StrCat(options_.queue_max)}});
    return false;
  }
  tasks_.push_back(std::move(*task));
  if (answer.has_value()) {
    queued_.Add(*answer);
    if (!awaited_.Has(*answer)) return true;
  }
  if (!std::exchange(needed_, true)) Wake();
  return true;
}

// The relief may not have noticed yet that the node's thread is back.
void RaftNode::Wake() {
  wake_.NotifyOne();
  if (relief_rests_) wake_relief_.NotifyOne();
}

void RaftNode::Post(Task task) {
  absl::Status refused;
  if (Enqueue(&task, std::nullopt, /*also_stopping=*/false, &refused)) return;
  task(nullptr, refused);
}

void RaftNode::Step(pb::RaftMessage message) {
  const std::optional<raft::AnswerTo> answer = raft::WhatItAnswers(message);
  std::optional<MonotonicTime> beat_answered;
  if (answer == raft::AnswerTo::kHeartbeat) beat_answered = options_.clock->MonotonicNow();
  Task task = [this, beat_answered, message = std::move(message)](
                  MetadataNode* node, const absl::Status&) ABSL_EXCLUSIVE_LOCKS_REQUIRED(baton_) {
    if (node == nullptr) return;
    if (beat_answered.has_value()) MeasureRoundTrip(message.from(), *beat_answered);
    const absl::Status taken = node->Step(message);
    if (taken.ok()) return;
    log::Error("a metadata node's message was refused",
               {{"from", message.from()},
                {"type", pb::RaftMessageType_Name(message.type())},
                {"error", taken}});
  };
  absl::Status refused;  // Dropped: whoever sent it will send again.
  Enqueue(&task, answer, /*also_stopping=*/true, &refused);
}

void RaftNode::PeerBroke(NodeId peer) {
  Task task = [peer](MetadataNode* node, const absl::Status&) {
    if (node != nullptr) node->PeerBroke(peer);
  };
  absl::Status refused;  // Dropped: only a hint.
  Enqueue(&task, std::nullopt, /*also_stopping=*/true, &refused);
}

void RaftNode::Run() {
  baton_.Take();
  timer_ = RoundTimer(options_.tick, options_.clock->MonotonicNow());
  while (true) {
    const bool go_on = Round();
    if (!go_on && HandedOver()) break;
    SleepUnlessNeeded(/*stopping=*/!go_on);
  }
  if (snapshot_thread_.joinable()) snapshot_thread_.join();
  node_->Stop();
  baton_.Give();
}

// False: stopping, and this was the last of what was posted.
bool RaftNode::Round() {
  BeginRound();
  const bool go_on = RunTasks([] { return false; });
  node_->EndRound();
  DrainReady();
  FinishSnapshot();
  if (gathered_.has_value()) DrainReady();
  BeginSnapshot();
  PublishStatus();
  meter_.End(options_.clock->MonotonicNow());
  return go_on;
}

// Rounds go on while the node's thread waits for its disk, until it is back.
void RaftNode::RunRelief() {
  while (baton_.AwaitAbsence()) {
    std::optional<Rest> rest;
    bool needed = false;
    while (baton_.TryRelieve()) {
      if (needed) ReliefRound();
      if (AwaitsInstall()) {
        meter_.DiskBegins(options_.clock->MonotonicNow());
        baton_.GiveUp();
        break;
      }
      // It lasts until the next round, however often it is looked whether there should be one.
      if (!rest.has_value() || rest->after != timer_.round() ||
          rest->relief_until != baton_.relief_until()) {
        rest = BeginRest();
      }
      baton_.Give();
      needed = RestUnlessNeeded(*rest);
    }
  }
}

void RaftNode::ReliefRound() {
  metrics_.relief_rounds->Add();
  BeginRound();
  // The node's thread does not wait for all that has gathered once it is back.
  const bool go_on = RunTasks([this] { return baton_.is_wanted(); });
  node_->EndRound();
  while (!AwaitsInstall() && node_->HasReady()) TakeReady();
  if (!AwaitsInstall()) PublishStatus();
  if (go_on) return;
  MutexLock lock(&mu_);
  needed_ = true;  // The node's thread has to find out that it is stopping.
}

// What comes in from now on is looked at, until the relief ends; only then does the node stand
// still.
RaftNode::Rest RaftNode::BeginRest() {
  const MonotonicTime now = options_.clock->MonotonicNow();
  meter_.End(now);
  Rest rest;
  rest.after = timer_.round();
  rest.relief_until = baton_.relief_until();
  rest.awaited = node_->core().awaited_answers();
  rest.until = timer_.EndRound(now, {.ticks = node_->TicksUntilDue(),
                                     .wake_by = node_->WakeBy(),
                                     .hurry_by = std::min(node_->HurryBy(), rest.relief_until)});
  // Before the baton is given away: what the node's thread awaits may not be overwritten.
  MutexLock lock(&mu_);
  awaited_ = rest.awaited;
  return rest;
}

// True: another round is due.
bool RaftNode::RestUnlessNeeded(const Rest& rest) {
  const MonotonicTime now = options_.clock->MonotonicNow();
  if (rest.until <= now) return true;
  MutexLock lock(&mu_);
  const auto is_needed = [&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    return needed_ || rest.awaited.Intersects(queued_);
  };
  if (is_needed()) return true;
  relief_rests_ = true;
  wake_relief_.WaitFor(&mu_, std::min(rest.until - now, kRestMax));
  relief_rests_ = false;
  return is_needed() || options_.clock->MonotonicNow() >= rest.until;
}

// Runs what was posted so far, as far as time allows: heartbeats must go out between them; and at
// most until it is `enough`. False: stopping, and this was the last of it.
bool RaftNode::RunTasks(absl::FunctionRef<bool()> enough) {
  std::deque<Task> tasks;
  bool stopping = false;
  {
    MutexLock lock(&mu_);
    tasks.swap(tasks_);
    needed_ = false;
    queued_ = {};
    stopping = stopping_;
  }
  const MonotonicTime end = options_.clock->MonotonicNow() + kTasksTimeMax;
  while (!tasks.empty()) {
    tasks.front()(node_.get(), absl::OkStatus());
    tasks.pop_front();
    if (options_.clock->MonotonicNow() >= end || enough()) break;
  }
  if (tasks.empty()) return !stopping;
  MutexLock lock(&mu_);
  tasks_.insert(tasks_.begin(), std::make_move_iterator(tasks.begin()),
                std::make_move_iterator(tasks.end()));
  needed_ = true;
  return true;
}

void RaftNode::BeginRound() {
  const RoundTimer::Passed passed = timer_.BeginRound(options_.clock->MonotonicNow());
  if (passed.stood_still > absl::ZeroDuration()) node_->StoodStill(passed.stood_still);
  meter_.Begin(timer_.round());
  node_->Tick(timer_.round(), options_.clock->NowMs(), passed.ticks);
}

// A stopping node looks at every tick whether another one leads.
void RaftNode::SleepUnlessNeeded(bool stopping) {
  const raft::Answers awaited = node_->core().awaited_answers();
  const MonotonicTime now = options_.clock->MonotonicNow();
  const MonotonicTime until = timer_.EndRound(now, {.ticks = node_->TicksUntilDue(),
                                                    .wake_by = stopping ? now : node_->WakeBy(),
                                                    .hurry_by = node_->HurryBy()});
  MutexLock lock(&mu_);
  awaited_ = awaited;
  // What came during the round was judged by what was awaited before it.
  if (needed_ || awaited.Intersects(queued_) || until <= now) return;
  wake_.WaitFor(&mu_, until - now);
}

void RaftNode::DrainReady() {
  while (true) {
    // Before what has gathered is written: nobody shall wait for that to be answered.
    if (!AwaitsInstall() && node_->HasReady()) TakeReady();
    if (!gathered_.has_value()) return;
    raft::Ready ready = *std::exchange(gathered_, std::nullopt);
    if (const absl::Status stored = Store(ready); !stored.ok()) return StorageFailed(stored);
    // The disk took its time: what gets a timeout now gets it from now on.
    if (ready.must_sync) node_->Tick(options_.clock->MonotonicNow(), options_.clock->NowMs(), 0);
    node_->Persisted(ready);
    Send(std::move(ready.messages_after_persist));
    if (ready.snapshot.has_value()) node_->Apply(ready);
  }
}

// Does what need not wait for the disk. The rest gathers.
void RaftNode::TakeReady() {
  raft::Ready ready = node_->TakeReady();
  // Who waits for an answer is answered before followers are told what they need not hurry for.
  const bool answers_first = !ready.committed_entries.empty() && OnlyTellCommits(ready.messages);
  if (!answers_first) Send(std::exchange(ready.messages, {}));
  // What is committed is on disk already: nobody shall wait for the next write to be answered.
  if (!ready.snapshot.has_value()) node_->Apply(ready);
  if (answers_first) Send(std::exchange(ready.messages, {}));
  if (gathered_.has_value()) {
    raft::Join(&*gathered_, std::move(ready));
  } else {
    gathered_ = std::move(ready);
  }
}

absl::Status RaftNode::Store(const raft::Ready& ready) {
  FALAJ_RETURN_IF_ERROR(node_->Prepare(ready));
  const auto persist = [&] { return log_->Persist(ready); };
  if (!ready.must_sync && !ready.hard_state.has_value()) return persist();  // Nothing to write.
  // Nothing may be applied before a snapshot is stored.
  const auto relief = ready.snapshot.has_value() ? Baton::Relief::kNone : Baton::Relief::kWhenLong;
  return OnDisk(relief, ready.must_sync ? metrics_.sync_seconds : nullptr, persist);
}

absl::Status RaftNode::OnDisk(Baton::Relief relief, telemetry::Histogram* seconds,
                              absl::FunctionRef<absl::Status()> write) {
  const MonotonicTime begin = options_.clock->MonotonicNow();
  meter_.DiskBegins(begin);
  baton_.Leave(begin, relief);
  absl::Status written = write();
  const MonotonicTime end = options_.clock->MonotonicNow();
  const MonotonicTime relief_until = baton_.relief_until();
  baton_.Take();
  meter_.DiskEnds(options_.clock->MonotonicNow(), relief_until);
  if (written.ok() && seconds != nullptr) seconds->Observe(end - begin);
  return written;
}

void RaftNode::StorageFailed(const absl::Status& status) {
  gathered_.reset();  // What is on disk is unknown: it must not be promised.
  node_->StorageFailed(status);
}

void RaftNode::Send(std::vector<pb::RaftMessage> messages) {
  if (!options_.send) return;
  for (pb::RaftMessage& message : messages) {
    if (message.type() == pb::RAFT_MESSAGE_TYPE_HEARTBEAT) {
      Heartbeat& heartbeat = heartbeats_[message.to()];
      if (heartbeat.answered) heartbeat.sent = options_.clock->MonotonicNow();
      heartbeat.answered = false;
    }
    options_.send(std::move(message));
  }
}

void RaftNode::MeasureRoundTrip(int32_t peer, MonotonicTime answered) {
  const auto found = heartbeats_.find(peer);
  if (found == heartbeats_.end() || found->second.answered) return;
  Heartbeat& heartbeat = found->second;
  heartbeat.answered = true;
  if (heartbeat.round_trip == nullptr) {
    heartbeat.round_trip = registry_->AddHistogram(
        "falaj_raft_peer_round_trip_seconds", "Time from a heartbeat to its answer.",
        {{"raft_group", "metadata"}, {"peer", absl::StrCat(peer)}});
  }
  heartbeat.round_trip->Observe(answered - heartbeat.sent);
}

void RaftNode::BeginSnapshot() {
  std::optional<SnapshotJob> job = node_->TakeSnapshotJob();
  if (!job.has_value()) return;
  if (snapshot_thread_.joinable()) snapshot_thread_.join();  // It has reported already.
  snapshot_thread_ = std::thread([this, job = *std::move(job)] {
    StepBack();  // Rounds go first.
    const MonotonicTime begin = options_.clock->MonotonicNow();
    Written written;
    written.snapshot = job.Build();
    written.first_kept = job.first_kept;
    written.status = log_->WriteSnapshot(written.snapshot);
    metrics_.snapshot_seconds->Observe(options_.clock->MonotonicNow() - begin);
    MutexLock lock(&mu_);
    written_ = std::move(written);
    needed_ = true;
    Wake();
  });
}

void RaftNode::FinishSnapshot() {
  std::optional<Written> written;
  {
    MutexLock lock(&mu_);
    written.swap(written_);
  }
  if (!written.has_value()) return;
  absl::Status stored = written->status;
  if (stored.ok()) {
    stored = OnDisk(Baton::Relief::kWhenLong, nullptr,
                    [&] { return log_->CommitSnapshot(written->snapshot, written->first_kept); });
  }
  if (!stored.ok()) {
    node_->SnapshotStored(std::nullopt);
    return StorageFailed(stored);
  }
  node_->SnapshotStored(std::move(written->snapshot));
}

void RaftNode::PublishStatus() {
  // Copied for whoever asks. At once after a change, so that who caused it sees it; else now and
  // then.
  const LogIndex applied = node_->core().applied();
  const bool changed = node_->IsReady() != told_ready_ || applied != told_applied_;
  if (!changed && timer_.round() < next_publication_) return;
  next_publication_ = timer_.round() + options_.tick;
  told_ready_ = node_->IsReady();
  told_applied_ = applied;
  NodeStatus status = node_->Status();
  TellFounding(status.core);
  MutexLock lock(&mu_);
  status_ = std::move(status);
}

// A cluster that does not begin, and a directory that is not wanted, must say why.
void RaftNode::TellFounding(const raft::CoreStatus& status) {
  if (status.founders_awaited != told_awaited_) {
    told_awaited_ = status.founders_awaited;
    log::Info(told_awaited_.empty() ? "all founders are there"
                                    : "an empty directory: waits for the other founders",
              {{"missing", absl::StrJoin(told_awaited_, ",", [](std::string* out, NodeId node) {
                  absl::StrAppend(out, node);
                })}});
  }
  if (status.refusal.empty() || std::exchange(told_refusal_, true)) return;
  log::Error("this metadata node takes no part", {{"error", status.refusal}});
}

// True when a stopping node need not wait any longer for another one to take the lead.
bool RaftNode::HandedOver() {
  if (node_->HandOver()) return true;
  const MonotonicTime now = options_.clock->MonotonicNow();
  if (!hand_over_until_.has_value()) hand_over_until_ = now + kHandOverMax;
  return now >= *hand_over_until_;
}

}  // namespace falaj::metadata
