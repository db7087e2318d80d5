#ifndef TESTS_SIMULATION_SIM_NODE_H_
#define TESTS_SIMULATION_SIM_NODE_H_

#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/functional/any_invocable.h"
#include "absl/strings/string_view.h"

#include "libs/base/ids.h"
#include "libs/base/random.h"
#include "libs/raft/planted_bug.h"
#include "libs/telemetry/registry.h"
#include "services/metadata/metadata_node.h"
#include "services/metadata/relief_window.h"
#include "services/metadata/round_timer.h"
#include "tests/simulation/disk.h"
#include "tests/simulation/event_queue.h"
#include "tests/simulation/findings.h"
#include "tests/simulation/network.h"
#include "tests/simulation/raft_invariants.h"
#include "tests/simulation/replay.h"
#include "tests/simulation/trace.h"

namespace falaj::simulation {

// Where a node listens: "node:3". And who listens there; 0 if it is no such address.
std::string AddressOf(NodeId node);
NodeId NodeAt(absl::string_view address);

// The parts of the world a node lives in. None is owned.
struct World {
  EventQueue* queue = nullptr;
  SimNetwork* network = nullptr;
  Findings* findings = nullptr;
  RaftInvariants* invariants = nullptr;
  Replay* replay = nullptr;
  Trace* trace = nullptr;
};

// DiskWeather is how a node's disk behaves at present.
struct DiskWeather {
  SimTime sync_min = 50 * kMicrosecond;
  SimTime sync_max = 400 * kMicrosecond;
  bool fails_next_sync = false;  // The write's outcome is unknown then.
  bool full = false;             // Writes are refused without effect.
};

// SimNode is one machine of the quorum: the shipped MetadataNode on a simulated disk, clock and
// network. It is to the simulation what RaftNode is to a real process, and runs the same rounds:
// take in what has come, tick, store, send, apply. While the disk works the node is blocked, and
// what comes meanwhile waits; but if that takes long, rounds go on for a while (ReliefWindow), and
// what they ask to store gathers.
//
// The disk outlives the process: Kill() loses its memory and what the disk had not synced, Start()
// begins a new life. A paused node keeps its memory and misses time.
//
// Failures: a disk that refuses a write leaves the process running without a part in anything,
// until it is killed and started again.
class SimNode {
 public:
  struct Options {
    NodeId id;
    raft::Options raft;  // self and random_seed are filled in.
    Uuid cluster_id;
    metadata::MetadataNode::Options node;  // What is above is filled in.
    uint64_t seed = 1;
    uint64_t lives_before = 0;  // Of another machine of this id.
  };
  using Input = absl::AnyInvocable<void(metadata::MetadataNode* node)>;

  SimNode(const World& world, const Options& options, raft::Restored initial);

  NodeId id() const { return options_.id; }
  bool running() const { return node_ != nullptr; }
  bool paused() const { return paused_; }
  bool storage_failed() const { return storage_failed_; }
  const SimDisk& disk() const { return disk_; }
  DiskWeather& disk_weather() { return disk_weather_; }
  // Requires: running().
  const metadata::MetadataNode& node() const { return *node_; }

  void Start();
  void Kill();
  void Pause();
  void Resume();

  // Something arrives: taken in by the next round, at once if the node is not blocked. False: there
  // is no process to take it.
  bool Give(Input input) { return Give(std::move(input), /*urgent=*/true); }
  void GiveMessage(internal::v1::RaftMessage message);

  // The connection over which that node's messages came breaks, or seems to.
  void BreakPeer(NodeId peer);

  // The node's own monotonic clock.
  MonotonicTime Now() const;

 private:
  int64_t WallMs() const;
  bool Give(Input input, bool urgent);
  bool NeedsRound() const;
  // Rounds go on although the node is blocked.
  bool IsRelieved() const;
  bool AwaitsInstall() const { return gathered_.has_value() && gathered_->snapshot.has_value(); }
  void Round();
  void BeginRound();
  void Sleep();
  void ScheduleWake();
  void Drain();
  // Does what need not wait for the disk; the rest gathers.
  void TakeReady();
  // Stores what has gathered. False: the node is blocked, or has failed.
  bool StoreGathered();
  void Complete(const raft::Ready& ready);
  void Apply(const raft::Ready& ready);
  // Blocks for as long as a sync takes, then goes on with `done` if the sync went well.
  void Sync(absl::AnyInvocable<void()> done, bool may_be_relieved);
  void BeginRelief(SimTime writing);
  void SyncLater();
  SimTime SyncLatency();
  void Fail(const char* why);
  void BeginSnapshot();
  void FinishSnapshot();
  void Observe();
  NodeProbe probe() const { return {options_.id, life_, &node_->core(), &disk_}; }
  bool HasBug(raft::PlantedBug bug) const { return options_.raft.planted_bug == bug; }

  const World world_;
  const Options options_;
  Random random_;
  SimDisk disk_;
  DiskWeather disk_weather_;
  const int64_t drift_ppm_;  // Of the node's clock.
  const int64_t clock_start_ns_;
  const int64_t wall_ahead_ms_;

  // Of the life under way.
  uint64_t life_ = 0;
  std::unique_ptr<telemetry::Registry> registry_;
  std::unique_ptr<metadata::MetadataNode> node_;
  std::deque<Input> inbox_;
  raft::Answers queued_;  // In inbox_.
  bool blocked_ = false;
  std::optional<metadata::ReliefWindow> relief_;  // While it is blocked; unless nobody may help.
  std::optional<raft::Ready> gathered_;           // To be stored next.
  std::optional<std::pair<raft::Snapshot, LogIndex>> written_;  // To be made the current one.
  bool paused_ = false;
  bool storage_failed_ = false;
  bool needed_ = false;        // Something wants a round now.
  MonotonicTime sleep_until_;  // Then it does so of itself...
  SimTime next_wake_ = 0;      // ...and is looked at by an event at this time; 0: by none.
  metadata::RoundTimer timer_;
  absl::AnyInvocable<void()> after_sync_;
};

}  // namespace falaj::simulation

#endif  // TESTS_SIMULATION_SIM_NODE_H_
