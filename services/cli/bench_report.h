// What a benchmark run found, and how it is told: a few lines for people, one JSON object with
// everything needed to read the figures later (machine, versions, configuration, histograms).
#ifndef SERVICES_CLI_BENCH_REPORT_H_
#define SERVICES_CLI_BENCH_REPORT_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/time/time.h"

#include "services/cli/bench_load.h"
#include "services/cli/commands.h"
#include "services/cli/process_account.h"
#include "services/cli/sequence_check.h"

namespace falaj::cli {

// One phase of a run: so much load, measured together.
struct BenchPhase {
  std::string name;  // "peak", "paced", "consume", ...
  double rate = 0;   // Records a second asked for; 0: as fast as possible.
  std::optional<ProduceResult> produce;
  std::optional<ConsumeResult> consume;
  std::vector<ProcessUse> processes;
  MachineUse machine;
  std::optional<int64_t> device_bytes;  // That reached the disk of them all meanwhile.

  double produce_mb_per_second() const;
  double consume_mb_per_second() const;
  // Bytes that went through: produced, or else consumed.
  double gigabytes() const;
  // Of all processes together, the client's included, for each GB that went through.
  double cpu_seconds_per_gb() const;
  // Bytes that reached the device for each byte that went through; if that is not known, those
  // that the processes made dirty and did not delete before they were written.
  double written_per_byte() const;
  absl::Duration elapsed() const;
};

struct BenchReport {
  BenchOptions options;
  std::string topic;      // As it was, made for the run or given.
  int storage_nodes = 0;  // Online when the run began.
  std::vector<BenchPhase> phases;
  SequenceCheck::Result check;
};

// A figure of the suite next to its bound.
struct BenchFigure {
  std::string name;
  double value = 0;
  double bound = 0;
  bool at_least = true;  // Else at most.
  std::string unit;
  double stolen_share = 0;  // Of the machine meanwhile: with much of it the value says little.

  bool met() const { return at_least ? value >= bound : value <= bound; }
};

// Whether any of it failed, or was lost or double; prints the errors.
ExitCode ExitOf(const BenchReport& report);
bool AllMet(const std::vector<BenchFigure>& figures);
// One line for each, with its verdict.
std::string RenderFigures(const std::vector<BenchFigure>& figures);
std::string RenderReport(const BenchReport& report);
std::string ReportJson(const BenchReport& report);

}  // namespace falaj::cli

#endif  // SERVICES_CLI_BENCH_REPORT_H_
