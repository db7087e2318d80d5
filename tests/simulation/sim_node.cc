#include "tests/simulation/sim_node.h"

#include <algorithm>
#include <map>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

#include "libs/base/status.h"

namespace falaj::simulation {
namespace {

namespace pb = ::falaj::internal::v1;

// As the real shell, RaftNode, has it.
constexpr absl::Duration kTick = absl::Milliseconds(30);
constexpr size_t kInboxMax = 10'000;

constexpr int64_t kDriftPpmMax = 5'000;
constexpr SimTime kReliefLateMin = 50 * kMicrosecond;  // More than clocks drift until then.
constexpr int64_t kWallStartMs = 1'700'000'000'000;

}  // namespace

std::string AddressOf(NodeId node) { return absl::StrCat("node:", node); }

NodeId NodeAt(absl::string_view address) {
  int32_t node = 0;
  const size_t colon = address.find(':');
  if (colon == absl::string_view::npos || !absl::SimpleAtoi(address.substr(colon + 1), &node)) {
    return NodeId();
  }
  return NodeId(node);
}

SimNode::SimNode(const World& world, const Options& options, raft::Restored initial)
    : world_(world),
      options_(options),
      random_(options.seed),
      disk_(std::move(initial)),
      drift_ppm_(random_.Between(-kDriftPpmMax, kDriftPpmMax)),
      clock_start_ns_(random_.Between(0, 1000 * kSecond)),
      wall_ahead_ms_(random_.Between(-5000, 5000)),
      life_(options.lives_before),
      timer_(kTick, Now()) {
  if (HasBug(raft::PlantedBug::kSnapshotNotDurable)) disk_.ForgetInstalledSnapshots();
}

MonotonicTime SimNode::Now() const {
  const SimTime now = world_.queue->now();
  return {clock_start_ns_ + now + now / 1'000'000 * drift_ppm_};
}

int64_t SimNode::WallMs() const {
  return kWallStartMs + world_.queue->now() / kMillisecond + wall_ahead_ms_;
}

void SimNode::Start() {
  ++life_;
  metadata::MetadataNode::Options options = options_.node;
  options.raft = options_.raft;
  options.raft.self = options_.id;
  options.raft.random_seed = random_.Next();
  options.cluster_id = options_.cluster_id;
  options.random_seed = random_.Next();
  registry_ = std::make_unique<telemetry::Registry>();
  auto node = metadata::MetadataNode::Create(options, disk_.Restore(), Now(), registry_.get());
  if (!node.ok()) {
    world_.findings->Report("a disk can be read again",
                            absl::StrCat("node ", options_.id, ": ", node.status().message()));
    return;
  }
  node_ = *std::move(node);
  std::map<NodeId, std::string> addresses;
  for (int id = 1; id < kFirstClient; ++id) addresses.emplace(NodeId(id), AddressOf(NodeId(id)));
  node_->SetAddresses(std::move(addresses));
  storage_failed_ = false;
  timer_ = metadata::RoundTimer(kTick, Now());
  needed_ = true;
  (*world_.trace)("node ", options_.id, " starts at ", disk_.last_index(SimDisk::View::kDurable));
  Round();
}

void SimNode::Kill() {
  if (!running()) return;
  (*world_.trace)("node ", options_.id, " is killed");
  ++life_;
  node_.reset();
  registry_.reset();
  inbox_.clear();
  queued_ = {};
  after_sync_ = nullptr;
  relief_.reset();
  gathered_.reset();
  written_.reset();
  blocked_ = paused_ = needed_ = false;
  next_wake_ = 0;
  if (disk_.Crash(&random_)) world_.findings->Reach(Mark::kTornWrite);
  world_.invariants->OnStop(options_.id);
}

void SimNode::Pause() {
  if (running()) paused_ = true;
}

void SimNode::Resume() {
  if (!std::exchange(paused_, false)) return;
  needed_ = true;     // What was to wake it may have come and gone.
  if (after_sync_) {  // The disk went on without the process.
    absl::AnyInvocable<void()> done = std::exchange(after_sync_, nullptr);
    return done();
  }
  Round();
}

bool SimNode::Give(Input input, bool urgent) {
  if (!running()) return false;
  if (inbox_.size() >= kInboxMax) return true;  // Lost.
  inbox_.push_back(std::move(input));
  needed_ = needed_ || urgent;
  Round();
  return true;
}

void SimNode::GiveMessage(pb::RaftMessage message) {
  if (!running()) return;
  const std::optional<raft::AnswerTo> answer = raft::WhatItAnswers(message);
  const bool urgent = !answer || node_->core().awaited_answers().Has(*answer);
  if (answer) queued_.Add(*answer);
  Give(
      [this, message = std::move(message)](metadata::MetadataNode* node) {
        const absl::Status taken = node->Step(message);
        if (taken.ok() || storage_failed_) return;
        world_.findings->Report("nodes understand each other",
                                absl::StrCat("node ", options_.id, " refuses a message of node ",
                                             message.from(), ": ", taken.message()));
      },
      urgent);
}

void SimNode::BreakPeer(NodeId peer) {
  Give([peer](metadata::MetadataNode* node) { node->PeerBroke(peer); });
}

bool SimNode::NeedsRound() const {
  if (!running() || paused_ || (blocked_ && !IsRelieved())) return false;
  return needed_ || Now() >= sleep_until_ || node_->core().awaited_answers().Intersects(queued_);
}

bool SimNode::IsRelieved() const {
  return relief_.has_value() && relief_->Contains(Now()) && !AwaitsInstall() && !storage_failed_;
}

void SimNode::Round() {
  while (NeedsRound()) {
    if (blocked_) world_.findings->Reach(Mark::kRelieved);
    needed_ = false;
    BeginRound();
    std::deque<Input> inputs;
    inputs.swap(inbox_);
    queued_ = {};
    for (Input& input : inputs) input(node_.get());
    node_->EndRound();
    Drain();
    Sleep();
  }
}

void SimNode::BeginRound() {
  const metadata::RoundTimer::Passed passed = timer_.BeginRound(Now());
  if (passed.stood_still > absl::ZeroDuration()) node_->StoodStill(passed.stood_still);
  node_->Tick(timer_.round(), WallMs(), passed.ticks);
}

void SimNode::Sleep() {
  if (!running() || paused_ || (blocked_ && !IsRelieved())) return;
  // When the relief is over the node stands still: it does not sleep on purpose any longer.
  const MonotonicTime latest = blocked_ ? relief_->until : metadata::kForever;
  sleep_until_ = timer_.EndRound(Now(), {.ticks = node_->TicksUntilDue(),
                                         .wake_by = node_->WakeBy(),
                                         .hurry_by = std::min(node_->HurryBy(), latest)});
  ScheduleWake();
}

// One event at a time looks whether it is time, and again later if it is not.
void SimNode::ScheduleWake() {
  const SimTime sleep = absl::ToInt64Nanoseconds(sleep_until_ - Now());
  const SimTime late = static_cast<SimTime>(random_.Below(kMillisecond / 2));
  const SimTime delay = std::max<SimTime>(sleep, 0) + late + 1;
  const SimTime at = world_.queue->now() + delay;
  if (next_wake_ != 0 && next_wake_ <= at) return;
  next_wake_ = at;
  world_.queue->After(delay, EventKind::kTick, [this, life = life_, at] {
    if (life != life_ || next_wake_ != at) return;
    next_wake_ = 0;
    if (NeedsRound()) return Round();
    if (!paused_ && (!blocked_ || IsRelieved())) ScheduleWake();
  });
}

void SimNode::Drain() {
  if (blocked_) {  // What is written now does not wait for more.
    while (!AwaitsInstall() && node_->HasReady()) TakeReady();
    return Observe();
  }
  while (true) {
    if (!AwaitsInstall() && node_->HasReady()) TakeReady();
    if (!gathered_.has_value() || !StoreGathered()) break;
  }
  if (!blocked_) FinishSnapshot();
  if (!blocked_ && !storage_failed_) BeginSnapshot();
  Observe();
}

void SimNode::TakeReady() {
  raft::Ready ready = node_->TakeReady();
  for (pb::RaftMessage& message : ready.messages) {
    world_.invariants->OnSend(message);
    world_.network->Send(std::move(message));
  }
  ready.messages.clear();
  if (!ready.snapshot) Apply(ready);
  if (!gathered_.has_value()) {
    gathered_ = std::move(ready);
    return;
  }
  world_.findings->Reach(Mark::kJoinedWrites);
  raft::Join(&*gathered_, std::move(ready));
}

bool SimNode::StoreGathered() {
  raft::Ready ready = *std::exchange(gathered_, std::nullopt);
  if (const absl::Status prepared = node_->Prepare(ready); !prepared.ok()) {
    world_.findings->Report("nodes understand each other",
                            absl::StrCat("node ", options_.id, ": ", prepared.message()));
    return false;
  }
  if (disk_weather_.full && ready.must_sync) {
    world_.findings->Reach(Mark::kDiskFull);
    Fail("the disk is full");
    return false;
  }
  world_.invariants->OnWrite(probe(), ready);
  disk_.Write(ready);
  if (!ready.must_sync) {
    Complete(ready);
    return true;
  }
  if (HasBug(raft::PlantedBug::kAcknowledgeBeforeFsync)) {
    Complete(ready);
    SyncLater();
    return true;
  }
  const bool may_be_relieved = !ready.snapshot.has_value();
  Sync(
      [this, ready = std::move(ready)] {
        Complete(ready);
        Drain();
        Sleep();
        Round();
      },
      may_be_relieved);
  return false;
}

void SimNode::Complete(const raft::Ready& ready) {
  if (ready.must_sync) node_->Tick(Now(), WallMs(), 0);
  node_->Persisted(ready);
  for (const pb::RaftMessage& message : ready.messages_after_persist) {
    world_.invariants->OnSend(message);
    world_.network->Send(message);
  }
  if (ready.snapshot) Apply(ready);
}

void SimNode::Apply(const raft::Ready& ready) {
  if (!ready.dropped_reads.empty()) world_.findings->Reach(Mark::kReadsDropped);
  world_.invariants->OnApply(probe(), ready.committed_entries);
  node_->Apply(ready);
  if (!ready.committed_entries.empty() || ready.snapshot) {
    world_.replay->CheckState(options_.id, node_->state());
  }
}

SimTime SimNode::SyncLatency() {
  return random_.Between(disk_weather_.sync_min, disk_weather_.sync_max);
}

void SimNode::Sync(absl::AnyInvocable<void()> done, bool may_be_relieved) {
  blocked_ = true;
  const SimTime latency = SyncLatency();
  if (may_be_relieved) BeginRelief(latency);
  world_.queue->After(latency, EventKind::kDisk,
                      [this, life = life_, done = std::move(done)]() mutable {
                        if (life != life_) return;
                        blocked_ = false;
                        if (relief_.has_value() && Now() >= relief_->until) {
                          world_.findings->Reach(Mark::kReliefOver);
                        }
                        relief_.reset();
                        if (std::exchange(disk_weather_.fails_next_sync, false)) {
                          world_.findings->Reach(Mark::kDiskFailed);
                          Fail("the disk refuses a sync");
                          Observe();
                          return Sleep();
                        }
                        disk_.Sync();
                        if (paused_) {
                          blocked_ = true;
                          after_sync_ = [this, done = std::move(done)]() mutable {
                            blocked_ = false;
                            done();
                          };
                          return;
                        }
                        done();
                      });
}

// Another thread looks, a little late, whether the disk still writes.
void SimNode::BeginRelief(SimTime writing) {
  relief_ = metadata::ReliefFrom(Now(), kTick * options_.raft.election_ticks_min);
  const SimTime late = kReliefLateMin + static_cast<SimTime>(random_.Below(kMillisecond));
  const SimTime look = absl::ToInt64Nanoseconds(metadata::kReliefAfter) + late;
  if (look >= writing) return;
  world_.queue->After(look, EventKind::kTick, [this, life = life_] {
    if (life != life_ || !blocked_ || !IsRelieved()) return;
    Sleep();  // Until something is due, or has come.
    Round();
  });
}

void SimNode::SyncLater() {
  world_.queue->After(SyncLatency(), EventKind::kDisk, [this, life = life_] {
    if (life == life_) disk_.Sync();
  });
}

void SimNode::Fail(const char* why) {
  (*world_.trace)("node ", options_.id, ": ", why);
  storage_failed_ = true;
  gathered_.reset();
  node_->StorageFailed(MakeError(Reason::kStorageFailed, why));
}

void SimNode::BeginSnapshot() {
  std::optional<metadata::SnapshotJob> job = node_->TakeSnapshotJob();
  if (!job.has_value()) return;
  const SimTime writing = SyncLatency() * 10 + static_cast<SimTime>(random_.Below(kSecond / 10));
  world_.queue->After(writing, EventKind::kDisk, [this, life = life_, job = *std::move(job)] {
    if (life != life_) return;
    written_ = {job.Build(), job.first_kept};
    needed_ = true;
    Round();
  });
}

void SimNode::FinishSnapshot() {
  if (!written_.has_value()) return;
  auto [snapshot, first_kept] = *std::exchange(written_, std::nullopt);
  if (storage_failed_) return node_->SnapshotStored(std::nullopt);
  // A small write, which the real shell waits for in its round: so short that nothing comes
  // between.
  disk_.WriteOwnSnapshot(snapshot, first_kept);
  disk_.Sync();
  world_.findings->Reach(Mark::kSnapshotMade);
  node_->SnapshotStored(std::move(snapshot));
}

void SimNode::Observe() {
  world_.invariants->OnEvent(probe());
  world_.queue->Note(node_->core().term().value());
  world_.queue->Note(node_->core().committed().value());
}

}  // namespace falaj::simulation
