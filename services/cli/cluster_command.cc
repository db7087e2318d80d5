#include <cstdio>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

#include "libs/base/status.h"
#include "services/cli/commands.h"
#include "services/cli/interrupt.h"
#include "services/cli/json_line.h"
#include "services/cli/move_command.h"
#include "services/cli/session.h"
#include "services/cli/values.h"

namespace falaj::cli {
namespace {

const char* StateName(v1::NodeState state) {
  return state == v1::NODE_STATE_ONLINE ? "online" : "offline";
}

int CountOnline(const v1::GetClusterResponse& cluster) {
  int online = 0;
  for (const v1::StorageNode& node : cluster.nodes()) {
    if (node.state() == v1::NODE_STATE_ONLINE) ++online;
  }
  return online;
}

absl::Status PrintStatus(const ClusterOptions& options, client::Admin* admin) {
  FALAJ_ASSIGN_OR_RETURN(const v1::GetClusterResponse cluster, admin->GetCluster());
  Table table({"CLUSTER", "METADATA-INDEX", "NODES", "ONLINE", "TOPICS", "PARTITIONS", "LEADERLESS",
               "UNDER-REPLICATED", "REASSIGNING"});
  table.Add({cluster.cluster_id(), static_cast<int64_t>(cluster.metadata_index()),
             cluster.nodes_size(), CountOnline(cluster), cluster.topic_count(),
             cluster.partition_count(), cluster.leaderless_partition_count(),
             cluster.under_replicated_partition_count(), cluster.reassigning_partition_count()});
  table.Print(options.common.output);
  return absl::OkStatus();
}

// One line, and the exit code says the same: for probes and cron.
absl::StatusOr<ExitCode> PrintHealth(const ClusterOptions& options, client::Admin* admin) {
  FALAJ_ASSIGN_OR_RETURN(const v1::GetClusterResponse cluster, admin->GetCluster());
  std::string trouble;
  if (CountOnline(cluster) == 0) {
    trouble = "no storage node is online";
  } else if (cluster.leaderless_partition_count() > 0) {
    trouble = absl::StrCat(cluster.leaderless_partition_count(), " partitions have no leader");
  } else if (cluster.under_replicated_partition_count() > 0) {
    trouble = absl::StrCat(cluster.under_replicated_partition_count(),
                           " partitions are under-replicated");
  }
  Table table({"HEALTH", "DETAIL"});
  table.Add({trouble.empty() ? "ok" : "failing", trouble});
  table.Print(options.common.output);
  return trouble.empty() ? ExitCode::kOk : ExitCode::kFailed;
}

absl::Status PrintNodes(const ClusterOptions& options, client::Admin* admin) {
  FALAJ_ASSIGN_OR_RETURN(const std::vector<v1::StorageNode> nodes, admin->ListNodes());
  Table table({"NODE", "ADDRESS", "ZONE", "STATE", "EPOCH", "LEADERS", "REPLICAS", "DRAINING"});
  for (const v1::StorageNode& node : nodes) {
    table.Add({node.node_id(), node.address(), node.zone(), StateName(node.state()),
               node.node_epoch(), node.leader_count(), node.replica_count(),
               node.draining() ? "yes" : "no"});
  }
  table.Print(options.common.output);
  return absl::OkStatus();
}

absl::Status PrintPartitions(const ClusterOptions& options, client::Admin* admin) {
  FALAJ_ASSIGN_OR_RETURN(const std::vector<v1::Topic> topics, admin->ListTopics(true));
  Table table({"TOPIC", "PARTITION", "LEADER", "EPOCH", "REPLICAS", "IN-SYNC"});
  for (const v1::Topic& summary : topics) {
    FALAJ_ASSIGN_OR_RETURN(const v1::Topic topic, admin->GetTopic(summary.name()));
    for (const v1::Partition& partition : topic.partitions()) {
      if (options.leaderless && partition.has_leader()) continue;
      // Who is being added need not be in sync yet.
      const int replicas = partition.target_replicas().empty() ? partition.replicas_size()
                                                               : partition.target_replicas_size();
      if (options.under_replicated && partition.in_sync_replicas_size() >= replicas) continue;
      table.Add({topic.name(), partition.partition(),
                 partition.has_leader() ? Cell(partition.leader()) : Cell("none"),
                 partition.leader_epoch(), absl::StrJoin(partition.replicas(), ","),
                 absl::StrJoin(partition.in_sync_replicas(), ",")});
    }
  }
  table.Print(options.common.output);
  return absl::OkStatus();
}

// A line per node and topic of one event.
void PrintEvent(const v1::WatchClusterResponse& event, OutputMode mode) {
  Table table({"INDEX", "EVENT", "KIND", "NAME", "STATE"});
  const auto index = static_cast<int64_t>(event.metadata_index());
  const char* kind = event.has_snapshot() ? "snapshot" : "change";
  const auto& nodes = event.has_snapshot() ? event.snapshot().nodes() : event.delta().nodes();
  const auto& topics = event.has_snapshot() ? event.snapshot().topics() : event.delta().topics();
  for (const v1::StorageNode& node : nodes) {
    table.Add({index, kind, "node", absl::StrCat(node.node_id()), StateName(node.state())});
  }
  for (const v1::Topic& topic : topics) {
    int led = 0;
    for (const v1::Partition& partition : topic.partitions()) led += partition.has_leader() ? 1 : 0;
    table.Add({index, kind, "topic", topic.name(),
               absl::StrCat(led, "/", topic.partition_count(), " led")});
  }
  for (const std::string& name : event.delta().deleted_topics()) {
    table.Add({index, kind, "topic", name, "deleted"});
  }
  std::string text = table.Render(mode);
  // The header would repeat with every event.
  if (mode != OutputMode::kJson) text.erase(0, text.find('\n') + 1);
  std::fwrite(text.data(), 1, text.size(), stdout);
  std::fflush(stdout);
}

absl::Status Watch(const ClusterOptions& options, client::Admin* admin) {
  const OutputMode mode =
      options.common.output == OutputMode::kJson ? OutputMode::kJson : OutputMode::kTsv;
  return admin->WatchCluster(0, [mode](const v1::WatchClusterResponse& event) {
    PrintEvent(event, mode);
    return true;
  });
}

}  // namespace

ExitCode RunCluster(const ClusterOptions& options) {
  const absl::StatusOr<Session> session = OpenSession(options.common);
  if (!session.ok()) return FailUsage(session.status());
  client::Admin admin(session->admin_options());
  if (options.action == "health") {
    const absl::StatusOr<ExitCode> code = PrintHealth(options, &admin);
    return code.ok() ? *code : Fail(code.status());
  }
  absl::Status status;
  for (const char* move : {"drain", "undrain", "reassign", "reassignments", "cancel", "elect"}) {
    if (options.action != move) continue;
    const absl::StatusOr<ExitCode> code = RunMove(options, &admin);
    return code.ok() ? *code : Fail(code.status());
  }
  if (options.action == "status") status = PrintStatus(options, &admin);
  if (options.action == "nodes") status = PrintNodes(options, &admin);
  if (options.action == "partitions") status = PrintPartitions(options, &admin);
  if (options.action == "watch") status = Watch(options, &admin);
  return status.ok() ? ExitCode::kOk : Fail(status);
}

}  // namespace falaj::cli
