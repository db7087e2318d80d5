#include "services/cli/output.h"

#include <unistd.h>

#include <algorithm>
#include <cstdio>

#include "absl/strings/ascii.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"

#include "libs/base/status.h"
#include "services/cli/json_line.h"
#include "services/cli/values.h"

namespace falaj::cli {
namespace {

// A tab or line break inside a value would shift the columns.
std::string TsvField(const std::string& text) {
  return absl::StrReplaceAll(text, {{"\\", "\\\\"}, {"\t", "\\t"}, {"\n", "\\n"}});
}

std::string NextStep(Reason reason) {
  switch (reason) {
    case Reason::kTopicNotFound:
      return "falaj topic list";
    case Reason::kPartitionNotFound:
    case Reason::kOffsetOutOfRange:
      return "falaj topic describe TOPIC";
    case Reason::kTopicAlreadyExists:
      return "falaj topic describe TOPIC, or create it with --if-not-exists";
    case Reason::kNodeNotFound:
    case Reason::kLeaderUnavailable:
    case Reason::kNotEnoughReplicas:
    case Reason::kStorageFailed:
      return "falaj cluster status";
    case Reason::kZnodeNotFound:
      return "falaj znode ls PARENT, or create it with falaj znode create PATH -p";
    case Reason::kZnodeAlreadyExists:
    case Reason::kVersionMismatch:
      return "falaj znode get PATH --stat";
    case Reason::kZnodeNotEmpty:
      return "falaj znode delete PATH -r";
    case Reason::kWatchCompacted:
      return "falaj znode watch PATH without --after, and read what is there";
    case Reason::kDiskFull:
      return "falaj topic truncate TOPIC, or falaj topic update TOPIC --retention 1d";
    case Reason::kMetadataUnavailable:
    case Reason::kShuttingDown:
      return "falaj cluster health";
    case Reason::kAppendUncertain:
      return "falaj consume TOPIC -o -10 -e, to see whether the records are there";
    case Reason::kTimedOut:
      return "the same command with a longer --timeout";
    case Reason::kCorruptRecord:
      return "falaj debug verify DATA-DIRECTORY on the storage node";
    default:
      return "";
  }
}

}  // namespace

OutputMode ResolveMode(OutputMode mode) {
  if (mode != OutputMode::kAuto) return mode;
  return isatty(STDOUT_FILENO) == 1 ? OutputMode::kTable : OutputMode::kTsv;
}

std::string Cell::pretty() const { return number_ ? FormatCount(value_) : text_; }

std::string Table::Render(OutputMode mode) const {
  if (mode == OutputMode::kTable) return RenderTable();
  std::string out;
  if (mode == OutputMode::kTsv) {
    absl::StrAppend(&out, absl::StrJoin(columns_, "\t"), "\n");
    for (const auto& row : rows_) {
      absl::StrAppend(&out,
                      absl::StrJoin(row, "\t",
                                    [](std::string* to, const Cell& cell) {
                                      absl::StrAppend(to, TsvField(cell.text()));
                                    }),
                      "\n");
    }
    return out;
  }
  for (const auto& row : rows_) {
    JsonLine line;
    for (size_t i = 0; i < row.size(); ++i) {
      const std::string key = absl::StrReplaceAll(absl::AsciiStrToLower(columns_[i]), {{"-", "_"}});
      if (row[i].number()) {
        line.AddRaw(key, row[i].text());
      } else {
        line.Add(key, row[i].text());
      }
    }
    absl::StrAppend(&out, line.ToString(), "\n");
  }
  return out;
}

std::string Table::RenderTable() const {
  std::vector<size_t> widths;
  for (const std::string& column : columns_) widths.push_back(column.size());
  for (const auto& row : rows_) {
    for (size_t i = 0; i < row.size(); ++i) {
      widths[i] = std::max(widths[i], row[i].pretty().size());
    }
  }
  std::string out;
  const auto pad = [&](absl::string_view text, size_t i, bool right) {
    const std::string space(widths[i] - text.size(), ' ');
    const bool last = i + 1 == columns_.size();
    absl::StrAppend(&out, right ? space : "", text, right || last ? "" : space, last ? "\n" : "  ");
  };
  for (size_t i = 0; i < columns_.size(); ++i) {
    pad(columns_[i], i, !rows_.empty() && rows_[0][i].number());
  }
  for (const auto& row : rows_) {
    for (size_t i = 0; i < row.size(); ++i) pad(row[i].pretty(), i, row[i].number());
  }
  return out;
}

void Table::Print(OutputMode mode) const {
  const std::string text = Render(ResolveMode(mode));
  std::fwrite(text.data(), 1, text.size(), stdout);
  std::fflush(stdout);
}

std::string RenderError(const absl::Status& status) {
  const Reason reason = ReasonOf(status);
  std::string text = absl::StrCat("error: ", ReasonName(reason), ": ", status.message(), "\n");
  const ErrorMetadata metadata = MetadataOf(status);
  if (!metadata.empty()) {
    absl::StrAppend(&text, "  ", absl::StrJoin(metadata, ", ", absl::PairFormatter("=")), "\n");
  }
  if (const std::string next = NextStep(reason); !next.empty()) {
    absl::StrAppend(&text, "  try: ", next, "\n");
  }
  return text;
}

void PrintError(const absl::Status& status) {
  const std::string text = RenderError(status);
  std::fwrite(text.data(), 1, text.size(), stderr);
}

}  // namespace falaj::cli
