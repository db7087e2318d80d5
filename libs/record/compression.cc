#include "libs/record/compression.h"

#include <lz4frame.h>
#include <zstd.h>

#include <memory>
#include <utility>

#include "libs/base/status.h"
#include "libs/record/batch_error.h"
#include "libs/record/bounded_output.h"
#include "libs/record/legacy_codecs.h"

namespace falaj::record {
namespace {

constexpr int kZstdLevel = 3;
constexpr int kZstdWindowLogMax = 24;  // 16 MiB: no batch needs a larger window.

absl::Status BadData(absl::string_view codec, size_t size, absl::string_view why) {
  return InvalidBatch("records", static_cast<int64_t>(size),
                      absl::StrCat("bytes that are not whole ", codec, " data (", why, ")"));
}

struct FreeContext {
  void operator()(LZ4F_dctx* context) const { LZ4F_freeDecompressionContext(context); }
  void operator()(ZSTD_DCtx* context) const { ZSTD_freeDCtx(context); }
  void operator()(ZSTD_CCtx* context) const { ZSTD_freeCCtx(context); }
};

using Lz4Decoder = std::unique_ptr<LZ4F_dctx, FreeContext>;

// The calling thread's decoder while it is not in use. A decoder that failed is not put back: lz4
// 1.9.4 keeps the remaining size of the frame it stopped in across
// LZ4F_resetDecompressionContext(), and would refuse the next good frame that does not give its
// size.
thread_local Lz4Decoder idle_lz4_decoder;

Lz4Decoder TakeLz4Decoder() {
  if (idle_lz4_decoder != nullptr) return std::move(idle_lz4_decoder);
  LZ4F_dctx* made = nullptr;
  LZ4F_createDecompressionContext(&made, LZ4F_VERSION);
  return Lz4Decoder(made);
}

ZSTD_DCtx* ZstdDecoder() {
  thread_local const auto context = [] {
    std::unique_ptr<ZSTD_DCtx, FreeContext> made(ZSTD_createDCtx());
    if (made != nullptr) {
      ZSTD_DCtx_setParameter(made.get(), ZSTD_d_windowLogMax, kZstdWindowLogMax);
    }
    return made;
  }();
  if (context != nullptr) ZSTD_DCtx_reset(context.get(), ZSTD_reset_session_only);
  return context.get();
}

ZSTD_CCtx* ZstdEncoder() {
  thread_local const std::unique_ptr<ZSTD_CCtx, FreeContext> context(ZSTD_createCCtx());
  return context.get();
}

absl::Status OutOfMemory(absl::string_view codec) {
  return MakeError(Reason::kInternal, absl::StrCat(codec, " cannot be set up: no memory"));
}

// Makes room behind `out` for the worst case, lets `compress(char* to, size_t room)` fill it, and
// cuts off what was not needed.
template <typename CompressTo>
size_t AppendCompressed(std::string* out, size_t bound, CompressTo compress) {
  const size_t start = out->size();
  out->resize(start + bound);
  const size_t size = compress(out->data() + start, bound);
  out->resize(start + (size <= bound ? size : 0));  // Errors are huge numbers in both codecs.
  return size;
}

absl::Status CompressLz4(absl::string_view data, std::string* out) {
  LZ4F_preferences_t preferences = LZ4F_INIT_PREFERENCES;
  preferences.frameInfo.blockSizeID = LZ4F_max64KB;
  preferences.frameInfo.blockMode = LZ4F_blockIndependent;  // Java clients read nothing else.
  preferences.frameInfo.contentSize = data.size();
  const size_t bound = LZ4F_compressFrameBound(data.size(), &preferences);
  const size_t result = AppendCompressed(out, bound, [&](char* to, size_t room) {
    return LZ4F_compressFrame(to, room, data.data(), data.size(), &preferences);
  });
  if (LZ4F_isError(result) != 0) {
    return MakeError(Reason::kInternal, absl::StrCat("lz4: ", LZ4F_getErrorName(result)));
  }
  return absl::OkStatus();
}

absl::Status CompressZstd(absl::string_view data, std::string* out) {
  ZSTD_CCtx* encoder = ZstdEncoder();
  if (encoder == nullptr) return OutOfMemory("zstd");
  const size_t bound = ZSTD_compressBound(data.size());
  const size_t result = AppendCompressed(out, bound, [&](char* to, size_t room) {
    return ZSTD_compressCCtx(encoder, to, room, data.data(), data.size(), kZstdLevel);
  });
  if (ZSTD_isError(result) != 0) {
    return MakeError(Reason::kInternal, absl::StrCat("zstd: ", ZSTD_getErrorName(result)));
  }
  return absl::OkStatus();
}

absl::StatusOr<Bytes> DecompressLz4(absl::string_view data, size_t bytes_max) {
  Lz4Decoder decoder = TakeLz4Decoder();
  if (decoder == nullptr) return OutOfMemory("lz4");
  BoundedOutput output(data.size() * 4, bytes_max);
  absl::string_view rest = data;
  while (true) {
    FALAJ_RETURN_IF_ERROR(output.EnsureRoom());
    size_t wrote = output.room();
    size_t took = rest.size();
    const size_t result =
        LZ4F_decompress(decoder.get(), output.tail(), &wrote, rest.data(), &took, nullptr);
    if (LZ4F_isError(result) != 0) {
      return BadData("lz4", data.size(), LZ4F_getErrorName(result));
    }
    output.Wrote(wrote);
    rest.remove_prefix(took);
    if (result == 0 && rest.empty()) {
      idle_lz4_decoder = std::move(decoder);
      return std::move(output).Finish();
    }
    if (took == 0 && wrote == 0) return BadData("lz4", data.size(), "cut off");
  }
}

absl::StatusOr<Bytes> DecompressZstd(absl::string_view data, size_t bytes_max) {
  ZSTD_DCtx* decoder = ZstdDecoder();
  if (decoder == nullptr) return OutOfMemory("zstd");
  size_t expected = data.size() * 4;
  const uint64_t promised = ZSTD_getFrameContentSize(data.data(), data.size());
  if (promised != ZSTD_CONTENTSIZE_UNKNOWN && promised != ZSTD_CONTENTSIZE_ERROR) {
    if (promised > bytes_max) return BatchTooLarge("decompressed records", promised, bytes_max);
    expected = promised;
  }
  BoundedOutput output(expected, bytes_max);
  ZSTD_inBuffer in = {data.data(), data.size(), 0};
  while (true) {
    FALAJ_RETURN_IF_ERROR(output.EnsureRoom());
    ZSTD_outBuffer out = {output.tail(), output.room(), 0};
    const size_t taken = in.pos;
    const size_t result = ZSTD_decompressStream(decoder, &out, &in);
    if (ZSTD_isError(result) != 0) return BadData("zstd", data.size(), ZSTD_getErrorName(result));
    output.Wrote(out.pos);
    if (result == 0 && in.pos == in.size) return std::move(output).Finish();
    if (in.pos == taken && out.pos == 0) return BadData("zstd", data.size(), "cut off");
  }
}

}  // namespace

absl::Status Compress(Codec codec, absl::string_view data, std::string* out) {
  switch (codec) {
    case Codec::kNone:
      out->append(data.data(), data.size());
      return absl::OkStatus();
    case Codec::kLz4:
      return CompressLz4(data, out);
    case Codec::kZstd:
      return CompressZstd(data, out);
    default:
      return MakeError(Reason::kUnsupported,
                       absl::StrCat("codec ", CodecName(codec), " is read but not written"),
                       {{"codec", std::string(CodecName(codec))}});
  }
}

absl::StatusOr<Bytes> Decompress(Codec codec, absl::string_view data, size_t bytes_max) {
  switch (codec) {
    case Codec::kNone:
      if (data.size() > bytes_max) {
        return BatchTooLarge("decompressed records", data.size(), bytes_max);
      }
      return Bytes::Copy(data);
    case Codec::kGzip:
      return DecompressGzip(data, bytes_max);
    case Codec::kSnappy:
      return DecompressSnappy(data, bytes_max);
    case Codec::kLz4:
      return DecompressLz4(data, bytes_max);
    case Codec::kZstd:
      return DecompressZstd(data, bytes_max);
  }
  return InvalidBatch("codec", static_cast<int>(codec), "known are 0 to", 4);
}

}  // namespace falaj::record
