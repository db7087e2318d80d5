// How an idempotent producer numbers a batch it has encoded already.
#ifndef LIBS_RECORD_PRODUCER_STAMP_H_
#define LIBS_RECORD_PRODUCER_STAMP_H_

#include "libs/base/bytes.h"
#include "libs/base/ids.h"

namespace falaj::record {

// Who a batch is from, and where it comes in the order of its producer on its partition.
struct ProducerStamp {
  ProducerId producer{-1};
  ProducerEpoch epoch{-1};
  Sequence base_sequence{-1};

  friend bool operator==(const ProducerStamp&, const ProducerStamp&) = default;
};

// The batch with this stamp in place of the one it has, CRC computed anew. The records are shared,
// not copied. Requires a valid batch.
Bytes StampProducer(const Bytes& batch, const ProducerStamp& stamp);

}  // namespace falaj::record

#endif  // LIBS_RECORD_PRODUCER_STAMP_H_
