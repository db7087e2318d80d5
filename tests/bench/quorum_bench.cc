// Linearizable writes to a quorum, Falaj's or etcd's: how many a second, how long each takes.
//
//   quorum_bench --system=falaj --endpoints=127.0.0.1:7400,127.0.0.1:7410,127.0.0.1:7420
//
// Some clients, each a closed loop over a connection of its own to the node that leads, write
// values of 200 bytes, each to its own znode (SetZnode, or over StreamWrites) or key (KV.Put). At
// the end each reads its value back: what was acknowledged must be there. Prints a line for people
// and one of JSON; exits 1 if a write failed or was lost. tests/bench/quorum_bench.sh starts the
// servers.
#include <sys/resource.h>

#include <algorithm>
#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "absl/flags/flag.h"
#include "absl/flags/parse.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/time.h"

#include "libs/base/clock.h"
#include "libs/base/log.h"
#include "libs/base/mutex.h"
#include "libs/base/status.h"
#include "libs/rpc/channel.h"
#include "libs/rpc/process.h"
#include "tests/bench/closed_loop.h"
#include "tests/bench/quorum_systems.h"

ABSL_FLAG(std::string, system, "falaj", "falaj, falaj-stream (StreamWrites) or etcd.");
ABSL_FLAG(std::vector<std::string>, endpoints, {}, "host:port of every node.");
ABSL_FLAG(int32_t, clients, 64, "Closed loops at the same time.");
ABSL_FLAG(int32_t, connections, 0, "Connections they share; 0: one each.");
ABSL_FLAG(absl::Duration, warm_up, absl::Seconds(2), "Not measured.");
ABSL_FLAG(absl::Duration, time, absl::Seconds(10), "Measured.");
ABSL_FLAG(int32_t, value_bytes, 200, "Bytes of each value, at least 20.");

namespace falaj::bench {
namespace {

double CpuSeconds() {
  rusage usage = {};
  getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) / 1e6;
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

template <typename System>
using Clients = std::vector<std::unique_ptr<ClosedLoopClient<System>>>;

template <typename System>
absl::StatusOr<Clients<System>> MakeClients() {
  FALAJ_ASSIGN_OR_RETURN(const std::string leader, System::Leader(absl::GetFlag(FLAGS_endpoints)));
  const int count = absl::GetFlag(FLAGS_clients);
  const int flag = absl::GetFlag(FLAGS_connections);
  const int connections = flag == 0 ? count : flag;
  std::vector<std::shared_ptr<grpc::Channel>> channels;
  for (int i = 0; i < connections; ++i) {
    channels.push_back(rpc::MakeChannel(leader, {.lane = i}));
  }
  Clients<System> clients;
  for (int i = 0; i < count; ++i) {
    clients.push_back(std::make_unique<ClosedLoopClient<System>>(
        channels[static_cast<size_t>(i % connections)], i,
        static_cast<size_t>(absl::GetFlag(FLAGS_value_bytes))));
    FALAJ_RETURN_IF_ERROR(clients.back()->Prepare());
  }
  return clients;
}

// Until the last client has its last answer.
template <typename System>
void RunClients(const Clients<System>& clients, const LoadWindow& window) {
  Mutex mu;
  CondVar all_done;
  size_t running = clients.size();
  for (const auto& client : clients) {
    client->Run(window, [&mu, &all_done, &running] {
      MutexLock lock(&mu);
      if (--running == 0) all_done.NotifyAll();
    });
  }
  MutexLock lock(&mu);
  while (running > 0) all_done.Wait(&mu);
}

double Milliseconds(const std::vector<int64_t>& ascending, double quantile) {
  if (ascending.empty()) return 0;
  const auto index = static_cast<size_t>(quantile * static_cast<double>(ascending.size() - 1));
  return static_cast<double>(ascending[index]) / 1e6;
}

void Report(LoadResult result, double cpu_seconds, int64_t lost) {
  std::vector<int64_t>& latencies = result.latencies_ns;
  std::sort(latencies.begin(), latencies.end());
  int64_t errors = 0;
  for (const auto& [message, count] : result.errors) {
    std::fprintf(stderr, "%d x %s\n", static_cast<int>(count), message.c_str());
    errors += count;
  }
  const auto writes = static_cast<double>(latencies.size());
  const double per_second = writes / absl::ToDoubleSeconds(absl::GetFlag(FLAGS_time));
  const double p50 = Milliseconds(latencies, 0.5);
  const double p99 = Milliseconds(latencies, 0.99);
  const double p999 = Milliseconds(latencies, 0.999);
  const double longest = Milliseconds(latencies, 1);
  const auto acknowledged = static_cast<double>(std::max<int64_t>(1, result.acknowledged));
  const std::string system = absl::GetFlag(FLAGS_system);
  const int clients = absl::GetFlag(FLAGS_clients);
  absl::PrintF(
      "%-12s %4d clients %8.0f writes/s   ms p50 %6.2f p99 %6.2f p99.9 %6.2f max %6.2f"
      "   %d errors, %d lost\n",
      system, clients, per_second, p50, p99, p999, longest, errors, lost);
  absl::PrintF(
      "{\"system\": \"%s\", \"clients\": %d, \"writes\": %d, \"writes_per_second\": %.1f, "
      "\"p50_ms\": %.3f, \"p99_ms\": %.3f, \"p999_ms\": %.3f, \"max_ms\": %.3f, "
      "\"errors\": %d, \"lost\": %d, \"acknowledged\": %d, "
      "\"client_cpu_s_per_1000\": %.4f}\n",
      system, clients, latencies.size(), per_second, p50, p99, p999, longest, errors, lost,
      result.acknowledged, 1000 * cpu_seconds / acknowledged);
}

template <typename System>
absl::Status RunLoad() {
  FALAJ_ASSIGN_OR_RETURN(const Clients<System> clients, MakeClients<System>());
  LoadWindow window;
  window.begin = Clock::Real()->MonotonicNow() + absl::GetFlag(FLAGS_warm_up);
  window.end = window.begin + absl::GetFlag(FLAGS_time);
  const double cpu_before = CpuSeconds();
  RunClients<System>(clients, window);
  const double cpu_seconds = CpuSeconds() - cpu_before;
  LoadResult result;
  int64_t lost = 0;
  for (const auto& client : clients) {
    result.Merge(client->TakeResult());
    const absl::Status written = client->CheckWritten();
    if (absl::IsDataLoss(written)) {
      ++lost;
      log::Error("a write is lost", {{"error", written}});
    } else if (!written.ok()) {  // It cannot be told.
      ++result.errors[written.ToString()];
    }
  }
  const bool good = lost == 0 && result.errors.empty();
  Report(std::move(result), cpu_seconds, lost);
  return good ? absl::OkStatus() : absl::AbortedError("not every write succeeded");
}

absl::Status RunLoad(const std::string& system) {
  if (system == "falaj") return RunLoad<FalajSystem>();
  if (system == "falaj-stream") return RunLoad<FalajStreamSystem>();
  if (system == "etcd") return RunLoad<EtcdSystem>();
  return absl::InvalidArgumentError(absl::StrCat("--system is unknown: ", system));
}

}  // namespace
}  // namespace falaj::bench

int main(int argc, char** argv) {
  falaj::rpc::TuneProcess();
  falaj::rpc::RaiseFileDescriptorLimit();
  absl::ParseCommandLine(argc, argv);
  falaj::log::Configure({.level_min = falaj::log::Level::kWarning, .component = "bench"});
  const absl::Status ran = falaj::bench::RunLoad(absl::GetFlag(FLAGS_system));
  if (ran.ok()) return 0;
  falaj::log::Error("the benchmark failed", {{"error", ran}});
  return 1;
}
