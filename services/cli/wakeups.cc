#include "services/cli/wakeups.h"

#include <poll.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>

namespace falaj::cli {
namespace {

sigset_t Watched() {
  sigset_t set;
  sigemptyset(&set);
  for (const int signal : {SIGINT, SIGTERM, SIGCHLD}) sigaddset(&set, signal);
  return set;
}

}  // namespace

Wakeups::Wakeups() {
  const sigset_t watched = Watched();
  pthread_sigmask(SIG_BLOCK, &watched, &before_);
  signal_fd_ = signalfd(-1, &watched, SFD_CLOEXEC | SFD_NONBLOCK);
  wake_fd_ = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
}

Wakeups::~Wakeups() {
  close(signal_fd_);
  close(wake_fd_);
  pthread_sigmask(SIG_SETMASK, &before_, nullptr);
}

void Wakeups::Wake() {
  const uint64_t one = 1;
  if (write(wake_fd_, &one, sizeof(one)) < 0) return;  // Full: it is awake.
}

int Wakeups::Wait(absl::Duration limit) {
  pollfd fds[] = {{signal_fd_, POLLIN, 0}, {wake_fd_, POLLIN, 0}};
  const int64_t ms = std::clamp<int64_t>(absl::ToInt64Milliseconds(limit), 0, INT32_MAX);
  if (poll(fds, 2, limit == absl::InfiniteDuration() ? -1 : static_cast<int>(ms)) <= 0) return 0;
  uint64_t count = 0;
  if (read(wake_fd_, &count, sizeof(count)) > 0) return 0;
  signalfd_siginfo info{};
  if (read(signal_fd_, &info, sizeof(info)) < static_cast<ssize_t>(sizeof(info))) return 0;
  return static_cast<int>(info.ssi_signo);
}

}  // namespace falaj::cli
