#include "libs/record/varint.h"

#include <limits>
#include <string>

#include "gtest/gtest.h"

#include "libs/base/random.h"
#include "libs/record/utf8.h"

namespace falaj::record {
namespace {

std::string Encode(int64_t value) {
  char out[kVarlongSizeMax];
  return std::string(out, WriteVarint(out, value));
}

bool Decode(const std::string& bytes, int64_t* value) {
  const char* p = bytes.data();
  return ReadVarlong(&p, p + bytes.size(), value) && p == bytes.data() + bytes.size();
}

TEST(Varint, HasTheBytesOfProtobufsSint) {
  EXPECT_EQ(Encode(0), std::string("\0", 1));
  EXPECT_EQ(Encode(-1), "\x01");
  EXPECT_EQ(Encode(1), "\x02");
  EXPECT_EQ(Encode(63), "\x7e");
  EXPECT_EQ(Encode(-64), "\x7f");
  EXPECT_EQ(Encode(64), "\x80\x01");
  EXPECT_EQ(Encode(std::numeric_limits<int32_t>::min()), "\xff\xff\xff\xff\x0f");
  EXPECT_EQ(Encode(std::numeric_limits<int64_t>::min()),
            "\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01");
}

TEST(Varint, RoundTripsEveryWidth) {
  Random random(1);
  for (int i = 0; i < 10'000; ++i) {
    const auto value = static_cast<int64_t>(random.Next() >> random.Below(64));
    for (const int64_t v : {value, -value}) {
      const std::string bytes = Encode(v);
      EXPECT_EQ(bytes.size(), VarintSize(v));
      int64_t back = 0;
      ASSERT_TRUE(Decode(bytes, &back));
      EXPECT_EQ(back, v);
    }
  }
}

TEST(Varint, RefusesWhatIsCutOffTooLongOrTooLarge) {
  int64_t value = 0;
  EXPECT_FALSE(Decode("", &value));
  EXPECT_FALSE(Decode("\x80", &value));
  EXPECT_FALSE(Decode(std::string(10, '\xff'), &value));
  EXPECT_FALSE(Decode(std::string(9, '\xff') + "\x02", &value));
  int32_t narrow = 0;
  const std::string too_wide = Encode(int64_t{1} << 31);
  const char* p = too_wide.data();
  EXPECT_FALSE(ReadVarint(&p, p + too_wide.size(), &narrow));
}

TEST(Utf8, TellsTextFromBytes) {
  for (const char* good : {"", "plain", "فلج", "\xf0\x9f\x92\xa7", "\xf4\x8f\xbf\xbf"}) {
    EXPECT_TRUE(IsUtf8(good)) << good;
  }
  for (const char* bad : {"\x80", "\xc3", "\xc0\x80", "\xe0\x80\x80", "\xed\xa0\x80",
                          "\xf4\x90\x80\x80", "\xff", "a\xf0\x9f\x92"}) {
    EXPECT_FALSE(IsUtf8(bad));
  }
}

}  // namespace
}  // namespace falaj::record
