#include "libs/log/slab_filter.h"

#include "gtest/gtest.h"

#include "libs/log/key_format.h"

namespace falaj::log {
namespace {

const LocalPartitionId kLow(3);
const LocalPartitionId kHigh(7);

TEST(SlabFilterTest, SkipsToTheNextSurvivor) {
  const Survivors keep = {{kLow, Offset(100)}, {kHigh, Offset(0)}};
  const auto skip = [&](LocalPartitionId id, int64_t base) {
    return SkipDead(keep, DataKey(id, Offset(base)));
  };
  EXPECT_EQ(skip(LocalPartitionId(1), 5), DataKey(kLow, Offset(100))) << "a partition that is gone";
  EXPECT_EQ(skip(kLow, 99), DataKey(kLow, Offset(100)));
  EXPECT_EQ(skip(kLow, 100), std::nullopt);
  EXPECT_EQ(skip(kLow, 101), std::nullopt);
  EXPECT_EQ(skip(LocalPartitionId(4), 500), DataKey(kHigh, Offset(0)));
  EXPECT_EQ(skip(kHigh, 0), std::nullopt);
  const auto end = skip(LocalPartitionId(8), 0);
  ASSERT_TRUE(end.has_value());
  EXPECT_GT(*end, DataKey(LocalPartitionId(UINT32_MAX), Offset(INT64_MAX)));
}

TEST(SlabFilterTest, KeepsWhatItDoesNotUnderstand) {
  const Survivors keep = {{kHigh, Offset(0)}};
  EXPECT_EQ(SkipDead(keep, ""), std::nullopt);
  EXPECT_EQ(SkipDead(keep, "D"), std::nullopt);
  EXPECT_EQ(SkipDead(keep, DataKey(kLow, Offset(1)) + "x"), std::nullopt);
}

TEST(SlabFilterTest, OnlyTheFamilyOfAScopeIsFiltered) {
  SlabFilterFactory factory;
  rocksdb::CompactionFilter::Context context;
  context.column_family_id = 4;
  {
    const SlabFilterFactory::Scope scope(&factory, 4, std::make_shared<Survivors>());
    EXPECT_NE(factory.CreateCompactionFilter(context), nullptr);
    context.column_family_id = 5;
    EXPECT_EQ(factory.CreateCompactionFilter(context), nullptr);
    context.column_family_id = 4;
  }
  EXPECT_EQ(factory.CreateCompactionFilter(context), nullptr);
}

}  // namespace
}  // namespace falaj::log
