// How a store shard answers those who wait: producers, and who deletes records.
#include <algorithm>
#include <memory>
#include <utility>

#include "absl/algorithm/container.h"

#include "libs/base/status.h"
#include "services/storage/hosted_partition.h"
#include "services/storage/shard_core.h"

namespace falaj::storage {

void ShardCore::Refuse(const AppendTask& task, absl::Status status) {
  metrics_->CountError(status);
  AppendAnswer answer;
  answer.request_id = task.request_id;
  answer.status = std::move(status);
  answer.size_bytes = static_cast<int64_t>(task.batch.size());
  Send(task.sink, std::move(answer));
}

void ShardCore::Answer(const replica::Reply& reply) {
  const auto it = held_.find(reply.token);
  if (it == held_.end()) return;
  HeldAppend& held = it->second;
  metrics_->produce_seconds(held.acks)->Observe(clock_->MonotonicNow() - held.received);
  if (reply.status.ok()) {
    TopicCounters* counters = held.partition->counters();
    if (reply.outcome.duplicate) {
      counters->produce_duplicates.Add();
    } else {
      counters->produced_records.Add(reply.outcome.record_count);
      counters->produced_bytes.Add(held.size_bytes);
    }
  } else {
    metrics_->CountError(reply.status);
  }
  Send(held.sink, {.request_id = held.request_id,
                   .status = reply.status,
                   .outcome = reply.outcome,
                   .append_time_ms = reply.outcome.duplicate ? reply.outcome.first_append_time_ms
                                                             : held.append_time_ms,
                   .size_bytes = held.size_bytes});
  held_.erase(it);
}

void ShardCore::ExpireHeld() {
  const MonotonicTime now = clock_->MonotonicNow();
  const absl::Status late =
      MakeError(Reason::kTimedOut,
                "the batch was appended, but not held by every in-sync replica within its timeout; "
                "it may still be, or not",
                {{"appended", "unknown"}});
  absl::flat_hash_map<log::PartitionKey, std::vector<uint64_t>> expired;
  for (const auto& [token, held] : held_) {
    if (held.deadline.ns == 0 || held.deadline > now) continue;
    expired[held.partition->key()].push_back(token);
  }
  for (const auto& [key, tokens] : expired) {
    for (uint64_t token : tokens) Answer({.token = token, .status = late, .outcome = {}});
    // Else the replica would keep them, and look at each at every step, as long as its high
    // watermark stands.
    if (Hosted* const hosted = FindHosted(key)) Feed(hosted, replica::ForgetWaiters{tokens});
  }
  FlushSinks();
}

void ShardCore::AnswerTruncations() {
  std::vector<Truncation> open;
  for (Truncation& one : std::exchange(truncations_, {})) {
    const Hosted* const hosted = FindHosted(one.key);
    if (hosted == nullptr || hosted->core.role() != replica::Role::kLeader ||
        hosted->core.epoch() != one.epoch) {
      one.done(MakeError(Reason::kNotLeader,
                         "the leadership moved before every in-sync replica had deleted it"));
    } else if (hosted->core.log_start_in_sync() >= one.before) {
      one.done(hosted->core.log_start());
    } else if (clock_->MonotonicNow() >= one.deadline) {
      one.done(MakeError(Reason::kTimedOut,
                         "deleted at the leader, but not by every in-sync replica in time"));
    } else {
      open.push_back(std::move(one));
    }
  }
  truncations_ = std::move(open);
}

bool ShardCore::IsAllAttached() const {
  return absl::c_all_of(hosted_, [](const auto& hosted) {
    const replica::Replica& core = hosted.second->core;
    return core.role() != replica::Role::kFollower || core.leader() == NodeId{0} || core.attached();
  });
}

void ShardCore::TellWhen(Condition condition, std::function<void()> tell) {
  awaited_.push_back({condition, std::move(tell)});
}

void ShardCore::TellWhatHasComeTrue() {
  for (auto it = awaited_.begin(); it != awaited_.end();) {
    if (!(this->*it->condition)()) {
      ++it;
      continue;
    }
    it->tell();
    it = awaited_.erase(it);
  }
}

void ShardCore::Send(const std::shared_ptr<AppendSink>& sink, AppendAnswer answer) {
  sink->Answer(std::move(answer));
  if (std::find(unflushed_.begin(), unflushed_.end(), sink) == unflushed_.end()) {
    unflushed_.push_back(sink);
  }
}

void ShardCore::FlushSinks() {
  for (const std::shared_ptr<AppendSink>& sink : unflushed_) sink->Flush();
  unflushed_.clear();
}

}  // namespace falaj::storage
