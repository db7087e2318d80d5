// falaj-metadata: one metadata node.

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/flags/flag.h"
#include "absl/status/statusor.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/time/time.h"

#include "libs/base/log.h"
#include "libs/base/status.h"
#include "libs/rpc/process.h"
#include "services/metadata/metadata_server.h"

ABSL_FLAG(int32_t, node_id, 1, "Id of this metadata node, at least 1.");
ABSL_FLAG(std::string, data_dir, "", "Where the Raft log lives; made if it does not exist.");
ABSL_FLAG(std::string, listen, "127.0.0.1:7400", "host:port of the gRPC server.");
ABSL_FLAG(std::string, http_listen, "127.0.0.1:7401",
          "host:port of /metrics and /healthz; empty: none.");
ABSL_FLAG(std::string, cluster_name, "", "A name for people, the same on all nodes of a cluster.");
ABSL_FLAG(std::vector<std::string>, peers, {},
          "All metadata nodes, this one included: 1=host:port,2=host:port,3=host:port. The same on "
          "every node. Empty: this node alone.");
ABSL_FLAG(
    bool, join, false,
    "Join the running cluster that --peers are of, with an empty directory and a new id; then "
    "`falaj metadata members add`.");
ABSL_FLAG(std::string, cluster_id, "",
          "A UUID, the same on all nodes; empty: derived from the name and the peers.");
ABSL_FLAG(std::string, log_format, "json", "json or text.");
ABSL_FLAG(absl::Duration, tick, absl::Milliseconds(30),
          "Raft's unit of time, 1ms to 10s. The same on every node, as the ticks that follow.");
ABSL_FLAG(int32_t, heartbeat_ticks, 7, "The leader's heartbeats are so many ticks apart.");
ABSL_FLAG(int32_t, election_ticks_min, 15,
          "Who hears no leader for so many ticks stands for election; at least two heartbeats.");
ABSL_FLAG(int32_t, election_ticks_max, 30,
          "The longest of these patiences, which are drawn by chance; more than the least.");
ABSL_FLAG(int64_t, snapshot_entries, 100'000, "A snapshot is made every so many log entries...");
ABSL_FLAG(int64_t, snapshot_log_bytes, 64 << 20, "...or after so many bytes of them.");
ABSL_FLAG(int64_t, entries_kept, 10'000,
          "Log entries kept behind a snapshot: a node that misses no more needs no snapshot.");
ABSL_FLAG(absl::Duration, leader_rebalance_period, absl::Minutes(5),
          "How often leads go back to their preferred leaders by themselves; 0: never.");
ABSL_FLAG(
    int32_t, leader_imbalance_percent, 10,
    "Others may have so many percent of the leads a node is preferred for before it gets them "
    "back.");
ABSL_FLAG(std::string, planted_bug, "none",
          "For tests that must fail: makes one of the mistakes of libs/raft/planted_bug.h, such as "
          "read-without-read-index. Breaks what is promised.");

namespace {

// Returns INVALID_CONFIG naming the entry that is not ID=HOST:PORT.
absl::StatusOr<std::vector<falaj::metadata::MetadataServer::Peer>> ParsePeers(
    const std::vector<std::string>& entries) {
  std::vector<falaj::metadata::MetadataServer::Peer> peers;
  for (const std::string& entry : entries) {
    const std::pair<std::string, std::string> parts =
        absl::StrSplit(entry, absl::MaxSplits('=', 1));
    falaj::metadata::MetadataServer::Peer peer = {.node_id = 0, .address = parts.second};
    if (!absl::SimpleAtoi(parts.first, &peer.node_id) || peer.address.empty()) {
      return falaj::MakeError(falaj::Reason::kInvalidConfig,
                              absl::StrCat("peers: \"", entry, "\" is not ID=HOST:PORT"),
                              {{"field", "peers"}});
    }
    peers.push_back(std::move(peer));
  }
  return peers;
}

}  // namespace

int main(int argc, char** argv) {
  falaj::rpc::ParseFlags(
      "A Falaj metadata node. Every flag can be set as FALAJ_<NAME> in the environment.", argc,
      argv);
  using falaj::log::Format;
  falaj::log::Configure(
      {.format = absl::GetFlag(FLAGS_log_format) == "text" ? Format::kText : Format::kJson,
       .component = "metadata"});
  falaj::rpc::TuneProcess();
  falaj::rpc::RaiseFileDescriptorLimit();

  falaj::metadata::MetadataServer::Options options;
  options.node_id = absl::GetFlag(FLAGS_node_id);
  options.data_dir = absl::GetFlag(FLAGS_data_dir);
  options.listen_address = absl::GetFlag(FLAGS_listen);
  options.http_address = absl::GetFlag(FLAGS_http_listen);
  options.cluster_name = absl::GetFlag(FLAGS_cluster_name);
  options.cluster_id = absl::GetFlag(FLAGS_cluster_id);
  options.join = absl::GetFlag(FLAGS_join);
  options.planted_bug = absl::GetFlag(FLAGS_planted_bug);
  options.tick = absl::GetFlag(FLAGS_tick);
  options.heartbeat_ticks = absl::GetFlag(FLAGS_heartbeat_ticks);
  options.election_ticks_min = absl::GetFlag(FLAGS_election_ticks_min);
  options.election_ticks_max = absl::GetFlag(FLAGS_election_ticks_max);
  options.snapshot_entries = absl::GetFlag(FLAGS_snapshot_entries);
  options.snapshot_log_bytes = absl::GetFlag(FLAGS_snapshot_log_bytes);
  options.entries_kept = absl::GetFlag(FLAGS_entries_kept);
  options.leader_rebalance_period = absl::GetFlag(FLAGS_leader_rebalance_period);
  options.leader_imbalance_percent = absl::GetFlag(FLAGS_leader_imbalance_percent);
  const auto peers = ParsePeers(absl::GetFlag(FLAGS_peers));
  if (!peers.ok()) {
    falaj::log::Error("the metadata node cannot start", {{"error", peers.status()}});
    return 1;
  }
  options.peers = *peers;
  const auto server = falaj::metadata::MetadataServer::Start(options);
  if (!server.ok()) {
    falaj::log::Error("the metadata node cannot start", {{"error", server.status()}});
    return 1;
  }
  if (options.planted_bug != "none") {
    falaj::log::Warning("this node makes mistakes on purpose", {{"bug", options.planted_bug}});
  }
  falaj::rpc::WaitForTermination();
  (*server)->Stop();
  return 0;
}
