#include "services/metadata/metadata_state.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "google/protobuf/io/coded_stream.h"
#include "google/protobuf/io/zero_copy_stream_impl_lite.h"
#include "google/protobuf/wire_format_lite.h"

#include "libs/base/crc32c.h"
#include "libs/base/status.h"

namespace falaj::metadata {
namespace {

namespace pb = ::falaj::internal::v1;

using google::protobuf::internal::WireFormatLite;

constexpr size_t kFieldHeadMax = 16;  // Tag and length.
constexpr char kNodesPath[] = "/falaj/nodes";

// Addresses and zones are printable, so only these two need a backslash.
std::string Quoted(const std::string& text) {
  return absl::StrCat("\"", absl::StrReplaceAll(text, {{"\\", "\\\\"}, {"\"", "\\\""}}), "\"");
}

// What people and tools read at /falaj/nodes/<id>.
std::string DescribeNode(const pb::NodeState& node) {
  return absl::StrCat("{\"address\":", Quoted(node.address()), ",\"zone\":", Quoted(node.zone()),
                      ",\"node_epoch\":", node.node_epoch(), "}");
}

}  // namespace

absl::StatusOr<MetadataState> MetadataState::FromSnapshot(const pb::MetadataSnapshot& snapshot) {
  MetadataState state;
  FALAJ_ASSIGN_OR_RETURN(state.cluster_, cluster::ClusterState::FromSnapshot(snapshot.cluster()));
  FALAJ_ASSIGN_OR_RETURN(state.coordination_,
                         coordination::CoordinationState::FromSnapshot(snapshot.coordination()));
  for (const auto& [id, node] : state.cluster_.nodes()) {
    if (node.session_id() == 0) continue;
    if (state.coordination_.FindSession(SessionId(node.session_id())) != nullptr) continue;
    return MakeError(Reason::kCorruptRecord,
                     absl::StrCat("the session of storage node ", id, " is not in the snapshot"));
  }
  return state;
}

std::string MetadataState::SerializeSnapshot() const {
  const std::string cluster = cluster_.Snapshot().SerializeAsString();
  const std::string coordination = coordination_.SerializeSnapshot();
  // Not by way of a message, which would hold all of it a second time.
  std::string bytes;
  bytes.reserve(cluster.size() + coordination.size() + kFieldHeadMax * 2);
  google::protobuf::io::StringOutputStream stream(&bytes);
  google::protobuf::io::CodedOutputStream out(&stream);
  WireFormatLite::WriteBytes(pb::MetadataSnapshot::kClusterFieldNumber, cluster, &out);
  WireFormatLite::WriteBytes(pb::MetadataSnapshot::kCoordinationFieldNumber, coordination, &out);
  out.Trim();
  return bytes;
}

uint64_t MetadataState::Digest() const {
  pb::ClusterState cluster = cluster_.Snapshot();
  cluster.clear_index();
  return coordination_.digest() ^ crc32c::Of(cluster.SerializeAsString());
}

MetadataState::Applied MetadataState::Apply(LogIndex index, const pb::ClusterCommand& command) {
  switch (command.command_case()) {
    case pb::ClusterCommand::kRegisterNode:
      return ApplyRegistration(index, command);
    case pb::ClusterCommand::kEndSession:
      return ApplyEndSession(index, command);
    case pb::ClusterCommand::kCoordination:
      return ApplyCoordination(index, command);
    default:
      return ApplyToCluster(index, command);
  }
}

MetadataState::Applied MetadataState::ApplyToCluster(LogIndex index,
                                                     const pb::ClusterCommand& command) {
  cluster::ClusterState::Applied in_cluster = cluster_.Apply(index, command);
  Applied applied;
  applied.response = std::move(in_cluster.response);
  applied.cluster = std::move(in_cluster.delta);
  return applied;
}

MetadataState::Applied MetadataState::ApplyRegistration(LogIndex index,
                                                        const pb::ClusterCommand& command) {
  const auto before = cluster_.nodes().find(command.register_node().node_id());
  const SessionId replaced(before == cluster_.nodes().end() ? 0 : before->second.session_id());
  Applied applied = ApplyToCluster(index, command);
  if (!applied.response.ok()) return applied;
  if (replaced != SessionId()) {
    applied.ended = replaced;
    applied.znodes = coordination_.EndSession(index, command.time_ms(), replaced);
  }
  const pb::NodeState& node = applied.response->node();
  applied.opened = SessionId(node.session_id());
  std::vector<coordination::ZnodeChange> came = coordination_.OpenNodeSession(
      index, command.time_ms(), *applied.opened, node.session_timeout_ms(),
      absl::StrCat(kNodesPath, "/", node.node_id()), DescribeNode(node));
  applied.znodes.insert(applied.znodes.end(), std::make_move_iterator(came.begin()),
                        std::make_move_iterator(came.end()));
  return applied;
}

MetadataState::Applied MetadataState::ApplyEndSession(LogIndex index,
                                                      const pb::ClusterCommand& command) {
  Applied applied = ApplyToCluster(index, command);
  if (!applied.response.ok()) return applied;
  const SessionId session(command.end_session().session_id());
  if (coordination_.FindSession(session) == nullptr) return applied;
  applied.ended = session;
  applied.znodes = coordination_.EndSession(index, command.time_ms(), session);
  return applied;
}

MetadataState::Applied MetadataState::ApplyCoordination(LogIndex index,
                                                        const pb::ClusterCommand& command) {
  Applied applied;
  cluster_.Skip(index);
  applied.cluster.set_index(index.value());
  if (cluster_.cluster_id().is_nil()) {
    applied.response =
        MakeError(Reason::kMetadataUnavailable, "the cluster has no id yet", {{"outcome", "none"}});
    return applied;
  }
  coordination::CoordinationState::Applied in_tree =
      coordination_.Apply(index, command.time_ms(), command.coordination());
  applied.znodes = std::move(in_tree.changes);
  if (!in_tree.result.ok()) {
    applied.response = std::move(in_tree.result).status();
    return applied;
  }
  pb::ExecuteResponse response;
  response.set_index(index.value());
  *response.mutable_coordination() = *std::move(in_tree.result);
  applied.response = std::move(response);
  if (command.coordination().has_open_session()) {
    applied.opened = SessionId(static_cast<int64_t>(index.value()));
  } else if (command.coordination().has_close_session()) {
    applied.ended = SessionId(command.coordination().close_session().session().session_id());
  }
  return applied;
}

}  // namespace falaj::metadata
