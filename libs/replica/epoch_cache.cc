#include "libs/replica/epoch_cache.h"

#include <algorithm>

namespace falaj::replica {

void EpochCache::Assign(EpochEntry entry) {
  while (!entries_.empty() &&
         (entries_.back().epoch >= entry.epoch || entries_.back().start >= entry.start)) {
    entries_.pop_back();
  }
  entries_.push_back(entry);
}

void EpochCache::TruncateSuffix(Offset end) {
  while (!entries_.empty() && entries_.back().start >= end) entries_.pop_back();
}

void EpochCache::TruncatePrefix(Offset start) { record::TrimEpochs(start, &entries_); }

std::optional<EpochEnd> EpochCache::EndOf(LeaderEpoch epoch, Offset log_end) const {
  if (entries_.empty() || epoch > entries_.back().epoch) return std::nullopt;
  if (epoch == entries_.back().epoch) return EpochEnd{epoch, log_end};
  if (epoch < entries_.front().epoch) return EpochEnd{epoch, entries_.front().start};
  const auto next = std::find_if(entries_.begin(), entries_.end(),
                                 [epoch](const EpochEntry& entry) { return entry.epoch > epoch; });
  return EpochEnd{(next - 1)->epoch, next->start};
}

std::optional<EpochEnd> EpochCache::PartsAt(LeaderEpoch epoch, Offset offset,
                                            Offset log_end) const {
  const std::optional<EpochEnd> end = EndOf(epoch, log_end);
  if (!end.has_value() || (end->epoch == epoch && end->end >= offset)) return std::nullopt;
  return EpochEnd{end->epoch, std::min(end->end, offset)};
}

std::optional<LeaderEpoch> EpochCache::EpochAt(Offset offset) const {
  const auto next =
      std::find_if(entries_.begin(), entries_.end(),
                   [offset](const EpochEntry& entry) { return entry.start > offset; });
  if (next == entries_.begin()) return std::nullopt;
  return (next - 1)->epoch;
}

}  // namespace falaj::replica
