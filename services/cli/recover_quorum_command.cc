// falaj debug recover-quorum: the last resort after the majority of the metadata nodes is lost.
#include <cstdio>
#include <filesystem>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

#include "libs/base/status.h"
#include "libs/log/raft_log.h"
#include "services/cli/commands.h"
#include "services/cli/output.h"
#include "services/cli/session.h"

namespace falaj::cli {
namespace {

constexpr char kRecoveryRisk[] =
    R"(This makes the node of this directory the only voter of the metadata service, for when the
others are lost for good. What that risks:

  - What the lost nodes had acknowledged and this one had not received is gone. Topics, sessions
    and znodes go back to what this node knows; fencing tokens and versions may be handed out again.
  - Partitions that it does not know, or knew on other storage nodes, are kept on the disks of those
    that have them, in quarantine: nothing serves them. falaj debug verify names them, falaj debug
    release-quarantine lets them go.
  - A partition that it knows is led again once so many replicas have come back that one of them
    must hold every acknowledged record, by the min_in_sync_replicas that it knows. Replicas whose
    log is empty do not count, such as those of a partition that had moved since. If too few come:
    falaj topic update TOPIC --unclean-election-after 1s. That may lose acknowledged records.
  - What this node holds becomes committed, even where a client was told that it had failed.
  - If a majority of the old nodes is not lost but only out of reach, and comes back, there are two
    clusters. They refuse each other, but clients may find either.

So: stop all metadata nodes; run this without --yes-lose-data on every directory that is left;
choose the one with the highest LAST-TERM, and of those the highest LAST-INDEX; erase the others.
Then start that node, and add new ones: falaj-metadata --join, falaj metadata members add. Storage
nodes and gateways notice that the quorum was recovered, and need not be restarted.
)";

absl::StatusOr<falaj::log::RaftLog::Options> FindLog(const RecoverQuorumOptions& options) {
  namespace fs = std::filesystem;
  falaj::log::RaftLog::Options log;
  log.node_id = NodeId(options.node);
  for (const fs::path& directory : {fs::path(options.path) / "raft", fs::path(options.path)}) {
    if (!fs::exists(directory / "CURRENT")) continue;  // RaftLog would make a new log.
    log.directory = directory.string();
    return log;
  }
  return MakeError(Reason::kInvalidRequest,
                   absl::StrCat("no Raft log of a metadata node in ", options.path));
}

// What there would be to lose and to keep.
absl::Status Describe(const falaj::log::RaftLog::Options& options, OutputMode output) {
  FALAJ_ASSIGN_OR_RETURN(const std::unique_ptr<falaj::log::RaftLog> log,
                         falaj::log::RaftLog::Open(options));
  const uint64_t incarnation = log->incarnation();
  const raft::Restored restored = log->TakeRestored();
  const auto& snapshot = restored.snapshot.meta;
  const bool empty = restored.entries.empty();
  const uint64_t last_term = empty ? snapshot.term() : restored.entries.back().term();
  const uint64_t last_index = empty ? snapshot.index() : restored.entries.back().index();
  Table table({"NODE", "LAST-TERM", "LAST-INDEX", "COMMITTED", "INCARNATION"});
  table.Add({options.node_id.value(), static_cast<int64_t>(last_term),
             static_cast<int64_t>(last_index), static_cast<int64_t>(restored.hard_state.commit()),
             static_cast<int64_t>(incarnation)});
  table.Print(output);
  return absl::OkStatus();
}

absl::Status Recover(const falaj::log::RaftLog::Options& options, const std::string& address) {
  FALAJ_ASSIGN_OR_RETURN(const falaj::log::RaftLog::Recovery done,
                         falaj::log::RaftLog::RecoverQuorum(options, address));
  std::printf(
      "node %d is the only voter now, from index %s in term %s on, in incarnation %s of the "
      "quorum; %s entries became committed that were not known to be; the voters were %s\n",
      options.node_id.value(), absl::StrCat(done.last_index).c_str(),
      absl::StrCat(done.term).c_str(), absl::StrCat(done.incarnation).c_str(),
      absl::StrCat(done.entries_not_known_committed).c_str(),
      absl::StrJoin(done.former_voters, ", ").c_str());
  return absl::OkStatus();
}

}  // namespace

ExitCode RunRecoverQuorum(const RecoverQuorumOptions& options) {
  const absl::StatusOr<falaj::log::RaftLog::Options> log = FindLog(options);
  if (!log.ok()) return FailUsage(log.status());
  if (options.yes_lose_data) {
    const absl::Status done = Recover(*log, options.address);
    return done.ok() ? ExitCode::kOk : Fail(done);
  }
  if (const absl::Status status = Describe(*log, options.output); !status.ok()) return Fail(status);
  std::fputs(kRecoveryRisk, stderr);
  std::fputs("Nothing was changed. To go on: --yes-lose-data\n", stderr);
  return ExitCode::kUsage;
}

}  // namespace falaj::cli
