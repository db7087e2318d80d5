#include "libs/record/compression.h"

#include <lz4frame.h>
#include <snappy.h>
#include <zlib.h>
#include <zstd.h>

#include "gtest/gtest.h"

#include "libs/base/random.h"
#include "libs/base/status.h"
#include "libs/record/big_endian.h"

namespace falaj::record {
namespace {

constexpr Codec kCompressing[] = {Codec::kGzip, Codec::kSnappy, Codec::kLz4, Codec::kZstd};

std::string Gzip(const std::string& data) {
  std::string out(compressBound(data.size()) + 64, '\0');
  z_stream stream{};
  deflateInit2(&stream, 6, Z_DEFLATED, MAX_WBITS + 16, 8, Z_DEFAULT_STRATEGY);
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(data.data()));
  stream.avail_in = static_cast<uInt>(data.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  deflate(&stream, Z_FINISH);
  out.resize(stream.total_out);
  deflateEnd(&stream);
  return out;
}

std::string Snappy(const std::string& data) {
  std::string out;
  snappy::Compress(data.data(), data.size(), &out);
  return out;
}

// `data` in xerial's framing, in blocks of `block_size`.
std::string Xerial(const std::string& data, size_t block_size) {
  std::string out("\x82SNAPPY\0\0\0\0\1\0\0\0\1", 16);
  for (size_t at = 0; at < data.size(); at += block_size) {
    const std::string block = Snappy(data.substr(at, block_size));
    char size[4];
    StoreBigEndian(static_cast<int32_t>(block.size()), size);
    out.append(size, sizeof(size)).append(block);
  }
  return out;
}

std::string CompressWith(Codec codec, const std::string& data) {
  if (codec == Codec::kGzip) return Gzip(data);
  if (codec == Codec::kSnappy) return Snappy(data);
  std::string out;
  EXPECT_TRUE(Compress(codec, data, &out).ok());
  return out;
}

std::string RandomText(size_t size, uint64_t seed) {
  Random random(seed);
  std::string text;
  while (text.size() < size) text.append(random.Below(9) + 1, static_cast<char>(random.Below(256)));
  text.resize(size);
  return text;
}

TEST(Compression, RoundTripsEverySize) {
  for (const Codec codec : kCompressing) {
    for (const size_t size :
         {size_t{0}, size_t{1}, size_t{1000}, size_t{70'000}, size_t{2'000'000}}) {
      const std::string data = RandomText(size, size);
      const auto back = Decompress(codec, CompressWith(codec, data), size);
      ASSERT_TRUE(back.ok()) << CodecName(codec) << " " << size << " " << back.status();
      EXPECT_EQ(back->ToString(), data) << CodecName(codec) << " " << size;
    }
  }
}

TEST(Compression, AppendsToWhatIsThere) {
  for (const Codec codec : {Codec::kNone, Codec::kLz4, Codec::kZstd}) {
    std::string out = "before";
    ASSERT_TRUE(Compress(codec, "some data", &out).ok());
    ASSERT_EQ(out.substr(0, 6), "before");
    const auto back = Decompress(codec, absl::string_view(out).substr(6), 100);
    ASSERT_TRUE(back.ok()) << back.status();
    EXPECT_EQ(back->ToString(), "some data");
  }
}

TEST(Compression, OneByteOverTheLimitIsRefused) {
  const std::string data = RandomText(100'000, 7);
  for (const Codec codec : kCompressing) {
    const auto back = Decompress(codec, CompressWith(codec, data), data.size() - 1);
    ASSERT_FALSE(back.ok()) << CodecName(codec);
    EXPECT_EQ(ReasonOf(back.status()), Reason::kRecordTooLarge) << back.status();
    EXPECT_EQ(MetadataOf(back.status())["limit_bytes"], "99999");
  }
}

TEST(Compression, BombsAreRefused) {
  const std::string zeros(64 << 20, '\0');
  for (const Codec codec : kCompressing) {
    const auto back = Decompress(codec, CompressWith(codec, zeros), 1 << 20);
    ASSERT_FALSE(back.ok()) << CodecName(codec);
    EXPECT_EQ(ReasonOf(back.status()), Reason::kRecordTooLarge) << back.status();
  }
  const auto xerial = Decompress(Codec::kSnappy, Xerial(zeros, 1 << 16), 1 << 20);
  EXPECT_EQ(ReasonOf(xerial.status()), Reason::kRecordTooLarge) << xerial.status();
}

TEST(Compression, BombsOfManyFramesAreRefused) {
  const std::string zeros(1 << 20, '\0');
  for (const Codec codec : {Codec::kGzip, Codec::kLz4, Codec::kZstd}) {
    std::string frames;
    for (int i = 0; i < 8; ++i) frames += CompressWith(codec, zeros);
    EXPECT_TRUE(Decompress(codec, frames, 8 << 20).ok()) << CodecName(codec);
    const auto back = Decompress(codec, frames, 4 << 20);
    EXPECT_EQ(ReasonOf(back.status()), Reason::kRecordTooLarge) << back.status();
  }
}

TEST(Compression, ZstdWindowLargerThanAnyBatchIsRefused) {
  std::string frame(1 << 12, '\0');
  ZSTD_CCtx* encoder = ZSTD_createCCtx();
  ZSTD_CCtx_setParameter(encoder, ZSTD_c_windowLog, 27);
  ZSTD_CCtx_setParameter(encoder, ZSTD_c_contentSizeFlag, 0);
  ZSTD_inBuffer in = {"abc", 3, 0};
  ZSTD_outBuffer out = {frame.data(), frame.size(), 0};
  // In two steps, so that the encoder does not know how little there is.
  ZSTD_compressStream2(encoder, &out, &in, ZSTD_e_flush);
  ZSTD_inBuffer none = {nullptr, 0, 0};
  ZSTD_compressStream2(encoder, &out, &none, ZSTD_e_end);
  ZSTD_freeCCtx(encoder);
  const auto back = Decompress(Codec::kZstd, absl::string_view(frame).substr(0, out.pos), 1000);
  EXPECT_EQ(ReasonOf(back.status()), Reason::kInvalidBatch) << back.status();
}

TEST(Compression, XerialFramingIsRead) {
  const std::string data = RandomText(100'000, 8);
  const auto back = Decompress(Codec::kSnappy, Xerial(data, 32'768), data.size());
  ASSERT_TRUE(back.ok()) << back.status();
  EXPECT_EQ(back->ToString(), data);
}

TEST(Compression, EveryTruncationIsRefused) {
  const std::string data = RandomText(2000, 9);
  for (const Codec codec : kCompressing) {
    const std::string whole = CompressWith(codec, data);
    for (size_t size = 0; size < whole.size(); ++size) {
      const auto back = Decompress(codec, absl::string_view(whole).substr(0, size), 10'000);
      EXPECT_EQ(ReasonOf(back.status()), Reason::kInvalidBatch) << CodecName(codec) << " " << size;
    }
  }
  const std::string whole = Xerial(data, 500);
  for (size_t size = 0; size < whole.size(); ++size) {
    const auto back = Decompress(Codec::kSnappy, absl::string_view(whole).substr(0, size), 10'000);
    // Between blocks a cut cannot be seen here; the record count tells then.
    EXPECT_TRUE(!back.ok() || back->size() < data.size()) << size;
  }
}

TEST(Compression, NoiseAndTrailingBytesAreRefused) {
  for (const Codec codec : kCompressing) {
    EXPECT_FALSE(Decompress(codec, "this is no compressed data", 1000).ok()) << CodecName(codec);
    const auto back = Decompress(codec, CompressWith(codec, "data") + "x", 1000);
    EXPECT_EQ(ReasonOf(back.status()), Reason::kInvalidBatch) << CodecName(codec);
  }
}

// lz4 1.9.4 remembers the size of the frame it failed in; see compression.cc.
TEST(Compression, ADecoderThatFailedWorksAgain) {
  for (const Codec codec : kCompressing) {
    const std::string whole = CompressWith(codec, RandomText(5000, 10));
    EXPECT_FALSE(Decompress(codec, absl::string_view(whole).substr(0, 100), 10'000).ok());
    EXPECT_TRUE(Decompress(codec, CompressWith(codec, ""), 10).ok()) << CodecName(codec);
    EXPECT_TRUE(Decompress(codec, whole, 10'000).ok()) << CodecName(codec);
  }
}

TEST(Compression, GzipAndSnappyAreNotWritten) {
  for (const Codec codec : {Codec::kGzip, Codec::kSnappy}) {
    std::string out;
    EXPECT_EQ(ReasonOf(Compress(codec, "data", &out)), Reason::kUnsupported);
  }
}

TEST(Compression, UnknownCodecsAreRefused) {
  for (const int codec : {5, 6, 7}) {
    const auto back = Decompress(static_cast<Codec>(codec), "data", 1000);
    EXPECT_EQ(ReasonOf(back.status()), Reason::kInvalidBatch);
    EXPECT_EQ(MetadataOf(back.status())["field"], "codec");
  }
}

}  // namespace
}  // namespace falaj::record
