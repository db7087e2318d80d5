#ifndef TESTS_SIMULATION_NEMESIS_H_
#define TESTS_SIMULATION_NEMESIS_H_

#include <cstdint>
#include <set>
#include <vector>

#include "libs/base/ids.h"
#include "libs/base/random.h"
#include "libs/raft/membership.h"
#include "tests/simulation/cluster.h"
#include "tests/simulation/event_queue.h"

namespace falaj::simulation {

// Nemesis breaks things. Each seed draws the kinds of faults it knows; from period to period it
// picks a few of these, and in a quarter of the periods none, so that the cluster also recovers. It
// cheats: it sees who leads and who stands for election, and aims.
//
// It never takes more than a majority can bear for good: disks are lost only while a majority of
// every membership that any log knows has its own.
class Nemesis {
 public:
  enum class Weather {
    kOwn,     // It makes the weather of the network.
    kOthers,  // Others are in the network, too: it only cuts links between metadata nodes.
  };

  // `cluster` is not owned.
  Nemesis(Cluster* cluster, uint64_t seed, Weather weather = Weather::kOwn);

  void Start() { NextPeriod(); }
  // Without Start(): one fault, now.
  void BreakSomething();
  // A quiet time: whatever is broken gets well, machines come back.
  void Calm();
  // Ends all faults but those of a minority, cut off from the rest: the majority must do alone.
  void HealCore();
  // Ends all faults.
  void HealAll();

 private:
  using Fault = void (Nemesis::*)();

  void NextPeriod();

  void BreakConnections(NodeId from);
  void BreakSomeConnections();
  void BadWeather();
  void SlowNetwork();
  void OneWayCuts();
  void Partition();
  void CutLeader();
  void SwizzleClog();
  void KillSome();
  void KillLeader();
  void BounceVoters();
  void PowerLoss();
  void PauseSome();
  void PauseLeader();
  void SlowDisk();
  void FailDisk();
  void FillDisk();
  void ChangeMembers();
  void TransferLead();
  void LoseDisk();

  bool Chance(uint64_t percent) { return random_.Below(100) < percent; }
  SimTime Span(SimTime min, SimTime max) { return random_.Between(min, max); }
  // A machine that is up, or null.
  SimNode* AnyRunning();
  void After(SimTime delay, EventQueue::Action action);
  void KillAndRestart(SimNode* node, SimTime down_min, SimTime down_max);
  void PauseFor(SimNode* node, SimTime span);
  void Resume(SimNode* node);
  void Revive(SimNode* node);
  void Change(raft::MembershipChange::Kind kind, NodeId target);
  void AddThenPromote(NodeId node);
  void OnVote(NodeId voter);

  Cluster* const cluster_;
  Random random_;
  const Weather weather_;
  std::vector<Fault> faults_;  // Those this seed knows.
  SimTime bounces_until_ = 0;  // Until then, who votes dies.
  bool stopped_ = false;
};

}  // namespace falaj::simulation

#endif  // TESTS_SIMULATION_NEMESIS_H_
