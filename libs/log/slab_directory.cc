#include "libs/log/slab_directory.h"

#include <algorithm>
#include <array>
#include <limits>

namespace falaj::log {
namespace {

constexpr RetentionClass kAges = 6;
// The longest retention of each.
const std::array<absl::Duration, kAges>& Ages() {
  static const std::array<absl::Duration, kAges> ages = {
      absl::Minutes(10), absl::Hours(2),       absl::Hours(12),
      absl::Hours(48),   absl::Hours(24 * 14), absl::InfiniteDuration(),
  };
  return ages;
}

// The first of the classes without a limit by size is 0; each set has one class for each age.
constexpr RetentionClass kOldSizeClass = 6;  // Of any limit, without an age. Not used any more.
constexpr RetentionClass kSmallClasses = 7;
constexpr RetentionClass kMediumClasses = kSmallClasses + kAges;
constexpr RetentionClass kClassesEnd = kMediumClasses + kAges;
constexpr int64_t kMediumLimit = int64_t{1} << 30;
constexpr int64_t kLargeLimit = int64_t{32} << 30;

// A slab of which less is alive is mostly dead.
constexpr int64_t kLiveDivisor = 5;

// Slabs that a class limited by size is cut into.
constexpr int64_t kSlabsPerSizeClass = 32;

constexpr size_t kTakeMin = 128 << 10;  // Two blocks.
constexpr size_t kTakeMax = 1 << 20;

}  // namespace

RetentionClass RetentionClassOf(const RetentionPolicy& policy) {
  RetentionClass age = 0;
  while (policy.age > Ages()[age]) ++age;
  if (policy.size_bytes <= 0 || policy.size_bytes >= kLargeLimit) return age;
  const RetentionClass set = policy.size_bytes < kMediumLimit ? kSmallClasses : kMediumClasses;
  return static_cast<RetentionClass>(set + age);
}

absl::Duration RetentionClassAge(RetentionClass cls) {
  if (cls < kAges) return Ages()[cls];
  if (cls < kSmallClasses || cls >= kClassesEnd) return absl::InfiniteDuration();
  return Ages()[(cls - kSmallClasses) % kAges];
}

bool IsSizeClass(RetentionClass cls) { return cls >= kOldSizeClass && cls < kClassesEnd; }

int64_t SlabBytesMax(RetentionClass cls, int64_t live_bytes, int64_t bytes_max) {
  if (!IsSizeClass(cls)) return bytes_max;
  const bool small = cls < kMediumClasses;
  // 16 MiB to 256 MiB, or 64 MiB to 2 GiB.
  const int64_t least = bytes_max / (small ? 128 : 32);
  const int64_t most = bytes_max / (small ? 8 : 1);
  return std::clamp(live_bytes / kSlabsPerSizeClass, least, most);
}

size_t TakeAtATime(const DirectoryEntry& entry, const SlabInfo& slab, int64_t table_bytes,
                   Offset from, Offset limit, size_t bytes_max) {
  const int64_t offsets = entry.end - entry.first;
  if (offsets <= 0) return 0;
  const auto bytes = static_cast<double>(entry.bytes);
  const auto left = static_cast<double>(std::min(limit, entry.end) - std::max(from, entry.first));
  const double tables = static_cast<double>(slab.bytes) / static_cast<double>(table_bytes);
  const double worth =
      std::min({bytes * left / static_cast<double>(offsets), bytes / std::max(tables, 1.0) / 4,
                static_cast<double>(bytes_max), static_cast<double>(kTakeMax)});
  return worth < static_cast<double>(kTakeMin) ? 0 : static_cast<size_t>(worth);
}

bool MostlyDead(const SlabInfo& slab) { return slab.live_bytes < slab.bytes / kLiveDivisor; }

bool HeldByStragglers(const SlabInfo& slab) {
  return slab.sealed_ms != 0 && slab.entries > 0 && MostlyDead(slab);
}

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

void SlabDirectory::CountTables(SlabId id, int64_t bytes) {
  SlabInfo& slab = slabs_[id];
  slab.bytes = std::max(slab.bytes, bytes);
}

int64_t SlabDirectory::LiveBytes(RetentionClass cls) const {
  int64_t bytes = 0;
  for (const auto& [id, slab] : slabs_) bytes += slab.cls == cls ? slab.live_bytes : 0;
  return bytes;
}

std::vector<SlabId> SlabDirectory::DeadSlabs() const {
  std::vector<SlabId> dead;
  for (const auto& [id, slab] : slabs_) {
    if (slab.sealed_ms != 0 && slab.entries == 0) dead.push_back(id);
  }
  return dead;
}

std::set<SlabId> SlabDirectory::SlabsBehindEnds() const {
  std::set<SlabId> slabs;
  for (const auto& [id, slab] : slabs_) {
    if (slab.sealed_ms != 0) slabs.insert(id);
  }
  for (const auto& [id, entries] : entries_) {
    for (size_t i = 0; i + 1 < entries.size(); ++i) slabs.insert(entries[i].slab);
  }
  return slabs;
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

void SlabDirectory::NoteLogStart(LocalPartitionId id, Offset log_start) {
  const auto found = entries_.find(id);
  if (found == entries_.end() || found->second.empty()) return;
  DirectoryEntry& entry = found->second.front();
  Count(entry, -1);
  const Offset start = std::clamp(log_start, entry.first, entry.end);
  const double share =
      static_cast<double>(start - entry.first) / static_cast<double>(entry.end - entry.first);
  entry.bytes_gone = static_cast<int64_t>(static_cast<double>(entry.bytes) * share);
  Count(entry, 1);
}

std::vector<std::pair<LocalPartitionId, DirectoryEntry>> SlabDirectory::EntriesOf(
    SlabId slab) const {
  std::vector<std::pair<LocalPartitionId, DirectoryEntry>> found;
  for (const auto& [id, entries] : entries_) {
    for (const DirectoryEntry& entry : entries) {
      if (entry.slab == slab) found.emplace_back(id, entry);
    }
  }
  return found;
}

size_t SlabDirectory::CountBelow(LocalPartitionId id, Offset log_start) const {
  const std::vector<DirectoryEntry>& entries = Entries(id);
  size_t count = 0;
  while (count < entries.size() && entries[count].end <= log_start) ++count;
  return count;
}

RetentionPlan SlabDirectory::PlanRetention(LocalPartitionId id, const RetentionPolicy& policy,
                                           int64_t now_ms, Offset limit) const {
  const std::vector<DirectoryEntry>& entries = Entries(id);
  int64_t total = 0;
  for (const DirectoryEntry& entry : entries) total += entry.bytes;
  const int64_t age_ms = policy.age == absl::InfiniteDuration()
                             ? std::numeric_limits<int64_t>::max()
                             : absl::ToInt64Milliseconds(policy.age);
  RetentionPlan plan;
  for (const DirectoryEntry& entry : entries) {
    const SlabInfo* slab = FindSlab(entry.slab);
    if (slab == nullptr || entry.end > limit) break;
    const bool too_much = policy.size_bytes > 0 && total - entry.bytes >= policy.size_bytes;
    if (slab->sealed_ms == 0) {
      if (too_much || now_ms - slab->created_ms > age_ms) plan.waits_for = slab->id;
      break;
    }
    // A timestamp from the future, or none, must not keep a batch for ever: it was appended no
    // later than its slab was sealed.
    const int64_t newest_ms =
        entry.max_ts < 0 ? slab->sealed_ms : std::min(entry.max_ts, slab->sealed_ms);
    if (!too_much && now_ms - newest_ms <= age_ms) break;
    total -= entry.bytes;
    plan.start = entry.end;
  }
  return plan;
}

void SlabDirectory::Count(const DirectoryEntry& entry, int sign) {
  SlabInfo& slab = slabs_[entry.slab];
  slab.entries += sign;
  slab.live_bytes += sign * (entry.bytes - entry.bytes_gone);
}

}  // namespace falaj::log
