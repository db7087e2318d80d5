#include "services/gateway/reassignments.h"

#include <algorithm>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

#include "libs/base/status.h"
#include "services/gateway/paging.h"

namespace falaj::gateway {
namespace {

constexpr char kReassignmentList[] = "reassignments";

// A place in the list: the topic and partition that came last.
using Place = std::pair<std::string, int32_t>;

std::string ToText(const v1::Reassignment& last) {
  return absl::StrCat(last.topic(), "/", last.partition());
}

absl::StatusOr<Place> ToPlace(const std::string& text) {
  if (text.empty()) return Place("", -1);
  const size_t slash = text.rfind('/');
  int32_t partition = 0;
  if (slash == std::string::npos || !absl::SimpleAtoi(text.substr(slash + 1), &partition)) {
    return MakeError(Reason::kInvalidRequest, "page_token is not one this list gave out",
                     {{"field", "page_token"}});
  }
  return Place(text.substr(0, slash), partition);
}

bool Contains(const std::vector<NodeId>& nodes, NodeId node) {
  return std::find(nodes.begin(), nodes.end(), node) != nodes.end();
}

}  // namespace

v1::Reassignment ToReassignment(const std::string& topic, const cluster::PartitionInfo& partition) {
  v1::Reassignment message;
  message.set_topic(topic);
  message.set_partition(partition.index.value());
  for (const NodeId node : partition.replicas) {
    message.add_replicas(node.value());
    if (!Contains(partition.target, node)) message.add_removing_replicas(node.value());
  }
  for (const NodeId node : partition.target) message.add_target_replicas(node.value());
  for (const NodeId node : partition.adding) message.add_adding_replicas(node.value());
  for (const NodeId node : partition.isr) message.add_in_sync_replicas(node.value());
  return message;
}

absl::Status ListReassignmentPage(const cluster::ClusterView& view,
                                  const v1::ListReassignmentsRequest& request,
                                  v1::ListReassignmentsResponse* response) {
  FALAJ_ASSIGN_OR_RETURN(const int page_size, PageSize(request.page_size()));
  FALAJ_ASSIGN_OR_RETURN(const std::string token,
                         ParsePageToken(kReassignmentList, request.page_token()));
  FALAJ_ASSIGN_OR_RETURN(const Place after, ToPlace(token));
  for (auto it = view.topics().lower_bound(after.first); it != view.topics().end(); ++it) {
    if (!request.topic().empty() && it->first != request.topic()) continue;
    for (const cluster::PartitionInfo& partition : it->second->partitions) {
      if (!partition.reassigning() || Place(it->first, partition.index.value()) <= after) continue;
      if (response->reassignments_size() == page_size) {
        response->set_next_page_token(
            MakePageToken(kReassignmentList, ToText(response->reassignments(page_size - 1))));
        return absl::OkStatus();
      }
      *response->add_reassignments() = ToReassignment(it->first, partition);
    }
  }
  return absl::OkStatus();
}

}  // namespace falaj::gateway
