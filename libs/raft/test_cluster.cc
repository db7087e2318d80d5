#include "libs/raft/test_cluster.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "gtest/gtest.h"

namespace falaj::raft {
namespace {

// Batches of reads are numbered from a random multiple of 2^20 in each life of a node.
constexpr uint64_t kBatchOfLife = (1 << 20) - 1;

std::string Join(const std::vector<NodeId>& nodes) {
  return absl::StrJoin(nodes, ",",
                       [](std::string* out, NodeId node) { absl::StrAppend(out, node); });
}

std::vector<std::string> StateFrom(const Snapshot& snapshot) {
  if (snapshot.data.empty()) return {};
  return absl::StrSplit(snapshot.data.ToString(), '\n');
}

// "#7" of a directory made by TestDirectory(7).
std::string ShortName(const Uuid& directory) {
  return absl::StrCat("#", static_cast<uint8_t>(directory.bytes().back()));
}

std::string TypeName(pb::RaftMessageType type) {
  return std::string(absl::StripPrefix(pb::RaftMessageType_Name(type), "RAFT_MESSAGE_TYPE_"));
}

}  // namespace

bool TestDisk::Write(const Ready& ready) {
  bool dense = true;
  if (ready.initial_membership) {
    *cached_.snapshot.meta.mutable_membership() = ready.initial_membership->ToProto();
  }
  if (ready.snapshot) {
    cached_.snapshot = *ready.snapshot;
    cached_.entries.clear();
  }
  if (ready.hard_state) cached_.hard_state = *ready.hard_state;
  if (!ready.entries.empty()) {
    std::vector<pb::RaftEntry>& entries = cached_.entries;
    const uint64_t first = ready.entries.front().index();
    const auto replaced = [first](const pb::RaftEntry& entry) { return entry.index() >= first; };
    entries.erase(std::remove_if(entries.begin(), entries.end(), replaced), entries.end());
    const uint64_t last = entries.empty() ? cached_.snapshot.meta.index() : entries.back().index();
    dense = first == last + 1;
    entries.insert(entries.end(), ready.entries.begin(), ready.entries.end());
  }
  if (ready.must_sync) durable_ = cached_;
  return dense;
}

void TestDisk::SaveSnapshot(const Snapshot& snapshot, LogIndex first_kept) {
  cached_.snapshot = snapshot;
  auto& entries = cached_.entries;
  entries.erase(std::remove_if(entries.begin(), entries.end(),
                               [first_kept](const pb::RaftEntry& entry) {
                                 return entry.index() < first_kept.value();
                               }),
                entries.end());
  durable_ = cached_;
}

TestCluster::TestCluster() : on_fault([](const std::string& what) { ADD_FAILURE() << what; }) {}

TestNode& TestCluster::Add(const Options& options, Restored initial) {
  nodes_.erase(options.self);
  TestNode& node = nodes_.try_emplace(options.self, options, std::move(initial)).first->second;
  EXPECT_TRUE(Start(options.self).ok());
  return node;
}

absl::Status TestCluster::Start(NodeId id) {
  TestNode& node = nodes_.at(id);
  Options options = node.options;
  options.random_seed += node.lives++;
  auto core = RaftCore::Create(options, node.disk.content());
  if (!core.ok()) return core.status();
  node.core = *std::move(core);
  node.applied = StateFrom(node.disk.content().snapshot);
  return absl::OkStatus();
}

void TestCluster::Crash(NodeId id) {
  TestNode& node = nodes_.at(id);
  node.core.reset();
  node.held.clear();
  node.disk.Crash();
}

const Ready& TestCluster::Take(NodeId id) {
  TestNode& node = nodes_.at(id);
  node.held.push_back(node.core->TakeReady());
  const Ready& ready = node.held.back();
  in_flight_.insert(in_flight_.end(), ready.messages.begin(), ready.messages.end());
  return ready;
}

void TestCluster::Finish(NodeId id) {
  TestNode& node = nodes_.at(id);
  const Ready ready = std::move(node.held.front());
  node.held.pop_front();
  if (!node.disk.Write(ready)) on_fault("a gap in the log on disk");
  if (ready.snapshot) {
    node.applied = StateFrom(*ready.snapshot);
    ++node.snapshots_installed;
  }
  node.core->Persisted(ready.number);
  in_flight_.insert(in_flight_.end(), ready.messages_after_persist.begin(),
                    ready.messages_after_persist.end());
  for (const pb::RaftEntry& entry : ready.committed_entries) {
    if (entry.index() != node.applied.size() + 1) on_fault("applied out of order");
    node.applied.push_back(Describe(entry));
    node.core->Applied(LogIndex(entry.index()));
  }
  node.reads.insert(node.reads.end(), ready.reads.begin(), ready.reads.end());
  node.dropped_reads.insert(node.dropped_reads.end(), ready.dropped_reads.begin(),
                            ready.dropped_reads.end());
}

absl::Status TestCluster::Deliver(const pb::RaftMessage& message) {
  const auto receiver = nodes_.find(NodeId(message.to()));
  if (receiver == nodes_.end() || receiver->second.core == nullptr) return absl::OkStatus();
  return receiver->second.core->Step(message);
}

absl::Status TestCluster::TakeSnapshot(NodeId id) {
  TestNode& node = nodes_.at(id);
  auto meta = node.core->DescribeSnapshot(LogIndex(node.applied.size()));
  if (!meta.ok()) return meta.status();
  Snapshot snapshot =
      FinishSnapshot(*std::move(meta), Bytes::Own(absl::StrJoin(node.applied, "\n")));
  node.disk.SaveSnapshot(snapshot, node.core->FirstIndexToKeep(LogIndex(snapshot.meta.index())));
  return node.core->Compact(std::move(snapshot));
}

std::string Describe(const Membership& membership) {
  std::string text = Join(membership.voters);
  if (!membership.learners.empty()) absl::StrAppend(&text, "+", Join(membership.learners));
  for (const auto& [node, address] : membership.addresses) {
    absl::StrAppend(&text, " ", node, "@", address);
  }
  for (const auto& [node, directory] : membership.directories) {
    absl::StrAppend(&text, " ", node, ShortName(directory));
  }
  return text;
}

Uuid TestDirectory(uint8_t number) { return Uuid::FromRandomBits(0, number); }

std::string Describe(const pb::RaftEntry& entry) {
  const std::string id = absl::StrCat(entry.index(), "/", entry.term(), " ");
  if (entry.type() == pb::RAFT_ENTRY_TYPE_NO_OP) return id + "no-op";
  if (entry.type() == pb::RAFT_ENTRY_TYPE_COMMAND) return id + entry.data();
  pb::RaftMembership proto;
  if (!proto.ParseFromString(entry.data())) return id + "members ?";
  const auto membership = Membership::FromProto(proto);
  return absl::StrCat(id, "members ", membership.ok() ? Describe(*membership) : "?");
}

std::string Describe(const pb::RaftMessage& message) {
  std::string text = absl::StrCat(message.from(), ">", message.to(), " ", TypeName(message.type()),
                                  " term ", message.term());
  const std::string log = absl::StrCat(message.log_index(), "/", message.log_term());
  switch (message.type()) {
    case pb::RAFT_MESSAGE_TYPE_VOTE:
    case pb::RAFT_MESSAGE_TYPE_PRE_VOTE:
      absl::StrAppend(&text, " last ", log, message.transfer() ? " transfer" : "");
      break;
    case pb::RAFT_MESSAGE_TYPE_VOTE_REPLY:
    case pb::RAFT_MESSAGE_TYPE_PRE_VOTE_REPLY:
      absl::StrAppend(&text, message.reject() ? " no" : " yes");
      break;
    case pb::RAFT_MESSAGE_TYPE_APPEND: {
      absl::StrAppend(&text, " at ", log, " commit ", message.commit());
      std::vector<std::string> entries;
      for (const pb::RaftEntry& entry : message.entries()) entries.push_back(Describe(entry));
      if (!entries.empty()) absl::StrAppend(&text, ": ", absl::StrJoin(entries, ", "));
      break;
    }
    case pb::RAFT_MESSAGE_TYPE_APPEND_REPLY:
      absl::StrAppend(&text, message.reject() ? " no at " : " holds ", message.log_index());
      if (message.reject()) {
        absl::StrAppend(&text, " hint ", message.hint_index(), "/", message.hint_term());
      }
      break;
    case pb::RAFT_MESSAGE_TYPE_HEARTBEAT:
      absl::StrAppend(&text, " commit ", message.commit());
      [[fallthrough]];
    case pb::RAFT_MESSAGE_TYPE_HEARTBEAT_REPLY:
      if (message.read_round() != 0) absl::StrAppend(&text, " round ", message.read_round());
      break;
    case pb::RAFT_MESSAGE_TYPE_SNAPSHOT:
      absl::StrAppend(&text, " of ", message.snapshot().index(), "/", message.snapshot().term(),
                      " bytes ", message.chunk_offset(), "+", message.chunk().size(), " of ",
                      message.snapshot().size_bytes());
      break;
    case pb::RAFT_MESSAGE_TYPE_SNAPSHOT_REPLY:
      absl::StrAppend(&text, " of ", message.snapshot().index(), "/", message.snapshot().term(),
                      message.reject() ? " refused," : "", " holds ", message.chunk_offset());
      break;
    case pb::RAFT_MESSAGE_TYPE_READ_INDEX:
      absl::StrAppend(&text, " batch ", message.read_round() & kBatchOfLife,
                      message.patient() ? " patient" : "");
      break;
    case pb::RAFT_MESSAGE_TYPE_READ_INDEX_REPLY:
      absl::StrAppend(&text, " batch ", message.read_round() & kBatchOfLife,
                      message.reject() ? " no" : absl::StrCat(" at ", message.log_index()));
      break;
    case pb::RAFT_MESSAGE_TYPE_FOUNDING_REPLY: {
      const auto membership = Membership::FromProto(message.membership());
      absl::StrAppend(&text, message.reject() ? " begun: " : " empty: ",
                      membership.ok() ? Describe(*membership) : "?");
      break;
    }
    default:
      break;
  }
  return text;
}

}  // namespace falaj::raft
