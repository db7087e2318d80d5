#include "libs/record/testing/batches.h"

#include <algorithm>
#include <memory>
#include <optional>
#include <utility>

#include "gtest/gtest.h"

#include "libs/record/batch_reader.h"
#include "libs/record/big_endian.h"

namespace falaj::record::testing_batches {
namespace {

std::string RandomString(Random* random) {
  std::string text;
  const uint64_t size = random->Below(10) == 0 ? random->Below(5000) : random->Below(50);
  while (text.size() < size) text.append(random->Below(9) + 1, static_cast<char>(random->Next()));
  return text;
}

std::optional<std::string> RandomField(Random* random) {
  if (random->Below(5) == 0) return std::nullopt;
  return RandomString(random);
}

}  // namespace

std::vector<Record> RandomRecords(Random* random, size_t count) {
  std::vector<Record> records(count);
  for (Record& record : records) {
    record.key = RandomField(random);
    record.value = RandomField(random);
    record.timestamp_ms = 1'700'000'000'000 + random->Between(-100'000, 100'000);
    if (random->Below(3) != 0) continue;
    for (uint64_t i = random->Below(12); i > 0; --i) {
      record.headers.push_back({absl::StrCat("header-", random->Below(10)), RandomField(random)});
    }
  }
  return records;
}

Bytes Build(const std::vector<Record>& records, const BatchBuilder::BuildOptions& options) {
  BatchBuilder builder;
  for (const Record& record : records) builder.Add(record);
  auto batch = builder.Build(options);
  EXPECT_TRUE(batch.ok()) << batch.status();
  return *std::move(batch);
}

std::vector<Record> Decode(const Bytes& batch) {
  std::vector<Record> records;
  const absl::Status read = ForEachRecord(
      batch, Limits(), [&](const RecordView& view) { records.push_back(view.ToRecord()); });
  EXPECT_TRUE(read.ok()) << read;
  return records;
}

Bytes Scatter(const Bytes& bytes, Random* random, size_t piece_size_max) {
  auto owner = std::make_shared<std::vector<std::string>>();
  for (size_t at = 0; at < bytes.size(); at += owner->back().size()) {
    const size_t size = std::min<size_t>(1 + random->Below(piece_size_max), bytes.size() - at);
    owner->push_back(bytes.Subrange(at, size).ToString());
  }
  Bytes::Pieces pieces(owner->begin(), owner->end());
  return Bytes(std::move(owner), pieces);
}

void FixCrc(std::string* batch) {
  StoreBigEndian(ComputeBatchCrc(Bytes::Copy(*batch)), batch->data() + 17);
}

}  // namespace falaj::record::testing_batches
