// BenchProcesses is a cluster of processes of its own, for `falaj bench --dev`: one metadata node,
// storage nodes and a gateway, started from the directory this program lies in, so that each can be
// accounted for. They end with this object.
//
// Threads: one.
#ifndef SERVICES_CLI_BENCH_PROCESSES_H_
#define SERVICES_CLI_BENCH_PROCESSES_H_

#include <sys/types.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace falaj::cli {

class BenchProcesses {
 public:
  // `data` empty: a temporary directory, removed at the end. Returns once the gateway serves and
  // every storage node is online.
  static absl::StatusOr<std::unique_ptr<BenchProcesses>> Start(const std::string& data,
                                                               int storage_nodes);
  ~BenchProcesses();

  const std::string& address() const { return address_; }
  const std::string& data() const { return data_; }  // The directory.
  // "name=pid", as --pid takes them.
  const std::vector<std::string>& entries() const { return entries_; }

 private:
  BenchProcesses() = default;
  absl::Status StartAll(int storage_nodes);
  absl::Status Spawn(const std::string& name, const std::string& program,
                     std::vector<std::string> arguments);
  absl::Status WaitOnline(int storage_nodes) const;

  std::string data_;
  bool remove_data_ = false;
  std::string address_;
  std::vector<std::pair<std::string, pid_t>> children_;
  std::vector<std::string> entries_;
};

}  // namespace falaj::cli

#endif  // SERVICES_CLI_BENCH_PROCESSES_H_
