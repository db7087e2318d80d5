#include "libs/log/slab_directory.h"

#include <algorithm>
#include <array>

namespace falaj::log {
namespace {

// The classes by longest retention; the last two have no age.
const std::array<absl::Duration, kRetentionClasses>& Ages() {
  static const std::array<absl::Duration, kRetentionClasses> ages = {
      absl::Minutes(10),    absl::Hours(2),           absl::Hours(12),          absl::Hours(48),
      absl::Hours(24 * 14), absl::InfiniteDuration(), absl::InfiniteDuration(),
  };
  return ages;
}
constexpr RetentionClass kForeverClass = 5;
constexpr RetentionClass kSizeClass = 6;

}  // namespace

RetentionClass RetentionClassOf(const RetentionPolicy& policy) {
  for (RetentionClass cls = 0; cls < kForeverClass; ++cls) {
    if (policy.age <= Ages()[cls]) return cls;
  }
  return policy.size_bytes > 0 ? kSizeClass : kForeverClass;
}

absl::Duration RetentionClassAge(RetentionClass cls) {
  return cls < kRetentionClasses ? Ages()[cls] : absl::InfiniteDuration();
}

bool IsSizeClass(RetentionClass cls) { return cls == kSizeClass; }

const SlabInfo* SlabDirectory::FindSlab(SlabId id) const {
  const auto found = slabs_.find(id);
  return found == slabs_.end() ? nullptr : &found->second;
}

void SlabDirectory::SealSlab(SlabId id, int64_t now_ms) {
  slabs_[id].sealed_ms = std::max<int64_t>(now_ms, 1);
  for (auto& [partition, entries] : entries_) {
    for (DirectoryEntry& entry : entries) entry.sealed = entry.sealed || entry.slab == id;
  }
}

std::optional<SlabId> SlabDirectory::OpenSlab(RetentionClass cls) const {
  for (auto slab = slabs_.rbegin(); slab != slabs_.rend(); ++slab) {
    if (slab->second.cls == cls && slab->second.sealed_ms == 0) return slab->first;
  }
  return std::nullopt;
}

std::vector<SlabId> SlabDirectory::DeadSlabs() const {
  std::vector<SlabId> dead;
  for (const auto& [id, slab] : slabs_) {
    if (slab.sealed_ms != 0 && slab.entries == 0) dead.push_back(id);
  }
  return dead;
}

const std::vector<DirectoryEntry>& SlabDirectory::Entries(LocalPartitionId id) const {
  static const std::vector<DirectoryEntry> none;
  const auto found = entries_.find(id);
  return found == entries_.end() ? none : found->second;
}

void SlabDirectory::Append(LocalPartitionId id, const DirectoryEntry& entry) {
  entries_[id].push_back(entry);
  Count(entry, 1);
}

void SlabDirectory::ReplaceLast(LocalPartitionId id, const DirectoryEntry& entry) {
  DirectoryEntry& last = entries_[id].back();
  Count(last, -1);
  last = entry;
  Count(last, 1);
}

void SlabDirectory::RemoveFirst(LocalPartitionId id, size_t count) {
  if (count == 0) return;
  std::vector<DirectoryEntry>& entries = entries_[id];
  const auto end = entries.begin() + static_cast<std::ptrdiff_t>(count);
  std::for_each(entries.begin(), end, [this](const DirectoryEntry& e) { Count(e, -1); });
  entries.erase(entries.begin(), end);
}

void SlabDirectory::RemoveLast(LocalPartitionId id, size_t count) {
  if (count == 0) return;
  std::vector<DirectoryEntry>& entries = entries_[id];
  const auto begin = entries.end() - static_cast<std::ptrdiff_t>(count);
  std::for_each(begin, entries.end(), [this](const DirectoryEntry& e) { Count(e, -1); });
  entries.erase(begin, entries.end());
}

void SlabDirectory::RemovePartition(LocalPartitionId id) {
  RemoveFirst(id, Entries(id).size());
  entries_.erase(id);
}

std::vector<std::pair<LocalPartitionId, DirectoryEntry>> SlabDirectory::UnsealedEntries(
    SlabId slab) const {
  std::vector<std::pair<LocalPartitionId, DirectoryEntry>> unsealed;
  for (const auto& [id, entries] : entries_) {
    for (const DirectoryEntry& entry : entries) {
      if (entry.slab == slab && !entry.sealed) unsealed.emplace_back(id, entry);
    }
  }
  return unsealed;
}

size_t SlabDirectory::CountBelow(LocalPartitionId id, Offset log_start) const {
  const std::vector<DirectoryEntry>& entries = Entries(id);
  size_t count = 0;
  while (count < entries.size() && entries[count].end <= log_start) ++count;
  return count;
}

std::optional<Offset> SlabDirectory::PlanRetention(LocalPartitionId id,
                                                   const RetentionPolicy& policy, int64_t now_ms,
                                                   Offset limit) const {
  const std::vector<DirectoryEntry>& entries = Entries(id);
  int64_t total = 0;
  for (const DirectoryEntry& entry : entries) total += entry.bytes;
  std::optional<Offset> start;
  for (const DirectoryEntry& entry : entries) {
    const SlabInfo* slab = FindSlab(entry.slab);
    if (slab == nullptr || slab->sealed_ms == 0 || entry.end > limit) break;
    const bool too_much = policy.size_bytes > 0 && total - entry.bytes >= policy.size_bytes;
    // A timestamp from the future, or none, must not keep a batch for ever: it was appended no
    // later than its slab was sealed.
    const int64_t newest_ms =
        entry.max_ts < 0 ? slab->sealed_ms : std::min(entry.max_ts, slab->sealed_ms);
    const bool too_old = policy.age != absl::InfiniteDuration() &&
                         now_ms - newest_ms > absl::ToInt64Milliseconds(policy.age);
    if (!too_much && !too_old) break;
    total -= entry.bytes;
    start = entry.end;
  }
  return start;
}

void SlabDirectory::Count(const DirectoryEntry& entry, int sign) {
  SlabInfo& slab = slabs_[entry.slab];
  slab.entries += sign;
  slab.live_bytes += sign * entry.bytes;
}

}  // namespace falaj::log
