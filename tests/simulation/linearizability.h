#ifndef TESTS_SIMULATION_LINEARIZABILITY_H_
#define TESTS_SIMULATION_LINEARIZABILITY_H_

#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <vector>

namespace falaj::simulation {

// What a client knows of a znode: its version, and a number that stands for its data.
struct ZnodeView {
  static constexpr int64_t kMissing = -1;

  int64_t version = kMissing;  // kMissing: there is no such znode.
  uint64_t value = 0;

  bool exists() const { return version != kMissing; }
  friend bool operator==(const ZnodeView&, const ZnodeView&) = default;
};

// One step of an operation, on one znode. Znodes are numbers of the caller's choice.
struct Step {
  enum class Kind { kGet, kCreate, kSet, kDelete, kCheck };

  Kind kind = Kind::kGet;
  int znode = 0;
  uint64_t value = 0;                            // Create, set: written.
  std::optional<int64_t> expected_version = {};  // Set, delete, check.
  ZnodeView seen = {};  // Answer. Get: what was there. Create, set: the version it has now.
};

// An operation as a client saw it: a get, a write, or several writes as one (a multi).
struct Operation {
  enum class Outcome { kUnknown, kOk, kNotFound, kAlreadyExists, kVersionMismatch };
  static constexpr int64_t kNever = std::numeric_limits<int64_t>::max();

  int64_t invoked = 0;
  int64_t returned = kNever;            // kNever: outcome unknown; any time later, or not at all.
  Outcome outcome = Outcome::kUnknown;  // An error: nothing has changed.
  size_t failed_step = 0;               // Which step was refused, if one was.
  std::vector<Step> steps;
};

enum class Verdict { kLinearizable, kNotLinearizable, kUndecided };

struct Judgement {
  Verdict verdict = Verdict::kLinearizable;
  // If it is not linearizable: the longest order that could be found ends before this operation.
  std::string explanation;
};

// Judges whether all operations can be put into one order, each between its invocation and its
// return, in which every answer is right if no znode existed at first (Herlihy and Wing 1990).
//
// Knows nothing of log indices or of who leads: only what clients sent and saw. Histories are split
// into groups of znodes that no operation connects, which can be judged each for itself. Searches
// depth first and remembers where it has been (Wing and Gong 1993, Lowe 2017). Gives up,
// kUndecided, after `configurations_max` of these: the problem is NP-complete.
Judgement JudgeLinearizability(std::vector<Operation> history,
                               size_t configurations_max = 2'000'000);

}  // namespace falaj::simulation

#endif  // TESTS_SIMULATION_LINEARIZABILITY_H_
