// The keys and values of the store's column families, as bytes. The table is in README.md.
//
// All integers are big-endian, so that keys sort as their fields do. Every value of `meta` begins
// with a version byte; a version this program does not know is not parsed. Pure functions.
#ifndef LIBS_LOG_KEY_FORMAT_H_
#define LIBS_LOG_KEY_FORMAT_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>

#include "absl/strings/string_view.h"

#include "libs/base/ids.h"
#include "libs/log/log_store.h"
#include "libs/log/slab_directory.h"
#include "libs/record/producer_window.h"

namespace falaj::log {

// Slab: 'D' pid base_offset -> StoredHeader, batch.
inline constexpr size_t kDataKeySize = 13;
inline constexpr size_t kDataPrefixSize = 5;  // 'D' pid: what one partition's keys share.
std::string DataKey(LocalPartitionId id, Offset base);
std::optional<LocalPartitionId> PartitionOfDataKey(absl::string_view key);
std::optional<Offset> ParseDataKey(absl::string_view key, LocalPartitionId id);

// What the store puts before a batch.
struct StoredHeader {
  Offset base{};
  LeaderEpoch epoch{};
  int64_t running_max_ts = -1;  // The largest timestamp of the partition up to and with this batch.
  int64_t running_bytes = 0;    // The bytes of all its batches up to and with this one.
  uint32_t length = 0;          // Of the batch.
};
inline constexpr size_t kStoredHeaderSize = 33;
std::array<char, kStoredHeaderSize> EncodeStoredHeader(const StoredHeader& header);
// nullopt unless `value` is a header and exactly the batch it announces.
std::optional<StoredHeader> ParseStoredHeader(absl::string_view value);

// meta: 'P' pid.
struct PartitionRow {
  PartitionKey key;
  RetentionPolicy retention;
  Offset log_start;
  Offset high_watermark;
  Offset end_seen;  // The log end when the row was written: where recovery starts to look.
  int64_t max_timestamp_ms = -1;
  int64_t running_bytes = 0;
};
std::string PartitionRowKey(LocalPartitionId id);
std::string EncodePartitionRow(const PartitionRow& row);
std::optional<PartitionRow> ParsePartitionRow(absl::string_view value);

// meta: 'E' pid epoch -> start offset.
std::string EpochRowKey(LocalPartitionId id, LeaderEpoch epoch);
std::string EncodeEpochRow(Offset start);
std::optional<Offset> ParseEpochRow(absl::string_view value);

// meta: 'S' pid producer -> its newest and its settled window, about 80 bytes. Called S as the
// sequences are; the last letter, so that the scan for the rest of the directory ends before them.
inline constexpr char kProducerLetter = 'S';
std::string ProducerRowPrefix(LocalPartitionId id);  // What the keys of one partition share.
std::string ProducerRowKey(LocalPartitionId id, ProducerId producer);
std::string EncodeProducerRow(const record::ProducerHistory& history);
std::optional<record::ProducerHistory> ParseProducerRow(absl::string_view value);

// meta: 'I' pid first_offset slab -> what a DirectoryEntry holds beside its key. Until the slab is
// sealed only `start_bytes` and `span_max` are sure.
std::string DirectoryRowKey(LocalPartitionId id, Offset first, SlabId slab);
std::string EncodeDirectoryRow(const DirectoryEntry& entry);
// `entry` has the fields of the key.
bool ParseDirectoryRow(absl::string_view value, DirectoryEntry* entry);

// meta: 'L' class slab.
std::string SlabRowKey(RetentionClass cls, SlabId slab);
std::string EncodeSlabRow(const SlabInfo& slab);
bool ParseSlabRow(absl::string_view value, SlabInfo* slab);

// meta: 'N' -> the next local partition id and the next slab id.
struct CountersRow {
  LocalPartitionId next_partition{1};
  SlabId next_slab{1};
};
std::string CountersRowKey();
std::string EncodeCountersRow(const CountersRow& row);
std::optional<CountersRow> ParseCountersRow(absl::string_view value);

// The fields of a `meta` key, as far as its letter has them.
struct MetaKey {
  char letter = 0;
  LocalPartitionId partition;
  LeaderEpoch epoch;
  ProducerId producer;
  Offset first;
  RetentionClass cls = 0;
  SlabId slab;
};
std::optional<MetaKey> ParseMetaKey(absl::string_view key);

// Column family names: "slab/<class>/<id>".
std::string SlabName(RetentionClass cls, SlabId slab);
bool ParseSlabName(absl::string_view name, RetentionClass* cls, SlabId* slab);

}  // namespace falaj::log

#endif  // LIBS_LOG_KEY_FORMAT_H_
