// For tests: what the seeds have shown, one fact a line, so that who reads a test's output sees
// more than that nothing failed. The tables of the READMEs are these lines.
#ifndef TESTS_SIMULATION_PRINT_FINDINGS_H_
#define TESTS_SIMULATION_PRINT_FINDINGS_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <string>

#include "absl/strings/string_view.h"

#include "tests/simulation/seed_runner.h"

namespace falaj::simulation {

// `description`: of the first seed that has shown it. Seeds are counted from 1.
inline void PrintCaught(absl::string_view bug, uint64_t seeds, uint64_t events,
                        const std::string& description) {
  std::printf("planted bug %s: caught after %llu seeds, %llu events: %s\n",
              std::string(bug).c_str(), ForPrintf(seeds), ForPrintf(events), description.c_str());
}

// How often each rare path was taken in so many seeds.
template <typename Mark, size_t kCount>
void PrintSeeds(uint64_t first, uint64_t seeds, uint64_t events,
                const std::array<uint64_t, kCount>& marks) {
  std::printf("seeds %llu to %llu: %llu events\n", ForPrintf(first), ForPrintf(first + seeds - 1),
              ForPrintf(events));
  for (size_t i = 0; i < kCount; ++i) {
    const auto mark = static_cast<Mark>(i);
    std::printf("mark %s: %llu: %s\n", std::string(MarkName(mark)).c_str(), ForPrintf(marks[i]),
                std::string(MarkMeaning(mark)).c_str());
  }
}

}  // namespace falaj::simulation

#endif  // TESTS_SIMULATION_PRINT_FINDINGS_H_
