// Feeds arbitrary bytes to everything that reads a batch. The CRC is made right first, or the
// fuzzer would never get past it; whatever ValidateBatch() accepts must then read and re-encode.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>

#include "libs/base/status.h"
#include "libs/record/batch_builder.h"
#include "libs/record/batch_reader.h"
#include "libs/record/batch_validator.h"
#include "libs/record/big_endian.h"

namespace {

using falaj::Bytes;
using falaj::record::Limits;

// Reads the batch and writes it again. Returns how many records there were.
absl::StatusOr<int32_t> Reencode(const Bytes& batch, const Limits& limits) {
  falaj::record::BatchBuilder builder;
  FALAJ_RETURN_IF_ERROR(
      falaj::record::ForEachRecord(batch, limits, [&](const falaj::record::RecordView& view) {
        falaj::record::BatchBuilder by_field;
        by_field.Add(view.ToRecord());
        builder.Add(view);
      }));
  const int32_t count = builder.record_count();
  if (count > 0) FALAJ_RETURN_IF_ERROR(builder.Build({}).status());
  return count;
}

void ReadRun(const Bytes& run) {
  falaj::record::BatchIterator batches(run);
  while (true) {
    const auto batch = batches.Next();
    if (!batch.ok() || !batch->has_value()) return;
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const Limits limits = {.batch_bytes_max = 1 << 16, .decompressed_bytes_max = 1 << 18};
  std::string batch(reinterpret_cast<const char*>(data), size);
  ReadRun(Bytes::Copy(batch));
  if (size >= falaj::record::kBatchHeaderSize) {
    using falaj::record::StoreBigEndian;
    StoreBigEndian(static_cast<int32_t>(size - falaj::record::kBatchLengthOffset), &batch[8]);
    StoreBigEndian(falaj::record::ComputeBatchCrc(Bytes::Copy(batch)), &batch[17]);
  }
  const Bytes whole = Bytes::Copy(batch);
  const Bytes split = Bytes::Concat(Bytes::Copy(whole.view().substr(0, size / 2)),
                                    Bytes::Copy(batch.substr(size / 2)));
  const auto header = falaj::record::ValidateBatch(whole, limits);
  if (falaj::record::ValidateBatch(split, limits).ok() != header.ok()) std::abort();
  const auto count = Reencode(whole, limits);
  if (header.ok() && (!count.ok() || *count != header->record_count)) std::abort();
  return 0;
}
