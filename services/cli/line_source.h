// LineSource yields the lines of a file, of standard input ("-"), or of a zstd-compressed file
// (name ends in ".zst"), without their line breaks. A last line without a break counts.
//
// Threads: one at a time. Next() blocks while the input does.
#ifndef SERVICES_CLI_LINE_SOURCE_H_
#define SERVICES_CLI_LINE_SOURCE_H_

#include <cstdint>
#include <cstdio>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace falaj::cli {

class LineSource {
 public:
  static absl::StatusOr<std::unique_ptr<LineSource>> Open(const std::string& path);
  ~LineSource();

  // Sets `line`, valid until the next call, or returns false: at the end, or after an error that
  // status() tells.
  bool Next(absl::string_view* line);
  const absl::Status& status() const { return status_; }
  // Which part of the file has been read, between 0 and 1; negative for what has no known size.
  double part_read() const;

 private:
  struct Decompressor;
  LineSource();
  bool Fill();  // Appends to buffer_; false at the end.
  bool FillCompressed();

  std::FILE* file_ = nullptr;
  int64_t size_bytes_ = 0;  // Of a regular file; else 0.
  int64_t read_bytes_ = 0;
  bool owned_ = false;
  std::unique_ptr<Decompressor> zstd_;
  std::string buffer_;
  size_t at_ = 0;
  absl::Status status_;
};

}  // namespace falaj::cli

#endif  // SERVICES_CLI_LINE_SOURCE_H_
