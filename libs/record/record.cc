#include "libs/record/record.h"

#include "libs/record/varint.h"

namespace falaj::record {

void HeaderRange::Iterator::Read() {
  const char* p = rest_.data();
  const char* end = p + rest_.size();
  // The sizes were checked when the range was made, so the reads cannot fail.
  int32_t size = 0;
  ReadVarint(&p, end, &size);
  header_.key = absl::string_view(p, static_cast<size_t>(size));
  p += size;
  ReadVarint(&p, end, &size);
  header_.value.reset();
  if (size >= 0) {
    header_.value = absl::string_view(p, static_cast<size_t>(size));
    p += size;
  }
  rest_ = absl::string_view(p, static_cast<size_t>(end - p));
}

Record RecordView::ToRecord() const {
  Record record;
  record.timestamp_ms = timestamp_ms;
  if (key.has_value()) record.key = std::string(*key);
  if (value.has_value()) record.value = std::string(*value);
  record.headers.reserve(static_cast<size_t>(headers().size()));
  for (const HeaderView& view : headers()) {
    Header& header = record.headers.emplace_back();
    header.key = std::string(view.key);
    if (view.value.has_value()) header.value = std::string(*view.value);
  }
  return record;
}

}  // namespace falaj::record
