#include "services/cli/move_command.h"

#include <algorithm>
#include <fstream>
#include <iterator>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "google/protobuf/util/json_util.h"

#include "libs/base/status.h"
#include "services/cli/move_watch.h"
#include "services/cli/outcomes.h"

namespace falaj::cli {
namespace {

using NodeList = google::protobuf::RepeatedField<int32_t>;

bool Contains(const NodeList& list, int32_t node) {
  return std::find(list.begin(), list.end(), node) != list.end();
}

void PrintReassignments(const google::protobuf::RepeatedPtrField<v1::Reassignment>& reassignments,
                        OutputMode mode) {
  Table table({"TOPIC", "PARTITION", "REPLICAS", "TARGET", "ADDING", "REMOVING", "IN-SYNC"});
  for (const v1::Reassignment& one : reassignments) {
    table.Add({one.topic(), one.partition(), absl::StrJoin(one.replicas(), ","),
               absl::StrJoin(one.target_replicas(), ","), absl::StrJoin(one.adding_replicas(), ","),
               absl::StrJoin(one.removing_replicas(), ","),
               absl::StrJoin(one.in_sync_replicas(), ",")});
  }
  table.Print(mode);
}

absl::StatusOr<ExitCode> List(const ClusterOptions& options, client::Admin* admin) {
  v1::ListReassignmentsResponse all;
  FALAJ_ASSIGN_OR_RETURN(const std::vector<v1::Reassignment> found,
                         admin->ListReassignments(options.topic));
  for (const v1::Reassignment& one : found) *all.add_reassignments() = one;
  PrintReassignments(all.reassignments(), options.common.output);
  return ExitCode::kOk;
}

absl::StatusOr<v1::ReassignPartitionsRequest> ReadPlan(const std::string& path) {
  std::ifstream file(path);
  const std::string text{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
  if (!file) return MakeError(Reason::kInvalidRequest, absl::StrCat("cannot read ", path));
  v1::ReassignPartitionsRequest request;
  const auto parsed = google::protobuf::util::JsonStringToMessage(text, &request);
  if (parsed.ok()) return request;
  return MakeError(
      Reason::kInvalidRequest,
      absl::StrCat(path, R"( must be like {"partitions": [{"topic": "orders", "partition": 0, )",
                   R"("replicas": [1, 2]}]}: )", parsed.message().ToString()),
      {{"field", "--file"}});
}

absl::StatusOr<v1::ReassignPartitionsRequest> ToRequest(const ClusterOptions& options) {
  const bool typed =
      !options.topic.empty() && options.partitions.size() == 1 && !options.replicas.empty();
  if (options.file.empty() != typed) {
    return MakeError(Reason::kInvalidRequest,
                     "give a topic, one --partition and --replicas; or else a --file");
  }
  if (!typed) return ReadPlan(options.file);
  v1::ReassignPartitionsRequest request;
  v1::PartitionTarget* const target = request.add_partitions();
  target->set_topic(options.topic);
  target->set_partition(options.partitions[0]);
  target->mutable_replicas()->Add(options.replicas.begin(), options.replicas.end());
  return request;
}

absl::StatusOr<ExitCode> Reassign(const ClusterOptions& options, client::Admin* admin) {
  FALAJ_ASSIGN_OR_RETURN(const v1::ReassignPartitionsRequest request, ToRequest(options));
  FALAJ_ASSIGN_OR_RETURN(const v1::ReassignPartitionsResponse response,
                         admin->ReassignPartitions(request));
  PrintReassignments(response.reassignments(), options.common.output);
  if (!options.wait) return ExitCode::kOk;
  std::set<std::pair<std::string, int32_t>> moving;
  for (const v1::Reassignment& one : response.reassignments())
    moving.insert({one.topic(), one.partition()});
  FALAJ_RETURN_IF_ERROR(WaitForMoves(
      admin, "moved", [&moving](const std::string& topic, const v1::Partition& partition) {
        return !partition.target_replicas().empty() &&
               moving.count({topic, partition.partition()}) != 0;
      }));
  return ExitCode::kOk;
}

absl::StatusOr<ExitCode> Cancel(const ClusterOptions& options, client::Admin* admin) {
  FALAJ_ASSIGN_OR_RETURN(const int32_t count,
                         admin->CancelReassignments(options.topic, options.partitions));
  Table table({"TOPIC", "CANCELLED"});
  table.Add({options.topic, count});
  table.Print(options.common.output);
  return ExitCode::kOk;
}

// Asks for one topic. False if somebody else still leads, as the one asked for is not in sync.
absl::StatusOr<bool> ElectInTopic(const ClusterOptions& options, const std::string& name,
                                  client::Admin* admin, Table* table) {
  v1::ElectLeadersRequest request;
  request.set_topic(name);
  request.mutable_partitions()->Add(options.partitions.begin(), options.partitions.end());
  if (options.node != 0) request.set_node_id(options.node);
  FALAJ_ASSIGN_OR_RETURN(const v1::Topic topic, admin->ElectLeaders(request));
  bool all_lead = true;
  for (const v1::Partition& partition : topic.partitions()) {
    if (!options.partitions.empty() && !Contains(request.partitions(), partition.partition()))
      continue;
    const int32_t wanted = options.node != 0 ? options.node : partition.replicas(0);
    all_lead = all_lead && partition.leader() == wanted;
    table->Add({topic.name(), partition.partition(),
                partition.has_leader() ? Cell(partition.leader()) : Cell("none"), wanted,
                partition.leader_epoch(), absl::StrJoin(partition.replicas(), ","),
                absl::StrJoin(partition.in_sync_replicas(), ",")});
  }
  return all_lead;
}

// kPartial if somebody else still leads somewhere. With `all`: a topic that is deleted meanwhile is
// left out, any other failure is told and the others are asked for all the same.
absl::StatusOr<ExitCode> Elect(const ClusterOptions& options, client::Admin* admin) {
  if (options.all != options.topic.empty()) {
    return MakeError(Reason::kInvalidRequest, "give a topic, or else --all");
  }
  std::vector<std::string> names = {options.topic};
  if (options.all) {
    names.clear();
    FALAJ_ASSIGN_OR_RETURN(const std::vector<v1::Topic> topics,
                           admin->ListTopics(/*include_internal=*/true));
    for (const v1::Topic& topic : topics) names.push_back(topic.name());
  }
  Table table({"TOPIC", "PARTITION", "LEADER", "WANTED", "EPOCH", "REPLICAS", "IN-SYNC"});
  Outcomes outcomes;
  bool all_lead = true;
  for (const std::string& name : names) {
    const absl::StatusOr<bool> lead = ElectInTopic(options, name, admin, &table);
    if (options.all && ReasonOf(lead.status()) == Reason::kTopicNotFound) continue;
    outcomes.Add(lead.status());
    all_lead = all_lead && lead.value_or(true);
  }
  if (outcomes.all_failed()) return outcomes.code();
  table.Print(options.common.output);
  return all_lead ? outcomes.code() : ExitCode::kPartial;
}

void PrintNode(const v1::StorageNode& node, int32_t reassigned, OutputMode mode) {
  Table table({"NODE", "DRAINING", "LEADERS", "REPLICAS", "REASSIGNED"});
  table.Add({node.node_id(), node.draining() ? "yes" : "no", node.leader_count(),
             node.replica_count(), reassigned});
  table.Print(mode);
}

absl::StatusOr<ExitCode> Drain(const ClusterOptions& options, client::Admin* admin) {
  FALAJ_ASSIGN_OR_RETURN(const v1::DrainNodeResponse response, admin->DrainNode(options.node));
  PrintNode(response.node(), response.reassigned_count(), options.common.output);
  if (!options.wait) return ExitCode::kOk;
  const int32_t node = options.node;
  FALAJ_RETURN_IF_ERROR(WaitForMoves(
      admin, "moved off", [node](const std::string& /*topic*/, const v1::Partition& partition) {
        return Contains(partition.replicas(), node);
      }));
  return ExitCode::kOk;
}

absl::StatusOr<ExitCode> Undrain(const ClusterOptions& options, client::Admin* admin) {
  FALAJ_ASSIGN_OR_RETURN(const v1::StorageNode node, admin->UndrainNode(options.node));
  PrintNode(node, 0, options.common.output);
  return ExitCode::kOk;
}

}  // namespace

absl::StatusOr<ExitCode> RunMove(const ClusterOptions& options, client::Admin* admin) {
  if (options.action == "drain") return Drain(options, admin);
  if (options.action == "undrain") return Undrain(options, admin);
  if (options.action == "reassign") return Reassign(options, admin);
  if (options.action == "reassignments") return List(options, admin);
  if (options.action == "cancel") return Cancel(options, admin);
  return Elect(options, admin);
}

}  // namespace falaj::cli
