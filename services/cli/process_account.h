// What processes cost: CPU time, memory and bytes written to the device; and what the machine had
// to give meanwhile. From /proc.
#ifndef SERVICES_CLI_PROCESS_ACCOUNT_H_
#define SERVICES_CLI_PROCESS_ACCOUNT_H_

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"

namespace falaj::cli {

struct ProcessUse {
  std::string name;
  double cpu_seconds = 0;
  int64_t resident_bytes = 0;
  int64_t written_bytes = 0;  // To the device; includes what the kernel wrote back so far.
};

// Of the time of all cores.
struct MachineUse {
  double idle_share = 0;
  double stolen_share = 0;  // Taken by other virtual machines on the same hardware.
};

// ProcessAccount measures named processes between two moments. A process that has ended counts as
// 0.
class ProcessAccount {
 public:
  using Processes = std::vector<std::pair<std::string, int64_t>>;  // Name and pid.

  explicit ProcessAccount(Processes processes) : processes_(std::move(processes)) { Start(); }
  // "name=pid" entries; this process is added as "client". INVALID_REQUEST for anything else.
  static absl::StatusOr<Processes> ParseProcesses(const std::vector<std::string>& entries);

  void Start();
  std::vector<ProcessUse> SinceStart() const;
  MachineUse MachineSinceStart() const;

 private:
  struct CoreTime {  // In ticks, of all cores.
    int64_t all = 0;
    int64_t idle = 0;
    int64_t stolen = 0;
  };
  static CoreTime MeasureCores();

  Processes processes_;
  CoreTime cores_;  // At the start.
  std::vector<ProcessUse> start_;
};

// CPU model, number of cores, kernel: for the result file.
std::string MachineJson();

}  // namespace falaj::cli

#endif  // SERVICES_CLI_PROCESS_ACCOUNT_H_
