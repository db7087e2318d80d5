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
  partition.Publish(state, epochs, GoOn::kElsewhere);
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
  partition.Publish(state, epochs, GoOn::kElsewhere);
  const absl::Status moved = check(3, 3, 15);
  EXPECT_EQ(ReasonOf(moved), Reason::kNotLeader) << moved;
  EXPECT_EQ(MetadataOf(moved)["leader_epoch"], "6");
}

class CountingWaits final : public Partition::Waiter {
 public:
  void Wake(GoOn where) override { ++(where == GoOn::kHere ? here : elsewhere); }
  int here = 0;
  int elsewhere = 0;
};

// Whoever has moved the high watermark has others waiting, too.
TEST(Partition, FewGoOnWhereTheyAreWoken) {
  Partition partition({TopicId(), PartitionIndex(0)}, "t", {}, nullptr);
  const replica::EpochCache epochs;
  PartitionState state;
  state.readable = true;
  state.epoch = LeaderEpoch(3);
  partition.Publish(state, epochs, GoOn::kElsewhere);
  const auto wake = [&](int waiting, GoOn where) {
    std::vector<std::shared_ptr<CountingWaits>> waits;
    for (int i = 0; i < waiting; ++i) {
      waits.push_back(std::make_shared<CountingWaits>());
      EXPECT_TRUE(partition.Await(LeaderEpoch(3), state.high_watermark, waits.back()));
    }
    state.high_watermark = state.high_watermark + 1;
    partition.Publish(state, epochs, where);
    int here = 0;
    for (const auto& one : waits) {
      EXPECT_EQ(one->here + one->elsewhere, 1);
      here += one->here;
    }
    return here;
  };
  EXPECT_EQ(wake(4, GoOn::kHere), 4);
  EXPECT_EQ(wake(5, GoOn::kHere), 0);
  EXPECT_EQ(wake(1, GoOn::kElsewhere), 0);
}

}  // namespace
}  // namespace falaj::storage
