// Whether bytes are UTF-8. Header keys must be: a protobuf string that is not would make the whole
// answer unreadable for a consumer.
#ifndef LIBS_RECORD_UTF8_H_
#define LIBS_RECORD_UTF8_H_

#include "absl/strings/string_view.h"

namespace falaj::record {

// True for well-formed UTF-8 (RFC 3629): no overlong forms, no surrogates, nothing above U+10FFFF.
bool IsUtf8(absl::string_view text);

}  // namespace falaj::record

#endif  // LIBS_RECORD_UTF8_H_
