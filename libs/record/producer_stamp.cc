#include "libs/record/producer_stamp.h"

#include <string>
#include <utility>

#include "absl/strings/string_view.h"

#include "libs/base/crc32c.h"
#include "libs/record/batch_header.h"
#include "libs/record/big_endian.h"

namespace falaj::record {

Bytes StampProducer(const Bytes& batch, const ProducerStamp& stamp) {
  std::string head(kBatchHeaderSize, '\0');
  batch.CopyTo(0, kBatchHeaderSize, head.data());
  StoreBigEndian(stamp.producer.value(), head.data() + 43);
  StoreBigEndian(stamp.epoch.value(), head.data() + 51);
  StoreBigEndian(stamp.base_sequence.value(), head.data() + 53);
  const Bytes records = batch.Subrange(kBatchHeaderSize, batch.size() - kBatchHeaderSize);
  uint32_t crc = crc32c::Of(absl::string_view(head).substr(kBatchCrcStart));
  for (absl::string_view piece : records.pieces()) crc = crc32c::Extend(crc, piece);
  StoreBigEndian(crc, head.data() + 17);
  return Bytes::Concat(Bytes::Own(std::move(head)), records);
}

}  // namespace falaj::record
