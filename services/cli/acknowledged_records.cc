#include "services/cli/acknowledged_records.h"

#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

#include "libs/base/status.h"

namespace falaj::cli {

absl::Status AcknowledgedRecords::Load(std::istream& lines) {
  std::string line;
  for (int64_t number = 1; std::getline(lines, line); ++number) {
    if (absl::Status status = LoadLine(line); !status.ok()) {
      return MakeError(
          Reason::kInvalidRequest,
          absl::StrCat("line ", number, " of the acknowledged records: ", status.message()));
    }
  }
  return absl::OkStatus();
}

absl::Status AcknowledgedRecords::LoadLine(absl::string_view line) {
  const std::vector<absl::string_view> fields = absl::StrSplit(line, absl::MaxSplits('\t', 3));
  int32_t partition = 0;
  int64_t offset = 0;
  if (fields.size() != 4 || !absl::SimpleAtoi(fields[1], &partition) ||
      !absl::SimpleAtoi(fields[2], &offset)) {
    return MakeError(Reason::kInvalidRequest, "not topic id, partition, offset and value");
  }
  FALAJ_ASSIGN_OR_RETURN(const TopicId topic, TopicId::Parse(fields[0]));
  Partition& place =
      partitions_[log::PartitionKey{.topic = topic, .partition = PartitionIndex(partition)}];
  const auto [at, added] = place.values.emplace(Offset(offset), fields[3]);
  if (!added && at->second != fields[3]) {
    return MakeError(Reason::kInvalidRequest, "the offset was acknowledged for another value");
  }
  if (added) ++records_;
  return absl::OkStatus();
}

void AcknowledgedRecords::Begin(const log::StoredPartition& partition) {
  missing_.reset();
  missing_count_ = 0;
  const auto found = partitions_.find(partition.key);
  current_ = found == partitions_.end() ? nullptr : &found->second;
  if (current_ == nullptr) return;
  ++current_->replicas;
  for (next_ = current_->values.begin();
       next_ != current_->values.end() && next_->first < partition.log_start; ++next_) {
    ++deleted_;
  }
}

std::optional<std::string> AcknowledgedRecords::Show(const record::RecordView& record) {
  if (current_ == nullptr) return std::nullopt;
  for (; next_ != current_->values.end() && next_->first < record.offset; ++next_) {
    if (missing_count_++ == 0) missing_ = next_->first;
  }
  if (next_ == current_->values.end() || next_->first != record.offset) return std::nullopt;
  const auto acknowledged = next_++;
  if (record.value == absl::string_view(acknowledged->second)) {
    ++found_;
    return std::nullopt;
  }
  return absl::StrCat("offset ", record.offset, " was acknowledged for '", acknowledged->second,
                      "' and holds '", record.value.value_or(""), "'");
}

std::optional<std::string> AcknowledgedRecords::Finish() {
  if (current_ == nullptr) return std::nullopt;
  for (; next_ != current_->values.end(); ++next_) {
    if (missing_count_++ == 0) missing_ = next_->first;
  }
  if (missing_count_ == 0) return std::nullopt;
  return absl::StrCat(missing_count_, " acknowledged records are missing, the first at offset ",
                      *missing_);
}

std::optional<std::string> AcknowledgedRecords::Unseen(int64_t replicas) const {
  for (const auto& [key, partition] : partitions_) {
    if (partition.replicas >= replicas) continue;
    return absl::StrCat(partition.replicas, " replicas of ", key.topic.ToString(), "/",
                        key.partition, ", which has acknowledged records; there should be ",
                        replicas);
  }
  return std::nullopt;
}

}  // namespace falaj::cli
