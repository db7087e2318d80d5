#include "services/cli/process_account.h"

#include <sys/utsname.h>
#include <unistd.h>

#include <fstream>
#include <sstream>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"

#include "libs/base/status.h"
#include "services/cli/json_line.h"

namespace falaj::cli {
namespace {

// The number after "name:" in a file of /proc; 0 if there is none.
int64_t Field(const std::string& path, const std::string& name) {
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    absl::string_view rest = line;
    if (!absl::ConsumePrefix(&rest, name)) continue;
    std::istringstream number{std::string(rest)};
    int64_t value = 0;
    number >> value;
    return value;
  }
  return 0;
}

// User and system time of a process and its threads: fields 14 and 15 of stat, counted after the
// command in parentheses, which may hold blanks.
double CpuSeconds(int64_t pid) {
  std::ifstream file(absl::StrCat("/proc/", pid, "/stat"));
  std::string line;
  std::getline(file, line);
  const size_t end = line.rfind(')');
  if (end == std::string::npos) return 0;
  const std::vector<std::string> fields = absl::StrSplit(line.substr(end + 2), ' ');
  int64_t user = 0;
  int64_t system = 0;
  if (fields.size() < 13 || !absl::SimpleAtoi(fields[11], &user) ||
      !absl::SimpleAtoi(fields[12], &system)) {
    return 0;
  }
  return static_cast<double>(user + system) / static_cast<double>(sysconf(_SC_CLK_TCK));
}

ProcessUse Measure(const std::string& name, int64_t pid) {
  const std::string directory = absl::StrCat("/proc/", pid);
  // What was deleted before the kernel wrote it, such as a log file nobody synced, never got to
  // the device.
  const int64_t written =
      Field(directory + "/io", "write_bytes:") - Field(directory + "/io", "cancelled_write_bytes:");
  return {name, CpuSeconds(pid), Field(directory + "/status", "VmRSS:") * 1024, written};
}

}  // namespace

absl::StatusOr<ProcessAccount::Processes> ProcessAccount::ParseProcesses(
    const std::vector<std::string>& entries) {
  Processes processes = {{"client", getpid()}};
  for (const std::string& entry : entries) {
    const std::vector<std::string> parts = absl::StrSplit(entry, '=');
    int64_t pid = 0;
    if (parts.size() != 2 || !absl::SimpleAtoi(parts[1], &pid)) {
      return MakeError(Reason::kInvalidRequest,
                       absl::StrCat("--pid '", entry, "' is not name=pid"));
    }
    processes.emplace_back(parts[0], pid);
  }
  return processes;
}

void ProcessAccount::Start() {
  start_.clear();
  cores_ = MeasureCores();
  for (const auto& [name, pid] : processes_) start_.push_back(Measure(name, pid));
}

std::vector<ProcessUse> ProcessAccount::SinceStart() const {
  std::vector<ProcessUse> uses;
  for (size_t i = 0; i < processes_.size(); ++i) {
    ProcessUse use = Measure(processes_[i].first, processes_[i].second);
    use.cpu_seconds -= start_[i].cpu_seconds;
    use.written_bytes -= start_[i].written_bytes;
    uses.push_back(use);
  }
  return uses;
}

// The first line of /proc/stat: user nice system idle iowait irq softirq steal, then times of
// guests that are in the first two already.
ProcessAccount::CoreTime ProcessAccount::MeasureCores() {
  std::ifstream file("/proc/stat");
  std::string name;
  file >> name;
  CoreTime time;
  for (int field = 0; field < 8; ++field) {
    int64_t ticks = 0;
    file >> ticks;
    time.all += ticks;
    if (field == 3 || field == 4) time.idle += ticks;
    if (field == 7) time.stolen = ticks;
  }
  return time;
}

MachineUse ProcessAccount::MachineSinceStart() const {
  const CoreTime now = MeasureCores();
  const auto all = static_cast<double>(now.all - cores_.all);
  if (all <= 0) return MachineUse();
  return {.idle_share = static_cast<double>(now.idle - cores_.idle) / all,
          .stolen_share = static_cast<double>(now.stolen - cores_.stolen) / all};
}

std::string MachineJson() {
  utsname system{};
  uname(&system);
  std::string model;
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; model.empty() && std::getline(file, line);) {
    const std::vector<std::string> parts = absl::StrSplit(line, absl::MaxSplits(": ", 1));
    if (parts.size() == 2 && parts[0].rfind("model name", 0) == 0) model = parts[1];
  }
  return JsonLine()
      .Add("cpu", model)
      .Add("cores", static_cast<int64_t>(sysconf(_SC_NPROCESSORS_ONLN)))
      .Add("memory_bytes", Field("/proc/meminfo", "MemTotal:") * 1024)
      .Add("kernel", absl::StrCat(system.sysname, " ", system.release))
      .ToString();
}

}  // namespace falaj::cli
