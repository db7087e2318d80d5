// CRC-32C (Castagnoli), the checksum of record batches and of everything else Falaj writes or
// sends.
//
// Uses the processor's crc32 instruction, three streams interleaved, where there is one (chosen at
// run time), and slicing-by-8 tables elsewhere. Check value: Of("123456789") == 0xE3069283.
#ifndef LIBS_BASE_CRC32C_H_
#define LIBS_BASE_CRC32C_H_

#include <cstdint>

#include "absl/strings/string_view.h"

#include "libs/base/bytes.h"

namespace falaj::crc32c {

// The checksum of the bytes that `crc` covers followed by `data`. Start with 0.
uint32_t Extend(uint32_t crc, absl::string_view data);
inline uint32_t Of(absl::string_view data) { return Extend(0, data); }
uint32_t Of(const Bytes& bytes);

// The table version, for tests and processors without the instruction.
uint32_t ExtendPortable(uint32_t crc, absl::string_view data);
// True if Extend() uses the processor's instruction.
bool IsAccelerated();

}  // namespace falaj::crc32c

#endif  // LIBS_BASE_CRC32C_H_
