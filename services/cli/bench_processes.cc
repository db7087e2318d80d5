#include "services/cli/bench_processes.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <system_error>

#include "absl/strings/str_cat.h"

#include "libs/base/clock.h"
#include "libs/base/mutex.h"
#include "libs/base/status.h"
#include "libs/client/admin.h"

extern char** environ;

namespace falaj::cli {
namespace {

constexpr absl::Duration kStartTimeout = absl::Seconds(30);
constexpr absl::Duration kStartCheck = absl::Milliseconds(50);

// A port that is free now. Somebody may take it before our child does; then the child says so.
absl::StatusOr<int> FreePort() {
  const int fd = socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof(address);
  auto* any = reinterpret_cast<sockaddr*>(&address);
  const bool found = fd >= 0 && bind(fd, any, size) == 0 && getsockname(fd, any, &size) == 0;
  if (fd >= 0) close(fd);
  if (!found) return MakeError(Reason::kInternal, "no free port");
  return ntohs(address.sin_port);
}

absl::StatusOr<std::string> FreeAddress() {
  FALAJ_ASSIGN_OR_RETURN(const int port, FreePort());
  return absl::StrCat("127.0.0.1:", port);
}

}  // namespace

absl::StatusOr<std::unique_ptr<BenchProcesses>> BenchProcesses::Start(const std::string& data,
                                                                      int storage_nodes) {
  std::unique_ptr<BenchProcesses> processes(new BenchProcesses());
  processes->data_ = data;
  if (data.empty()) {
    std::string pattern = (std::filesystem::temp_directory_path() / "falaj-bench-XXXXXX").string();
    if (mkdtemp(pattern.data()) == nullptr) {
      return MakeError(Reason::kInternal, absl::StrCat("mkdtemp: ", std::strerror(errno)));
    }
    processes->data_ = pattern;
    processes->remove_data_ = true;
  }
  std::error_code error;
  std::filesystem::create_directories(processes->data_, error);
  FALAJ_RETURN_IF_ERROR(processes->StartAll(storage_nodes));
  return processes;
}

absl::Status BenchProcesses::StartAll(int storage_nodes) {
  FALAJ_ASSIGN_OR_RETURN(const std::string metadata, FreeAddress());
  FALAJ_RETURN_IF_ERROR(Spawn("metadata", "falaj-metadata",
                              {"--node_id=1", absl::StrCat("--data_dir=", data_, "/metadata-1"),
                               "--listen=" + metadata, "--http_listen="}));
  for (int id = 1; id <= storage_nodes; ++id) {
    FALAJ_ASSIGN_OR_RETURN(const std::string address, FreeAddress());
    FALAJ_RETURN_IF_ERROR(
        Spawn(storage_nodes == 1 ? "storage" : absl::StrCat("storage-", id), "falaj-storage",
              {absl::StrCat("--node_id=", id), absl::StrCat("--data_dir=", data_, "/storage-", id),
               "--listen=" + address, "--http_listen=", "--metadata=" + metadata}));
  }
  FALAJ_ASSIGN_OR_RETURN(address_, FreeAddress());
  FALAJ_RETURN_IF_ERROR(Spawn(
      "gateway", "falaj-gateway",
      {"--listen=" + address_, "--http_listen=", "--metadata=" + metadata, "--stop_wait=0s"}));
  return WaitOnline(storage_nodes);
}

absl::Status BenchProcesses::Spawn(const std::string& name, const std::string& program,
                                   std::vector<std::string> arguments) {
  std::error_code error;
  const std::filesystem::path self = std::filesystem::read_symlink("/proc/self/exe", error);
  const std::string path = (self.parent_path() / program).string();
  arguments.insert(arguments.begin(), path);
  std::vector<char*> argv;
  for (std::string& argument : arguments) argv.push_back(argument.data());
  argv.push_back(nullptr);
  // What the child says belongs to nobody's output; it is kept beside its data.
  posix_spawn_file_actions_t files;
  posix_spawn_file_actions_init(&files);
  posix_spawn_file_actions_addopen(&files, STDERR_FILENO,
                                   absl::StrCat(data_, "/", name, ".log").c_str(),
                                   O_WRONLY | O_CREAT | O_APPEND, 0644);
  posix_spawn_file_actions_adddup2(&files, STDERR_FILENO, STDOUT_FILENO);
  pid_t pid = 0;
  const int failed = posix_spawn(&pid, path.c_str(), &files, nullptr, argv.data(), environ);
  posix_spawn_file_actions_destroy(&files);
  if (failed != 0) {
    return MakeError(Reason::kInvalidRequest,
                     absl::StrCat("cannot start ", path, ": ", std::strerror(failed)));
  }
  children_.emplace_back(name, pid);
  entries_.push_back(absl::StrCat(name, "=", pid));
  return absl::OkStatus();
}

absl::Status BenchProcesses::WaitOnline(int storage_nodes) const {
  client::Admin admin({.address = address_, .timeout = absl::Seconds(1)});
  const MonotonicTime deadline = Clock::Real()->MonotonicNow() + kStartTimeout;
  Mutex mu;
  CondVar never;  // Waited on for its timeout only.
  MutexLock lock(&mu);
  while (true) {
    const absl::StatusOr<v1::GetClusterResponse> cluster = admin.GetCluster();
    int online = 0;
    if (cluster.ok()) {
      for (const v1::StorageNode& node : cluster->nodes()) {
        online += node.state() == v1::NODE_STATE_ONLINE ? 1 : 0;
      }
    }
    if (online >= storage_nodes) return absl::OkStatus();
    if (Clock::Real()->MonotonicNow() > deadline) {
      return MakeError(Reason::kTimedOut, "the cluster did not become ready");
    }
    never.WaitFor(&mu, kStartCheck);
  }
}

BenchProcesses::~BenchProcesses() {
  // In the reverse order of their start, each to its end, so that nobody misses what he needs.
  for (auto child = children_.rbegin(); child != children_.rend(); ++child) {
    kill(child->second, SIGTERM);
    int status = 0;
    waitpid(child->second, &status, 0);
  }
  std::error_code error;
  if (remove_data_) std::filesystem::remove_all(data_, error);
}

}  // namespace falaj::cli
