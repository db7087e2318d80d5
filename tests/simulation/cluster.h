#ifndef TESTS_SIMULATION_CLUSTER_H_
#define TESTS_SIMULATION_CLUSTER_H_

#include <cstdint>
#include <memory>
#include <set>
#include <vector>

#include "libs/base/ids.h"
#include "libs/base/random.h"
#include "libs/raft/ready.h"
#include "services/metadata/metadata_node.h"
#include "tests/simulation/caller.h"
#include "tests/simulation/event_queue.h"
#include "tests/simulation/findings.h"
#include "tests/simulation/network.h"
#include "tests/simulation/raft_invariants.h"
#include "tests/simulation/replay.h"
#include "tests/simulation/sim_node.h"
#include "tests/simulation/trace.h"

namespace falaj::simulation {

// Cluster is the quorum: the machines there are and were, and those who watch over them. Machines
// whose disk is lost stay in the list, for ever down. Time and network are the simulation's, which
// may have others in them.
class Cluster {
 public:
  struct Options {
    Uuid cluster_id;
    raft::Options raft;  // Of every node.
    int voters = 3;
    int first_node = 1;                    // Nodes have ids, and so endpoints, from here on.
    metadata::MetadataNode::Options node;  // What is above is filled in.
    bool lost_disks_return = false;        // ReturnEmpty() will be called.
    bool have_directories = false;         // Those of nodes are told apart by their ids.
  };
  // Neither is owned.
  struct Surroundings {
    EventQueue* queue = nullptr;
    SimNetwork* network = nullptr;
    Trace* trace = nullptr;
  };
  static constexpr int kNodesMax = kFirstClient - 1;

  Cluster(const Options& options, const Random& random, const Surroundings& around);

  // Of every node, as the simulations draw them: small enough for everything to happen often.
  static raft::Options DrawRaft(Random* random);

  const World& world() const { return world_; }
  EventQueue& queue() { return *world_.queue; }
  SimNetwork& network() { return *world_.network; }
  Findings& findings() { return findings_; }
  const RaftInvariants& invariants() const { return invariants_; }
  RaftInvariants& invariants() { return invariants_; }
  const Replay& replay() const { return replay_; }
  Replay& replay() { return replay_; }
  const SimNodes& nodes() const { return nodes_; }
  SimNode* node(NodeId id) const { return nodes_.at(id).get(); }

  // The newest leader if it is up and leads still, else null.
  SimNode* Leader() const;
  // Adds a machine with an empty disk, ready to join, and starts it. Null: there are too many.
  SimNode* AddNode();
  // The machine's disk is lost: it is down for ever.
  void Wipe(NodeId id);
  bool is_wiped(NodeId id) const { return wiped_.contains(id); }
  bool lost_disks_return() const { return options_.lost_disks_return; }
  // A wiped machine comes back with an empty disk, as if its operator knew no better: what is sent
  // to its id goes to it from now on. It is for ever in is_wiped(), and not in nodes().
  void ReturnEmpty(NodeId id);

  // Every membership that some node believes in or some log holds, of nodes that are down, too, or
  // that may still reach one: one of them may come back with the longest log, and then decides.
  std::vector<raft::Membership> KnownMemberships() const;
  // True if a majority of the voters is neither wiped nor in `without`, in each of these.
  bool CanSpare(const std::vector<raft::Membership>& memberships,
                const std::set<NodeId>& without) const;
  bool CanSpare(const std::set<NodeId>& without) const {
    return CanSpare(KnownMemberships(), without);
  }

 private:
  raft::Membership Founders() const;
  std::unique_ptr<SimNode> Make(NodeId id, const raft::Membership& members, uint64_t directory);
  SimNode* Add(const raft::Membership& members);

  const Options options_;
  Random random_;
  Findings findings_;
  Replay replay_;
  RaftInvariants invariants_;
  World world_;
  SimNodes nodes_;
  std::set<NodeId> wiped_;
  SimNodes returned_;
  NodeId last_id_;
};

}  // namespace falaj::simulation

#endif  // TESTS_SIMULATION_CLUSTER_H_
