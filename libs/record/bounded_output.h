// BoundedOutput is the buffer a decompressor writes to: it grows by doubling up to a limit and no
// further. Private to libs/record.
//
// Its memory is not cleared before use. One byte more than the limit may be written, which is how
// "exactly the limit" and "too much" are told apart.
#ifndef LIBS_RECORD_BOUNDED_OUTPUT_H_
#define LIBS_RECORD_BOUNDED_OUTPUT_H_

#include <cstddef>
#include <memory>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#include "libs/base/bytes.h"

namespace falaj::record {

class BoundedOutput {
 public:
  BoundedOutput(size_t expected_bytes, size_t bytes_max);

  // Where to write next, and how much fits there.
  char* tail() { return buffer_.get() + size_; }
  size_t room() const { return capacity_ - size_; }
  void Wrote(size_t bytes) { size_ += bytes; }

  // Makes room() at least 1. Returns RECORD_TOO_LARGE if more than the limit was written.
  absl::Status EnsureRoom();
  // Gives up what was written. Returns RECORD_TOO_LARGE if that is more than the limit.
  absl::StatusOr<Bytes> Finish() &&;

 private:
  const size_t bytes_max_;
  size_t capacity_;
  size_t size_ = 0;
  std::unique_ptr<char[]> buffer_;
};

}  // namespace falaj::record

#endif  // LIBS_RECORD_BOUNDED_OUTPUT_H_
