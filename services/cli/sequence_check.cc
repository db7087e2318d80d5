#include "services/cli/sequence_check.h"

#include <algorithm>

namespace falaj::cli {

bool SequenceCheck::Set(Bits* bits, int64_t sequence) {
  const auto index = static_cast<size_t>(sequence);
  if (index >= bits->size()) bits->resize(std::max(index + 1, bits->size() * 2));
  const bool was = (*bits)[index];
  (*bits)[index] = true;
  return !was;
}

void SequenceCheck::Acknowledge(uint32_t producer, int64_t sequence) {
  MutexLock lock(&mu_);
  if (Set(&acknowledged_[producer], sequence)) ++result_.acknowledged;
}

void SequenceCheck::Receive(PartitionIndex partition, const std::vector<BenchStamp>& stamps) {
  MutexLock lock(&mu_);
  for (const BenchStamp& stamp : stamps) {
    if (stamp.producer >= received_.size() || stamp.sequence < 0) continue;
    if (!Set(&received_[stamp.producer], stamp.sequence)) {
      ++result_.duplicates;
      continue;
    }
    ++result_.received;
    const auto [last, first] = last_.try_emplace({partition, stamp.producer}, stamp.sequence);
    if (!first && stamp.sequence < last->second) ++result_.out_of_order;
    last->second = std::max(last->second, stamp.sequence);
  }
}

int64_t SequenceCheck::acknowledged() const {
  MutexLock lock(&mu_);
  return result_.acknowledged;
}

int64_t SequenceCheck::received() const {
  MutexLock lock(&mu_);
  return result_.received;
}

SequenceCheck::Result SequenceCheck::Finish() const {
  MutexLock lock(&mu_);
  Result result = result_;
  for (size_t p = 0; p < acknowledged_.size(); ++p) {
    for (size_t i = 0; i < acknowledged_[p].size(); ++i) {
      const bool received = i < received_[p].size() && received_[p][i];
      if (acknowledged_[p][i] && !received) ++result.lost;
    }
  }
  return result;
}

}  // namespace falaj::cli
