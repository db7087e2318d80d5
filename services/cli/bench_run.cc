#include "services/cli/bench_run.h"

#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"

#include "libs/base/clock.h"
#include "libs/base/random.h"
#include "libs/base/status.h"
#include "libs/client/admin.h"
#include "services/cli/line_source.h"
#include "services/cli/progress.h"
#include "services/cli/topic_settings.h"
#include "services/cli/values.h"

namespace falaj::cli {
namespace {

constexpr double kDefaultSeconds = 5;
constexpr double kDefaultLatencyRate = 1000;
constexpr int64_t kDefaultFillBytes = int64_t{512} << 20;
constexpr int kDefaultPartitions = 6;
constexpr int kManyPartitions = 1000;

absl::StatusOr<std::vector<InputRecord>> ReadInput(const std::string& path) {
  std::vector<InputRecord> records;
  FALAJ_ASSIGN_OR_RETURN(const std::unique_ptr<LineSource> lines, LineSource::Open(path));
  absl::string_view line;
  while (lines->Next(&line)) {
    const size_t tab = line.find('\t');
    InputRecord record;
    // As with `produce -K '\t' -Z`: an empty key is none.
    if (tab != absl::string_view::npos && tab > 0) record.key = std::string(line.substr(0, tab));
    if (tab != absl::string_view::npos) line.remove_prefix(tab + 1);
    record.value = std::string(line);
    records.push_back(std::move(record));
  }
  FALAJ_RETURN_IF_ERROR(lines->status());
  if (!records.empty()) return records;
  return MakeError(Reason::kInvalidRequest, absl::StrCat(path, " has no lines"));
}

// The state of one run: topic, load options, what has been measured so far.
class Run {
 public:
  Run(const BenchOptions& options, const Session& session, const BenchDisk* disk)
      : session_(session), disk_(disk), admin_(session.admin_options()) {
    report_.options = options;
  }

  absl::StatusOr<BenchReport> Execute() {
    FALAJ_RETURN_IF_ERROR(Prepare());
    report_.topic = load_.topic;
    FALAJ_ASSIGN_OR_RETURN(const v1::GetClusterResponse cluster, admin_.GetCluster());
    report_.storage_nodes = static_cast<int>(
        std::count_if(cluster.nodes().begin(), cluster.nodes().end(),
                      [](const auto& node) { return node.state() == v1::NODE_STATE_ONLINE; }));
    check_ = std::make_unique<SequenceCheck>(load_.producers * kLoadsMax);
    const std::string& workload = report_.options.workload;
    if (!input_.empty() || workload == "end-to-end") {
      RunEndToEnd();
    } else if (workload == "consume") {
      Fill();
      RunConsume("consume");
    } else if (workload == "backlog") {
      Fill();
      RunBacklog();
    } else {
      RunProduce();
    }
    report_.check = check_->Finish();
    const bool keep = !report_.options.topic.empty() || report_.options.keep_topic;
    if (!keep) IgnoreError(admin_.DeleteTopic(load_.topic), "retention takes it otherwise");
    return std::move(report_);
  }

 private:
  static constexpr int kLoadsMax = 4;  // Phases that produce; each has its own producer numbers.

  absl::Status Prepare() {
    const BenchOptions& options = report_.options;
    FALAJ_ASSIGN_OR_RETURN(processes_, ProcessAccount::ParseProcesses(options.processes));
    if (options.producers < 1 || options.consumers < 1) {
      return MakeError(Reason::kInvalidRequest, "at least one producer and one consumer");
    }
    if (!options.input.empty()) {
      FALAJ_ASSIGN_OR_RETURN(input_, ReadInput(options.input));
      load_.input = &input_;
    }
    load_.producers = options.producers;
    load_.consumers = options.consumers;
    load_.rate = options.rate;
    load_.closed = options.closed;
    load_.run = Random::FromSystem().Next();
    FALAJ_ASSIGN_OR_RETURN(load_.record_size, ParseBytes(options.record_size));
    load_.producer.address = session_.address;
    load_.producer.client_id = "falaj-bench";
    FALAJ_ASSIGN_OR_RETURN(load_.producer.acks, ParseAcks(options.acks));
    load_.producer.idempotent = !options.no_idempotence;
    FALAJ_ASSIGN_OR_RETURN(load_.producer.compression, ParseCompression(options.compression));
    FALAJ_ASSIGN_OR_RETURN(load_.producer.linger, ParseDuration(options.linger));
    FALAJ_ASSIGN_OR_RETURN(const int64_t batch_bytes, ParseBytes(options.batch_bytes));
    load_.producer.batch_bytes = static_cast<int32_t>(std::clamp<int64_t>(batch_bytes, 1, 8 << 20));
    load_.consumer.address = session_.address;
    load_.consumer.client_id = "falaj-bench";
    return PrepareTopic();
  }

  absl::Status PrepareTopic() {
    const BenchOptions& options = report_.options;
    if (!options.topic.empty()) {
      FALAJ_ASSIGN_OR_RETURN(const v1::Topic topic, admin_.GetTopic(options.topic));
      load_.topic = options.topic;
      load_.partitions = topic.partition_count();
      report_.options.partitions = load_.partitions;
      return absl::OkStatus();
    }
    const int suited = options.workload == "many-partitions" ? kManyPartitions : kDefaultPartitions;
    load_.partitions = options.partitions > 0 ? options.partitions : suited;
    load_.topic = absl::StrCat("bench-", absl::Hex(load_.run));
    report_.options.partitions = load_.partitions;
    v1::CreateTopicRequest request;
    request.set_name(load_.topic);
    request.set_partition_count(load_.partitions);
    request.set_replication_factor(options.replicas);
    request.mutable_config()->set_min_in_sync_replicas(std::max(options.replicas - 1, 1));
    TopicSettings settings;
    settings.retention = "1h";
    settings.durability = options.durability;
    FALAJ_RETURN_IF_ERROR(FillConfig(settings, request.mutable_config(), nullptr));
    if (load_.producer.batch_bytes > request.config().batch_bytes_max()) {
      request.mutable_config()->set_batch_bytes_max(
          std::max(load_.producer.batch_bytes, 1'048'588));
    }
    return admin_.CreateTopic(request).status();
  }

  absl::Duration Seconds(double fallback) const {
    const double seconds = report_.options.seconds;
    if (seconds <= 0 && report_.options.records > 0) return absl::ZeroDuration();
    return absl::Seconds(seconds > 0 ? seconds : fallback);
  }

  // A load whose producers have numbers of their own, so that sequences of phases do not mix.
  LoadOptions NextLoad(double rate, absl::Duration duration, int64_t records) {
    LoadOptions load = load_;
    load.rate = rate;
    load.duration = duration;
    load.records = records;
    load.first_producer = static_cast<uint32_t>(load_.producers * loads_++);
    return load;
  }

  // Does `work`, and tells what it costs.
  template <typename Work>
  void Measure(BenchPhase* phase, const Work& work) {
    if (disk_ != nullptr) IgnoreError(disk_->Settle(), "the phase is measured all the same");
    const ProcessAccount account(processes_);
    const std::optional<int64_t> before = DeviceBytes();
    work();
    const std::optional<int64_t> after = DeviceBytes();
    if (before.has_value() && after.has_value()) phase->device_bytes = *after - *before;
    phase->processes = account.SinceStart();
    phase->machine = account.MachineSinceStart();
  }
  std::optional<int64_t> DeviceBytes() const {
    return disk_ == nullptr ? std::nullopt : disk_->device_bytes();
  }

  BenchPhase ProducePhase(const std::string& name, const LoadOptions& load) {
    BenchPhase phase;
    phase.name = name;
    phase.rate = load.rate;
    BenchLoad run(load, check_.get());
    Measure(&phase, [&] { phase.produce = run.Produce(); });
    return phase;
  }

  void RunProduce() {
    const double rate = report_.options.rate;
    const absl::Duration duration = Seconds(kDefaultSeconds);
    const std::string first = rate > 0 ? "paced" : "peak";
    report_.phases.push_back(
        ProducePhase(first, NextLoad(rate, duration, report_.options.records)));
    if (rate <= 0 && !load_.closed) {
      // Latency means something below saturation only: half of the peak, as an open loop.
      const ProduceResult& peak = *report_.phases.back().produce;
      const double per_second = static_cast<double>(peak.delivered - peak.ahead) /
                                std::max(absl::FDivDuration(peak.elapsed, absl::Seconds(1)), 1e-9);
      report_.phases.push_back(
          ProducePhase("half", NextLoad(per_second / 2, duration, report_.options.records)));
    }
    RunConsume("read back");
  }

  void Fill() {
    const int64_t records = report_.options.records > 0
                                ? report_.options.records
                                : kDefaultFillBytes / std::max<int64_t>(load_.record_size, 1);
    report_.phases.push_back(ProducePhase("fill", NextLoad(0, absl::ZeroDuration(), records)));
  }

  void RunConsume(const std::string& name) {
    BenchPhase phase;
    phase.name = name;
    BenchLoad run(load_, check_.get());
    run.EndOfProducing();
    Measure(&phase, [&] { phase.consume = run.Consume(); });
    // The records are as old as the phase before is long: that is no latency of the consumer.
    phase.consume->end_to_end = Histogram();
    report_.phases.push_back(std::move(phase));
  }

  BenchPhase Both(const std::string& name, const LoadOptions& load) {
    BenchPhase phase;
    phase.name = name;
    phase.rate = load.rate;
    BenchLoad run(load, check_.get());
    Measure(&phase, [&] {
      std::thread consumers([&] { phase.consume = run.Consume(); });
      phase.produce = run.Produce();
      run.EndOfProducing();
      consumers.join();
    });
    return phase;
  }

  void RunEndToEnd() {
    const double fallback = input_.empty() ? kDefaultLatencyRate : 0;
    const double rate = report_.options.rate > 0 ? report_.options.rate : fallback;
    const absl::Duration duration =
        input_.empty() ? Seconds(2 * kDefaultSeconds) : absl::ZeroDuration();
    report_.phases.push_back(Both("end to end", NextLoad(rate, duration, report_.options.records)));
  }

  void RunBacklog() {
    const double rate = report_.options.rate > 0 ? report_.options.rate : 10 * kDefaultLatencyRate;
    // --records is what is filled in before; without --seconds as many again come meanwhile.
    const absl::Duration duration = Seconds(kDefaultSeconds);
    const int64_t records = duration > absl::ZeroDuration() ? 0 : report_.options.records;
    BenchPhase phase = Both("drain", NextLoad(rate, duration, records));
    phase.consume->end_to_end = Histogram();
    report_.phases.push_back(std::move(phase));
  }

  const Session session_;
  const BenchDisk* const disk_;  // May be null.
  client::Admin admin_;
  BenchReport report_;
  LoadOptions load_;
  std::vector<InputRecord> input_;
  ProcessAccount::Processes processes_;
  std::unique_ptr<SequenceCheck> check_;
  int loads_ = 0;
};

}  // namespace

absl::StatusOr<BenchReport> RunWorkload(const BenchOptions& options, const Session& session,
                                        const BenchDisk* disk) {
  return Run(options, session, disk).Execute();
}

}  // namespace falaj::cli
