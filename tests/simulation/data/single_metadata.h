#ifndef TESTS_SIMULATION_DATA_SINGLE_METADATA_H_
#define TESTS_SIMULATION_DATA_SINGLE_METADATA_H_

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <vector>

#include "libs/base/random.h"
#include "tests/simulation/data/metadata.h"

namespace falaj::simulation::data {

// SingleMetadata is the shipped cluster::ClusterState behind one ordered log, with sessions that
// end by virtual time, and watches that lag, break and resume: one machine that never forgets. It
// stalls as a quorum does when its leader changes, and then gives every session its full timeout
// again.
class SingleMetadata final : public Metadata {
 public:
  SingleMetadata(World* world, uint64_t seed);

  void Start(const Uuid& cluster_id) override;
  void Execute(Endpoint from, pb::ClusterCommand command, Answer answer) override;
  void Heartbeat(Endpoint from, SessionId session,
                 std::function<void(absl::Status)> answer) override;
  void Watch(Endpoint from, LogIndex after, OnEvent on_event, OnEnd on_end) override;
  void Ask(Endpoint from, PartitionNumber partition,
           std::function<void(const pb::PartitionState&)> answer) override;
  // At once.
  void Order(pb::ClusterCommand command, Answer answer) override { answer(Apply(command)); }
  using Metadata::Order;
  // A new leader is elected: nothing is committed for so long, all watches break.
  void Disturb(SimTime span) override;
  std::vector<Endpoint> endpoints() const override;
  const cluster::ClusterState& state() const override { return state_; }

 private:
  struct Session {
    NodeId node;
    SimTime timeout = 0;
    SimTime heard = 0;
  };
  struct Watcher {
    Endpoint at = 0;
    LogIndex sent;
    bool broken = false;
    std::shared_ptr<OnEvent> on_event;
  };

  absl::StatusOr<pb::ExecuteResponse> Apply(const pb::ClusterCommand& command);
  void Submit(std::function<void()> apply);
  void OpenWatch(Endpoint from, LogIndex after, std::shared_ptr<OnEvent> on_event);
  void Push(Watcher* watcher, const pb::WatchClusterResponse& event);
  void Tick();

  Random random_;
  cluster::ClusterState state_;
  std::map<SessionId, Session> sessions_;
  std::vector<pb::WatchClusterResponse> events_;  // All that ever changed something.
  std::vector<Watcher> watchers_;
  SimTime last_commit_ = 0;
  SimTime stalled_until_ = 0;
};

}  // namespace falaj::simulation::data

#endif  // TESTS_SIMULATION_DATA_SINGLE_METADATA_H_
