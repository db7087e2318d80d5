#ifndef TESTS_SIMULATION_DATA_METADATA_H_
#define TESTS_SIMULATION_DATA_METADATA_H_

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "falaj/internal/v1/cluster.pb.h"
#include "falaj/internal/v1/metadata_service.pb.h"

#include "libs/base/ids.h"
#include "libs/cluster/cluster_state.h"
#include "tests/simulation/data/world.h"

namespace falaj::simulation::data {

namespace pb = ::falaj::internal::v1;

// Metadata is the metadata service as storage nodes, clients, the operator and the invariants see
// it. There are two: SingleMetadata, one machine that forgets nothing, and QuorumMetadata, the
// shipped metadata nodes. Life owns one.
//
// What the invariants look at is state(): whatever has been committed, as soon as it is applied
// anywhere. Each command is shown to them then, once.
class Metadata {
 public:
  using Answer = std::function<void(absl::StatusOr<pb::ExecuteResponse>)>;
  using OnEvent = std::function<void(const pb::WatchClusterResponse&)>;
  using OnEnd = std::function<void(const absl::Status&)>;

  explicit Metadata(World* world) : world_(world) {}
  virtual ~Metadata() = default;
  Metadata(const Metadata&) = delete;
  Metadata& operator=(const Metadata&) = delete;

  // The cluster is to be called this; that takes as long as it does.
  virtual void Start(const Uuid& cluster_id) = 0;

  // ---- Over the network; an answer may never come, or say that nobody knows ----

  virtual void Execute(Endpoint from, pb::ClusterCommand command, Answer answer) = 0;
  virtual void Heartbeat(Endpoint from, SessionId session,
                         std::function<void(absl::Status)> answer) = 0;
  // Pushes what has happened since `after` (0: a snapshot first) until the connection breaks, which
  // `on_end` is told of if it is noticed. An endpoint has one watch, the newest.
  virtual void Watch(Endpoint from, LogIndex after, OnEvent on_event, OnEnd on_end) = 0;
  // The partition as whoever is asked knows it then.
  virtual void Ask(Endpoint from, PartitionNumber partition,
                   std::function<void(const pb::PartitionState&)> answer) = 0;

  // ---- By the operator, whom no fault of the others' network keeps away ----

  // Always answers, if only that nobody knows.
  virtual void Order(pb::ClusterCommand command, Answer answer) = 0;
  void Order(pb::ClusterCommand command) {
    Order(std::move(command), [](const auto& /*response*/) {});
  }

  // ---- By the nemesis ----

  // Something within the service breaks, for about so long if it is of the kind that passes.
  virtual void Disturb(SimTime span) = 0;
  // Whatever is broken within gets well.
  virtual void Calm() {}
  // The same, but for as many as it can do without, if `all` is false; and nothing breaks any more.
  virtual void Heal(bool /*all*/) {}
  // False while a registration of that node might still be carried out that it sent long ago.
  virtual bool IsSettled(NodeId /*node*/) const { return true; }
  // Where it is in the network.
  virtual std::vector<Endpoint> endpoints() const = 0;

  // ---- What is committed ----

  virtual const cluster::ClusterState& state() const = 0;
  const pb::PartitionState& partition(PartitionNumber partition) const;
  int32_t min_in_sync(PartitionNumber partition) const;
  bool AllowsUncleanElections(PartitionNumber partition) const;
  bool IsAlive(NodeId node) const;

  // The first promise of its own that it has broken.
  virtual std::optional<Finding> finding() const { return std::nullopt; }
  // Empty, or which part of it is not well.
  virtual std::string Unwell() const { return ""; }

 protected:
  // A command has been applied: state() is as of it.
  void OnApplied(const pb::ClusterCommand& command,
                 const absl::StatusOr<pb::ExecuteResponse>& response,
                 const pb::ClusterDelta& delta);

  World* const world_;

 private:
  void NoteMarks(const pb::ClusterDelta& delta);
  void NoteLeader(const pb::PartitionState& was, const pb::PartitionState& now);
  void NoteMove(const pb::PartitionState& was, const pb::PartitionState& now);
  const pb::TopicState& TopicOf(PartitionNumber partition) const;

  // What the partitions were like before, for the marks.
  std::map<PartitionNumber, pb::PartitionState> before_;
};

}  // namespace falaj::simulation::data

#endif  // TESTS_SIMULATION_DATA_METADATA_H_
