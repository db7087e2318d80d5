// What one gateway costs: CPU seconds per GB of batches that pass through it, and the time it adds.
//
// Three processes, so that the gateway's CPU time is its own: this one is the client, and starts
// itself twice more, as a gateway and as a sink (a fake metadata service and a fake storage node
// that forgets what it gets and reads out one batch over and over).
//
//   client ──StreamProduce, Consume──▶ gateway ──Append, Read──▶ sink
//
// Bound: 1.3 CPU seconds per GB at 128 KiB batches.
#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "absl/flags/flag.h"
#include "absl/flags/parse.h"
#include "absl/strings/str_split.h"

#include "libs/base/log.h"
#include "libs/base/random.h"
#include "libs/record/batch_builder.h"
#include "libs/rpc/process.h"
#include "services/gateway/gateway_server.h"
#include "services/gateway/testing/fake_metadata.h"
#include "services/gateway/testing/fake_storage.h"
#include "services/gateway/testing/stream_load.h"

ABSL_FLAG(std::string, role, "client", "client, gateway or sink; the client starts the others.");
ABSL_FLAG(std::string, metadata, "", "For the gateway: the address of the metadata service.");
ABSL_FLAG(int64_t, bytes, int64_t{2} << 30, "Bytes to move in each run.");

namespace falaj::gateway {
namespace {

constexpr size_t kRecordBytes = 1024;
constexpr size_t kSinkBatchBytes = 128 << 10;

// Random records, so that nothing on the way could compress them.
Bytes MakeBatch(size_t size_bytes) {
  Random random(1);
  record::BatchBuilder builder;
  while (builder.empty() || builder.size_bytes() + kRecordBytes <= size_bytes) {
    std::string value(std::min(kRecordBytes, size_bytes), '\0');
    for (char& c : value) c = static_cast<char>(random.Next());
    builder.Add(1'700'000'000'000, std::nullopt, value);
  }
  return *builder.Build({});
}

// Prints the address for the parent and serves until it is killed.
[[noreturn]] void Serve(const std::string& address) {
  std::printf("%s\n", address.c_str());
  std::fflush(stdout);
  while (true) pause();
}

[[noreturn]] void ServeSink() {
  FakeStorage::Options options;
  options.sink = true;
  options.endless = MakeBatch(kSinkBatchBytes);
  options.endless_records = static_cast<int64_t>(kSinkBatchBytes / kRecordBytes);
  FakeStorage storage(options);
  FakeMetadata metadata;
  metadata.AddNode(1, storage.address());
  internal::v1::ClusterCommand command;
  internal::v1::CreateTopicCommand* topic = command.mutable_create_topic();
  topic->set_name("bench");
  topic->set_partition_count(1);
  topic->set_replication_factor(1);
  topic->mutable_settings()->set_batch_bytes_max(8 << 20);
  topic->mutable_settings()->set_min_in_sync_replicas(1);
  topic->mutable_settings()->set_compression(v1::COMPRESSION_NONE);
  if (const auto made = metadata.Apply(command); !made.ok()) {
    log::Error("no topic", {{"error", made.status()}});
    std::exit(1);
  }
  Serve(metadata.address());
}

[[noreturn]] void ServeGateway() {
  GatewayServer::Options options;
  options.metadata_addresses = {absl::GetFlag(FLAGS_metadata)};
  const auto server = GatewayServer::Start(options);
  if (!server.ok()) std::exit(1);
  while (!(*server)->Ready()) usleep(1000);
  Serve((*server)->grpc_address());
}

// Child is this program started again in another role; it dies with its owner.
class Child {
 public:
  Child(const std::string& role, const std::string& metadata) {
    int fds[2];
    if (pipe2(fds, O_CLOEXEC) != 0) std::abort();
    const std::string role_flag = "--role=" + role;
    const std::string metadata_flag = "--metadata=" + metadata;
    pid_ = fork();
    if (pid_ == 0) {
      dup2(fds[1], STDOUT_FILENO);
      execl("/proc/self/exe", "gateway_hop_bench", role_flag.c_str(), metadata_flag.c_str(),
            static_cast<char*>(nullptr));
      _exit(1);
    }
    close(fds[1]);
    char c = 0;
    while (read(fds[0], &c, 1) == 1 && c != '\n') address_.push_back(c);
    close(fds[0]);
  }
  ~Child() {
    kill(pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
  }

  const std::string& address() const { return address_; }
  // User and system time of all its threads so far.
  double CpuSeconds() const {
    std::ifstream file("/proc/" + std::to_string(pid_) + "/stat");
    std::string text;
    std::getline(file, text);
    const std::vector<std::string> fields = absl::StrSplit(text.substr(text.rfind(')') + 2), ' ');
    return (std::stod(fields[11]) + std::stod(fields[12])) /
           static_cast<double>(sysconf(_SC_CLK_TCK));
  }

 private:
  pid_t pid_ = 0;
  std::string address_;
};

double Milliseconds(const std::vector<absl::Duration>& ascending, double quantile) {
  const auto index = static_cast<size_t>(quantile * static_cast<double>(ascending.size() - 1));
  return absl::ToDoubleMilliseconds(ascending[index]);
}

void Report(const char* name, const absl::StatusOr<StreamLoadResult>& result, double cpu_seconds) {
  if (!result.ok()) {
    std::printf("%-24s failed: %s\n", name, result.status().ToString().c_str());
    std::exit(1);
  }
  const double gigabytes = static_cast<double>(result->bytes) / 1e9;
  const double seconds = absl::ToDoubleSeconds(result->elapsed);
  std::printf("%-24s %7.2f GB %8.0f MB/s %6.2f gateway CPU s/GB", name, gigabytes,
              1000 * gigabytes / seconds, cpu_seconds / gigabytes);
  if (!result->latencies.empty()) {
    std::printf("   ack ms p50 %.3f p99 %.3f", Milliseconds(result->latencies, 0.5),
                Milliseconds(result->latencies, 0.99));
  }
  std::printf("\n");
  std::fflush(stdout);
}

int RunClient() {
  const Child sink("sink", "");
  const Child gateway("gateway", sink.address());
  const std::string& address = gateway.address();
  const int64_t bytes = absl::GetFlag(FLAGS_bytes);
  const auto produce = [&](const char* name, size_t batch_bytes, int64_t total, int window) {
    const Bytes batch = MakeBatch(batch_bytes);
    const auto count = static_cast<int>(total / static_cast<int64_t>(batch.size()));
    const double before = gateway.CpuSeconds();
    const auto result = RunProduceLoad(address, "bench", batch, count, window);
    Report(name, result, gateway.CpuSeconds() - before);
  };
  produce("warm-up", 128 << 10, bytes / 8, 32);
  produce("produce 128 KiB", 128 << 10, bytes, 32);
  produce("produce 16 KiB", 16 << 10, bytes / 4, 128);
  produce("produce 1 KiB, one", 1024, 20 << 20, 1);
  const double before = gateway.CpuSeconds();
  const auto result = RunConsumeLoad(address, "bench", bytes, 16 << 20);
  Report("consume 128 KiB", result, gateway.CpuSeconds() - before);
  return 0;
}

}  // namespace
}  // namespace falaj::gateway

int main(int argc, char** argv) {
  falaj::rpc::TuneProcess();
  absl::ParseCommandLine(argc, argv);
  falaj::log::Configure({.level_min = falaj::log::Level::kWarning, .component = "bench"});
  const std::string role = absl::GetFlag(FLAGS_role);
  if (role == "sink") falaj::gateway::ServeSink();
  if (role == "gateway") falaj::gateway::ServeGateway();
  return falaj::gateway::RunClient();
}
