#include "libs/rpc/process.h"

#include <fcntl.h>
#include <malloc.h>
#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <string>

#include "absl/flags/parse.h"
#include "absl/flags/reflection.h"
#include "absl/flags/usage.h"
#include "absl/flags/usage_config.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"

namespace falaj::rpc {
namespace {

int termination_pipe[2];

void OnTermination(int signal) {
  const int saved_errno = errno;
  const char byte = static_cast<char>(signal);
  if (write(termination_pipe[1], &byte, 1) < 0) _exit(128 + signal);
  errno = saved_errno;
}

}  // namespace

void TuneProcess() {
  // Of the C library's allocator. Where tcmalloc is linked in its place, mallopt does nothing.
  constexpr int kKeptBytesMax = 64 << 20;    // Free memory at the end of a heap.
  constexpr int kMappedBytesMin = 16 << 20;  // Larger blocks are mapped and unmapped one by one.
  mallopt(M_TRIM_THRESHOLD, kKeptBytesMax);
  mallopt(M_MMAP_THRESHOLD, kMappedBytesMin);
  absl::SetMutexDeadlockDetectionMode(absl::OnDeadlockCycle::kIgnore);
}

int64_t RaiseFileDescriptorLimit() {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return -1;
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
  getrlimit(RLIMIT_NOFILE, &limit);
  return static_cast<int64_t>(limit.rlim_cur);
}

int WaitForTermination() {
  if (pipe2(termination_pipe, O_CLOEXEC) != 0) std::abort();
  struct sigaction action {};
  action.sa_handler = &OnTermination;
  action.sa_flags = static_cast<int>(SA_RESETHAND);  // The second signal has its default effect.
  sigaction(SIGTERM, &action, nullptr);
  sigaction(SIGINT, &action, nullptr);
  char signal = 0;
  while (read(termination_pipe[0], &signal, 1) < 0 && errno == EINTR) {
  }
  // The other of the two signals must not have to wait for a stop that hangs either.
  ::signal(SIGTERM, SIG_DFL);
  ::signal(SIGINT, SIG_DFL);
  close(termination_pipe[0]);
  close(termination_pipe[1]);
  return signal;
}

void ApplyEnvironmentToFlags() {
  for (const auto& [name, flag] : absl::GetAllFlags()) {
    const std::string variable = absl::StrCat("FALAJ_", absl::AsciiStrToUpper(name));
    const char* const value = std::getenv(variable.c_str());
    if (value == nullptr) continue;
    std::string error;
    if (!flag->ParseFrom(value, &error)) {
      std::fprintf(stderr, "%s: %s\n", variable.c_str(), error.c_str());
      std::exit(2);
    }
  }
}

void ParseFlags(absl::string_view usage, int argc, char** argv) {
  absl::SetProgramUsageMessage(usage);
  absl::FlagsUsageConfig config;
  config.contains_help_flags = [](absl::string_view file) {
    return absl::StrContains(file, "services/");
  };
  absl::SetFlagsUsageConfig(config);
  ApplyEnvironmentToFlags();
  absl::ParseCommandLine(argc, argv);
}

}  // namespace falaj::rpc
