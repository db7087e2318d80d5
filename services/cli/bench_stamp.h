// The stamp that a benchmark puts into every record, so that the consumer can tell what is missing,
// what came twice, and how long it took: in the first bytes of the value of made-up records, in a
// header of records from --input, whose values stay as they are.
#ifndef SERVICES_CLI_BENCH_STAMP_H_
#define SERVICES_CLI_BENCH_STAMP_H_

#include <cstdint>
#include <cstring>
#include <optional>
#include <string>

#include "absl/strings/string_view.h"

#include "libs/record/record.h"

namespace falaj::cli {

struct BenchStamp {
  static constexpr char kHeader[] = "falaj-bench";

  uint64_t run = 0;  // Tells the records of this run from any others in the topic.
  uint32_t producer = 0;
  uint32_t reserved = 0;
  int64_t sequence = 0;     // Dense from 0 for each producer.
  int64_t intended_ns = 0;  // Monotonic clock of this machine.

  void WriteTo(char* out) const { std::memcpy(out, this, sizeof(*this)); }
  std::string ToString() const {
    return std::string(reinterpret_cast<const char*>(this), sizeof(*this));
  }
};
static_assert(sizeof(BenchStamp) == 32);

// The stamp of a record of run `run`; nullopt if it has none.
inline std::optional<BenchStamp> ReadStamp(const record::RecordView& record, uint64_t run) {
  absl::string_view bytes = record.value.value_or("");
  for (const record::HeaderView& header : record.headers()) {
    if (header.key == BenchStamp::kHeader) bytes = header.value.value_or("");
  }
  BenchStamp stamp;
  if (bytes.size() < sizeof(stamp)) return std::nullopt;
  std::memcpy(&stamp, bytes.data(), sizeof(stamp));
  if (stamp.run != run) return std::nullopt;
  return stamp;
}

}  // namespace falaj::cli

#endif  // SERVICES_CLI_BENCH_STAMP_H_
