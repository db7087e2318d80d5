#include "libs/record/record_walk.h"

#include "libs/record/varint.h"

namespace falaj::record {
namespace {

// Reads a length and so many bytes; -1 is null. False if they are not all there.
bool ReadNullable(const char** p, const char* end, std::optional<absl::string_view>* out) {
  int32_t size = 0;
  if (!ReadVarint(p, end, &size) || size < -1 || size > end - *p) return false;
  if (size < 0) {
    out->reset();
    return true;
  }
  *out = absl::string_view(*p, static_cast<size_t>(size));
  *p += size;
  return true;
}

bool SkipHeaders(const char** p, const char* end, int32_t count) {
  for (int32_t i = 0; i < count; ++i) {
    int32_t size = 0;
    if (!ReadVarint(p, end, &size) || size < 0 || size > end - *p) return false;
    *p += size;
    if (!ReadVarint(p, end, &size) || size < -1 || size > end - *p) return false;
    if (size > 0) *p += size;
  }
  return true;
}

}  // namespace

const char* ParseRecord(absl::string_view body, RecordFields* fields) {
  const char* p = body.data();
  const char* end = p + body.size();
  if (p == end) return "record length";
  ++p;  // Attributes: no bit has a meaning yet, and readers ignore them.
  if (!ReadVarlong(&p, end, &fields->timestamp_delta)) return "timestamp delta";
  if (!ReadVarint(&p, end, &fields->offset_delta)) return "offset delta";
  if (!ReadNullable(&p, end, &fields->key)) return "key length";
  if (!ReadNullable(&p, end, &fields->value)) return "value length";
  int32_t header_count = 0;
  if (!ReadVarint(&p, end, &header_count) || header_count < 0) return "header count";
  const char* headers = p;
  if (!SkipHeaders(&p, end, header_count)) return "headers";
  if (p != end) return "record length";
  fields->headers =
      HeaderRange(absl::string_view(headers, static_cast<size_t>(end - headers)), header_count);
  return nullptr;
}

}  // namespace falaj::record
