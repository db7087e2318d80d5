#include "libs/base/crc32c.h"

#include <array>
#include <cstring>

#if defined(__x86_64__)
#include <nmmintrin.h>
#endif

namespace falaj::crc32c {
namespace {

constexpr uint32_t kPolynomial = 0x82f63b78;  // Castagnoli, reflected.

using Tables = std::array<std::array<uint32_t, 256>, 8>;

constexpr Tables MakeTables() {
  Tables tables{};
  for (uint32_t i = 0; i < 256; ++i) {
    uint32_t crc = i;
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ ((crc & 1) != 0 ? kPolynomial : 0);
    tables[0][i] = crc;
  }
  for (size_t t = 1; t < 8; ++t) {
    for (uint32_t i = 0; i < 256; ++i) {
      tables[t][i] = (tables[t - 1][i] >> 8) ^ tables[0][tables[t - 1][i] & 0xff];
    }
  }
  return tables;
}

constexpr Tables kTables = MakeTables();

uint64_t LoadLittleEndian64(const char* p) {
  uint64_t word = 0;
  std::memcpy(&word, p, sizeof(word));
  if constexpr (__BYTE_ORDER__ == __ORDER_BIG_ENDIAN__) word = __builtin_bswap64(word);
  return word;
}

#if defined(__x86_64__)

// The crc32 instruction has a latency of three cycles and a throughput of one: three independent
// streams keep it busy. Their results are joined by "shifting" a CRC over kStream zero bytes, a
// linear map kept as four tables.
constexpr size_t kStream = 1024;

using ShiftTable = std::array<std::array<uint32_t, 256>, 4>;

constexpr uint32_t ShiftByZeros(uint32_t crc, size_t bytes) {
  for (size_t i = 0; i < bytes; ++i) crc = kTables[0][crc & 0xff] ^ (crc >> 8);
  return crc;
}

ShiftTable MakeShiftTable() {
  std::array<uint32_t, 32> by_bit{};
  for (size_t bit = 0; bit < 32; ++bit) by_bit[bit] = ShiftByZeros(uint32_t{1} << bit, kStream);
  ShiftTable table{};
  for (size_t byte = 0; byte < 4; ++byte) {
    for (uint32_t value = 0; value < 256; ++value) {
      for (size_t bit = 0; bit < 8; ++bit) {
        if ((value >> bit & 1) != 0) table[byte][value] ^= by_bit[byte * 8 + bit];
      }
    }
  }
  return table;
}

uint32_t Shift(const ShiftTable& table, uint32_t crc) {
  return table[0][crc & 0xff] ^ table[1][crc >> 8 & 0xff] ^ table[2][crc >> 16 & 0xff] ^
         table[3][crc >> 24];
}

__attribute__((target("sse4.2"))) uint32_t ExtendAccelerated(uint32_t crc, absl::string_view data) {
  static const ShiftTable shift = MakeShiftTable();
  const char* p = data.data();
  size_t left = data.size();
  uint64_t a = ~crc;
  while (left >= 3 * kStream) {
    uint64_t b = 0;
    uint64_t c = 0;
    for (size_t i = 0; i < kStream; i += 8) {
      a = _mm_crc32_u64(a, LoadLittleEndian64(p + i));
      b = _mm_crc32_u64(b, LoadLittleEndian64(p + kStream + i));
      c = _mm_crc32_u64(c, LoadLittleEndian64(p + 2 * kStream + i));
    }
    a = Shift(shift, static_cast<uint32_t>(a)) ^ b;
    a = Shift(shift, static_cast<uint32_t>(a)) ^ c;
    p += 3 * kStream;
    left -= 3 * kStream;
  }
  for (; left >= 8; p += 8, left -= 8) a = _mm_crc32_u64(a, LoadLittleEndian64(p));
  auto crc32 = static_cast<uint32_t>(a);
  for (; left > 0; ++p, --left) crc32 = _mm_crc32_u8(crc32, static_cast<uint8_t>(*p));
  return ~crc32;
}

#endif

}  // namespace

uint32_t ExtendPortable(uint32_t crc, absl::string_view data) {
  const char* p = data.data();
  size_t left = data.size();
  crc = ~crc;
  for (; left >= 8; p += 8, left -= 8) {
    const uint64_t word = LoadLittleEndian64(p) ^ crc;
    crc = 0;
    for (size_t i = 0; i < 8; ++i) crc ^= kTables[7 - i][word >> (8 * i) & 0xff];
  }
  for (; left > 0; ++p, --left) {
    crc = kTables[0][(crc ^ static_cast<uint8_t>(*p)) & 0xff] ^ (crc >> 8);
  }
  return ~crc;
}

bool IsAccelerated() {
#if defined(__x86_64__)
  return __builtin_cpu_supports("sse4.2") != 0;
#else
  return false;
#endif
}

uint32_t Extend(uint32_t crc, absl::string_view data) {
#if defined(__x86_64__)
  static const bool accelerated = IsAccelerated();
  if (accelerated) return ExtendAccelerated(crc, data);
#endif
  return ExtendPortable(crc, data);
}

uint32_t Of(const Bytes& bytes) {
  uint32_t crc = 0;
  for (absl::string_view piece : bytes.pieces()) crc = Extend(crc, piece);
  return crc;
}

}  // namespace falaj::crc32c
