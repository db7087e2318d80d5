// Runs a command in a test and keeps what it prints.
#ifndef SERVICES_CLI_CAPTURED_H_
#define SERVICES_CLI_CAPTURED_H_

#include <string>
#include <vector>

#include "absl/strings/str_split.h"
#include "gtest/gtest.h"

#include "services/cli/output.h"

namespace falaj::cli {

// What a command has printed, and its exit code.
struct Outcome {
  ExitCode code = ExitCode::kOk;
  std::string out;
  std::string err;

  // The lines below the header.
  std::vector<std::string> rows() const {
    std::vector<std::string> lines = absl::StrSplit(out, '\n', absl::SkipEmpty());
    if (!lines.empty()) lines.erase(lines.begin());
    return lines;
  }
};

template <typename Run, typename Options>
Outcome Capture(Run run, const Options& options) {
  testing::internal::CaptureStdout();
  testing::internal::CaptureStderr();
  Outcome outcome;
  outcome.code = run(options);
  outcome.out = testing::internal::GetCapturedStdout();
  outcome.err = testing::internal::GetCapturedStderr();
  return outcome;
}

}  // namespace falaj::cli

#endif  // SERVICES_CLI_CAPTURED_H_
