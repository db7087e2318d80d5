// What the command prints: data on standard output, talk on standard error.
//
// A Table is printed aligned on a terminal, as tab-separated values into a pipe, and as one JSON
// object per row with `-o json`; the last two are for programs, so they carry bare numbers and a
// header line (TSV) or the column's name as the key (JSON, "HIGH-WATERMARK" becomes
// "high_watermark").
#ifndef SERVICES_CLI_OUTPUT_H_
#define SERVICES_CLI_OUTPUT_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

namespace falaj::cli {

enum class ExitCode { kOk = 0, kFailed = 1, kUsage = 2, kPartial = 3 };

enum class OutputMode { kAuto, kTable, kTsv, kJson };
// kAuto becomes kTable or kTsv.
OutputMode ResolveMode(OutputMode mode);

class Cell {
 public:
  Cell(absl::string_view text) : text_(text) {}   // NOLINT: cells are made from values
  Cell(const std::string& text) : text_(text) {}  // NOLINT: cells are made from values
  Cell(const char* text) : text_(text) {}         // NOLINT: cells are made from values
  Cell(int64_t number) : text_(absl::StrCat(number)), number_(true), value_(number) {}  // NOLINT
  Cell(int number) : Cell(static_cast<int64_t>(number)) {}  // NOLINT: cells are made from values

  const std::string& text() const { return text_; }
  bool number() const { return number_; }
  std::string pretty() const;  // With thousands separators.

 private:
  std::string text_;
  bool number_ = false;
  int64_t value_ = 0;
};

class Table {
 public:
  explicit Table(std::vector<std::string> columns) : columns_(std::move(columns)) {}

  void Add(std::vector<Cell> row) { rows_.push_back(std::move(row)); }
  std::string Render(OutputMode mode) const;  // Requires a resolved mode.
  void Print(OutputMode mode) const;

 private:
  std::string RenderTable() const;

  std::vector<std::string> columns_;
  std::vector<std::vector<Cell>> rows_;
};

// Prints what went wrong in three lines: the reason, a sentence, and the command to try next.
void PrintError(const absl::Status& status);
std::string RenderError(const absl::Status& status);

}  // namespace falaj::cli

#endif  // SERVICES_CLI_OUTPUT_H_
