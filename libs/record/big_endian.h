// Big-endian integers, as every fixed-size field of a batch is stored.
#ifndef LIBS_RECORD_BIG_ENDIAN_H_
#define LIBS_RECORD_BIG_ENDIAN_H_

#include <cstddef>
#include <cstdint>
#include <type_traits>

namespace falaj::record {

template <typename T>
T LoadBigEndian(const char* p) {
  std::make_unsigned_t<T> value = 0;
  for (size_t i = 0; i < sizeof(T); ++i) {
    value = static_cast<std::make_unsigned_t<T>>(static_cast<uint64_t>(value) << 8 |
                                                 static_cast<unsigned char>(p[i]));
  }
  return static_cast<T>(value);
}

template <typename T>
void StoreBigEndian(T value, char* p) {
  auto left = static_cast<std::make_unsigned_t<T>>(value);
  for (size_t i = sizeof(T); i > 0; --i) {
    p[i - 1] = static_cast<char>(left & 0xff);
    left = static_cast<std::make_unsigned_t<T>>(static_cast<uint64_t>(left) >> 8);
  }
}

}  // namespace falaj::record

#endif  // LIBS_RECORD_BIG_ENDIAN_H_
