#include "libs/record/legacy_codecs.h"

#include <snappy.h>
#include <zlib.h>

#include <algorithm>
#include <limits>
#include <memory>
#include <utility>
#include <vector>

#include "libs/base/status.h"
#include "libs/record/batch_error.h"
#include "libs/record/big_endian.h"
#include "libs/record/bounded_output.h"

namespace falaj::record {
namespace {

constexpr absl::string_view kXerialMagic("\x82SNAPPY\0", 8);
constexpr size_t kXerialHeaderSize = 16;

absl::Status BadData(absl::string_view codec, size_t size) {
  return InvalidBatch("records", static_cast<int64_t>(size),
                      absl::StrCat("bytes that are not whole ", codec, " data"));
}

// The blocks of xerial-framed data, without their sizes.
absl::StatusOr<std::vector<absl::string_view>> SplitXerial(absl::string_view data) {
  std::vector<absl::string_view> blocks;
  for (absl::string_view rest = data.substr(kXerialHeaderSize); !rest.empty();) {
    if (rest.size() < sizeof(uint32_t)) return BadData("snappy", data.size());
    const size_t size = LoadBigEndian<uint32_t>(rest.data());
    rest.remove_prefix(sizeof(uint32_t));
    if (size > rest.size()) return BadData("snappy", data.size());
    blocks.push_back(rest.substr(0, size));
    rest.remove_prefix(size);
  }
  return blocks;
}

}  // namespace

absl::StatusOr<Bytes> DecompressGzip(absl::string_view data, size_t bytes_max) {
  constexpr int kGzipOnly = 16;  // Added to the window bits: a gzip header, no zlib one.
  z_stream stream{};
  if (inflateInit2(&stream, MAX_WBITS + kGzipOnly) != Z_OK) {
    return MakeError(Reason::kInternal, "zlib cannot be set up");
  }
  const std::unique_ptr<z_stream, int (*)(z_stream*)> end_stream(&stream, inflateEnd);
  constexpr size_t kStepMax = std::numeric_limits<uInt>::max();
  if (data.size() > kStepMax) return BadData("gzip", data.size());
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(data.data()));
  stream.avail_in = static_cast<uInt>(data.size());
  BoundedOutput output(data.size() * 4, bytes_max);
  while (true) {
    FALAJ_RETURN_IF_ERROR(output.EnsureRoom());
    const auto room = static_cast<uInt>(std::min(output.room(), kStepMax));
    stream.next_out = reinterpret_cast<Bytef*>(output.tail());
    stream.avail_out = room;
    const int result = inflate(&stream, Z_NO_FLUSH);
    output.Wrote(room - stream.avail_out);
    if (result == Z_STREAM_END) {
      if (stream.avail_in == 0) return std::move(output).Finish();
      if (inflateReset(&stream) != Z_OK) return BadData("gzip", data.size());
    } else if (result != Z_OK) {  // Also Z_BUF_ERROR: there was room, so the input is cut off.
      return BadData("gzip", data.size());
    }
  }
}

absl::StatusOr<Bytes> DecompressSnappy(absl::string_view data, size_t bytes_max) {
  std::vector<absl::string_view> blocks = {data};
  if (data.size() >= kXerialHeaderSize && data.substr(0, kXerialMagic.size()) == kXerialMagic) {
    FALAJ_ASSIGN_OR_RETURN(blocks, SplitXerial(data));
  }
  size_t total = 0;
  std::vector<size_t> sizes;
  for (absl::string_view block : blocks) {
    size_t size = 0;
    if (!snappy::GetUncompressedLength(block.data(), block.size(), &size)) {
      return BadData("snappy", data.size());
    }
    total += size;
    if (total > bytes_max) return BatchTooLarge("decompressed records", total, bytes_max);
    sizes.push_back(size);
  }
  BoundedOutput output(total, bytes_max);
  for (size_t i = 0; i < blocks.size(); ++i) {
    if (!snappy::RawUncompress(blocks[i].data(), blocks[i].size(), output.tail())) {
      return BadData("snappy", data.size());
    }
    output.Wrote(sizes[i]);
  }
  return std::move(output).Finish();
}

}  // namespace falaj::record
