#include "services/storage/scrub_plan.h"

#include <algorithm>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace falaj::storage {

std::string FormatScrubPosition(const ScrubPosition& position) {
  return absl::StrCat("since_ms ", position.since_ms, "\ncompleted_ms ", position.completed_ms,
                      "\npartition ", position.partition.value(), "\noffset ",
                      position.offset.value(), "\n");
}

std::optional<ScrubPosition> ParseScrubPosition(absl::string_view text) {
  ScrubPosition position;
  int known = 0;
  for (const absl::string_view line : absl::StrSplit(text, '\n', absl::SkipEmpty())) {
    const std::pair<absl::string_view, absl::string_view> field =
        absl::StrSplit(line, absl::MaxSplits(' ', 1));
    int64_t value = 0;
    if (!absl::SimpleAtoi(field.second, &value) || value < 0) return std::nullopt;
    ++known;
    if (field.first == "since_ms") {
      position.since_ms = value;
    } else if (field.first == "completed_ms") {
      position.completed_ms = value;
    } else if (field.first == "partition") {
      position.partition = LocalPartitionId(static_cast<LocalPartitionId::rep>(value));
    } else if (field.first == "offset") {
      position.offset = Offset(value);
    } else {
      --known;
    }
  }
  if (known != 4) return std::nullopt;
  return position;
}

bool ScrubPlan::Due(absl::Time now) const {
  if (position_.partition.value() != 0 || begun_) return true;
  const absl::Time since = absl::FromUnixMillis(position_.since_ms);
  return now - since >= period_ || now < since;
}

void ScrubPlan::Begin(std::vector<LocalPartitionId> all) {
  begun_ = true;
  left_ = std::move(all);
  std::reverse(left_.begin(), left_.end());
  while (!left_.empty() && left_.back() < position_.partition) left_.pop_back();
  const LocalPartitionId next = left_.empty() ? LocalPartitionId() : left_.back();
  if (next != position_.partition) position_.offset = Offset(0);
  position_.partition = next;
}

std::optional<ScrubPlan::Place> ScrubPlan::Next() const {
  if (left_.empty()) return std::nullopt;
  return Place{left_.back(), position_.offset};
}

void ScrubPlan::Leave() {
  left_.pop_back();
  position_.partition = left_.empty() ? LocalPartitionId() : left_.back();
  position_.offset = Offset(0);
}

void ScrubPlan::Complete(absl::Time now) {
  const int64_t now_ms = absl::ToUnixMillis(now);
  position_ = {.since_ms = now_ms, .completed_ms = now_ms, .partition = {}, .offset = {}};
  begun_ = false;
}

}  // namespace falaj::storage
