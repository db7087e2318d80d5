#include "libs/telemetry/process_metrics.h"

#include <dirent.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include <cstdio>
#include <string>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"

namespace falaj::telemetry {
namespace {

std::string ReadSmallFile(const char* path) {
  std::string text;
  FILE* file = std::fopen(path, "re");
  if (file == nullptr) return text;
  char buffer[4096];
  text.assign(buffer, std::fread(buffer, 1, sizeof buffer, file));
  std::fclose(file);
  return text;
}

// Fields of /proc/self/stat from the state (field 3 in proc(5)) on; the name before may hold
// spaces.
std::vector<std::string> StatFields() {
  const std::string text = ReadSmallFile("/proc/self/stat");
  const size_t name_end = text.rfind(')');
  if (name_end == std::string::npos) return {};
  return absl::StrSplit(text.substr(name_end + 1), ' ', absl::SkipEmpty());
}

double Number(const std::vector<std::string>& fields, size_t index) {
  double value = 0;
  return index < fields.size() && absl::SimpleAtod(fields[index], &value) ? value : 0;
}

double OpenFiles() {
  DIR* directory = opendir("/proc/self/fd");
  if (directory == nullptr) return 0;
  int count = -3;  // ".", ".." and the directory itself.
  while (readdir(directory) != nullptr) ++count;
  closedir(directory);
  return count;
}

// Boot time as seen now: stable to a few milliseconds, unlike btime of /proc/stat in containers.
double BootTimeSeconds() {
  timespec wall;
  timespec boot;
  clock_gettime(CLOCK_REALTIME, &wall);
  clock_gettime(CLOCK_BOOTTIME, &boot);
  return static_cast<double>(wall.tv_sec - boot.tv_sec) +
         static_cast<double>(wall.tv_nsec - boot.tv_nsec) / 1e9;
}

void CollectProcess(double start_time_seconds, Samples* out) {
  const std::vector<std::string> stat = StatFields();
  const double ticks = static_cast<double>(sysconf(_SC_CLK_TCK));
  const double page = static_cast<double>(sysconf(_SC_PAGESIZE));
  rlimit limit{};
  getrlimit(RLIMIT_NOFILE, &limit);
  out->Counter("process_cpu_seconds_total", "Total user and system CPU time spent in seconds.", {},
               (Number(stat, 11) + Number(stat, 12)) / ticks);
  out->Gauge("process_virtual_memory_bytes", "Virtual memory size in bytes.", {}, Number(stat, 20));
  out->Gauge("process_resident_memory_bytes", "Resident memory size in bytes.", {},
             Number(stat, 21) * page);
  out->Gauge("process_threads", "Number of operating system threads.", {}, Number(stat, 17));
  out->Gauge("process_open_fds", "Number of open file descriptors.", {}, OpenFiles());
  out->Gauge("process_max_fds", "Maximum number of open file descriptors.", {},
             static_cast<double>(limit.rlim_cur));
  out->Gauge("process_start_time_seconds", "Start time of the process since unix epoch in seconds.",
             {}, start_time_seconds);
}

}  // namespace

void AddProcessMetrics(absl::string_view component, Registry* registry) {
  registry
      ->AddGauge("falaj_build_info", "Constant 1, labelled with what was built.",
                 {{"component", std::string(component)},
                  {"version", std::string(BuildVersion())},
                  {"revision", std::string(BuildRevision())}})
      ->Set(1);
  const double ticks = static_cast<double>(sysconf(_SC_CLK_TCK));
  const double start = BootTimeSeconds() + Number(StatFields(), 19) / ticks;
  registry->AddCollector([start](Samples* out) { CollectProcess(start, out); });
}

}  // namespace falaj::telemetry
