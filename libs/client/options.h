// The knobs of the C++ client. Every default is the safe choice: acks ALL, checksums on, bounded
// memory.
#ifndef LIBS_CLIENT_OPTIONS_H_
#define LIBS_CLIENT_OPTIONS_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/time/time.h"

#include "falaj/v1/record.pb.h"

namespace falaj::client {

struct ProducerOptions {
  std::string address;  // host:port of a gateway.
  std::string client_id = "falaj-cpp";
  v1::Acks acks = v1::ACKS_ALL;
  // Unspecified: as each topic is configured.
  v1::Compression compression = v1::COMPRESSION_UNSPECIFIED;
  // How long a record may wait for company. Zero: a record leaves at once if nothing is in flight.
  // Otherwise records gather until the answer to the batch before of their partition arrives, and
  // for up to 5 ms while only batches of others are under way; so do batches, up to 256 KiB.
  absl::Duration linger = absl::ZeroDuration();
  int32_t batch_bytes = 64 << 10;       // A batch is full at this size.
  int64_t buffer_bytes_max = 64 << 20;  // Records not yet acknowledged, over all topics.
  bool refuse_when_full = false;        // Send() fails with QUOTA_EXCEEDED instead of blocking.
  int32_t batches_in_flight_max = 64;   // Per topic; the gateway's own limit applies as well.
  absl::Duration delivery_timeout = absl::Minutes(2);  // From Send() to the result.
  // With acks ALL: batches are numbered, so that one whose fate is unknown is sent again, through
  // whichever gateway answers, and is appended once. Other acks go without.
  bool idempotent = true;
  // Without sequences. False: a batch whose fate is unknown is reported as such (APPEND_UNCERTAIN).
  // True: it is sent again, and its records may be appended twice.
  bool retry_uncertain = false;
};

struct ConsumerOptions {
  std::string address;  // host:port of a gateway.
  std::string client_id = "falaj-cpp";
  // The gateway may send this many encoded bytes ahead of Poll(): bounds the memory of the
  // consumer.
  int64_t credit_bytes = 16 << 20;
  // Where to go on if the position has been deleted. Unspecified: Poll() fails with
  // OFFSET_OUT_OF_RANGE.
  v1::NamedOffset offset_reset = v1::NAMED_OFFSET_UNSPECIFIED;
  // How long Poll() may go on without a connection before it reports the error. Zero: for ever.
  absl::Duration reconnect_timeout = absl::ZeroDuration();
};

struct AdminOptions {
  std::string address;                         // host:port of a gateway.
  absl::Duration timeout = absl::Seconds(10);  // Of each call.
};

}  // namespace falaj::client

#endif  // LIBS_CLIENT_OPTIONS_H_
