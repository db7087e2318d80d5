#include "services/cli/replica_comparison.h"

#include <algorithm>
#include <cstddef>

#include "absl/strings/str_cat.h"

namespace falaj::cli {

std::string PartitionName(const log::PartitionKey& key) {
  return absl::StrCat(key.topic.ToString(), "/", key.partition);
}

void ReplicaComparison::Begin(const log::StoredPartition& partition, const std::string& directory) {
  Replicas& replicas = partitions_[partition.key];
  replicas.push_back({.directory = directory,
                      .log_start = partition.log_start,
                      .log_end = partition.log_end,
                      .high_watermark = partition.high_watermark,
                      .marks = {}});
  current_ = &replicas.back();
}

std::optional<std::string> ReplicaComparison::Add(const record::BatchHeader& header) {
  std::vector<Mark>& marks = current_->marks;
  std::optional<std::string> wrong;
  if (!marks.empty() && header.base_offset != marks.back().last + 1) {
    wrong = absl::StrCat("the batch after offset ", marks.back().last, " begins at ",
                         header.base_offset, " in ", current_->directory);
  }
  marks.push_back({.base = header.base_offset,
                   .last = header.last_offset(),
                   .epoch = header.leader_epoch,
                   .crc = header.crc});
  return wrong;
}

std::string ReplicaComparison::Describe(const Mark* mark) {
  if (mark == nullptr) return "nothing";
  return absl::StrCat("offsets ", mark->base, " to ", mark->last, " of epoch ", mark->epoch,
                      ", checksum ", absl::Hex(mark->crc, absl::kZeroPad8));
}

std::vector<const ReplicaComparison::Mark*> ReplicaComparison::Between(const Replica& replica,
                                                                       Offset from, Offset to) {
  std::vector<const Mark*> between;
  for (const Mark& mark : replica.marks) {
    if (mark.last >= from && mark.base < to) between.push_back(&mark);
  }
  return between;
}

ReplicaComparison::Outcome ReplicaComparison::Compare(const Replicas& replicas, Extent extent) {
  Outcome outcome;
  Offset from(0);
  Offset to = replicas.front().log_end;
  for (const Replica& replica : replicas) {
    from = std::max(from, replica.log_start);
    to = std::min(to, extent == Extent::kLogEnd ? replica.log_end : replica.high_watermark);
  }
  const std::vector<const Mark*> first = Between(replicas.front(), from, to);
  for (const Replica& replica : replicas) {
    const std::vector<const Mark*> other = Between(replica, from, to);
    for (size_t i = 0; i < std::max(first.size(), other.size()); ++i) {
      const Mark* a = i < first.size() ? first[i] : nullptr;
      const Mark* b = i < other.size() ? other[i] : nullptr;
      if (a != nullptr && b != nullptr && *a == *b) continue;
      outcome.difference =
          absl::StrCat(replicas.front().directory, " has ", Describe(a), " where ",
                       replica.directory, " has ", Describe(b), "; both should agree below ", to);
      return outcome;
    }
  }
  if (replicas.size() > 1) outcome.alike = static_cast<int64_t>(first.size());
  return outcome;
}

std::vector<std::string> ReplicaComparison::Differences(Extent extent) const {
  std::vector<std::string> differences;
  for (const auto& [key, replicas] : partitions_) {
    if (const Outcome outcome = Compare(replicas, extent); outcome.difference.has_value()) {
      differences.push_back(absl::StrCat(PartitionName(key), ": ", *outcome.difference));
    }
  }
  return differences;
}

std::vector<std::string> ReplicaComparison::TooFew(int64_t replicas) const {
  std::vector<std::string> sentences;
  for (const auto& [key, all] : partitions_) {
    const auto found = static_cast<int64_t>(all.size());
    if (found >= replicas) continue;
    sentences.push_back(absl::StrCat(PartitionName(key), ": ", found, " replicas, not ", replicas));
  }
  return sentences;
}

int64_t ReplicaComparison::replicas() const {
  int64_t count = 0;
  for (const auto& [key, replicas] : partitions_) count += static_cast<int64_t>(replicas.size());
  return count;
}

int64_t ReplicaComparison::batches_alike(Extent extent) const {
  int64_t count = 0;
  for (const auto& [key, replicas] : partitions_) count += Compare(replicas, extent).alike;
  return count;
}

}  // namespace falaj::cli
