#ifndef TESTS_SIMULATION_MARKED_FINDINGS_H_
#define TESTS_SIMULATION_MARKED_FINDINGS_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>

#include "absl/strings/string_view.h"

namespace falaj::simulation {

// A promise that was broken.
struct Finding {
  std::string invariant;
  std::string what;
};

// MarkedFindings collects what a run shows: which rare paths it took, and the first broken promise,
// which ends it. `Mark` is an enum of the paths, with kCount at its end.
template <typename Mark>
class MarkedFindings {
 public:
  void Report(absl::string_view invariant, std::string what) {
    if (!first_) first_ = Finding{std::string(invariant), std::move(what)};
  }
  const std::optional<Finding>& first() const { return first_; }

  void Reach(Mark mark) { ++marks_[static_cast<size_t>(mark)]; }
  uint64_t reached(Mark mark) const { return marks_[static_cast<size_t>(mark)]; }

 private:
  std::optional<Finding> first_;
  std::array<uint64_t, static_cast<size_t>(Mark::kCount)> marks_{};
};

}  // namespace falaj::simulation

#endif  // TESTS_SIMULATION_MARKED_FINDINGS_H_
