#include "libs/raft/ready.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "absl/strings/str_cat.h"

#include "libs/base/crc32c.h"
#include "libs/base/status.h"

namespace falaj::raft {

absl::string_view RoleName(Role role) {
  switch (role) {
    case Role::kFounder:
      return "founder";
    case Role::kFollower:
      return "follower";
    case Role::kLearner:
      return "learner";
    case Role::kPreCandidate:
      return "pre-candidate";
    case Role::kCandidate:
      return "candidate";
    case Role::kLeader:
      return "leader";
  }
  return "unknown";
}

std::optional<AnswerTo> WhatItAnswers(const pb::RaftMessage& message) {
  if (message.type() == pb::RAFT_MESSAGE_TYPE_HEARTBEAT_REPLY) return AnswerTo::kHeartbeat;
  if (message.type() != pb::RAFT_MESSAGE_TYPE_APPEND_REPLY || message.reject()) return std::nullopt;
  return AnswerTo::kAppend;
}

void Join(Ready* ready, Ready next) {
  std::vector<pb::RaftEntry> entries = std::move(ready->entries);
  if (next.snapshot.has_value()) {
    entries.clear();  // It replaces the whole log.
    next.initial_membership.reset();
  } else if (!next.entries.empty()) {
    const uint64_t first = next.entries.front().index();
    while (!entries.empty() && entries.back().index() >= first) entries.pop_back();
  }
  std::move(next.entries.begin(), next.entries.end(), std::back_inserter(entries));
  next.entries = std::move(entries);
  if (!next.snapshot.has_value()) next.snapshot = std::move(ready->snapshot);
  if (!next.hard_state.has_value()) next.hard_state = std::move(ready->hard_state);
  if (!next.initial_membership.has_value() && !next.snapshot.has_value()) {
    next.initial_membership = std::move(ready->initial_membership);
  }
  next.must_sync = next.must_sync || ready->must_sync;
  std::vector<pb::RaftMessage> after = std::move(ready->messages_after_persist);
  std::move(next.messages_after_persist.begin(), next.messages_after_persist.end(),
            std::back_inserter(after));
  next.messages_after_persist = std::move(after);
  *ready = std::move(next);
}

Snapshot FinishSnapshot(pb::RaftSnapshot meta, Bytes data) {
  meta.set_size_bytes(static_cast<int64_t>(data.size()));
  meta.set_checksum(crc32c::Of(data));
  return {std::move(meta), std::move(data)};
}

absl::Status Options::Validate() const {
  const auto refuse = [](absl::string_view setting, absl::string_view why) {
    return MakeError(Reason::kInvalidConfig, absl::StrCat("raft ", setting, " ", why),
                     {{"setting", std::string(setting)}});
  };
  if (self < NodeId(1)) return refuse("self", "must be at least 1");
  if (heartbeat_ticks < 1) return refuse("heartbeat_ticks", "must be at least 1");
  if (election_ticks_min <= heartbeat_ticks) {
    return refuse("election_ticks_min", "must be more than heartbeat_ticks");
  }
  if (election_ticks_max < election_ticks_min) {
    return refuse("election_ticks_max", "must be at least election_ticks_min");
  }
  if (message_bytes_max == 0) return refuse("message_bytes_max", "must be positive");
  if (inflight_max == 0) return refuse("inflight_max", "must be positive");
  if (apply_bytes_max == 0) return refuse("apply_bytes_max", "must be positive");
  if (uncommitted_bytes_max < entry_bytes_max) {
    return refuse("uncommitted_bytes_max", "must allow an entry of entry_bytes_max");
  }
  if (snapshot_chunk_bytes == 0) return refuse("snapshot_chunk_bytes", "must be positive");
  return absl::OkStatus();
}

}  // namespace falaj::raft
