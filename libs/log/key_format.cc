#include "libs/log/key_format.h"

#include <cstring>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

#include "libs/record/varint.h"

namespace falaj::log {
namespace {

constexpr uint8_t kVersion = 1;
constexpr uint8_t kStoredVersion = 1;
constexpr int64_t kForever = -1;
constexpr size_t kProducerRowBytes = 128;       // Hardly ever more.
constexpr int64_t kTimeMax = int64_t{1} << 60;  // Milliseconds: the sum of a window's cannot wrap.

// Appends big-endian integers to a string.
class Writer {
 public:
  explicit Writer(std::string* out) : out_(out) {}
  Writer& U8(uint8_t v) {
    out_->push_back(static_cast<char>(v));
    return *this;
  }
  Writer& U32(uint32_t v) {
    for (int shift = 24; shift >= 0; shift -= 8) U8(static_cast<uint8_t>(v >> shift));
    return *this;
  }
  Writer& U64(uint64_t v) {
    return U32(static_cast<uint32_t>(v >> 32)).U32(static_cast<uint32_t>(v));
  }
  Writer& I64(int64_t v) { return U64(static_cast<uint64_t>(v)); }
  Writer& Varint(int64_t v) {
    char bytes[record::kVarlongSizeMax];
    return Raw({bytes, static_cast<size_t>(record::WriteVarint(bytes, v) - bytes)});
  }
  Writer& Raw(absl::string_view v) {
    out_->append(v.data(), v.size());
    return *this;
  }

 private:
  std::string* out_;
};

// Takes big-endian integers from a view; zeros once it is exhausted, which Done() tells.
class Reader {
 public:
  explicit Reader(absl::string_view in) : in_(in) {}
  uint8_t U8() { return static_cast<uint8_t>(Take(1)); }
  uint32_t U32() { return static_cast<uint32_t>(Take(4)); }
  uint64_t U64() { return Take(8); }
  int64_t I64() { return static_cast<int64_t>(Take(8)); }
  int64_t Varint() {
    const char* at = in_.data();
    int64_t value = 0;
    if (!record::ReadVarlong(&at, in_.data() + in_.size(), &value)) {
      bad_ = true;
      return 0;
    }
    in_.remove_prefix(static_cast<size_t>(at - in_.data()));
    return value;
  }
  // A varint that must lie in [low, high]; `low` if it does not.
  int64_t Varint(int64_t low, int64_t high) {
    const int64_t value = Varint();
    if (value >= low && value <= high) return value;
    bad_ = true;
    return low;
  }
  absl::string_view Raw(size_t n) {
    if (in_.size() < n) {
      bad_ = true;
      return {};
    }
    const absl::string_view taken = in_.substr(0, n);
    in_.remove_prefix(n);
    return taken;
  }
  // True if exactly everything was read.
  bool Done() const { return !bad_ && in_.empty(); }
  bool bad() const { return bad_; }

 private:
  uint64_t Take(size_t n) {
    uint64_t value = 0;
    for (const char c : Raw(n)) value = value << 8 | static_cast<uint8_t>(c);
    return value;
  }

  absl::string_view in_;
  bool bad_ = false;
};

std::string Key(char letter, LocalPartitionId id) {
  std::string key;
  Writer(&key).U8(static_cast<uint8_t>(letter)).U32(id.value());
  return key;
}

// The batches of a window lie close to each other: each is written as its distance from the one
// before.
void WriteWindow(const record::ProducerWindow& window, Writer* out) {
  out->Varint(static_cast<int64_t>(window.size()));
  if (window.empty()) return;
  out->Varint(window.epoch().value()).Varint(window.begin()->base_sequence.value());
  Offset end(0);
  int64_t append_time_ms = 0;
  for (const record::ProducedBatch& batch : window) {
    out->Varint(batch.base - end)
        .Varint(batch.append_time_ms - append_time_ms)
        .Varint(batch.record_count);
    end = batch.end();
    append_time_ms = batch.append_time_ms;
  }
}

record::ProducerWindow ReadWindow(Reader* in) {
  record::ProducerWindow window;
  const int64_t size = in->Varint(0, record::kProducerWindowBatches);
  if (size == 0) return window;
  const ProducerEpoch epoch(static_cast<int16_t>(in->Varint(0, INT16_MAX)));
  record::ProducedBatch batch;
  batch.base_sequence = Sequence(static_cast<int32_t>(in->Varint(0, INT32_MAX)));
  batch.append_time_ms = 0;
  for (int64_t i = 0; i < size && !in->bad(); ++i) {
    // No batch ends beyond the last offset there is.
    const Offset end = window.end_offset();
    batch.base = end + in->Varint(0, INT64_MAX - INT32_MAX - end.value());
    batch.append_time_ms += in->Varint(-kTimeMax, kTimeMax);
    batch.record_count = static_cast<int32_t>(in->Varint(1, INT32_MAX));
    window.Push(epoch, batch);
    batch.base_sequence = window.next_sequence();
  }
  return window;
}

}  // namespace

std::string DataKey(LocalPartitionId id, Offset base) {
  std::string key = Key('D', id);
  Writer(&key).I64(base.value());
  return key;
}

std::optional<LocalPartitionId> PartitionOfDataKey(absl::string_view key) {
  Reader in(key);
  if (in.U8() != 'D') return std::nullopt;
  const LocalPartitionId id(in.U32());
  in.U64();
  if (!in.Done()) return std::nullopt;
  return id;
}

std::optional<Offset> ParseDataKey(absl::string_view key, LocalPartitionId id) {
  Reader in(key);
  if (in.U8() != 'D' || in.U32() != id.value()) return std::nullopt;
  const Offset base(in.I64());
  if (!in.Done()) return std::nullopt;
  return base;
}

std::array<char, kStoredHeaderSize> EncodeStoredHeader(const StoredHeader& header) {
  std::string out;
  Writer(&out)
      .I64(header.base.value())
      .U32(static_cast<uint32_t>(header.epoch.value()))
      .I64(header.running_max_ts)
      .I64(header.running_bytes)
      .U8(kStoredVersion)
      .U32(header.length);
  std::array<char, kStoredHeaderSize> result;
  std::memcpy(result.data(), out.data(), result.size());
  return result;
}

std::optional<StoredHeader> ParseStoredHeader(absl::string_view value) {
  Reader in(value);
  StoredHeader header;
  header.base = Offset(in.I64());
  header.epoch = LeaderEpoch(static_cast<int32_t>(in.U32()));
  header.running_max_ts = in.I64();
  header.running_bytes = in.I64();
  const uint8_t version = in.U8();
  header.length = in.U32();
  if (in.bad() || version != kStoredVersion) return std::nullopt;
  if (value.size() != kStoredHeaderSize + header.length) return std::nullopt;
  return header;
}

std::string PartitionRowKey(LocalPartitionId id) { return Key('P', id); }

std::string EncodePartitionRow(const PartitionRow& row) {
  std::string out;
  const bool forever = row.retention.age == absl::InfiniteDuration();
  Writer(&out)
      .U8(kVersion)
      .Raw(row.key.topic.bytes())
      .U32(static_cast<uint32_t>(row.key.partition.value()))
      .I64(forever ? kForever : absl::ToInt64Milliseconds(row.retention.age))
      .I64(row.retention.size_bytes)
      .I64(row.log_start.value())
      .I64(row.high_watermark.value())
      .I64(row.end_seen.value())
      .I64(row.max_timestamp_ms)
      .I64(row.running_bytes);
  return out;
}

std::optional<PartitionRow> ParsePartitionRow(absl::string_view value) {
  Reader in(value);
  if (in.U8() != kVersion) return std::nullopt;
  const absl::StatusOr<Uuid> topic = Uuid::FromBytes(in.Raw(Uuid::kSize));
  if (!topic.ok()) return std::nullopt;
  PartitionRow row;
  row.key = {.topic = *topic, .partition = PartitionIndex(static_cast<int32_t>(in.U32()))};
  const int64_t age_ms = in.I64();
  if (age_ms != kForever) row.retention.age = absl::Milliseconds(age_ms);
  row.retention.size_bytes = in.I64();
  row.log_start = Offset(in.I64());
  row.high_watermark = Offset(in.I64());
  row.end_seen = Offset(in.I64());
  row.max_timestamp_ms = in.I64();
  row.running_bytes = in.I64();
  if (!in.Done()) return std::nullopt;
  return row;
}

std::string EpochRowKey(LocalPartitionId id, LeaderEpoch epoch) {
  std::string key = Key('E', id);
  Writer(&key).U32(static_cast<uint32_t>(epoch.value()));
  return key;
}

std::string EncodeEpochRow(Offset start) {
  std::string out;
  Writer(&out).U8(kVersion).I64(start.value());
  return out;
}

std::optional<Offset> ParseEpochRow(absl::string_view value) {
  Reader in(value);
  if (in.U8() != kVersion) return std::nullopt;
  const Offset start(in.I64());
  if (!in.Done()) return std::nullopt;
  return start;
}

std::string ProducerRowPrefix(LocalPartitionId id) { return Key(kProducerLetter, id); }

std::string ProducerRowKey(LocalPartitionId id, ProducerId producer) {
  std::string key = ProducerRowPrefix(id);
  Writer(&key).I64(producer.value());
  return key;
}

std::string EncodeProducerRow(const record::ProducerHistory& history) {
  std::string out;
  out.reserve(kProducerRowBytes);
  Writer writer(&out);
  writer.U8(kVersion);
  WriteWindow(history.window(), &writer);
  WriteWindow(history.settled(), &writer);
  writer.I64(history.settled_end().value());
  return out;
}

std::optional<record::ProducerHistory> ParseProducerRow(absl::string_view value) {
  Reader in(value);
  if (in.U8() != kVersion) return std::nullopt;
  const record::ProducerWindow window = ReadWindow(&in);
  const record::ProducerWindow settled = ReadWindow(&in);
  const Offset settled_end(in.I64());
  // A row of no window would have been removed.
  if (!in.Done() || window.empty() || settled_end.value() < 0) return std::nullopt;
  return record::ProducerHistory(window, settled, settled_end);
}

std::string DirectoryRowKey(LocalPartitionId id, Offset first, SlabId slab) {
  std::string key = Key('I', id);
  Writer(&key).I64(first.value()).U64(slab.value());
  return key;
}

std::string EncodeDirectoryRow(const DirectoryEntry& entry) {
  std::string out;
  Writer(&out)
      .U8(kVersion)
      .I64(entry.start_bytes)
      .I64(entry.span_max)
      .U8(entry.sealed ? 1 : 0)
      .I64(entry.end.value())
      .I64(entry.bytes)
      .I64(entry.running_max_ts)
      .I64(entry.max_ts);
  return out;
}

bool ParseDirectoryRow(absl::string_view value, DirectoryEntry* entry) {
  Reader in(value);
  if (in.U8() != kVersion) return false;
  entry->start_bytes = in.I64();
  entry->span_max = in.I64();
  entry->sealed = in.U8() != 0;
  entry->end = Offset(in.I64());
  entry->bytes = in.I64();
  entry->running_max_ts = in.I64();
  entry->max_ts = in.I64();
  return in.Done();
}

std::string SlabRowKey(RetentionClass cls, SlabId slab) {
  std::string key;
  Writer(&key).U8('L').U8(cls).U64(slab.value());
  return key;
}

std::string EncodeSlabRow(const SlabInfo& slab) {
  std::string out;
  Writer(&out).U8(kVersion).I64(slab.created_ms).I64(slab.sealed_ms).I64(slab.bytes);
  return out;
}

bool ParseSlabRow(absl::string_view value, SlabInfo* slab) {
  Reader in(value);
  if (in.U8() != kVersion) return false;
  slab->created_ms = in.I64();
  slab->sealed_ms = in.I64();
  slab->bytes = in.I64();
  return in.Done();
}

std::string CountersRowKey() { return "N"; }

std::string EncodeCountersRow(const CountersRow& row) {
  std::string out;
  Writer(&out).U8(kVersion).U32(row.next_partition.value()).U64(row.next_slab.value());
  return out;
}

std::optional<CountersRow> ParseCountersRow(absl::string_view value) {
  Reader in(value);
  if (in.U8() != kVersion) return std::nullopt;
  CountersRow row;
  row.next_partition = LocalPartitionId(in.U32());
  row.next_slab = SlabId(in.U64());
  if (!in.Done()) return std::nullopt;
  return row;
}

std::optional<MetaKey> ParseMetaKey(absl::string_view text) {
  Reader in(text);
  MetaKey key;
  key.letter = static_cast<char>(in.U8());
  switch (key.letter) {
    case 'N':
      break;
    case 'P':
      key.partition = LocalPartitionId(in.U32());
      break;
    case 'E':
      key.partition = LocalPartitionId(in.U32());
      key.epoch = LeaderEpoch(static_cast<int32_t>(in.U32()));
      break;
    case kProducerLetter:
      key.partition = LocalPartitionId(in.U32());
      key.producer = ProducerId(in.I64());
      break;
    case 'I':
      key.partition = LocalPartitionId(in.U32());
      key.first = Offset(in.I64());
      key.slab = SlabId(in.U64());
      break;
    case 'L':
      key.cls = in.U8();
      key.slab = SlabId(in.U64());
      break;
    default:
      return std::nullopt;
  }
  if (!in.Done()) return std::nullopt;
  return key;
}

std::string SlabName(RetentionClass cls, SlabId slab) {
  return absl::StrCat("slab/", static_cast<int>(cls), "/", slab.value());
}

bool ParseSlabName(absl::string_view name, RetentionClass* cls, SlabId* slab) {
  const std::vector<absl::string_view> parts = absl::StrSplit(name, '/');
  int cls_number = 0;
  uint64_t slab_number = 0;
  if (parts.size() != 3 || parts[0] != "slab" || !absl::SimpleAtoi(parts[1], &cls_number) ||
      cls_number < 0 || cls_number > UINT8_MAX || !absl::SimpleAtoi(parts[2], &slab_number)) {
    return false;
  }
  *cls = static_cast<RetentionClass>(cls_number);
  *slab = SlabId(slab_number);
  return true;
}

}  // namespace falaj::log
