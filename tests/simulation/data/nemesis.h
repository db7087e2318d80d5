#ifndef TESTS_SIMULATION_DATA_NEMESIS_H_
#define TESTS_SIMULATION_DATA_NEMESIS_H_

#include <cstdint>
#include <functional>
#include <vector>

#include "libs/base/ids.h"
#include "libs/base/random.h"
#include "tests/simulation/data/world.h"

namespace falaj::simulation::data {

class StorageNode;

// A sequence that once lost data elsewhere (reliability.md 1.3), played step by step.
enum class Script { kNone, kPauseKill, kPartKill, kDiskBackInTime };

// Nemesis breaks things. Each seed draws the faults it knows; periods without any are a quarter.
//
// The metadata service breaks by itself, when it is told to: a quorum has a nemesis of its own.
//
// It breaks only what the promises cover. A disk that loses what was synced (emptied, gone back,
// damaged) is one of a node whose session has ended, and which is neither the leader nor the last
// leader of any of its partitions: somebody else then has it all. Without fsync a power loss is
// such a loss too; with it, it may come at any time, everywhere at once. Where a topic allows
// unclean elections, they are held.
class Nemesis {
 public:
  Nemesis(World* world, uint64_t seed);

  void Start() { NextPeriod(); }
  void Play(Script script);
  // No more faults; whatever is broken gets well, but for `absent`, which is down and stays so.
  void HealAllBut(NodeId absent);
  void HealAll() { HealAllBut(NodeId{0}); }

 private:
  using Fault = void (Nemesis::*)();

  void NextPeriod();
  void Calm();
  void After(SimTime delay, std::function<void()> action);
  bool Chance(uint64_t per_cent) { return random_.Below(100) < per_cent; }
  SimTime Span(SimTime low, SimTime high) { return random_.Between(low, high); }

  StorageNode* AnyNode();
  Endpoint AnyMetadata();
  StorageNode* AnyRunning();
  // Of a random partition; may be null.
  StorageNode* AnyLeader();
  StorageNode* AnyFollower();
  bool CanLoseDisk(const StorageNode& node) const;
  void Revive(StorageNode* node);
  void KeepRunning();
  void Kill(StorageNode* node, bool power_loss);
  void KillAndRestart(StorageNode* node, bool power_loss);
  void PauseFor(StorageNode* node, SimTime span);
  // Kills it, waits until nothing depends on its disk, breaks that, and starts it again.
  void BreakDisk(StorageNode* node, std::function<void()> how, int tries_left);
  void WaitForRepair(StorageNode* node, PartitionNumber partition, int tries_left);
  void Elect(PartitionNumber partition, NodeId leader);
  void ElectUncleanly(PartitionNumber partition);
  void Move(PartitionNumber partition);
  void Isolate(StorageNode* node, bool isolated);

  // ---- Faults ----
  void BadWeather();
  void SlowNetwork();
  void OneWayCuts();
  void CutPair();
  void CutFromMetadata();
  void IsolateSome();
  void Clog();
  void KillSome();
  void KillLeader();
  void PowerLoss();
  void PauseSome();
  void PauseLeader();
  void SlowDisk();
  void FillDisk();
  void StopSome();
  void MoveLead();
  void EndSession();
  void DisturbMetadata();
  void LoseDisk();
  void TakeDiskBack();
  void FlipBits();
  void TrimLog();
  void Bounce();
  void LeadThereAndBack();
  void LoseWhoHoldsAll();
  void MoveReplicas();
  void ChangeMinimum();

  // ---- Scripts ----
  void PlayKill(bool partition);
  void PlayDiskBackInTime();

  World* const world_;
  Random random_;
  std::vector<Fault> faults_;
  bool stopped_ = false;
  NodeId absent_{0};  // Down for good.
  bool playing_ = false;
  NodeId damaged_{0};  // Holds a damaged batch that is not found or not repaired yet.
};

}  // namespace falaj::simulation::data

#endif  // TESTS_SIMULATION_DATA_NEMESIS_H_
