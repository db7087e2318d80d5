// Format strings in the manner of kcat: how `consume -f` prints a record and `produce -f` reads
// one.
//
//   %s value   %S its size (-1: null)   %k key   %K its size (-1: null)   %h headers a=1,b=2
//   %t topic   %p partition   %o offset   %T timestamp in ms   %% a percent sign
//   \n \r \t \\ \0 \xHH
#ifndef SERVICES_CLI_RECORD_FORMAT_H_
#define SERVICES_CLI_RECORD_FORMAT_H_

#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

#include "libs/base/ids.h"
#include "libs/record/record.h"

namespace falaj::cli {

// Replaces \n, \t, \xHH and the like. INVALID_REQUEST for an unknown escape.
absl::StatusOr<std::string> Unescape(absl::string_view text);

class RecordFormat {
 public:
  // INVALID_REQUEST for an unknown token.
  static absl::StatusOr<RecordFormat> Parse(absl::string_view format);

  // Appends the record to `out`; a null key or value prints as `null_text`.
  void Render(absl::string_view topic, PartitionIndex partition, const record::RecordView& record,
              absl::string_view null_text, std::string* out) const;

  // Reads a record from a line: the text between tokens separates the fields, the last token takes
  // the rest. Only %k %s %h %T %p may be used; `partition` is set by %p. INVALID_REQUEST if the
  // line does not fit.
  absl::Status ParseLine(absl::string_view line, record::Record* record,
                         std::optional<PartitionIndex>* partition) const;

 private:
  struct Part {
    char token = 0;  // 0: literal text.
    std::string text;
  };
  std::vector<Part> parts_;
};

// The JSON envelope of `consume -J`, with kcat's keys: topic, partition, offset, tstype, ts,
// headers, key, payload.
std::string RecordJson(absl::string_view topic, PartitionIndex partition,
                       const record::RecordView& record, bool with_payload);

}  // namespace falaj::cli

#endif  // SERVICES_CLI_RECORD_FORMAT_H_
