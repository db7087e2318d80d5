#include "libs/record/bounded_output.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "libs/record/batch_error.h"

namespace falaj::record {
namespace {

constexpr size_t kCapacityMin = 1024;

}  // namespace

BoundedOutput::BoundedOutput(size_t expected_bytes, size_t bytes_max)
    : bytes_max_(bytes_max),
      capacity_(std::min(std::max(expected_bytes + 1, kCapacityMin), bytes_max + 1)),
      buffer_(new char[capacity_]) {}

absl::Status BoundedOutput::EnsureRoom() {
  if (size_ < capacity_) return absl::OkStatus();
  if (size_ > bytes_max_) return BatchTooLarge("decompressed records", size_, bytes_max_);
  capacity_ = std::min(capacity_ * 2, bytes_max_ + 1);
  std::unique_ptr<char[]> larger(new char[capacity_]);
  std::memcpy(larger.get(), buffer_.get(), size_);
  buffer_ = std::move(larger);
  return absl::OkStatus();
}

absl::StatusOr<Bytes> BoundedOutput::Finish() && {
  if (size_ > bytes_max_) return BatchTooLarge("decompressed records", size_, bytes_max_);
  std::shared_ptr<char[]> owner(std::move(buffer_));
  const absl::string_view whole(owner.get(), size_);
  return Bytes(std::move(owner), Bytes::Pieces{whole});
}

}  // namespace falaj::record
