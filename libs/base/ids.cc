#include "libs/base/ids.h"

#include <cstring>

#include "absl/strings/escaping.h"
#include "absl/strings/str_replace.h"

#include "libs/base/status.h"

namespace falaj {

Uuid Uuid::FromRandomBits(uint64_t high, uint64_t low) {
  Uuid id;
  for (size_t i = 0; i < 8; ++i) {
    id.bytes_[i] = static_cast<uint8_t>(high >> (56 - 8 * i));
    id.bytes_[8 + i] = static_cast<uint8_t>(low >> (56 - 8 * i));
  }
  id.bytes_[6] = static_cast<uint8_t>((id.bytes_[6] & 0x0f) | 0x40);  // Version 4.
  id.bytes_[8] = static_cast<uint8_t>((id.bytes_[8] & 0x3f) | 0x80);  // RFC 4122 variant.
  return id;
}

absl::StatusOr<Uuid> Uuid::FromBytes(absl::string_view bytes) {
  if (bytes.size() != kSize) {
    return MakeError(Reason::kInvalidRequest,
                     absl::StrCat("a UUID has 16 bytes, these are ", bytes.size()));
  }
  Uuid id;
  std::memcpy(id.bytes_.data(), bytes.data(), kSize);
  return id;
}

absl::StatusOr<Uuid> Uuid::Parse(absl::string_view text) {
  const bool shaped =
      text.size() == 36 && text[8] == '-' && text[13] == '-' && text[18] == '-' && text[23] == '-';
  const std::string digits = absl::StrReplaceAll(text, {{"-", ""}});
  const bool hex = digits.size() == 32 && std::all_of(digits.begin(), digits.end(), [](char c) {
                     return absl::ascii_isxdigit(static_cast<unsigned char>(c));
                   });
  if (!shaped || !hex) {
    return MakeError(Reason::kInvalidRequest, absl::StrCat("'", text, "' is not a UUID"));
  }
  return FromBytes(absl::HexStringToBytes(digits));
}

bool Uuid::is_nil() const { return *this == Uuid(); }

std::string Uuid::ToString() const {
  const std::string hex = absl::BytesToHexString(bytes());
  return absl::StrCat(hex.substr(0, 8), "-", hex.substr(8, 4), "-", hex.substr(12, 4), "-",
                      hex.substr(16, 4), "-", hex.substr(20));
}

}  // namespace falaj
