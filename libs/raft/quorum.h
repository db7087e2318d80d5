// Majorities, in the one place where they are counted.
#ifndef LIBS_RAFT_QUORUM_H_
#define LIBS_RAFT_QUORUM_H_

#include <algorithm>
#include <cstddef>
#include <functional>
#include <utility>
#include <vector>

#include "absl/container/inlined_vector.h"

#include "libs/base/ids.h"

namespace falaj::raft {

// The smallest number of voters any two such groups of which overlap.
constexpr size_t MajorityOf(size_t voters) { return voters / 2 + 1; }

// Electorate is whose votes and acknowledgements count, and how many of them are a majority.
struct Electorate {
  const std::vector<NodeId>& nodes;
  size_t majority;
};

// The highest value that a majority has reached, `value_of` each. Requires a node.
template <typename Value, typename ValueOf>
Value ReachedByMajority(const Electorate& electorate, ValueOf value_of) {
  absl::InlinedVector<Value, 8> values;
  for (NodeId node : electorate.nodes) values.push_back(value_of(node));
  const size_t nth = electorate.majority - 1;
  std::nth_element(values.begin(), values.begin() + static_cast<std::ptrdiff_t>(nth), values.end(),
                   std::greater<>());
  return values[nth];
}

// True if the predicate holds for a majority.
template <typename Predicate>
bool HoldsForMajority(const Electorate& electorate, Predicate predicate) {
  const auto count =
      std::count_if(electorate.nodes.begin(), electorate.nodes.end(), std::move(predicate));
  return static_cast<size_t>(count) >= electorate.majority;
}

}  // namespace falaj::raft

#endif  // LIBS_RAFT_QUORUM_H_
