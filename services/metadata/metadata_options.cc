#include "services/metadata/metadata_options.h"

#include <grpcpp/grpcpp.h>

#include <filesystem>
#include <set>
#include <system_error>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"

#include "falaj/internal/v1/metadata_service.grpc.pb.h"

#include "libs/base/clock.h"
#include "libs/base/crc32c.h"
#include "libs/base/random.h"
#include "libs/base/status.h"
#include "libs/coordination/limits.h"
#include "libs/raft/membership.h"
#include "libs/raft/planted_bug.h"
#include "libs/rpc/channel.h"
#include "libs/rpc/status_grpc.h"

namespace falaj::metadata {
namespace {

namespace pb = ::falaj::internal::v1;

constexpr absl::Duration kAskPeerMax = absl::Seconds(5);
// A founder asks in passing: its peers may not have started yet.
constexpr absl::Duration kAskFounderMax = absl::Seconds(1);

absl::Status InvalidOption(absl::string_view field, absl::string_view rule) {
  return MakeError(Reason::kInvalidConfig, absl::StrCat(field, " ", rule),
                   {{"field", std::string(field)}});
}

absl::Status ValidatePeers(const MetadataServer::Options& options) {
  std::set<int32_t> ids;
  for (const MetadataServer::Peer& peer : options.peers) {
    if (peer.node_id < 1) return InvalidOption("peers", "must have ids of at least 1");
    if (!ids.insert(peer.node_id).second) {
      return InvalidOption("peers", absl::StrCat("name node ", peer.node_id, " twice"));
    }
    if (!peer.address.empty() && !raft::CheckAddress(peer.address).ok()) {
      return InvalidOption(
          "peers", absl::StrCat("must give every node as ID=HOST:PORT, but have \"",
                                absl::CHexEscape(peer.address), "\" for node ", peer.node_id));
    }
  }
  if (options.join) {
    ids.erase(options.node_id);
    if (ids.empty()) return InvalidOption("peers", "must name members of the cluster to join");
    return absl::OkStatus();
  }
  if (!ids.empty() && !ids.contains(options.node_id)) {
    return InvalidOption("peers", absl::StrCat("must name this node, ", options.node_id));
  }
  return absl::OkStatus();
}

absl::Status ValidateRaft(const MetadataServer::Options& options) {
  if (options.tick < absl::Milliseconds(1) || options.tick > absl::Seconds(10)) {
    return InvalidOption("tick", "must be 1 ms to 10 s");
  }
  if (options.heartbeat_ticks < 1) return InvalidOption("heartbeat_ticks", "must be at least 1");
  // A heartbeat may be late without anybody's standing for election.
  if (options.election_ticks_min < 2 * options.heartbeat_ticks) {
    return InvalidOption("election_ticks_min",
                         absl::StrCat("must be at least twice heartbeat_ticks, ",
                                      2 * int64_t{options.heartbeat_ticks}));
  }
  // Nodes that stand at the same time split the votes.
  if (options.election_ticks_max <= options.election_ticks_min) {
    return InvalidOption(
        "election_ticks_max",
        absl::StrCat("must be more than election_ticks_min, ", options.election_ticks_min));
  }
  if (options.snapshot_entries < 1) return InvalidOption("snapshot_entries", "must be at least 1");
  if (options.snapshot_log_bytes < 1) {
    return InvalidOption("snapshot_log_bytes", "must be at least 1");
  }
  if (options.entries_kept < 0) return InvalidOption("entries_kept", "must not be negative");
  return absl::OkStatus();
}

absl::StatusOr<Uuid> NewClusterId(const MetadataServer::Options& options) {
  if (!options.cluster_id.empty()) return Uuid::Parse(options.cluster_id);
  if (options.peers.empty()) return Random::FromSystem().NextUuid();
  std::string members = options.cluster_name;
  for (const auto& [node, address] : AddressesOf(options.peers)) {
    absl::StrAppend(&members, "\n", node, "=", address);
  }
  // Not secret and not random: four checksums with different beginnings tell clusters apart.
  uint64_t halves[2] = {0, 0};
  for (int i = 0; i < 4; ++i) {
    halves[i / 2] = halves[i / 2] << 32 | crc32c::Of(absl::StrCat(i, "\n", members));
  }
  return Uuid::FromRandomBits(halves[0], halves[1]);
}

// With `patient` it waits until the peer can be reached.
absl::StatusOr<pb::GetStatusResponse> AskPeer(const std::string& address, absl::Duration wait_max,
                                              bool patient) {
  const auto stub = pb::MetadataService::NewStub(rpc::MakeChannel(address));
  grpc::ClientContext context;
  context.set_deadline(absl::ToChronoTime(Clock::Real()->Now() + wait_max));
  context.set_wait_for_ready(patient);
  pb::GetStatusResponse response;
  const grpc::Status status = stub->GetStatus(&context, {}, &response);
  if (!status.ok()) return rpc::FromGrpc(status);
  return response;
}

// What the cluster says of itself. METADATA_UNAVAILABLE if none of the peers answers.
absl::StatusOr<pb::GetStatusResponse> AskPeers(const MetadataServer::Options& options) {
  absl::Status last;
  for (const MetadataServer::Peer& peer : options.peers) {
    if (peer.node_id == options.node_id) continue;
    absl::StatusOr<pb::GetStatusResponse> answer = AskPeer(peer.address, kAskPeerMax, true);
    if (answer.ok()) return answer;
    last = answer.status();
  }
  return MakeError(
      Reason::kMetadataUnavailable,
      absl::StrCat("no peer says which cluster to join; the last one: ", last.message()));
}

absl::Status DirectoryLost(const MetadataServer::Options& options, absl::string_view evidence) {
  return MakeError(Reason::kClusterMismatch,
                   absl::StrCat("the directory ", options.data_dir, " is empty, but ", evidence,
                                ". ", raft::LostDirectoryRemedy(NodeId(options.node_id))),
                   {{"node_id", absl::StrCat(options.node_id)}, {"directory", options.data_dir}});
}

// Asks the cluster to join what a new directory must be stamped with.
absl::Status DescribeJoiner(const MetadataServer::Options& options,
                            falaj::log::RaftLog::Options* log_options) {
  FALAJ_ASSIGN_OR_RETURN(const pb::GetStatusResponse cluster, AskPeers(options));
  FALAJ_ASSIGN_OR_RETURN(log_options->cluster_id_if_new, Uuid::FromBytes(cluster.cluster_id()));
  const Uuid& wanted = log_options->cluster_id;
  if (!wanted.is_nil() && wanted != log_options->cluster_id_if_new) {
    return MakeError(
        Reason::kClusterMismatch,
        absl::StrCat("the peers are of cluster ", log_options->cluster_id_if_new.ToString(),
                     ", not of ", wanted.ToString()),
        {{"cluster_id", log_options->cluster_id_if_new.ToString()}});
  }
  log_options->join = true;
  log_options->incarnation_if_new = cluster.incarnation();
  log_options->initial_membership = {};
  for (const pb::MetadataMember& member : cluster.members()) {
    const NodeId node(member.node_id());
    if (!member.voter()) continue;
    if (node == log_options->node_id) {
      return DirectoryLost(options, absl::StrCat("node ", node, " votes in the cluster already"));
    }
    log_options->initial_membership.voters.push_back(node);
    if (!member.address().empty()) {
      log_options->initial_membership.addresses[node] = member.address();
    }
  }
  return absl::OkStatus();
}

// CLUSTER_MISMATCH if a peer says that the cluster has begun: this founder, whose directory is new,
// has lost its disk, or another one is mounted. It would learn so later (raft::Founder); who starts
// it should see it at once.
absl::Status CheckNotBegun(const MetadataServer::Options& options, const Uuid& cluster_id) {
  for (const MetadataServer::Peer& peer : options.peers) {
    if (peer.node_id == options.node_id || peer.address.empty()) continue;
    const auto answer = AskPeer(peer.address, kAskFounderMax, false);
    if (!answer.ok() || answer->node_id() != peer.node_id) continue;
    if (answer->cluster_id() != cluster_id.bytes()) continue;
    if (answer->term() == 0 && answer->last_index() == 0) continue;
    return DirectoryLost(options, absl::StrCat("node ", peer.node_id,
                                               " says that the cluster has begun without it"));
  }
  return absl::OkStatus();
}

// What a new directory of a founder is stamped with.
absl::Status DescribeFounder(const MetadataServer::Options& options,
                             falaj::log::RaftLog::Options* log_options) {
  FALAJ_ASSIGN_OR_RETURN(log_options->cluster_id_if_new, NewClusterId(options));
  FALAJ_RETURN_IF_ERROR(CheckNotBegun(options, log_options->cluster_id_if_new));
  raft::Membership* const members = &log_options->initial_membership;
  for (const auto& [node, address] : AddressesOf(options.peers)) {
    members->voters.push_back(node);
    if (!address.empty()) members->addresses[node] = address;
  }
  if (options.peers.empty()) members->voters = {NodeId(options.node_id)};
  return absl::OkStatus();
}

}  // namespace

absl::Status ValidateOptions(const MetadataServer::Options& options) {
  if (options.node_id < 1) return InvalidOption("node_id", "must be at least 1");
  if (options.data_dir.empty()) return InvalidOption("data_dir", "must be set");
  FALAJ_RETURN_IF_ERROR(ValidatePeers(options));
  FALAJ_RETURN_IF_ERROR(ValidateRaft(options));
  if (options.watch_keepalive <= absl::ZeroDuration()) {
    return InvalidOption("watch_keepalive", "must be positive");
  }
  if (options.leader_rebalance_period < absl::ZeroDuration()) {
    return InvalidOption("leader_rebalance_period", "must not be negative");
  }
  if (options.leader_imbalance_percent < 0 || options.leader_imbalance_percent > 100) {
    return InvalidOption("leader_imbalance_percent", "must be 0 to 100");
  }
  if (!raft::PlantedBugFromName(options.planted_bug)) {
    return InvalidOption("planted_bug",
                         absl::StrCat("is none of libs/raft/planted_bug.h: ", options.planted_bug));
  }
  return absl::OkStatus();
}

std::map<NodeId, std::string> AddressesOf(const std::vector<MetadataServer::Peer>& peers) {
  std::map<NodeId, std::string> addresses;
  for (const MetadataServer::Peer& peer : peers) addresses[NodeId(peer.node_id)] = peer.address;
  return addresses;
}

absl::StatusOr<std::unique_ptr<falaj::log::RaftLog>> OpenRaftLog(
    const MetadataServer::Options& options) {
  std::error_code error;
  std::filesystem::create_directories(options.data_dir, error);
  if (error) {
    return MakeError(Reason::kStorageFailed,
                     absl::StrCat("cannot make ", options.data_dir, ": ", error.message()),
                     {{"directory", options.data_dir}});
  }
  falaj::log::RaftLog::Options log_options;
  log_options.directory = absl::StrCat(options.data_dir, "/raft");
  log_options.node_id = NodeId(options.node_id);
  if (!options.cluster_id.empty()) {
    FALAJ_ASSIGN_OR_RETURN(log_options.cluster_id, Uuid::Parse(options.cluster_id));
  }
  log_options.complete_if_new = [&options](falaj::log::RaftLog::Options* complete) {
    return options.join ? DescribeJoiner(options, complete) : DescribeFounder(options, complete);
  };
  return falaj::log::RaftLog::Open(log_options);
}

RaftNode::Options NodeOptions(const MetadataServer::Options& options, const Uuid& cluster_id) {
  RaftNode::Options result;
  result.tick = options.tick;
  result.queue_max = options.proposals_queued_max;
  result.clock = Clock::Real();
  MetadataNode::Options* const node = &result.node;
  node->cluster_id = cluster_id;
  node->random_seed = Random::FromSystem().Next();
  node->draw_secret = [] { return DrawSecret(coordination::kSessionSecretSize); };
  node->watch_keepalive = options.watch_keepalive;
  node->preferred_leaders.period = options.leader_rebalance_period;
  node->preferred_leaders.imbalance_percent = options.leader_imbalance_percent;
  node->watches.history_entries = options.delta_history_entries;
  node->watches.history_bytes = options.delta_history_bytes;
  node->watches.watchers_max = options.watchers_max;
  node->znode_watches.history_entries = options.znode_history_entries;
  node->znode_watches.history_bytes = options.znode_history_bytes;
  node->znode_watches.watchers_max = options.watchers_max;
  node->raft.self = NodeId(options.node_id);
  node->raft.random_seed = Random::FromSystem().Next();
  node->raft.commits_ride = true;
  node->raft.heartbeat_ticks = options.heartbeat_ticks;
  node->raft.election_ticks_min = options.election_ticks_min;
  node->raft.election_ticks_max = options.election_ticks_max;
  node->raft.snapshot_entries = static_cast<size_t>(options.snapshot_entries);
  node->raft.snapshot_log_bytes = static_cast<size_t>(options.snapshot_log_bytes);
  node->raft.entries_kept = static_cast<uint64_t>(options.entries_kept);
  node->raft.planted_bug = *raft::PlantedBugFromName(options.planted_bug);
  return result;
}

}  // namespace falaj::metadata
