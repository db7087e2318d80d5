#ifndef TESTS_SIMULATION_DATA_STORAGE_PROCESS_H_
#define TESTS_SIMULATION_DATA_STORAGE_PROCESS_H_

#include <cstdint>
#include <functional>
#include <map>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "falaj/internal/v1/metadata_service.pb.h"

#include "libs/base/ids.h"
#include "libs/cluster/cluster_view.h"
#include "tests/simulation/data/replication.h"
#include "tests/simulation/data/shard.h"
#include "tests/simulation/data/world.h"

namespace falaj::simulation::data {

// What a consumer gets.
struct Fetched {
  absl::Status status;
  bool serving = false;  // The leader knows what is committed.
  Offset log_start;
  Offset high_watermark;
  std::vector<Batch> batches;
};

// StorageProcess is one life of falaj-storage: its session, what it has been assigned, its shard
// and its streams (services/storage: node_session, assignments, storage_server).
class StorageProcess {
 public:
  // Who this process is: an incarnation, on the directory it finds.
  struct Identity {
    Uuid incarnation;
    NodeEpoch clean_epoch;  // What the process before it has left behind.
  };

  StorageProcess(World* world, StorageNode* node, const Identity& identity, uint64_t seed);

  void Start();
  // Hands leadership over, takes a last checkpoint, ends the session; then calls back.
  void Stop(std::function<void(NodeEpoch)> stopped);

  Fetched Fetch(PartitionNumber partition, LeaderEpoch epoch, Offset from, int batches_max);

  Shard& shard() { return shard_; }
  const Shard& shard() const { return shard_; }
  Replication& replication() { return replication_; }
  // As this process knows it; null before it knows anything.
  const cluster::PartitionInfo* Known(PartitionNumber partition) const;

 private:
  void Register();
  void OnRegistered(const internal::v1::ExecuteResponse& response);
  void Heartbeat();
  void Watch();
  void OnEvent(uint64_t watch, const internal::v1::WatchClusterResponse& event);
  void OnWatchEnded(uint64_t watch, const absl::Status& why);
  void ApplyAll();
  void ApplyTopic(const cluster::TopicInfo& topic);
  void AssignPartition(const cluster::TopicInfo& topic, const cluster::PartitionInfo& partition);
  void Housekeep();
  void PrepareStop(int tries_left);
  void EndSession();

  World* const world_;
  StorageNode* const node_;
  const Identity identity_;
  Random random_;
  Replication replication_;
  Shard shard_;
  SessionId session_{0};
  NodeEpoch epoch_{0};
  uint64_t registering_ = 0;
  uint64_t watch_ = 0;       // The present connection.
  bool watch_anew_ = false;  // What it knows is too old to go on from.
  SimTime watch_heard_ = 0;
  cluster::ClusterView::Ptr view_ = cluster::ClusterView::Empty();
  LogIndex allowed_from_;
  bool allowed_ = false;
  bool applied_ = false;
  struct Asked {
    std::string settings;
    PartitionEpoch epoch{-1};
  };
  std::map<PartitionNumber, Asked> asked_;
  std::function<void(NodeEpoch)> stopped_;
};

}  // namespace falaj::simulation::data

#endif  // TESTS_SIMULATION_DATA_STORAGE_PROCESS_H_
