// Writes tests/testdata/batches/librdkafka-*.bin anew. Run from the repository root; the files
// change with the version of librdkafka only.
#include <cstdio>
#include <fstream>

#include "absl/strings/str_cat.h"

#include "tests/interop/librdkafka_capture.h"

namespace {

bool Write(const std::string& name, const falaj::interop::CaptureOptions& options) {
  const auto batches = falaj::interop::CaptureBatches(options);
  const std::string path = absl::StrCat("tests/testdata/batches/librdkafka-", name, ".bin");
  if (!batches.ok()) {
    std::fprintf(stderr, "%s: %s\n", path.c_str(), batches.status().ToString().c_str());
    return false;
  }
  std::ofstream(path, std::ios::binary) << *batches;
  std::printf("%s: %zu bytes\n", path.c_str(), batches->size());
  return true;
}

}  // namespace

int main() {
  bool written = Write("idempotent", {.codec = "none", .idempotent = true});
  for (const char* codec : {"none", "gzip", "snappy", "lz4", "zstd"}) {
    written = Write(codec, {.codec = codec}) && written;
  }
  return written ? 0 : 1;
}
