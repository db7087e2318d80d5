// Admin makes the unary calls: topics, the cluster, offsets. Thin by intent: it adds a deadline to
// each call, follows page tokens, and turns gRPC errors into statuses with a reason.
//
// Threads: all methods from any thread; each blocks until its answer or the timeout.
// Failures: nothing is retried; a caller that wants to try again sees from IsDefinite whether it
// may.
#ifndef LIBS_CLIENT_ADMIN_H_
#define LIBS_CLIENT_ADMIN_H_

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

#include "falaj/v1/cluster_service.pb.h"
#include "falaj/v1/consumer_service.pb.h"
#include "falaj/v1/topic_service.pb.h"

#include "libs/client/options.h"

namespace falaj::client {

class Admin {
 public:
  explicit Admin(const AdminOptions& options);
  ~Admin();

  // TOPIC_ALREADY_EXISTS, INVALID_NAME, INVALID_CONFIG, INVALID_REQUEST.
  absl::StatusOr<v1::Topic> CreateTopic(const v1::CreateTopicRequest& request);
  absl::StatusOr<v1::Topic> GetTopic(absl::string_view name);  // TOPIC_NOT_FOUND.
  absl::StatusOr<std::vector<v1::Topic>> ListTopics(bool include_internal);
  absl::StatusOr<v1::Topic> UpdateTopic(const v1::UpdateTopicRequest& request);
  absl::Status DeleteTopic(absl::string_view name);
  absl::StatusOr<v1::Topic> AddPartitions(absl::string_view name, int32_t partition_count);
  absl::StatusOr<v1::TruncateTopicResponse> TruncateTopic(const v1::TruncateTopicRequest& request);

  absl::StatusOr<v1::GetClusterResponse> GetCluster();
  absl::StatusOr<std::vector<v1::StorageNode>> ListNodes();
  // The errors of these are those of ClusterService.
  absl::StatusOr<v1::ReassignPartitionsResponse> ReassignPartitions(
      const v1::ReassignPartitionsRequest& request);
  absl::StatusOr<std::vector<v1::Reassignment>> ListReassignments(absl::string_view topic);
  // How many were cancelled; no `partitions`: all of the topic.
  absl::StatusOr<int32_t> CancelReassignments(absl::string_view topic,
                                              const std::vector<int32_t>& partitions);
  absl::StatusOr<v1::Topic> ElectLeaders(const v1::ElectLeadersRequest& request);
  absl::StatusOr<v1::DrainNodeResponse> DrainNode(int32_t node_id);
  absl::StatusOr<v1::StorageNode> UndrainNode(int32_t node_id);
  // Calls `event` for the snapshot and every change until it returns false. A connection that
  // worked and broke is made again, and the watch goes on where it was; a gateway that says it
  // stops is left for another one, until none has been found for the timeout of the options.
  // Otherwise returns why it ended. No deadline.
  absl::Status WatchCluster(uint64_t after_metadata_index,
                            const std::function<bool(const v1::WatchClusterResponse&)>& event);

  // One result per query, in order; failed ones carry their own error. Any number of queries.
  absl::StatusOr<std::vector<v1::OffsetResult>> ListOffsets(
      const std::vector<v1::OffsetQuery>& queries);

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace falaj::client

#endif  // LIBS_CLIENT_ADMIN_H_
