// TailCache keeps the newest batches of every partition in memory, so that consumers at the tail
// and in-sync followers never touch RocksDB.
//
// The appender inserts each batch once it is committed; readers ask for a run of batches from an
// offset. Batches are shared, not copied: a hit hands out references. All partitions of a node
// share one byte budget; when it is used up the batch that was inserted first goes first, whichever
// partition it belongs to, so a busy partition keeps a long tail and an idle one costs nothing.
//
// Invariants: the batches kept of one partition are dense (no gap, no overlap); bytes() never
// exceeds the budget between calls. A batch smaller than Options::copy_below is copied on
// insertion, so that it cannot pin the large receive buffer it came in.
//
// Not here: what may be read (high watermark); the caller passes it as the limit.
//
// Threads: any. One mutex, held for the time of a few pointer copies.
#ifndef LIBS_LOG_TAIL_CACHE_H_
#define LIBS_LOG_TAIL_CACHE_H_

#include <cstddef>
#include <cstdint>
#include <deque>
#include <optional>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/container/inlined_vector.h"

#include "libs/base/bytes.h"
#include "libs/base/clock.h"
#include "libs/base/ids.h"
#include "libs/base/mutex.h"

namespace falaj::log {

// A partition of a node: local ids are unique within a store shard only.
struct TailKey {
  int32_t shard = 0;
  LocalPartitionId partition;

  friend auto operator<=>(const TailKey&, const TailKey&) = default;
  template <typename H>
  friend H AbslHashValue(H state, const TailKey& key) {
    return H::combine(std::move(state), key.shard, key.partition);
  }
};

// A run of whole batches from the cache.
struct TailRun {
  Bytes batches;  // Concatenated; empty if there is nothing below the limit.
  Offset next_offset;
  size_t last_batch = 0;                           // Where in `batches` the last of them begins.
  absl::InlinedVector<MonotonicTime, 4> appended;  // When each of the batches was, in their order.
};

class TailCache {
 public:
  struct Options {
    int64_t bytes_max = 64 << 20;
    size_t copy_below = 16 << 10;
  };
  struct Stats {
    int64_t bytes = 0;
    int64_t batches = 0;
    int64_t hits = 0;
    int64_t misses = 0;
  };

  explicit TailCache(const Options& options) : options_(options) {}
  TailCache(const TailCache&) = delete;
  TailCache& operator=(const TailCache&) = delete;

  // A batch that holds [base, last].
  struct Batch {
    Offset base;
    Offset last;
    MonotonicTime appended;
    Bytes bytes;
  };
  // Adds the batch. If it does not continue what is kept of the partition, what was kept goes.
  void Insert(const TailKey& key, const Batch& batch);

  // The whole batches from the one that holds `from` while they end at or below `limit` and fit in
  // `bytes_max`; the first comes whole, however large. nullopt (a miss) if the batch that holds
  // `from` is not kept. Also a hit, with no batches: `from` is where the next batch will begin, or
  // nothing from there on ends at or below `limit`.
  std::optional<TailRun> Lookup(const TailKey& key, Offset from, Offset limit, size_t bytes_max);

  // Whether every batch from the one that holds `from` up to `limit` is kept, and they are no more
  // than `bytes_max` together. Counts as neither hit nor miss.
  bool Holds(const TailKey& key, Offset from, Offset limit, size_t bytes_max) const;

  // Forgets what lies at or after `end`, what ends at or below `start`, and everything.
  void TruncateSuffix(const TailKey& key, Offset end);
  void TruncatePrefix(const TailKey& key, Offset start);
  void Drop(const TailKey& key);

  Stats stats() const;

 private:
  struct Entry {
    Offset base;
    Offset last;
    MonotonicTime appended;
    uint64_t serial;  // Ties the entry to its token.
    int64_t charge;
    size_t end_bytes;  // Of the ring's batches up to and with this one, also those that are gone.
    Bytes batch;
  };
  using Ring = std::deque<Entry>;
  // A place in the order of insertion. Stale once the entry of that serial is gone.
  struct Token {
    TailKey key;
    uint64_t serial;
  };

  // The first batch whose last offset is `offset` or beyond.
  static Ring::const_iterator FirstThatEndsAt(const Ring& ring, Offset offset);
  void Forget(const Entry& entry) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void EraseRing(const TailKey& key) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void EvictToBudget() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void SweepTokens() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  const Options options_;
  mutable Mutex mu_;
  absl::flat_hash_map<TailKey, Ring> rings_ ABSL_GUARDED_BY(mu_);  // Never an empty ring.
  std::deque<Token> order_ ABSL_GUARDED_BY(mu_);
  uint64_t next_serial_ ABSL_GUARDED_BY(mu_) = 0;
  Stats stats_ ABSL_GUARDED_BY(mu_);
};

}  // namespace falaj::log

#endif  // LIBS_LOG_TAIL_CACHE_H_
