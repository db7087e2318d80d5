// How fast one core writes, checks and reads record batches. Bytes per second count the encoded,
// uncompressed batch. Bounds: encoding 500 MB/s, decoding 1 GB/s, CRC 3 GB/s.
#include <string>

#include "benchmark/benchmark.h"

#include "libs/base/crc32c.h"
#include "libs/base/random.h"
#include "libs/record/batch_builder.h"
#include "libs/record/batch_reader.h"
#include "libs/record/batch_validator.h"
#include "libs/record/partitioner.h"

namespace falaj::record {
namespace {

constexpr int kRecords = 1000;
constexpr size_t kKeySize = 12;

// Text that compresses about as well as JSON lines do.
std::string Value(Random* random, size_t size) {
  std::string value;
  while (value.size() < size) {
    absl::StrAppend(&value, "\"field", random->Below(20), "\":", random->Below(10'000), ",");
  }
  value.resize(size);
  return value;
}

std::vector<Record> MakeRecords(size_t size) {
  Random random(1);
  std::vector<Record> records(kRecords);
  for (int i = 0; i < kRecords; ++i) {
    Record& record = records[static_cast<size_t>(i)];
    record.key = absl::StrCat("key-", 10'000'000 + i);
    record.value = Value(&random, size - kKeySize);
    record.timestamp_ms = 1'700'000'000'000 + i;
  }
  return records;
}

Bytes MakeBatch(size_t record_size, Codec codec) {
  BatchBuilder builder;
  for (const Record& record : MakeRecords(record_size)) builder.Add(record);
  return builder.Build({.codec = codec}).value();
}

// The same bytes in pieces as gRPC delivers them.
Bytes InSlices(const Bytes& bytes) {
  constexpr size_t kSlice = 8192;
  Bytes slices;
  for (size_t at = 0; at < bytes.size(); at += kSlice) {
    slices =
        Bytes::Concat(slices, bytes.Subrange(at, std::min(kSlice, bytes.size() - at)).Compact());
  }
  return slices;
}

void CountBytes(benchmark::State& state, size_t record_size) {
  const size_t size = MakeBatch(record_size, Codec::kNone).size();
  state.SetBytesProcessed(static_cast<int64_t>(state.iterations()) * static_cast<int64_t>(size));
}

// Arguments of most: record size in bytes, codec.
void Encode(benchmark::State& state) {
  const auto record_size = static_cast<size_t>(state.range(0));
  const auto codec = static_cast<Codec>(state.range(1));
  const std::vector<Record> records = MakeRecords(record_size);
  BatchBuilder builder(kRecords * (record_size + 20));
  for (auto _ : state) {
    for (const Record& record : records) builder.Add(record);
    benchmark::DoNotOptimize(builder.Build({.codec = codec}));
  }
  CountBytes(state, record_size);
}

void Decode(benchmark::State& state) {
  const auto record_size = static_cast<size_t>(state.range(0));
  const Bytes batch = MakeBatch(record_size, static_cast<Codec>(state.range(1)));
  for (auto _ : state) {
    size_t payload = 0;
    const absl::Status read = ForEachRecord(
        batch, Limits(), [&](const RecordView& record) { payload += record.value->size(); });
    if (!read.ok()) state.SkipWithError(read.ToString().c_str());
    benchmark::DoNotOptimize(payload);
  }
  CountBytes(state, record_size);
}

void Validate(benchmark::State& state) {
  const auto record_size = static_cast<size_t>(state.range(0));
  const Bytes batch = InSlices(MakeBatch(record_size, static_cast<Codec>(state.range(1))));
  for (auto _ : state) {
    const auto header = ValidateBatch(batch, {.batch_bytes_max = 8 << 20});
    if (!header.ok()) state.SkipWithError(header.status().ToString().c_str());
    benchmark::DoNotOptimize(header);
  }
  CountBytes(state, record_size);
}

void Crc(benchmark::State& state) {
  const std::string data(static_cast<size_t>(state.range(0)), 'c');
  for (auto _ : state) benchmark::DoNotOptimize(crc32c::Of(data));
  state.SetBytesProcessed(static_cast<int64_t>(state.iterations()) * state.range(0));
}

void Stamp(benchmark::State& state) {
  const Bytes batch = MakeBatch(100, Codec::kNone);
  int64_t offset = 0;
  for (auto _ : state) {
    benchmark::DoNotOptimize(StampBatch(batch, Offset(offset++), LeaderEpoch(1)));
  }
}

void PartitionKey(benchmark::State& state) {
  const std::string key = "key-10000000";
  for (auto _ : state) benchmark::DoNotOptimize(PartitionForKey(key, 12));
}

void EachCodec(benchmark::internal::Benchmark* run) {
  run->ArgNames({"record", "codec"});
  for (const int size : {100, 1024}) {
    for (const Codec codec : {Codec::kNone, Codec::kLz4, Codec::kZstd}) {
      run->Args({size, static_cast<int>(codec)});
    }
  }
}

BENCHMARK(Encode)->Apply(EachCodec);
BENCHMARK(Decode)->Apply(EachCodec);
BENCHMARK(Validate)->Apply(EachCodec);
BENCHMARK(Crc)->Arg(16 << 10)->Arg(128 << 10)->Arg(1 << 20);
BENCHMARK(Stamp);
BENCHMARK(PartitionKey);

}  // namespace
}  // namespace falaj::record

BENCHMARK_MAIN();
