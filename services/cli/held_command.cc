#include "services/cli/held_command.h"

#include <algorithm>
#include <memory>

#include "libs/base/clock.h"
#include "libs/base/status.h"
#include "services/cli/child_process.h"
#include "services/cli/session.h"

namespace falaj::cli {
namespace {

MonotonicTime Now() { return Clock::Real()->MonotonicNow(); }

// A child may end between our question and our wait; SIGCHLD wakes us, and this if it got lost.
constexpr absl::Duration kCheck = absl::Seconds(1);

// Without a command: until Ctrl-C.
ExitCode JustHold(const HeldCommand& held, Wakeups* wakeups) {
  while (true) {
    if (const absl::Status status = held.held(); !status.ok()) return Fail(status);
    const int signal = wakeups->Wait(kCheck);
    if (signal == SIGINT || signal == SIGTERM) return ExitCode::kOk;
  }
}

// What has been done so far to end the child.
class Ending {
 public:
  Ending(ChildProcess* child, absl::Duration grace) : child_(child), grace_(grace) {}

  void OnSignal(int signal) {
    if (signal != SIGINT && signal != SIGTERM) return;
    child_->Signal(interrupted_ ? SIGKILL : signal);
    interrupted_ = true;
  }
  void OnLost(const absl::Status& why) {
    if (lost_ || why.ok()) return;
    lost_ = true;
    PrintError(why);
    child_->Signal(SIGTERM);
    kill_at_ = Now() + grace_;
  }
  void OnTime() {
    if (lost_ && Now() >= kill_at_) child_->Signal(SIGKILL);
  }
  absl::Duration WaitLimit() const {
    if (!lost_) return kCheck;
    return std::clamp(kill_at_ - Now(), absl::Milliseconds(10), kCheck);
  }
  ExitCode Code() const {
    // An order from above that was carried out: still, what was to be done was not done.
    if (lost_ && child_->exit_code() == 0) return ExitCode::kFailed;
    return static_cast<ExitCode>(child_->exit_code());
  }

 private:
  ChildProcess* const child_;
  const absl::Duration grace_;
  bool interrupted_ = false;
  bool lost_ = false;
  MonotonicTime kill_at_;
};

}  // namespace

int TakeCommand(int argc, const char* const* argv, std::vector<std::string>* command) {
  if (argc < 2 || std::string(argv[1]) != "znode") return argc;
  for (int i = 2; i < argc; ++i) {
    if (std::string(argv[i]) != "--") continue;
    command->assign(argv + i + 1, argv + argc);
    return i;
  }
  return argc;
}

ExitCode RunHeld(const HeldCommand& held, Wakeups* wakeups) {
  if (held.command.empty()) return JustHold(held, wakeups);
  if (const absl::Status status = held.held(); !status.ok()) return Fail(status);
  absl::StatusOr<std::unique_ptr<ChildProcess>> child =
      ChildProcess::Start(held.command, held.environment, wakeups->mask_before());
  if (!child.ok()) return Fail(child.status());
  Ending ending(child->get(), held.grace);
  while (!(*child)->Ended()) {
    ending.OnSignal(wakeups->Wait(ending.WaitLimit()));
    ending.OnLost(held.held());
    ending.OnTime();
  }
  return ending.Code();
}

}  // namespace falaj::cli
