#include "services/metadata/pending_reads.h"

#include <algorithm>

#include "libs/base/status.h"

namespace falaj::metadata {

uint64_t PendingReads::Add(Read read) {
  const uint64_t id = ++last_id_;
  by_deadline_.emplace(read.options.deadline, id);
  if (read.index.has_value()) by_index_.emplace(*read.index, id);
  reads_.emplace(id, std::move(read));
  return id;
}

uint64_t PendingReads::AddUnconfirmed(const Options& options, Callback done) {
  return Add({options, std::nullopt, std::move(done)});
}

void PendingReads::AddConfirmed(LogIndex index, MonotonicTime deadline, Callback done) {
  Options options;
  options.deadline = deadline;
  Add({options, index, std::move(done)});
}

void PendingReads::Confirm(uint64_t id, LogIndex index) {
  const auto found = reads_.find(id);
  if (found == reads_.end() || found->second.index.has_value()) return;
  found->second.index = std::max(index, found->second.options.min_index);
  by_index_.emplace(*found->second.index, id);
}

void PendingReads::Drop(uint64_t id, const absl::Status& why) {
  const auto found = reads_.find(id);
  if (found != reads_.end()) Finish(found, why);
}

void PendingReads::Applied(LogIndex applied) {
  while (!by_index_.empty() && by_index_.begin()->first <= applied) {
    Finish(reads_.find(by_index_.begin()->second), absl::OkStatus());
  }
}

void PendingReads::Expire(MonotonicTime now) {
  while (!by_deadline_.empty() && by_deadline_.begin()->first <= now) {
    const auto read = reads_.find(by_deadline_.begin()->second);
    const bool confirmed = read->second.index.has_value();
    Finish(read, MakeError(Reason::kTimedOut,
                           confirmed ? "this metadata node is still behind the index to read at"
                                     : "no majority has answered in time"));
  }
}

void PendingReads::FailAll(const absl::Status& why) {
  while (!reads_.empty()) Finish(reads_.begin(), why);
}

void PendingReads::Finish(std::map<uint64_t, Read>::iterator read, const absl::Status& status) {
  const uint64_t id = read->first;
  const Read finished = std::move(read->second);
  reads_.erase(read);
  by_deadline_.erase({finished.options.deadline, id});
  if (finished.index.has_value()) by_index_.erase({*finished.index, id});
  finished.done(status);
}

}  // namespace falaj::metadata
