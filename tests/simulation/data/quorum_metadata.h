#ifndef TESTS_SIMULATION_DATA_QUORUM_METADATA_H_
#define TESTS_SIMULATION_DATA_QUORUM_METADATA_H_

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "libs/base/random.h"
#include "tests/simulation/caller.h"
#include "tests/simulation/cluster.h"
#include "tests/simulation/data/metadata.h"
#include "tests/simulation/nemesis.h"

namespace falaj::simulation::data {

class StorageNode;

// QuorumMetadata is the shipped metadata service: the nodes, disks, nemesis and invariants of
// tests/simulation, in the virtual time and network of the storage nodes. What is committed is what
// its Replay has applied.
//
// It also is, for each storage node and client, what rpc::MetadataChannel is to a real one: a
// command or a sign of life goes to whom the sender takes for the leader, follows hints, and is
// tried again, with backoff, until it has an outcome or for too long; a command may so be carried
// out twice. A watch is at any node, and ends when that node says so. All of it dies with the
// process it belongs to, and waits while that is paused.
class QuorumMetadata final : public Metadata {
 public:
  QuorumMetadata(World* world, uint64_t seed);
  ~QuorumMetadata() override;

  void Start(const Uuid& cluster_id) override;
  void Execute(Endpoint from, pb::ClusterCommand command, Answer answer) override;
  void Heartbeat(Endpoint from, SessionId session,
                 std::function<void(absl::Status)> answer) override;
  void Watch(Endpoint from, LogIndex after, OnEvent on_event, OnEnd on_end) override;
  void Ask(Endpoint from, PartitionNumber partition,
           std::function<void(const pb::PartitionState&)> answer) override;
  void Order(pb::ClusterCommand command, Answer answer) override;
  using Metadata::Order;

  void Disturb(SimTime span) override;
  void Calm() override;
  void Heal(bool all) override;
  bool IsSettled(NodeId node) const override;
  std::vector<Endpoint> endpoints() const override;

  const cluster::ClusterState& state() const override;
  std::optional<Finding> finding() const override { return cluster_->findings().first(); }
  std::string Unwell() const override;

 private:
  class Stream;
  // A command, or a sign of life, until its sender knows what became of it.
  struct Errand {
    Endpoint from = 0;
    std::optional<pb::ClusterCommand> command;
    SessionId session;       // Whose sign of life it is, if it is no command.
    SimTime until = 0;       // Then it is given up.
    Term term;               // Of the leader when it began.
    bool committed = false;  // An attempt had its effect, and was answered.
    std::function<void(const simulation::Answer&)> done;
  };
  using ErrandPtr = std::shared_ptr<Errand>;

  void Try(const ErrandPtr& errand);
  void Serve(const ErrandPtr& errand, metadata::MetadataNode* node,
             const Caller::Responder& respond);
  void OnTried(const ErrandPtr& errand, const std::optional<simulation::Answer>& answer);
  void Submit(Endpoint from, pb::ClusterCommand command, SimTime patience, Answer answer);
  void NoteProposer(const pb::ClusterCommand& command, const metadata::MetadataNode& node);
  void NoteHeard(SessionId session, SimTime sent);
  void NoteExpired(const pb::ClusterCommand& command, bool done);
  void OnWatchEvent(Endpoint at, NodeId node, bool resumed);

  Caller& CallerAt(Endpoint endpoint);
  // Whose process calls from there; null: a client's, or the operator's.
  StorageNode* HostOf(Endpoint endpoint) const;

  Random random_;
  std::unique_ptr<Cluster> cluster_;
  std::unique_ptr<simulation::Nemesis> nemesis_;
  std::map<Endpoint, std::unique_ptr<Caller>> callers_;
  std::map<Endpoint, std::shared_ptr<Stream>> watches_;
  std::map<Endpoint, NodeId> watched_at_;     // Where the latest event came from.
  std::map<NodeId, LogIndex> registered_at_;  // The latest index a registration may have.
  std::map<SessionId, Term> heard_in_;        // Under whose lead a session was last heard of.
  LogIndex healed_at_;                        // What was committed when all got well.
};

}  // namespace falaj::simulation::data

#endif  // TESTS_SIMULATION_DATA_QUORUM_METADATA_H_
