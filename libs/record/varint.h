// Zig-zag variable-length integers, as protobuf's sint32/sint64 and Kafka's record format use them.
//
// Reading works on a cursor [*p, end) and never goes past the end: it returns false, and leaves *p
// anywhere, if the integer is cut off, longer than its type allows, or outside its type's range.
#ifndef LIBS_RECORD_VARINT_H_
#define LIBS_RECORD_VARINT_H_

#include <cstddef>
#include <cstdint>
#include <limits>

namespace falaj::record {

inline constexpr size_t kVarintSizeMax = 5;
inline constexpr size_t kVarlongSizeMax = 10;

inline uint64_t ZigZag(int64_t value) {
  return (static_cast<uint64_t>(value) << 1) ^ static_cast<uint64_t>(value >> 63);
}
inline int64_t UnZigZag(uint64_t value) {
  return static_cast<int64_t>((value >> 1) ^ (~(value & 1) + 1));
}

// How many bytes WriteVarint() writes for `value`.
inline size_t VarintSize(int64_t value) {
  const int bits = 64 - __builtin_clzll(ZigZag(value) | 1);
  return static_cast<size_t>((bits + 6) / 7);
}

// Writes `value` and returns the position behind it. Requires room for VarintSize(value) bytes.
inline char* WriteVarint(char* out, int64_t value) {
  uint64_t left = ZigZag(value);
  while (left >= 0x80) {
    *out++ = static_cast<char>(left | 0x80);
    left >>= 7;
  }
  *out++ = static_cast<char>(left);
  return out;
}

inline bool ReadVarlong(const char** p, const char* end, int64_t* value) {
  const char* at = *p;
  if (at != end && static_cast<uint8_t>(*at) < 0x80) {  // Most integers in a batch are one byte.
    *value = UnZigZag(static_cast<uint8_t>(*at));
    *p = at + 1;
    return true;
  }
  uint64_t read = 0;
  for (unsigned shift = 0; shift < 64; shift += 7) {
    if (at == end) return false;
    const uint64_t byte = static_cast<uint8_t>(*at++);
    if (shift == 63 && byte > 1) return false;
    read |= (byte & 0x7f) << shift;
    if (byte < 0x80) {
      *value = UnZigZag(read);
      *p = at;
      return true;
    }
  }
  return false;
}

inline bool ReadVarint(const char** p, const char* end, int32_t* value) {
  int64_t wide = 0;
  if (!ReadVarlong(p, end, &wide)) return false;
  if (wide < std::numeric_limits<int32_t>::min() || wide > std::numeric_limits<int32_t>::max()) {
    return false;
  }
  *value = static_cast<int32_t>(wide);
  return true;
}

}  // namespace falaj::record

#endif  // LIBS_RECORD_VARINT_H_
