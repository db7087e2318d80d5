#include <cstdio>
#include <map>
#include <optional>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

#include "libs/base/clock.h"
#include "libs/base/mutex.h"
#include "libs/base/status.h"
#include "libs/client/producer.h"
#include "services/cli/commands.h"
#include "services/cli/interrupt.h"
#include "services/cli/line_source.h"
#include "services/cli/pace.h"
#include "services/cli/progress.h"
#include "services/cli/record_format.h"
#include "services/cli/session.h"
#include "services/cli/values.h"

namespace falaj::cli {
namespace {

// The outcome of all records. Threads: any.
class DeliveryCount {
 public:
  void Add(const client::Delivery& delivery) {
    const absl::Status& status = delivery.status;
    MutexLock lock(&mu_);
    if (status.ok()) {
      ++delivered_;
      repeated_ += delivery.duplicate ? 1 : 0;
      return;
    }
    Failures& failures = failed_[ReasonOf(status)];
    if (failures.count++ == 0) failures.first = status;
  }
  int64_t delivered() const {
    MutexLock lock(&mu_);
    return delivered_;
  }
  // Of the delivered ones, those that were sent again although they had been appended.
  int64_t repeated() const {
    MutexLock lock(&mu_);
    return repeated_;
  }
  // Prints each kind of failure once.
  ExitCode Report() const {
    MutexLock lock(&mu_);
    for (const auto& [reason, failures] : failed_) {
      std::fprintf(stderr, "%s records failed:\n", FormatCount(failures.count).c_str());
      PrintError(failures.first);
    }
    if (failed_.empty()) return ExitCode::kOk;
    return delivered_ > 0 ? ExitCode::kPartial : ExitCode::kFailed;
  }

 private:
  struct Failures {
    int64_t count = 0;
    absl::Status first;
  };
  mutable Mutex mu_;
  int64_t delivered_ ABSL_GUARDED_BY(mu_) = 0;
  int64_t repeated_ ABSL_GUARDED_BY(mu_) = 0;
  std::map<Reason, Failures> failed_ ABSL_GUARDED_BY(mu_);
};

// Turns lines into records as the options say.
class LineParser {
 public:
  static absl::StatusOr<LineParser> Create(const ProduceOptions& options) {
    LineParser parser;
    parser.options_ = &options;
    FALAJ_ASSIGN_OR_RETURN(parser.delimiter_, Unescape(options.key_delimiter));
    if (!options.format.empty()) {
      FALAJ_ASSIGN_OR_RETURN(parser.format_, RecordFormat::Parse(options.format));
    }
    for (const std::string& header : options.headers) {
      const std::pair<std::string, std::string> field =
          absl::StrSplit(header, absl::MaxSplits('=', 1));
      if (field.first.empty() || header.find('=') == std::string::npos) {
        return MakeError(Reason::kInvalidRequest,
                         absl::StrCat("header '", header, "' is not name=value"));
      }
      parser.headers_.push_back({field.first, field.second});
    }
    return parser;
  }

  absl::Status Parse(absl::string_view line, record::Record* record,
                     std::optional<PartitionIndex>* partition) const {
    record->headers = headers_;
    record->timestamp_ms = Clock::Real()->NowMs();
    record->key = options_->key;
    if (format_.has_value()) {
      FALAJ_RETURN_IF_ERROR(format_->ParseLine(line, record, partition));
    } else {
      if (!delimiter_.empty()) {
        if (const size_t at = line.find(delimiter_); at != absl::string_view::npos) {
          record->key = std::string(line.substr(0, at));
          line.remove_prefix(at + delimiter_.size());
        }
      }
      record->value = std::string(line);
    }
    if (options_->empty_is_null) {
      if (record->key.has_value() && record->key->empty()) record->key.reset();
      if (record->value.has_value() && record->value->empty()) record->value.reset();
    }
    return absl::OkStatus();
  }

 private:
  const ProduceOptions* options_ = nullptr;
  std::string delimiter_;
  std::optional<RecordFormat> format_;
  std::vector<record::Header> headers_;
};

absl::StatusOr<client::ProducerOptions> MakeProducerOptions(const ProduceOptions& options,
                                                            const Session& session) {
  client::ProducerOptions producer;
  producer.address = session.address;
  producer.client_id = "falaj-produce";
  FALAJ_ASSIGN_OR_RETURN(producer.acks, ParseAcks(options.acks));
  FALAJ_ASSIGN_OR_RETURN(producer.compression, ParseCompression(options.compression));
  FALAJ_ASSIGN_OR_RETURN(producer.linger, ParseDuration(options.linger));
  FALAJ_ASSIGN_OR_RETURN(const int64_t batch_bytes, ParseBytes(options.batch_bytes));
  producer.batch_bytes = static_cast<int32_t>(std::min<int64_t>(batch_bytes, 8 << 20));
  producer.delivery_timeout = session.timeout;
  producer.idempotent = !options.no_idempotence;
  producer.retry_uncertain = options.retry_uncertain;
  return producer;
}

struct Sent {
  int64_t records = 0;
  int64_t bytes = 0;
};

// Reads, paces and sends until the input ends or Ctrl-C.
absl::Status SendLines(const ProduceOptions& options, const LineParser& parser, LineSource* lines,
                       client::Producer* producer, DeliveryCount* count, Sent* sent) {
  Clock* clock = Clock::Real();
  Pace pace(options.rate, clock->MonotonicNow());
  ProgressBar progress(options.topic, 0, clock);
  absl::string_view line;
  while (!Interrupted() && lines->Next(&line)) {
    record::Record record;
    std::optional<PartitionIndex> partition;
    if (options.partition.has_value()) partition = PartitionIndex(*options.partition);
    FALAJ_RETURN_IF_ERROR(parser.Parse(line, &record, &partition));
    pace.Wait(sent->records, clock);
    client::Destination to(options.topic);
    to.partition = partition;
    FALAJ_RETURN_IF_ERROR(producer->Send(
        to, record, [count](const client::Delivery& delivery) { count->Add(delivery); }));
    ++sent->records;
    sent->bytes += static_cast<int64_t>(line.size());
    if (!options.quiet) progress.Update(sent->records, sent->bytes, lines->part_read());
  }
  return lines->status();
}

absl::StatusOr<ExitCode> Produce(const ProduceOptions& options, const Session& session) {
  FALAJ_ASSIGN_OR_RETURN(const LineParser parser, LineParser::Create(options));
  FALAJ_ASSIGN_OR_RETURN(const std::unique_ptr<LineSource> lines, LineSource::Open(options.file));
  FALAJ_ASSIGN_OR_RETURN(const client::ProducerOptions producer_options,
                         MakeProducerOptions(options, session));
  FALAJ_ASSIGN_OR_RETURN(std::unique_ptr<client::Producer> producer,
                         client::Producer::Create(producer_options));
  DeliveryCount count;
  Sent sent;
  const MonotonicTime start = Clock::Real()->MonotonicNow();
  absl::Status status = SendLines(options, parser, lines.get(), producer.get(), &count, &sent);
  const absl::Status flushed = producer->Flush(session.timeout + absl::Seconds(1));
  producer.reset();  // Whatever is left has its outcome now.
  if (!options.quiet) {
    const absl::Duration elapsed = Clock::Real()->MonotonicNow() - start;
    std::fprintf(stderr, "%s of %s records (%s) delivered to %s in %.3f s\n",
                 FormatCount(count.delivered()).c_str(), FormatCount(sent.records).c_str(),
                 FormatBytes(static_cast<double>(sent.bytes)).c_str(), options.topic.c_str(),
                 absl::ToDoubleSeconds(elapsed));
    if (count.repeated() > 0) {
      std::fprintf(stderr,
                   "%s records were sent again after they had been appended: once in the log\n",
                   FormatCount(count.repeated()).c_str());
    }
  }
  const ExitCode code = count.Report();
  if (status.ok()) status = code == ExitCode::kOk ? flushed : absl::OkStatus();
  if (status.ok()) return code;
  PrintError(status);
  return count.delivered() > 0 ? ExitCode::kPartial : ExitCode::kFailed;
}

}  // namespace

ExitCode RunProduce(const ProduceOptions& options) {
  const absl::StatusOr<Session> session = OpenSession(options.common);
  if (!session.ok()) return FailUsage(session.status());
  CatchInterrupts();
  const absl::StatusOr<ExitCode> code = Produce(options, *session);
  return code.ok() ? *code : Fail(code.status());
}

}  // namespace falaj::cli
