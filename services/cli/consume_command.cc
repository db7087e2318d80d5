#include <re2/re2.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>
#include <iterator>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

#include "libs/base/clock.h"
#include "libs/base/status.h"
#include "libs/client/consumer.h"
#include "services/cli/commands.h"
#include "services/cli/consume_plan.h"
#include "services/cli/interrupt.h"
#include "services/cli/progress.h"
#include "services/cli/record_format.h"
#include "services/cli/session.h"
#include "services/cli/values.h"

namespace falaj::cli {
namespace {

constexpr absl::Duration kPollInterval = absl::Milliseconds(200);  // How soon Ctrl-C is seen.
constexpr size_t kFlushBytes = 64 << 10;

// Decides which records are wanted, prints them, and knows when everything has been read.
class RecordPrinter {
 public:
  static absl::StatusOr<RecordPrinter> Create(const ConsumeOptions& options,
                                              const std::vector<PartitionPlan>& plans) {
    RecordPrinter printer(options);
    FALAJ_ASSIGN_OR_RETURN(printer.format_, RecordFormat::Parse(DefaultFormat(options)));
    if (!options.grep.empty()) {
      printer.pattern_ = std::make_unique<RE2>(options.grep, RE2::Quiet);
      if (!printer.pattern_->ok()) {
        return MakeError(Reason::kInvalidRequest,
                         absl::StrCat("--grep: ", printer.pattern_->error()));
      }
    }
    for (const PartitionPlan& plan : plans) {
      if (!plan.end.has_value()) {
        printer.endless_ = true;
      } else if (plan.begin < *plan.end) {
        printer.ends_[{plan.topic, plan.partition}] = *plan.end;
        printer.total_ += *plan.end - plan.begin;
      }
    }
    return printer;
  }

  bool done() const { return full_ || (!endless_ && ends_.empty()); }
  int64_t printed() const { return printed_; }
  int64_t read() const { return read_; }
  int64_t read_bytes() const { return read_bytes_; }
  // How many there are to read, gaps included; 0 if there is no end.
  int64_t total() const { return endless_ ? 0 : total_; }

  void Take(const client::RecordRun& run) {
    read_ += static_cast<int64_t>(run.records().size());
    read_bytes_ += run.size_bytes();
    const auto end = ends_.find({run.topic(), run.partition()});
    for (const record::RecordView& record : run.records()) {
      if (end != ends_.end() && record.offset >= end->second) break;
      if (full_) break;
      if (Matches(record)) Print(run, record);
    }
  }

  // Forgets the partitions that have been read to their end. The last records may be control
  // records, of which no run tells: the position does.
  absl::Status CheckEnds(const client::Consumer& consumer) {
    for (auto it = ends_.begin(); it != ends_.end();) {
      FALAJ_ASSIGN_OR_RETURN(const Offset position,
                             consumer.Position(it->first.first, it->first.second));
      it = position >= it->second ? ends_.erase(it) : std::next(it);
    }
    return absl::OkStatus();
  }

  void Flush() {
    std::fwrite(out_.data(), 1, out_.size(), stdout);
    std::fflush(stdout);
    out_.clear();
  }

 private:
  explicit RecordPrinter(const ConsumeOptions& options) : options_(&options) {}

  static std::string DefaultFormat(const ConsumeOptions& options) {
    if (!options.format.empty()) return options.format;
    return options.meta_only ? R"(%t\t%p\t%o\t%T\t%K\t%S\n)" : R"(%s\n)";
  }

  bool Matches(const record::RecordView& record) const {
    if (pattern_ == nullptr) return true;
    const absl::string_view value = record.value.value_or("");
    const absl::string_view key = record.key.value_or("");
    return RE2::PartialMatch(re2::StringPiece(value.data(), value.size()), *pattern_) ||
           RE2::PartialMatch(re2::StringPiece(key.data(), key.size()), *pattern_);
  }

  void Print(const client::RecordRun& run, const record::RecordView& record) {
    if (options_->json) {
      absl::StrAppend(&out_, RecordJson(run.topic(), run.partition(), record, !options_->meta_only),
                      "\n");
    } else {
      format_.Render(run.topic(), run.partition(), record, options_->null_text, &out_);
    }
    ++printed_;
    full_ = options_->count > 0 && printed_ >= options_->count;
    if (out_.size() >= kFlushBytes) Flush();
  }

  const ConsumeOptions* options_;
  RecordFormat format_;
  std::unique_ptr<RE2> pattern_;
  std::map<std::pair<std::string, PartitionIndex>, Offset> ends_;  // Of partitions not yet read.
  bool endless_ = false;
  bool full_ = false;
  int64_t printed_ = 0;
  int64_t total_ = 0;
  int64_t read_ = 0;
  int64_t read_bytes_ = 0;
  std::string out_;
};

// `progress`: may be null.
absl::Status ReadAll(const Session& session, const std::vector<PartitionPlan>& plans,
                     RecordPrinter* printer, ProgressBar* progress) {
  std::vector<client::ConsumerPosition> positions;
  for (const PartitionPlan& plan : plans) {
    if (plan.end.has_value() && plan.begin >= *plan.end) continue;
    positions.push_back({plan.topic, plan.partition, client::AtOffset(plan.begin)});
  }
  client::ConsumerOptions options;
  options.address = session.address;
  options.client_id = "falaj-consume";
  options.reconnect_timeout = session.timeout;
  FALAJ_ASSIGN_OR_RETURN(const std::unique_ptr<client::Consumer> consumer,
                         client::Consumer::Create(options, positions));
  while (!printer->done() && !Interrupted()) {
    FALAJ_ASSIGN_OR_RETURN(const client::RecordRun run, consumer->Poll(kPollInterval));
    printer->Take(run);
    if (progress != nullptr) progress->Update(printer->read(), printer->read_bytes());
    FALAJ_RETURN_IF_ERROR(printer->CheckEnds(*consumer));
    // On a quiet topic every record shows at once; in a flood, whole buffers do.
    if (run.records().size() < 100) printer->Flush();
  }
  return absl::OkStatus();
}

// On a terminal a bar would be between the records; into a pipe, between what its reader prints.
bool GoesToFile() {
  struct stat file = {};
  return fstat(STDOUT_FILENO, &file) == 0 && S_ISREG(file.st_mode);
}

absl::Status Consume(const ConsumeOptions& options, const Session& session) {
  FALAJ_ASSIGN_OR_RETURN(const OffsetRange range, ParseOffsetRange(options.offset, absl::Now()));
  client::Admin admin(session.admin_options());
  FALAJ_ASSIGN_OR_RETURN(
      const std::vector<PartitionPlan> plans,
      PlanConsume(options.topics, options.partitions, range, options.exit_at_end, &admin));
  FALAJ_ASSIGN_OR_RETURN(RecordPrinter printer, RecordPrinter::Create(options, plans));
  std::optional<ProgressBar> progress;
  if (!options.quiet && GoesToFile()) {
    progress.emplace(absl::StrJoin(options.topics, ","), printer.total(), Clock::Real());
  }
  const absl::Status status = printer.done() ? absl::OkStatus()
                                             : ReadAll(session, plans, &printer,
                                                       progress.has_value() ? &*progress : nullptr);
  progress.reset();
  printer.Flush();
  if (!options.quiet && options.exit_at_end) {
    std::fprintf(stderr, "%s records\n", FormatCount(printer.printed()).c_str());
  }
  return status;
}

}  // namespace

ExitCode RunConsume(const ConsumeOptions& options) {
  const absl::StatusOr<Session> session = OpenSession(options.common);
  if (!session.ok()) return FailUsage(session.status());
  CatchInterrupts();
  const absl::Status status = Consume(options, *session);
  return status.ok() ? ExitCode::kOk : Fail(status);
}

}  // namespace falaj::cli
