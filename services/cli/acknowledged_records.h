// AcknowledgedRecords is what producers were told is in the log, and the check that a disk has it.
//
// `falaj debug verify --acknowledged` reads it from a file, shows it every record of every replica,
// and asks at the end what was missing. It keeps the values in memory.
//
// Invariants: a place (partition, offset) has one value. Records of a replica are shown in the
// order of the log.
//
// Threads: one. Failures: a malformed file is an error of Load(); missing records are its result.
// Not here: reading disks.
#ifndef SERVICES_CLI_ACKNOWLEDGED_RECORDS_H_
#define SERVICES_CLI_ACKNOWLEDGED_RECORDS_H_

#include <cstdint>
#include <istream>
#include <map>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

#include "libs/base/ids.h"
#include "libs/log/log_store.h"
#include "libs/record/record.h"

namespace falaj::cli {

class AcknowledgedRecords {
 public:
  // Takes lines of topic id TAB partition TAB offset TAB value; the value is the rest of the line.
  // Returns INVALID_REQUEST naming the line if it is not so, or if a place has two values.
  absl::Status Load(std::istream& lines);

  // The records shown next are of this replica.
  void Begin(const log::StoredPartition& partition);
  // Returns what is wrong if the place of the record should hold something else.
  std::optional<std::string> Show(const record::RecordView& record);
  // To be asked when all records of the replica were shown: what is wrong if it does not have
  // everything from its log start on. What lies below was deleted by retention, and counts as
  // deleted().
  std::optional<std::string> Finish();
  // What is wrong if some partition had fewer replicas than that.
  std::optional<std::string> Unseen(int64_t replicas) const;

  int64_t records() const { return records_; }
  int64_t found() const { return found_; }      // Summed over replicas.
  int64_t deleted() const { return deleted_; }  // The same.

 private:
  struct Partition {
    std::map<Offset, std::string> values;
    int64_t replicas = 0;
  };

  absl::Status LoadLine(absl::string_view line);

  std::map<log::PartitionKey, Partition> partitions_;
  int64_t records_ = 0;
  int64_t found_ = 0;
  int64_t deleted_ = 0;

  // Of the replica that is shown; null if nothing was acknowledged of its partition.
  Partition* current_ = nullptr;
  std::map<Offset, std::string>::const_iterator next_;  // The first that was not found yet.
  std::optional<Offset> missing_;                       // The first that was passed over.
  int64_t missing_count_ = 0;
};

}  // namespace falaj::cli

#endif  // SERVICES_CLI_ACKNOWLEDGED_RECORDS_H_
