// ProgressBar tells on standard error how far something long has come. It draws only on a terminal,
// at most ten times a second, and clears its line at the end.
//
//   records  [##########----------]  48%  9,611 / 20,000   12,345/s   12.1 MB/s
//   records  [##########----------]  48%  9,611   12,345/s   12.1 MB/s
//
// The second is of something whose records nobody has counted, but of which one knows how much of
// its file has been read.
//
// Threads: one at a time.
#ifndef SERVICES_CLI_PROGRESS_H_
#define SERVICES_CLI_PROGRESS_H_

#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"

#include "libs/base/clock.h"

namespace falaj::cli {

class ProgressBar {
 public:
  // `total` of zero: not known, so no bar and no percentage.
  ProgressBar(absl::string_view label, int64_t total, const Clock* clock);
  ~ProgressBar();

  void Update(int64_t count, int64_t bytes);  // No bytes: they are not shown.
  // The same, and which part of all that is, if no total is known; negative: nobody knows.
  void Update(int64_t count, int64_t bytes, double part);
  // The line for tests.
  static std::string Render(absl::string_view label, int64_t total, int64_t count, int64_t bytes,
                            absl::Duration elapsed, double part = -1);

 private:
  const std::string label_;
  const int64_t total_;
  const Clock* const clock_;
  const bool terminal_;
  const MonotonicTime start_;
  MonotonicTime last_;
  bool drawn_ = false;
};

}  // namespace falaj::cli

#endif  // SERVICES_CLI_PROGRESS_H_
