#ifndef TESTS_SIMULATION_DATA_METADATA_H_
#define TESTS_SIMULATION_DATA_METADATA_H_

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"

#include "falaj/internal/v1/cluster.pb.h"
#include "falaj/internal/v1/metadata_service.pb.h"

#include "libs/base/ids.h"
#include "libs/base/random.h"
#include "libs/cluster/cluster_state.h"
#include "tests/simulation/data/world.h"

namespace falaj::simulation::data {

namespace pb = ::falaj::internal::v1;

// Metadata is the metadata service as storage nodes and clients see it: the shipped
// cluster::ClusterState behind one ordered log, sessions that end by virtual time, and watches that
// lag, break and resume. The quorum below is proven by the other simulator, so here it is one
// machine that never forgets; it stalls as a quorum does when its leader changes, and then gives
// every session its full timeout again.
class Metadata {
 public:
  using Answer = std::function<void(absl::StatusOr<pb::ExecuteResponse>)>;
  using OnEvent = std::function<void(const pb::WatchClusterResponse&)>;

  Metadata(World* world, uint64_t seed);

  // ---- Over the network; an answer may never come ----

  void Execute(Endpoint from, pb::ClusterCommand command, Answer answer);
  void Heartbeat(Endpoint from, SessionId session, std::function<void(absl::Status)> answer);
  // Pushes what has happened since `after` (0: a snapshot first) until the connection breaks.
  void Watch(Endpoint from, LogIndex after, OnEvent on_event);
  // The partition as it is when the question arrives.
  void Ask(Endpoint from, PartitionNumber partition,
           std::function<void(const pb::PartitionState&)> answer);

  // ---- At once: by the simulation itself ----

  absl::StatusOr<pb::ExecuteResponse> Apply(const pb::ClusterCommand& command);
  // The quorum elects a new leader: nothing is committed for so long, all watches break.
  void FailOver(SimTime stall);

  const cluster::ClusterState& state() const { return state_; }
  const pb::PartitionState& partition(PartitionNumber partition) const;
  int32_t min_in_sync(PartitionNumber partition) const;
  bool AllowsUncleanElections(PartitionNumber partition) const;
  bool IsAlive(NodeId node) const;

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

  void Submit(std::function<void()> apply);
  void OpenWatch(Endpoint from, LogIndex after, std::shared_ptr<OnEvent> on_event);
  void Push(Watcher* watcher, const pb::WatchClusterResponse& event);
  void Tick();
  void NoteMarks(const pb::ClusterDelta& delta);
  void NoteMove(const pb::PartitionState& was, const pb::PartitionState& now);

  World* const world_;
  Random random_;
  cluster::ClusterState state_;
  std::map<SessionId, Session> sessions_;
  std::vector<pb::WatchClusterResponse> events_;  // All that ever changed something.
  std::vector<Watcher> watchers_;
  SimTime last_commit_ = 0;
  SimTime stalled_until_ = 0;
  // What the partitions were like before, for the marks.
  std::map<PartitionNumber, pb::PartitionState> before_;
};

}  // namespace falaj::simulation::data

#endif  // TESTS_SIMULATION_DATA_METADATA_H_
