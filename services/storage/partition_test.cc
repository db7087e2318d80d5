#include "services/storage/partition.h"

#include <memory>
#include <vector>

#include "gtest/gtest.h"

#include "libs/base/status.h"

namespace falaj::storage {
namespace {

TEST(Partition, APositionIsCheckedAgainstTheLogOfTheEpochThatIsRead) {
  Partition partition({TopicId(), PartitionIndex(0)}, "t", {}, nullptr);
  replica::EpochCache epochs;
  epochs.Assign({LeaderEpoch(1), Offset(0)});
  epochs.Assign({LeaderEpoch(3), Offset(10)});
  PartitionState state;
  state.readable = state.serving = true;
  state.epoch = LeaderEpoch(3);
  state.high_watermark = state.written_end = state.log_end = Offset(20);
  partition.Publish(state, epochs);
  const auto check = [&partition](int epoch, int last_epoch, int64_t offset) {
    return partition.CheckHolds(LeaderEpoch(epoch), LeaderEpoch(last_epoch), Offset(offset));
  };
  EXPECT_TRUE(check(3, 1, 10).ok());
  EXPECT_TRUE(check(3, 3, 15).ok());
  EXPECT_EQ(MetadataOf(check(3, 1, 15))["diverging_offset"], "10");
  EXPECT_EQ(ReasonOf(check(3, 4, 15)), Reason::kNotLeader) << "the log does not reach to it";

  // Deposed, cut and filled again: what this log says is not of the one that is read.
  epochs.Assign({LeaderEpoch(5), Offset(12)});
  state.epoch = LeaderEpoch(6);
  state.readable = state.serving = false;
  partition.Publish(state, epochs);
  const absl::Status moved = check(3, 3, 15);
  EXPECT_EQ(ReasonOf(moved), Reason::kNotLeader) << moved;
  EXPECT_EQ(MetadataOf(moved)["leader_epoch"], "6");
}

class Waits final : public Partition::Waiter {
 public:
  void Wake(GoOn /*where*/) override {}
};

TEST(Partition, WhoeverPublishesHearsWhomToWake) {
  Partition partition({TopicId(), PartitionIndex(0)}, "t", {}, nullptr);
  const replica::EpochCache epochs;
  PartitionState state;
  state.readable = true;
  state.epoch = LeaderEpoch(3);
  partition.Publish(state, epochs);
  const auto soon = std::make_shared<Waits>();
  const auto later = std::make_shared<Waits>();
  ASSERT_TRUE(partition.Await(LeaderEpoch(3), Offset(0), soon));
  ASSERT_TRUE(partition.Await(LeaderEpoch(3), Offset(5), later));
  using Woken = std::vector<std::shared_ptr<Partition::Waiter>>;
  EXPECT_EQ(partition.Publish(state, epochs), Woken()) << "nothing has changed";
  state.high_watermark = Offset(5);
  EXPECT_EQ(partition.Publish(state, epochs), Woken({soon}));
  state.epoch = LeaderEpoch(4);
  EXPECT_EQ(partition.Publish(state, epochs), Woken({later})) << "another reign";
}

}  // namespace
}  // namespace falaj::storage
