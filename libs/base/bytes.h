// Bytes is an immutable, reference-counted, possibly scattered run of bytes: how a batch travels
// from the network to the disk and back without being copied.
//
//   Bytes batch = Bytes::Copy("...");                 // owns a copy
//   Bytes tail = batch.Subrange(16, batch.size() - 16);  // shares the owner
//   for (absl::string_view piece : tail.pieces()) crc = crc32c::Extend(crc, piece);
//
// A Bytes keeps its owner (a string, a received message, ...) alive; libs/rpc makes one from a gRPC
// message and a gRPC message from one, both without copying. A small Subrange of a large message
// therefore pins the whole message: long-lived holders copy what is small (Compact()).
//
// Threads: a Bytes value belongs to one thread at a time; copies of it may live on different
// threads.
#ifndef LIBS_BASE_BYTES_H_
#define LIBS_BASE_BYTES_H_

#include <cstddef>
#include <memory>
#include <string>
#include <utility>

#include "absl/container/inlined_vector.h"
#include "absl/strings/string_view.h"

namespace falaj {

class Bytes {
 public:
  using Pieces = absl::InlinedVector<absl::string_view, 2>;

  Bytes() = default;
  // `pieces` must point into memory that `owner` keeps alive and unchanged.
  Bytes(std::shared_ptr<const void> owner, const Pieces& pieces);

  static Bytes Copy(absl::string_view data);
  static Bytes Own(std::string data);  // No copy.
  // The concatenation. Both owners are kept.
  static Bytes Concat(const Bytes& first, const Bytes& second);

  size_t size() const { return size_; }
  bool empty() const { return size_ == 0; }
  const Pieces& pieces() const { return pieces_; }
  bool contiguous() const { return pieces_.size() <= 1; }

  // Bytes [pos, pos + length), sharing the owner. Requires pos + length <= size().
  Bytes Subrange(size_t pos, size_t length) const;
  // Copies [pos, pos + length) to `out`. Requires pos + length <= size().
  void CopyTo(size_t pos, size_t length, char* out) const;
  // The same bytes in one piece: itself if contiguous, else a copy.
  Bytes Flatten() const;
  // A copy that owns exactly its bytes and pins nothing else.
  Bytes Compact() const;
  // All bytes in one string.
  std::string ToString() const;
  // The bytes as one view. Requires contiguous().
  absl::string_view view() const { return pieces_.empty() ? absl::string_view() : pieces_[0]; }

 private:
  std::shared_ptr<const void> owner_;
  Pieces pieces_;  // None is empty.
  size_t size_ = 0;
};

}  // namespace falaj

#endif  // LIBS_BASE_BYTES_H_
