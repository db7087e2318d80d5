// How a store shard answers those who wait: producers, and who deletes records.
#include <algorithm>
#include <memory>
#include <utility>

#include "absl/algorithm/container.h"

#include "libs/base/status.h"
#include "services/storage/hosted_partition.h"
#include "services/storage/store_shard.h"

namespace falaj::storage {

void StoreShard::Refuse(const AppendTask& task, absl::Status status) {
  metrics_->CountError(status);
  AppendAnswer answer;
  answer.request_id = task.request_id;
  answer.status = std::move(status);
  answer.size_bytes = static_cast<int64_t>(task.batch.size());
  Send(task.sink, std::move(answer));
}

void StoreShard::Answer(const replica::Reply& reply) {
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

void StoreShard::ExpireHeld() {
  Post([this] {
    const MonotonicTime now = clock_->MonotonicNow();
    const absl::Status late = MakeError(
        Reason::kTimedOut,
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
  });
}

void StoreShard::AnswerTruncations() {
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

bool StoreShard::WaitUntilAnswered(absl::Duration patience) {
  return WaitUntil([this] { return held_.empty(); }, patience);
}

bool StoreShard::WaitUntilAttached(absl::Duration patience) {
  const auto attached = [](const auto& hosted) {
    const replica::Replica& core = hosted.second->core;
    return core.role() != replica::Role::kFollower || core.leader() == NodeId{0} || core.attached();
  };
  return WaitUntil([this, attached] { return absl::c_all_of(hosted_, attached); }, patience);
}

bool StoreShard::WaitUntil(std::function<bool()> condition, absl::Duration patience) {
  const MonotonicTime until = Clock::Real()->MonotonicNow() + patience;
  const auto is_so = std::make_shared<bool>(false);
  const bool posted = Post([this, condition = std::move(condition), is_so] {
    awaited_.push_back({condition, is_so});
  });
  if (!posted) return true;
  filled_->NotifyOne();  // It is waited for here, not at the end of a turn.
  MutexLock lock(&mu_);
  while (!*is_so) {
    const absl::Duration left = until - Clock::Real()->MonotonicNow();
    if (left <= absl::ZeroDuration()) return false;
    come_true_.WaitFor(&mu_, left);
  }
  return true;
}

void StoreShard::TellWhatHasComeTrue() {
  for (auto it = awaited_.begin(); it != awaited_.end();) {
    if (!it->condition()) {
      ++it;
      continue;
    }
    MutexLock lock(&mu_);
    *it->is_so = true;
    it = awaited_.erase(it);
    come_true_.NotifyAll();
  }
}

void StoreShard::Send(const std::shared_ptr<AppendSink>& sink, AppendAnswer answer) {
  sink->Answer(std::move(answer));
  if (std::find(unflushed_.begin(), unflushed_.end(), sink) == unflushed_.end()) {
    unflushed_.push_back(sink);
  }
}

void StoreShard::FlushSinks() {
  for (const std::shared_ptr<AppendSink>& sink : unflushed_) sink->Flush();
  unflushed_.clear();
}

}  // namespace falaj::storage
