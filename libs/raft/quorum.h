// Majorities, in the one place where they are counted.
#ifndef LIBS_RAFT_QUORUM_H_
#define LIBS_RAFT_QUORUM_H_

#include <algorithm>
#include <cstddef>
#include <functional>
#include <vector>

#include "libs/base/ids.h"

namespace falaj::raft {

// The smallest number of voters any two such groups of which overlap.
constexpr size_t MajorityOf(size_t voters) { return voters / 2 + 1; }

// The highest value that a majority of the voters has reached, `value_of` each. Requires a voter.
template <typename Value, typename ValueOf>
Value ReachedByMajority(const std::vector<NodeId>& voters, ValueOf value_of) {
  std::vector<Value> values;
  values.reserve(voters.size());
  for (NodeId voter : voters) values.push_back(value_of(voter));
  const size_t nth = MajorityOf(voters.size()) - 1;
  std::nth_element(values.begin(), values.begin() + static_cast<std::ptrdiff_t>(nth), values.end(),
                   std::greater<>());
  return values[nth];
}

// True if the predicate holds for a majority of the voters.
template <typename Predicate>
bool HoldsForMajority(const std::vector<NodeId>& voters, Predicate predicate) {
  const auto count = std::count_if(voters.begin(), voters.end(), predicate);
  return static_cast<size_t>(count) >= MajorityOf(voters.size());
}

}  // namespace falaj::raft

#endif  // LIBS_RAFT_QUORUM_H_
