#include "services/cli/child_process.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstring>

#include "absl/strings/str_cat.h"

#include "libs/base/status.h"

extern char** environ;

namespace falaj::cli {
namespace {

std::vector<char*> Pointers(std::vector<std::string>* strings) {
  std::vector<char*> pointers;
  for (std::string& string : *strings) pointers.push_back(string.data());
  pointers.push_back(nullptr);
  return pointers;
}

std::vector<std::string> Environment(const std::map<std::string, std::string>& added) {
  std::vector<std::string> all;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string text(*entry);
    if (added.count(text.substr(0, text.find('='))) == 0) all.push_back(text);
  }
  for (const auto& [name, value] : added) all.push_back(absl::StrCat(name, "=", value));
  return all;
}

// After fork() only calls that need no lock are allowed: another thread may have held it.
[[noreturn]] void RunChild(pid_t parent, const sigset_t& mask, char* const* argv, char* const* envp,
                           int report_fd) {
  prctl(PR_SET_PDEATHSIG, SIGTERM);
  if (getppid() != parent) _exit(1);  // It died before we asked.
  for (const int signal : {SIGINT, SIGTERM, SIGCHLD, SIGPIPE}) std::signal(signal, SIG_DFL);
  sigprocmask(SIG_SETMASK, &mask, nullptr);
  execvpe(argv[0], argv, envp);
  const int error = errno;
  if (write(report_fd, &error, sizeof(error)) < 0) _exit(126);
  _exit(127);
}

}  // namespace

absl::StatusOr<std::unique_ptr<ChildProcess>> ChildProcess::Start(
    const std::vector<std::string>& command, const std::map<std::string, std::string>& environment,
    const sigset_t& mask) {
  std::vector<std::string> arguments = command;
  std::vector<std::string> variables = Environment(environment);
  const std::vector<char*> argv = Pointers(&arguments);
  const std::vector<char*> envp = Pointers(&variables);
  int report[2];  // Closed by a successful exec.
  if (pipe2(report, O_CLOEXEC) != 0) {
    return MakeError(Reason::kInternal, absl::StrCat("pipe: ", std::strerror(errno)));
  }
  const pid_t parent = getpid();
  const pid_t pid = fork();
  if (pid == 0) RunChild(parent, mask, argv.data(), envp.data(), report[1]);
  const int fork_error = errno;
  close(report[1]);
  int error = 0;
  const bool failed = pid > 0 && read(report[0], &error, sizeof(error)) > 0;
  close(report[0]);
  if (pid < 0) {
    return MakeError(Reason::kInternal, absl::StrCat("fork: ", std::strerror(fork_error)));
  }
  std::unique_ptr<ChildProcess> child(new ChildProcess(pid));
  if (!failed) return child;
  return MakeError(Reason::kInvalidRequest,
                   absl::StrCat("cannot run ", command[0], ": ", std::strerror(error)),
                   {{"field", "command"}});
}

ChildProcess::~ChildProcess() {
  if (Ended()) return;
  Signal(SIGKILL);
  waitpid(pid_, nullptr, 0);
}

bool ChildProcess::Ended() {
  int status = 0;
  if (ended_ || waitpid(pid_, &status, WNOHANG) != pid_) return ended_;
  ended_ = true;
  exit_code_ = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
  return true;
}

void ChildProcess::Signal(int signal) {
  if (!ended_) kill(pid_, signal);
}

}  // namespace falaj::cli
