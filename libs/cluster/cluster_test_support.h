// Commands and identifiers for the tests of this folder.
#ifndef LIBS_CLUSTER_CLUSTER_TEST_SUPPORT_H_
#define LIBS_CLUSTER_CLUSTER_TEST_SUPPORT_H_

#include <cstdint>
#include <string>

#include "falaj/internal/v1/cluster.pb.h"

#include "libs/base/ids.h"
#include "libs/cluster/cluster_state.h"
#include "libs/cluster/topic_rules.h"

namespace falaj::cluster::testing {

namespace pb = ::falaj::internal::v1;

inline std::string IdBytes(uint64_t n) { return std::string(Uuid::FromRandomBits(n, n).bytes()); }

inline pb::ClusterCommand InitCommand() {
  pb::ClusterCommand command;
  command.mutable_init_cluster()->set_cluster_id(IdBytes(77));
  return command;
}

// Node `id` on the directory and in the process called `directory` and `incarnation`.
inline pb::ClusterCommand RegisterCommand(int32_t id, uint64_t directory, uint64_t incarnation,
                                          int64_t clean_epoch = 0) {
  pb::ClusterCommand command;
  pb::RegisterNodeCommand* const node = command.mutable_register_node();
  node->set_node_id(id);
  node->set_directory_id(IdBytes(directory));
  node->set_address("127.0.0.1:" + std::to_string(7'000 + id));
  node->set_session_timeout_ms(10'000);
  node->set_clean_node_epoch(clean_epoch);
  node->set_incarnation_id(IdBytes(incarnation));
  return command;
}

inline pb::ClusterCommand EndCommand(int64_t session) {
  pb::ClusterCommand command;
  command.mutable_end_session()->set_session_id(session);
  return command;
}

inline pb::ClusterCommand CreateCommand(const std::string& name, int32_t partitions,
                                        int32_t factor = 1, int32_t min_in_sync = 1) {
  static uint64_t next_topic = 1'000;
  pb::ClusterCommand command;
  command.set_time_ms(1'700'000'000'000);
  pb::CreateTopicCommand* const topic = command.mutable_create_topic();
  topic->set_topic_id(IdBytes(++next_topic));
  topic->set_name(name);
  topic->set_partition_count(partitions);
  topic->set_replication_factor(factor);
  *topic->mutable_settings() = DefaultTopicSettings();
  topic->mutable_settings()->set_min_in_sync_replicas(min_in_sync);
  return command;
}

// A ClusterState that numbers its entries by itself.
class TestCluster {
 public:
  TestCluster() { Apply(InitCommand()); }

  ClusterState::Applied Apply(const pb::ClusterCommand& command) {
    return state_.Apply(state_.index() + 1, command);
  }
  // The node's session.
  int64_t Register(int32_t id, uint64_t directory, uint64_t incarnation, int64_t clean_epoch = 0) {
    return Apply(RegisterCommand(id, directory, incarnation, clean_epoch))
        .response->node()
        .session_id();
  }
  // Nodes 1 to `count`, node i on directory i in process i.
  void RegisterNodes(int32_t count) {
    for (int32_t id = 1; id <= count; ++id) {
      Register(id, static_cast<uint64_t>(id), static_cast<uint64_t>(id));
    }
  }
  void Kill(int32_t id) { Apply(EndCommand(state_.nodes().at(id).session_id())); }
  const pb::PartitionState& Partition(const std::string& topic, int index) const {
    return state_.topics().at(topic).partitions(index);
  }

  ClusterState& state() { return state_; }

 private:
  ClusterState state_;
};

}  // namespace falaj::cluster::testing

#endif  // LIBS_CLUSTER_CLUSTER_TEST_SUPPORT_H_
