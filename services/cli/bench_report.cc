#include "services/cli/bench_report.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"

#include "libs/base/status.h"
#include "libs/telemetry/process_metrics.h"
#include "services/cli/json_line.h"
#include "services/cli/values.h"

namespace falaj::cli {
namespace {

double PerSecond(int64_t amount, absl::Duration elapsed) {
  const double seconds = absl::ToDoubleSeconds(elapsed);
  return seconds <= 0 ? 0 : static_cast<double>(amount) / seconds;
}

std::string Megabytes(int64_t bytes, absl::Duration elapsed) {
  return absl::StrFormat("%.1f", PerSecond(bytes, elapsed) / 1e6);
}

std::string InMilliseconds(int64_t ns) {
  return absl::StrFormat("%.3f", static_cast<double>(ns) / 1e6);
}

void AddLatencies(const std::string& phase, const std::string& name, const Histogram& histogram,
                  Table* table) {
  if (histogram.count() == 0) return;
  std::vector<Cell> row = {phase, name, histogram.count()};
  for (const double percent : Histogram::kPercentiles) {
    row.push_back(InMilliseconds(histogram.Percentile(percent)));
  }
  row.push_back(InMilliseconds(histogram.max()));
  table->Add(std::move(row));
}

std::string Percent(double share) { return absl::StrFormat("%.1f %%", 100 * share); }

std::string ProduceJson(const ProduceResult& result) {
  return JsonLine()
      .Add("sent", result.sent)
      .Add("delivered", result.delivered)
      .Add("failed", result.failed)
      .Add("bytes", result.bytes)
      .Add("seconds", absl::ToDoubleSeconds(result.elapsed))
      .Add("first_error", ReasonName(ReasonOf(result.first_error)))
      .AddRaw("from_intended", result.from_intended.ToJson())
      .AddRaw("from_sent", result.from_sent.ToJson())
      .ToString();
}

std::string ConsumeJson(const ConsumeResult& result) {
  return JsonLine()
      .Add("records", result.records)
      .Add("bytes", result.bytes)
      .Add("seconds", absl::ToDoubleSeconds(result.elapsed))
      .Add("first_error", ReasonName(ReasonOf(result.first_error)))
      .AddRaw("end_to_end", result.end_to_end.ToJson())
      .ToString();
}

std::string PhaseJson(const BenchPhase& phase) {
  JsonLine line;
  line.Add("name", phase.name).Add("rate", phase.rate);
  if (phase.produce.has_value()) {
    line.Add("produce_mb_per_second", phase.produce_mb_per_second());
    line.AddRaw("produce", ProduceJson(*phase.produce));
  }
  if (phase.consume.has_value()) {
    line.Add("consume_mb_per_second", phase.consume_mb_per_second());
    line.AddRaw("consume", ConsumeJson(*phase.consume));
  }
  if (phase.device_bytes.has_value()) line.Add("device_bytes", *phase.device_bytes);
  line.Add("idle_share", phase.machine.idle_share);
  line.Add("stolen_share", phase.machine.stolen_share);
  std::string processes;
  for (const ProcessUse& use : phase.processes) {
    absl::StrAppend(&processes, processes.empty() ? "" : ",",
                    JsonLine()
                        .Add("name", use.name)
                        .Add("cpu_seconds", use.cpu_seconds)
                        .Add("cpu_seconds_per_gb", use.cpu_seconds / phase.gigabytes())
                        .Add("resident_bytes", use.resident_bytes)
                        .Add("written_bytes", use.written_bytes)
                        .ToString());
  }
  return line.AddRaw("processes", absl::StrCat("[", processes, "]")).ToString();
}

std::string ConfigurationJson(const BenchReport& report) {
  const BenchOptions& options = report.options;
  return JsonLine()
      .Add("workload", options.workload)
      .Add("topic", report.topic)
      .Add("storage_nodes", report.storage_nodes)
      .Add("partitions", options.partitions)
      .Add("replicas", options.replicas)
      .Add("rate", options.rate)
      .Add("records", options.records)
      .Add("seconds", options.seconds)
      .Add("record_size", options.record_size)
      .Add("batch_bytes", options.batch_bytes)
      .Add("linger", options.linger)
      .Add("durability", options.durability)
      .Add("acks", options.acks)
      .Add("idempotent", !options.no_idempotence && options.acks == "all")
      .Add("compression", options.compression)
      .Add("input", options.input)
      .Add("producers", options.producers)
      .Add("consumers", options.consumers)
      .Add("closed", options.closed)
      .ToString();
}

std::string CheckJson(const SequenceCheck::Result& check) {
  return JsonLine()
      .Add("acknowledged", check.acknowledged)
      .Add("received", check.received)
      .Add("lost", check.lost)
      .Add("duplicates", check.duplicates)
      .Add("out_of_order", check.out_of_order)
      .ToString();
}

std::string RenderProcesses(const BenchReport& report) {
  Table table(
      {"PHASE", "PROCESS", "CPU-S", "CPU-S/GB", "RESIDENT", "WRITTEN/PAYLOAD", "WRITTEN-MB/S"});
  for (const BenchPhase& phase : report.phases) {
    for (const ProcessUse& use : phase.processes) {
      const double gigabytes = phase.gigabytes();
      table.Add({phase.name, use.name, absl::StrFormat("%.2f", use.cpu_seconds),
                 absl::StrFormat("%.2f", use.cpu_seconds / gigabytes),
                 FormatBytes(static_cast<double>(use.resident_bytes)),
                 absl::StrFormat("%.2f", static_cast<double>(use.written_bytes) / 1e9 / gigabytes),
                 Megabytes(use.written_bytes, phase.elapsed())});
    }
    if (!phase.device_bytes.has_value()) continue;
    table.Add({phase.name, "disk", "", "", "", absl::StrFormat("%.2f", phase.written_per_byte()),
               Megabytes(*phase.device_bytes, phase.elapsed())});
  }
  return table.Render(OutputMode::kTable);
}

}  // namespace

double BenchPhase::produce_mb_per_second() const {
  return produce.has_value() ? PerSecond(produce->bytes, produce->elapsed) / 1e6 : 0;
}

double BenchPhase::consume_mb_per_second() const {
  return consume.has_value() ? PerSecond(consume->bytes, consume->elapsed) / 1e6 : 0;
}

double BenchPhase::gigabytes() const {
  int64_t bytes = produce.has_value() ? produce->bytes : 0;
  if (bytes == 0 && consume.has_value()) bytes = consume->bytes;
  return std::max(static_cast<double>(bytes) / 1e9, 1e-9);
}

double BenchPhase::cpu_seconds_per_gb() const {
  double seconds = 0;
  for (const ProcessUse& use : processes) seconds += use.cpu_seconds;
  return seconds / gigabytes();
}

absl::Duration BenchPhase::elapsed() const {
  if (produce.has_value()) return produce->elapsed;
  return consume.has_value() ? consume->elapsed : absl::ZeroDuration();
}

double BenchPhase::written_per_byte() const {
  if (device_bytes.has_value()) return static_cast<double>(*device_bytes) / 1e9 / gigabytes();
  double bytes = 0;
  for (const ProcessUse& use : processes) bytes += static_cast<double>(use.written_bytes);
  return bytes / 1e9 / gigabytes();
}

ExitCode ExitOf(const BenchReport& report) {
  bool failed = !report.check.ok();
  for (const BenchPhase& phase : report.phases) {
    for (const absl::Status& error :
         {phase.produce.has_value() ? phase.produce->first_error : absl::OkStatus(),
          phase.consume.has_value() ? phase.consume->first_error : absl::OkStatus()}) {
      if (error.ok()) continue;
      PrintError(error);
      failed = true;
    }
  }
  return failed ? ExitCode::kFailed : ExitCode::kOk;
}

bool AllMet(const std::vector<BenchFigure>& figures) {
  return std::all_of(figures.begin(), figures.end(),
                     [](const BenchFigure& figure) { return figure.met(); });
}

std::string RenderFigures(const std::vector<BenchFigure>& figures) {
  Table table({"FIGURE", "MEASURED", "BOUND", "UNIT", "VERDICT", "CPU-STOLEN"});
  for (const BenchFigure& figure : figures) {
    table.Add({figure.name, absl::StrFormat("%.2f", figure.value),
               absl::StrFormat("%s %.2f", figure.at_least ? ">=" : "<=", figure.bound), figure.unit,
               figure.met() ? "met" : "MISSED", Percent(figure.stolen_share)});
  }
  return table.Render(OutputMode::kTable);
}

std::string RenderReport(const BenchReport& report) {
  Table rates({"PHASE", "RATE", "DELIVERED", "FAILED", "PRODUCE-MB/S", "CONSUMED", "CONSUME-MB/S",
               "CPU-IDLE", "CPU-STOLEN"});
  Table latencies({"PHASE", "LATENCY-MS", "COUNT", "P50", "P90", "P99", "P99.9", "P99.99", "MAX"});
  for (const BenchPhase& phase : report.phases) {
    rates.Add({phase.name, phase.rate > 0 ? absl::StrFormat("%.0f/s", phase.rate) : "max",
               phase.produce.has_value() ? phase.produce->delivered : int64_t{0},
               phase.produce.has_value() ? phase.produce->failed : int64_t{0},
               absl::StrFormat("%.1f", phase.produce_mb_per_second()),
               phase.consume.has_value() ? phase.consume->records : int64_t{0},
               absl::StrFormat("%.1f", phase.consume_mb_per_second()),
               Percent(phase.machine.idle_share), Percent(phase.machine.stolen_share)});
    if (phase.produce.has_value()) {
      AddLatencies(phase.name, "from intended", phase.produce->from_intended, &latencies);
      AddLatencies(phase.name, "from sent", phase.produce->from_sent, &latencies);
    }
    if (phase.consume.has_value()) {
      AddLatencies(phase.name, "end to end", phase.consume->end_to_end, &latencies);
    }
  }
  const SequenceCheck::Result& check = report.check;
  return absl::StrCat(rates.Render(OutputMode::kTable), "\n", latencies.Render(OutputMode::kTable),
                      "\n", RenderProcesses(report), "\n", "acknowledged ",
                      FormatCount(check.acknowledged), ", received ", FormatCount(check.received),
                      ", lost ", FormatCount(check.lost), ", duplicates ",
                      FormatCount(check.duplicates), ", out of order ",
                      FormatCount(check.out_of_order), check.ok() ? ": ok\n" : ": FAILED\n");
}

std::string ReportJson(const BenchReport& report) {
  std::string phases;
  for (const BenchPhase& phase : report.phases) {
    absl::StrAppend(&phases, phases.empty() ? "" : ",", PhaseJson(phase));
  }
  return JsonLine()
      .Add("time", PrettyTime(absl::Now()))
      .Add("version", telemetry::BuildVersion())
      .Add("revision", telemetry::BuildRevision())
      .AddRaw("machine", MachineJson())
      .Add("compiler", __VERSION__)
#ifdef NDEBUG
      .Add("build", "release")
#else
      .Add("build", "debug")
#endif
      .AddRaw("configuration", ConfigurationJson(report))
      .AddRaw("phases", absl::StrCat("[", phases, "]"))
      .AddRaw("check", CheckJson(report.check))
      .ToString();
}

}  // namespace falaj::cli
