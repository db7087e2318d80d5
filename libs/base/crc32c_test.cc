#include "libs/base/crc32c.h"

#include "gtest/gtest.h"

#include "libs/base/random.h"

namespace falaj {
namespace {

TEST(Crc32c, MatchesPublishedVectors) {  // RFC 3720 B.4.
  EXPECT_EQ(crc32c::Of("123456789"), 0xE3069283u);
  EXPECT_EQ(crc32c::Of(std::string(32, '\0')), 0x8A9136AAu);
  EXPECT_EQ(crc32c::Of(std::string(32, '\xff')), 0x62A8AB43u);
  EXPECT_EQ(crc32c::Of(""), 0u);
}

TEST(Crc32c, AcceleratedEqualsPortableAtEveryLengthAndSplit) {
  Random random(3);
  std::string data(10'000, '\0');
  for (char& c : data) c = static_cast<char>(random.Below(256));
  for (size_t length = 0; length <= data.size(); length = length * 2 + 1) {
    const absl::string_view view = absl::string_view(data).substr(0, length);
    const uint32_t expected = crc32c::ExtendPortable(0, view);
    EXPECT_EQ(crc32c::Of(view), expected) << length;
    const size_t split = random.Below(length + 1);
    EXPECT_EQ(crc32c::Extend(crc32c::Of(view.substr(0, split)), view.substr(split)), expected);
  }
}

TEST(Crc32c, CoversScatteredBytes) {
  const Bytes bytes = Bytes::Concat(Bytes::Copy("1234"), Bytes::Copy("56789"));
  EXPECT_EQ(crc32c::Of(bytes), 0xE3069283u);
}

}  // namespace
}  // namespace falaj
