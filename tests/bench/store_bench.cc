// Measures one store shard: throughput, processor time, bytes at the device per payload byte, the
// longest append, blocks read per random seek, and how long a store takes to open after kill -9.
//
//   store_bench --seconds=60 --dir=/path/on/the/disk/to/measure
//
// Prints a table with a verdict per bound on standard error and JSON on standard output; exits with
// 1 if a bound is missed. The device's bytes come from /proc/diskstats: nothing else should write
// to that disk meanwhile.
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <csignal>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <memory>
#include <optional>
#include <sstream>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/flags/flag.h"
#include "absl/flags/parse.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

#include "libs/base/clock.h"
#include "libs/base/log.h"
#include "libs/base/mutex.h"
#include "libs/base/random.h"
#include "libs/log/rocks_log_store.h"
#include "libs/record/batch_builder.h"
#include "libs/record/batch_header.h"

ABSL_FLAG(std::string, dir, "/tmp/store_bench", "Directory to work in; emptied first.");
ABSL_FLAG(int, seconds, 300, "Length of each append phase.");
ABSL_FLAG(int, partitions, 1000, "Partitions to append to.");
ABSL_FLAG(int, batch_bytes, 16 << 10, "Size of a batch.");
ABSL_FLAG(int, round_batches, 64, "Batches per round, as a busy appender collects them.");
ABSL_FLAG(int, seeks, 2000, "Random reads.");
ABSL_FLAG(int, mb_per_second, 0, "Rate of the append phases; 0: as fast as possible.");
ABSL_FLAG(std::string, phases, "reopen,idle,fsync,os,seek", "What to measure.");

namespace falaj::log {
namespace {

constexpr int64_t kMillion = 1'000'000;

// A figure with its bound.
struct Figure {
  std::string name;
  double value = 0;
  std::string unit;
  double bound = 0;  // 0: none.
  bool at_most = true;
  bool ok() const { return bound == 0 || (at_most ? value <= bound : value >= bound); }
};

[[noreturn]] void Fail(const absl::Status& status) {
  std::cerr << "store_bench: " << status << "\n";
  std::exit(2);
}

void Check(const absl::Status& status) {
  if (!status.ok()) Fail(status);
}

double CpuSeconds() {
  rusage usage = {};
  getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& t) {
    return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_usec) / 1e6;
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

// Resident memory of this process, in MB.
double ResidentMegabytes() {
  std::ifstream statm("/proc/self/statm");
  int64_t total = 0;
  int64_t resident = 0;
  statm >> total >> resident;
  return static_cast<double>(resident * sysconf(_SC_PAGESIZE)) / 1e6;
}

// Bytes written to the device that holds `path` since the machine started.
int64_t DeviceBytesWritten(const std::string& path) {
  struct stat info = {};
  if (stat(path.c_str(), &info) != 0) return -1;
  std::ifstream stats("/proc/diskstats");
  std::string line;
  while (std::getline(stats, line)) {
    std::istringstream fields(line);
    unsigned major_number = 0;
    unsigned minor_number = 0;
    std::string name;
    int64_t reads = 0, reads_merged = 0, sectors_read = 0, read_ms = 0;
    int64_t writes = 0, writes_merged = 0, sectors_written = 0;
    fields >> major_number >> minor_number >> name >> reads >> reads_merged >> sectors_read >>
        read_ms >> writes >> writes_merged >> sectors_written;
    if (major_number == major(info.st_dev) && minor_number == minor(info.st_dev)) {
      return sectors_written * 512;
    }
  }
  return -1;
}

// Bytes this process made dirty and did not delete again before they were written: what the device
// should see of it, whoever else writes there.
int64_t ProcessBytesWritten() {
  std::ifstream io("/proc/self/io");
  std::string key;
  int64_t value = 0;
  int64_t written = 0;
  while (io >> key >> value) {
    if (key == "write_bytes:") written += value;
    if (key == "cancelled_write_bytes:") written -= value;
  }
  return written;
}

class Bench {
 public:
  Bench() : random_(42) {
    directory_ = absl::GetFlag(FLAGS_dir);
    std::filesystem::remove_all(directory_);
    std::filesystem::create_directories(directory_);
    // Incompressible records of 1 KiB; only the stamp differs between batches.
    const auto batch_bytes = static_cast<size_t>(absl::GetFlag(FLAGS_batch_bytes));
    record::BatchBuilder builder;
    while (builder.size_bytes() + 1100 < batch_bytes || builder.empty()) {
      std::string value(1000, '\0');
      for (char& c : value) c = static_cast<char>(random_.Next());
      builder.Add(Clock::Real()->NowMs(), std::nullopt, value);
    }
    records_ = builder.record_count();
    absl::StatusOr<Bytes> batch = builder.Build({});
    Check(batch.status());
    batch_ = *std::move(batch);
  }
  ~Bench() { std::filesystem::remove_all(directory_); }
  Bench(const Bench&) = delete;
  Bench& operator=(const Bench&) = delete;

  void Append(const std::string& name, bool sync);
  void Seek();
  void Reopen();
  void Idle();
  int Report() const;

 private:
  std::unique_ptr<RocksLogStore> Open(const std::string& name,
                                      int64_t wal_bytes_max = 512 << 20) const {
    RocksLogStore::Options options;
    options.directory = absl::StrCat(directory_, "/", name);
    options.wal_bytes_max = wal_bytes_max;
    absl::StatusOr<std::unique_ptr<RocksLogStore>> store = RocksLogStore::Open(options);
    Check(store.status());
    return *std::move(store);
  }
  void MakePartitions(RocksLogStore* store) {
    ids_.clear();
    ends_.clear();
    for (int i = 0; i < absl::GetFlag(FLAGS_partitions); ++i) {
      const absl::StatusOr<StoredPartition> partition = store->OpenPartition(
          {.topic = Uuid::FromRandomBits(1, 1), .partition = PartitionIndex(i)},
          {.age = absl::Hours(24 * 7), .size_bytes = 0});
      Check(partition.status());
      ids_.push_back(partition->id);
      ends_.push_back(partition->log_end);
    }
  }
  Round NextRound() {
    Round round;
    for (int i = 0; i < absl::GetFlag(FLAGS_round_batches); ++i) {
      const size_t at = random_.Below(ids_.size());
      BatchWrite write;
      write.partition = ids_[at];
      write.base_offset = ends_[at];
      write.last_offset = ends_[at] + (records_ - 1);
      write.max_timestamp_ms = 1;
      write.batch = record::StampBatch(batch_, ends_[at], LeaderEpoch(1));
      ends_[at] = write.last_offset + 1;
      round.batches.push_back(std::move(write));
    }
    return round;
  }
  void Add(Figure figure) { figures_.push_back(std::move(figure)); }

  std::string directory_;
  Random random_;
  Bytes batch_;
  int32_t records_ = 0;
  std::vector<LocalPartitionId> ids_;
  std::vector<Offset> ends_;
  std::vector<Figure> figures_;
};

// Calls Maintain every second until destroyed, as the storage service does.
class Maintainer {
 public:
  explicit Maintainer(RocksLogStore* store) : thread_([this, store] { Run(store); }) {}
  ~Maintainer() {
    {
      MutexLock lock(&mu_);
      stopping_ = true;
      wake_.NotifyAll();
    }
    thread_.join();
  }
  Maintainer(const Maintainer&) = delete;
  Maintainer& operator=(const Maintainer&) = delete;

 private:
  void Run(RocksLogStore* store) {
    MutexLock lock(&mu_);
    while (!stopping_) {
      mu_.Unlock();
      Check(store->Maintain(absl::Now()));
      mu_.Lock();
      if (!stopping_) wake_.WaitFor(&mu_, absl::Seconds(1));
    }
  }

  Mutex mu_;
  CondVar wake_;
  bool stopping_ = false;
  std::thread thread_;
};

void Bench::Append(const std::string& name, bool sync) {
  ::sync();  // So that the device's count is ours only.
  std::unique_ptr<RocksLogStore> store = Open(name);
  MakePartitions(store.get());
  const int64_t device_before = DeviceBytesWritten(directory_);
  const int64_t process_before = ProcessBytesWritten();
  const double cpu_before = CpuSeconds();
  const absl::Duration length = absl::Seconds(absl::GetFlag(FLAGS_seconds));
  const double rate = absl::GetFlag(FLAGS_mb_per_second) * 1e6;
  std::vector<double> latencies_ms;
  int64_t payload = 0;
  absl::Duration elapsed;
  {
    const Maintainer maintainer(store.get());
    const MonotonicTime start = Clock::Real()->MonotonicNow();
    while (elapsed < length) {
      const Round round = NextRound();
      const MonotonicTime before = Clock::Real()->MonotonicNow();
      Check(store->Commit(round, sync));
      const MonotonicTime after = Clock::Real()->MonotonicNow();
      latencies_ms.push_back(absl::ToDoubleMilliseconds(after - before));
      for (const BatchWrite& write : round.batches) {
        payload += static_cast<int64_t>(write.batch.size());
      }
      elapsed = after - start;
      if (rate > 0) {
        const absl::Duration ahead = absl::Seconds(static_cast<double>(payload) / rate) - elapsed;
        if (ahead > absl::ZeroDuration())
          usleep(static_cast<useconds_t>(absl::ToInt64Microseconds(ahead)));
      }
    }
  }
  const double cpu = CpuSeconds() - cpu_before;
  const StoreStats stats = store->Stats();
  store.reset();  // Flushes what is left: each payload byte is counted with its table.
  ::sync();
  const int64_t device = DeviceBytesWritten(directory_) - device_before;
  const int64_t process = ProcessBytesWritten() - process_before;
  std::sort(latencies_ms.begin(), latencies_ms.end());
  const auto gigabytes = static_cast<double>(payload) / 1e9;
  const auto share = [&](double q) {
    return latencies_ms[static_cast<size_t>(q * static_cast<double>(latencies_ms.size() - 1))];
  };
  Add({name + ".throughput", gigabytes * 1000 / absl::ToDoubleSeconds(elapsed), "MB/s"});
  Add({name + ".cpu", cpu / gigabytes, "s/GB"});
  Add({name + ".device_bytes_per_payload_byte",
       static_cast<double>(device) / static_cast<double>(payload), "", sync ? 2.1 : 1.1});
  Add({name + ".process_bytes_per_payload_byte",
       static_cast<double>(process) / static_cast<double>(payload), ""});
  Add({name + ".wal_and_table_bytes_per_payload_byte",
       static_cast<double>(stats.wal_written_bytes + stats.flushed_bytes) /
           static_cast<double>(payload),
       ""});
  Add({name + ".append_p50", share(0.5), "ms"});
  Add({name + ".append_p99", share(0.99), "ms"});
  Add({name + ".append_p999", share(0.999), "ms"});
  Add({name + ".append_longest", latencies_ms.back(), "ms", 100});
  Add({name + ".stalled", static_cast<double>(stats.stall_micros) / 1000, "ms"});
}

void Bench::Seek() {
  std::unique_ptr<RocksLogStore> store = Open("seek");
  MakePartitions(store.get());
  for (int64_t payload = 0; payload < 1500 * kMillion;) {
    Round round = NextRound();
    Check(store->Commit(round, false));
    payload += static_cast<int64_t>(round.batches.size() * batch_.size());
  }
  store = nullptr;  // Everything in tables, nothing cached.
  store = Open("seek");
  const int seeks = absl::GetFlag(FLAGS_seeks);
  const StoreStats before = store->Stats();
  const MonotonicTime start = Clock::Real()->MonotonicNow();
  for (int i = 0; i < seeks; ++i) {
    const size_t at = random_.Below(ids_.size());
    // Any record, most of them inside a batch.
    const Offset from(
        static_cast<int64_t>(random_.Below(static_cast<uint64_t>(ends_[at].value()))));
    Check(store->Read(ids_[at], from, Offset(INT64_MAX), 1).status());
  }
  const absl::Duration took = Clock::Real()->MonotonicNow() - start;
  const StoreStats after = store->Stats();
  Add({"seek.blocks_read_per_seek",
       static_cast<double>(after.data_blocks_read - before.data_blocks_read) / seeks, "", 1.05});
  Add({"seek.time", absl::ToDoubleMicroseconds(took) / seeks, "us"});
}

void Bench::Reopen() {
  constexpr int64_t kWalBytes = int64_t{1} << 30;
  const pid_t child = fork();
  if (child == 0) {
    // No Maintain: the write-ahead log grows as if nothing had ever been old enough to flush.
    std::unique_ptr<RocksLogStore> store = Open("reopen", 4 * kWalBytes);
    MakePartitions(store.get());
    while (store->Stats().wal_bytes < kWalBytes) Check(store->Commit(NextRound(), false));
    kill(getpid(), SIGKILL);
  }
  int status = 0;
  waitpid(child, &status, 0);
  int64_t wal = 0;
  for (const auto& file : std::filesystem::directory_iterator(directory_ + "/reopen")) {
    if (file.path().extension() == ".log") wal += static_cast<int64_t>(file.file_size());
  }
  const MonotonicTime start = Clock::Real()->MonotonicNow();
  const std::unique_ptr<RocksLogStore> store = Open("reopen");
  const absl::Duration took = Clock::Real()->MonotonicNow() - start;
  Add({"reopen.wal", static_cast<double>(wal) / (1 << 20), "MiB", 1000, /*at_most=*/false});
  Add({"reopen.time", absl::ToDoubleSeconds(took), "s", 10});
}

void Bench::Idle() {
  constexpr int kIdlePartitions = 10'000;
  const double before = ResidentMegabytes();
  std::unique_ptr<RocksLogStore> store = Open("idle");
  const double opened = ResidentMegabytes();
  for (int i = 0; i < kIdlePartitions; ++i) {
    Check(store
              ->OpenPartition({.topic = Uuid::FromRandomBits(2, 2), .partition = PartitionIndex(i)},
                              {})
              .status());
  }
  Check(store->Maintain(absl::Now()));
  Add({"idle.store", opened - before, "MB"});
  Add({"idle.10000_partitions", ResidentMegabytes() - opened, "MB", 100});
}

int Bench::Report() const {
  bool all = true;
  std::string json = absl::StrFormat(
      "{\"benchmark\":\"store\",\"partitions\":%d,\"batch_bytes\":%d,\"round_batches\":%d,"
      "\"seconds\":%d,\"cores\":%d,\"figures\":[",
      absl::GetFlag(FLAGS_partitions), batch_.size(), absl::GetFlag(FLAGS_round_batches),
      absl::GetFlag(FLAGS_seconds), std::thread::hardware_concurrency());
  for (const Figure& figure : figures_) {
    const std::string bound =
        figure.bound == 0 ? ""
                          : absl::StrFormat("%s %g  %s", figure.at_most ? "<=" : ">=", figure.bound,
                                            figure.ok() ? "pass" : "FAIL");
    absl::FPrintF(stderr, "%-44s %10.3f %-5s %s\n", figure.name, figure.value, figure.unit, bound);
    absl::StrAppendFormat(&json, "%s{\"name\":\"%s\",\"value\":%.6g,\"unit\":\"%s\"",
                          &figure == &figures_.front() ? "" : ",", figure.name, figure.value,
                          figure.unit);
    if (figure.bound != 0) {
      absl::StrAppendFormat(&json, ",\"bound\":%g,\"pass\":%s", figure.bound,
                            figure.ok() ? "true" : "false");
    }
    json += "}";
    all = all && figure.ok();
  }
  std::cout << json << "]}\n";
  return all ? 0 : 1;
}

}  // namespace
}  // namespace falaj::log

int main(int argc, char** argv) {
  absl::ParseCommandLine(argc, argv);
  falaj::log::Configure({.level_min = falaj::log::Level::kWarning, .component = "bench"});
  const std::string phases = absl::StrCat(",", absl::GetFlag(FLAGS_phases), ",");
  const auto wanted = [&](const char* phase) {
    return phases.find(absl::StrCat(",", phase, ",")) != std::string::npos;
  };
  falaj::log::Bench bench;
  if (wanted("reopen")) bench.Reopen();  // First: it forks, so no threads may run yet.
  if (wanted("idle")) bench.Idle();
  if (wanted("fsync")) bench.Append("fsync", true);
  if (wanted("os")) bench.Append("os", false);
  if (wanted("seek")) bench.Seek();
  return bench.Report();
}
