#include "libs/base/bytes.h"

#include <algorithm>
#include <cstring>

namespace falaj {

Bytes::Bytes(std::shared_ptr<const void> owner, const Pieces& pieces) : owner_(std::move(owner)) {
  for (absl::string_view piece : pieces) {
    if (piece.empty()) continue;
    size_ += piece.size();
    pieces_.push_back(piece);
  }
}

Bytes Bytes::Copy(absl::string_view data) { return Own(std::string(data)); }

Bytes Bytes::Own(std::string data) {
  auto owner = std::make_shared<const std::string>(std::move(data));
  const absl::string_view whole(*owner);
  return Bytes(std::move(owner), Pieces{whole});
}

Bytes Bytes::Concat(const Bytes& first, const Bytes& second) {
  if (first.empty()) return second;
  if (second.empty()) return first;
  auto owners =
      std::make_shared<const std::pair<std::shared_ptr<const void>, std::shared_ptr<const void>>>(
          first.owner_, second.owner_);
  Pieces pieces = first.pieces_;
  pieces.insert(pieces.end(), second.pieces_.begin(), second.pieces_.end());
  return Bytes(std::move(owners), pieces);
}

Bytes Bytes::Subrange(size_t pos, size_t length) const {
  Pieces pieces;
  for (absl::string_view piece : pieces_) {
    if (length == 0) break;
    if (pos >= piece.size()) {
      pos -= piece.size();
      continue;
    }
    const absl::string_view part = piece.substr(pos, length);
    pieces.push_back(part);
    length -= part.size();
    pos = 0;
  }
  return Bytes(owner_, pieces);
}

void Bytes::CopyTo(size_t pos, size_t length, char* out) const {
  for (absl::string_view piece : pieces_) {
    if (length == 0) return;
    if (pos >= piece.size()) {
      pos -= piece.size();
      continue;
    }
    const absl::string_view part = piece.substr(pos, length);
    std::memcpy(out, part.data(), part.size());
    out += part.size();
    length -= part.size();
    pos = 0;
  }
}

Bytes Bytes::Flatten() const { return contiguous() ? *this : Compact(); }

Bytes Bytes::Compact() const { return Own(ToString()); }

std::string Bytes::ToString() const {
  std::string out;
  out.reserve(size_);
  for (absl::string_view piece : pieces_) out.append(piece.data(), piece.size());
  return out;
}

}  // namespace falaj
