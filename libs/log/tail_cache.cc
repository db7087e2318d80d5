#include "libs/log/tail_cache.h"

#include <algorithm>
#include <memory>
#include <vector>

namespace falaj::log {
namespace {

// What an entry costs beside its bytes: the ring's and the order's places and the owner's block.
constexpr int64_t kEntryOverhead = 168;

// One Bytes that refers to all of `run`.
Bytes Gather(std::vector<Bytes> run) {
  if (run.size() == 1) return std::move(run[0]);
  Bytes::Pieces pieces;
  for (const Bytes& batch : run) {
    pieces.insert(pieces.end(), batch.pieces().begin(), batch.pieces().end());
  }
  return Bytes(std::make_shared<const std::vector<Bytes>>(std::move(run)), std::move(pieces));
}

}  // namespace

TailCache::Ring::const_iterator TailCache::FirstThatEndsAt(const Ring& ring, Offset offset) {
  return std::lower_bound(ring.begin(), ring.end(), offset,
                          [](const Entry& entry, Offset o) { return entry.last < o; });
}

void TailCache::Insert(const TailKey& key, const Batch& batch) {
  // Copied before the lock is taken.
  Bytes kept = batch.bytes.size() < options_.copy_below ? batch.bytes.Compact() : batch.bytes;
  const int64_t charge = static_cast<int64_t>(kept.size()) + kEntryOverhead;
  MutexLock lock(&mu_);
  const auto found = rings_.find(key);
  if (found != rings_.end() && found->second.back().last + 1 != batch.base) EraseRing(key);
  if (charge > options_.bytes_max) {
    EraseRing(key);  // What is kept would no longer be the tail.
    return;
  }
  const uint64_t serial = next_serial_++;
  Ring& ring = rings_[key];
  const size_t end_bytes = (ring.empty() ? 0 : ring.back().end_bytes) + kept.size();
  ring.push_back(
      Entry{batch.base, batch.last, batch.appended, serial, charge, end_bytes, std::move(kept)});
  order_.push_back(Token{key, serial});
  stats_.bytes += charge;
  ++stats_.batches;
  EvictToBudget();
}

std::optional<TailRun> TailCache::Lookup(const TailKey& key, Offset from, Offset limit,
                                         size_t bytes_max) {
  std::vector<Bytes> run;
  TailRun result{.batches = Bytes(), .next_offset = from, .last_batch = 0, .appended = {}};
  {
    MutexLock lock(&mu_);
    const auto found = rings_.find(key);
    if (found == rings_.end() || from < found->second.front().base ||
        from > found->second.back().last + 1) {
      ++stats_.misses;
      return std::nullopt;
    }
    ++stats_.hits;
    const Ring& ring = found->second;
    auto entry = FirstThatEndsAt(ring, from);
    size_t bytes = 0;
    for (; entry != ring.end() && entry->last < limit; ++entry) {
      const size_t begin = bytes;
      bytes += entry->batch.size();
      if (!run.empty() && bytes > bytes_max) break;
      result.last_batch = begin;
      run.push_back(entry->batch);
      result.appended.push_back(entry->appended);
      result.next_offset = entry->last + 1;
    }
  }
  if (!run.empty()) result.batches = Gather(std::move(run));
  return result;
}

bool TailCache::Holds(const TailKey& key, Offset from, Offset limit, size_t bytes_max) const {
  MutexLock lock(&mu_);
  const auto found = rings_.find(key);
  if (found == rings_.end()) return false;
  const Ring& ring = found->second;
  if (from < ring.front().base || limit > ring.back().last + 1) return false;
  // Asked for each frame and each publish, so it must not walk what lies in between.
  const auto first = FirstThatEndsAt(ring, from);
  const auto end = FirstThatEndsAt(ring, limit);
  if (first >= end) return true;
  return (end - 1)->end_bytes - (first->end_bytes - first->batch.size()) <= bytes_max;
}

void TailCache::TruncateSuffix(const TailKey& key, Offset end) {
  MutexLock lock(&mu_);
  const auto found = rings_.find(key);
  if (found == rings_.end()) return;
  Ring& ring = found->second;
  while (!ring.empty() && ring.back().last >= end) {
    Forget(ring.back());
    ring.pop_back();
  }
  if (ring.empty()) rings_.erase(found);
  SweepTokens();
}

void TailCache::TruncatePrefix(const TailKey& key, Offset start) {
  MutexLock lock(&mu_);
  const auto found = rings_.find(key);
  if (found == rings_.end()) return;
  Ring& ring = found->second;
  while (!ring.empty() && ring.front().last < start) {
    Forget(ring.front());
    ring.pop_front();
  }
  if (ring.empty()) rings_.erase(found);
  SweepTokens();
}

void TailCache::Drop(const TailKey& key) {
  MutexLock lock(&mu_);
  EraseRing(key);
  SweepTokens();
}

TailCache::Stats TailCache::stats() const {
  MutexLock lock(&mu_);
  return stats_;
}

void TailCache::Forget(const Entry& entry) {
  stats_.bytes -= entry.charge;
  --stats_.batches;
}

void TailCache::EraseRing(const TailKey& key) {
  const auto found = rings_.find(key);
  if (found == rings_.end()) return;
  for (const Entry& entry : found->second) Forget(entry);
  rings_.erase(found);
}

void TailCache::EvictToBudget() {
  while (stats_.bytes > options_.bytes_max) {
    const Token token = order_.front();
    order_.pop_front();
    const auto found = rings_.find(token.key);
    // Within a ring serials rise, so the oldest live token always names the front of its ring.
    if (found == rings_.end() || found->second.front().serial != token.serial) continue;
    Forget(found->second.front());
    found->second.pop_front();
    if (found->second.empty()) rings_.erase(found);
  }
}

void TailCache::SweepTokens() {
  if (static_cast<int64_t>(order_.size()) <= 2 * stats_.batches + 1024) return;
  std::deque<Token> live;
  for (const Token& token : order_) {
    const auto found = rings_.find(token.key);
    if (found == rings_.end()) continue;
    const Ring& ring = found->second;
    const auto entry =
        std::lower_bound(ring.begin(), ring.end(), token.serial,
                         [](const Entry& e, uint64_t serial) { return e.serial < serial; });
    if (entry != ring.end() && entry->serial == token.serial) live.push_back(token);
  }
  order_ = std::move(live);
}

}  // namespace falaj::log
