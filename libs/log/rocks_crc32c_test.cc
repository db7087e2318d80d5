#include "libs/log/rocks_crc32c.h"

#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>

namespace rocksdb::crc32c {
uint32_t Extend(uint32_t init_crc, const char* data, size_t n);
}  // namespace rocksdb::crc32c

namespace falaj::log {
namespace {

TEST(RocksCrc32cTest, RocksFindsOurDefinition) { EXPECT_TRUE(RocksUsesOurCrc32c()); }

// The check value of CRC-32C, whole and in two parts, as RocksDB calls it.
TEST(RocksCrc32cTest, ExtendsAsRocksDoes) {
  EXPECT_EQ(rocksdb::crc32c::Extend(0, "123456789", 9), 0xE3069283U);
  EXPECT_EQ(rocksdb::crc32c::Extend(rocksdb::crc32c::Extend(0, "1234", 4), "56789", 5),
            0xE3069283U);
}

}  // namespace
}  // namespace falaj::log
