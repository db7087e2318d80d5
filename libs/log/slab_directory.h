// SlabDirectory knows which slab holds which offsets of which partition, and which slabs nobody
// needs any more. It is plain memory: the store writes the same facts to its `meta` column family
// in the same atomic write as the batches, and fills the directory from there when it is opened.
//
// Invariants: the entries of a partition are dense and in offset order (each begins where the one
// before ends), none is empty; a slab counts the entries that point into it.
//
// Threads: none of its own; the owner guards it. Pure.
#ifndef LIBS_LOG_SLAB_DIRECTORY_H_
#define LIBS_LOG_SLAB_DIRECTORY_H_

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/time/time.h"

#include "libs/base/ids.h"
#include "libs/log/log_store.h"

namespace falaj::log {

using SlabId = StrongInt<struct SlabIdTag, uint64_t>;  // Of one store, never reused.

// Partitions that keep their batches about equally long share slabs. Those that are limited by size
// have classes of their own, with smaller slabs, as only whole slabs are given up: one set for
// limits below 1 GiB, one for limits below 32 GiB. To larger ones an ordinary slab does not matter.
// The numbers are on disk, in the names of slabs.
using RetentionClass = uint8_t;
RetentionClass RetentionClassOf(const RetentionPolicy& policy);
// The longest retention of the class; infinite for those limited by size only or not at all.
absl::Duration RetentionClassAge(RetentionClass cls);
// True for partitions that are limited by size.
bool IsSizeClass(RetentionClass cls);
// How large a slab of the class gets that now holds `live_bytes` in all. A class limited by size
// is cut into some 32 slabs, but not too small ones: each is a column family. `bytes_max` is the
// bound of ordinary slabs.
int64_t SlabBytesMax(RetentionClass cls, int64_t live_bytes, int64_t bytes_max);

// The part of a partition that lies in one slab.
struct DirectoryEntry {
  Offset first{};
  Offset end{};  // One past the last record.
  SlabId slab{};
  int64_t start_bytes = 0;      // The partition's running bytes before `first`.
  int64_t bytes = 0;            // Of the batches in this entry.
  int64_t running_max_ts = -1;  // The partition's largest timestamp up to `end`.
  int64_t max_ts = -1;          // The entry's own, or more if it is not sure (after a restart).
  int64_t span_max = 0;         // The most offsets a batch of it takes.
  bool sealed = false;          // Nothing is appended any more and the row says so.
  int64_t bytes_gone = 0;       // An estimate of those below the log start; not on disk.

  friend bool operator==(const DirectoryEntry&, const DirectoryEntry&) = default;
};

struct SlabInfo {
  SlabId id{};
  RetentionClass cls = 0;
  int64_t created_ms = 0;
  int64_t sealed_ms = 0;   // 0: it may still take batches.
  int64_t bytes = 0;       // Appended to it, dead or alive; what its tables hold, about.
  int64_t live_bytes = 0;  // Of its entries, from the log starts on.
  int64_t entries = 0;
};

// How much to take from a table at a time for a read of `entry` from `from` on, of at most
// `bytes_max` and up to `limit`: about what it will give, and a small part of what the entry has in
// one table of `table_bytes`, as what lies behind that is others'. 0: not worth it.
size_t TakeAtATime(const DirectoryEntry& entry, const SlabInfo& slab, int64_t table_bytes,
                   Offset from, Offset limit, size_t bytes_max);

// Whether so little of a slab is alive that what is dead is worth getting at by itself.
bool MostlyDead(const SlabInfo& slab);
// Likewise of one that takes no batches, but is needed.
bool HeldByStragglers(const SlabInfo& slab);

// What retention asks of a partition.
struct RetentionPlan {
  std::optional<Offset> start;      // Where its log may start; nullopt: no change.
  std::optional<SlabId> waits_for;  // An open slab that keeps it from giving up more.
};

class SlabDirectory {
 public:
  void AddSlab(const SlabInfo& slab) { slabs_[slab.id] = slab; }
  void RemoveSlab(SlabId id) { slabs_.erase(id); }
  const SlabInfo* FindSlab(SlabId id) const;
  const std::map<SlabId, SlabInfo>& slabs() const { return slabs_; }
  // The slab and its entries take no batches after this.
  void SealSlab(SlabId id, int64_t now_ms);
  void CountAppended(SlabId id, int64_t bytes) { slabs_[id].bytes += bytes; }
  // What is left after a rewrite.
  void SetBytes(SlabId id, int64_t bytes) { slabs_[id].bytes = bytes; }
  // After opening: a slab takes at least what its tables do.
  void CountTables(SlabId id, int64_t bytes);
  // Of all slabs of a class.
  int64_t LiveBytes(RetentionClass cls) const;
  // The newest open slab of a class.
  std::optional<SlabId> OpenSlab(RetentionClass cls) const;
  // Sealed slabs that no partition needs.
  std::vector<SlabId> DeadSlabs() const;

  // Slabs that hold more than ends of logs: sealed ones, and those behind which a log goes on.
  std::set<SlabId> SlabsBehindEnds() const;

  // In offset order; empty if the partition has no batches.
  const std::vector<DirectoryEntry>& Entries(LocalPartitionId id) const;
  // Adds at the end of the partition, or replaces its last entry.
  void Append(LocalPartitionId id, const DirectoryEntry& entry);
  void ReplaceLast(LocalPartitionId id, const DirectoryEntry& entry);
  void RemoveFirst(LocalPartitionId id, size_t count);
  void RemoveLast(LocalPartitionId id, size_t count);
  void RemovePartition(LocalPartitionId id);
  // What of the first entry lies below `log_start` does not count as alive.
  void NoteLogStart(LocalPartitionId id, Offset log_start);
  // Those that lie in the slab.
  std::vector<std::pair<LocalPartitionId, DirectoryEntry>> EntriesOf(SlabId slab) const;

  // How many entries at the front lie below `log_start`.
  size_t CountBelow(LocalPartitionId id, Offset log_start) const;
  // Whole entries of sealed slabs are given up under `policy`, oldest first, none beyond `limit`.
  // An open slab is waited for if it has been open for longer than the policy keeps a batch, or if
  // what comes after it is enough: the policy has changed, or lasts much shorter than its class.
  RetentionPlan PlanRetention(LocalPartitionId id, const RetentionPolicy& policy, int64_t now_ms,
                              Offset limit) const;

 private:
  void Count(const DirectoryEntry& entry, int sign);

  std::map<SlabId, SlabInfo> slabs_;
  absl::flat_hash_map<LocalPartitionId, std::vector<DirectoryEntry>> entries_;
};

}  // namespace falaj::log

#endif  // LIBS_LOG_SLAB_DIRECTORY_H_
