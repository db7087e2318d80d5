#include "libs/coordination/content_hash.h"

#include <cstddef>
#include <cstring>

namespace falaj::coordination {
namespace {

// The same on machines of either byte order.
uint64_t LoadLittleEndian(const char* from, size_t size) {
  uint64_t word = 0;
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
  std::memcpy(&word, from, size);
#else
  for (size_t i = 0; i < size; ++i) {
    word |= uint64_t{static_cast<unsigned char>(from[i])} << (8 * i);
  }
#endif
  return word;
}

}  // namespace

uint64_t HashOf(absl::string_view bytes) {
  uint64_t hash = HashCombine(0x243f6a8885a308d3u, bytes.size());
  size_t at = 0;
  for (; bytes.size() - at >= 8; at += 8) {
    hash = HashCombine(hash, LoadLittleEndian(bytes.data() + at, 8));
  }
  return HashCombine(hash, LoadLittleEndian(bytes.data() + at, bytes.size() - at));
}

}  // namespace falaj::coordination
