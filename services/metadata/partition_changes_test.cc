#include "services/metadata/partition_changes.h"

#include <gtest/gtest.h>

namespace falaj::metadata {
namespace {

void AddPartition(int32_t index, int32_t leader, int in_sync, internal::v1::TopicState* topic) {
  internal::v1::PartitionState* const partition = topic->add_partitions();
  partition->set_partition(index);
  partition->set_leader(leader);
  for (int node = 1; node <= in_sync; ++node) partition->add_isr(node);
}

TEST(PartitionChangesTest, CountsElectionsAndWhoComesAndGoes) {
  PartitionChanges changes;
  internal::v1::ClusterDelta created;
  created.add_topics()->mutable_topic()->set_topic_id("t");
  AddPartition(0, 1, 3, created.mutable_topics(0)->mutable_topic());
  AddPartition(1, 2, 3, created.mutable_topics(0)->mutable_topic());
  PartitionChanges::Counts counts = changes.Take(created);
  EXPECT_EQ(0, counts.elections + counts.isr_shrinks + counts.isr_expands) << "they are new";

  internal::v1::ClusterDelta died;
  died.add_topics()->mutable_topic()->set_topic_id("t");
  AddPartition(0, 2, 2, died.mutable_topics(0)->mutable_topic());
  AddPartition(1, 0, 0, died.mutable_topics(0)->mutable_topic());
  counts = changes.Take(died);
  EXPECT_EQ(1, counts.elections) << "nobody is not elected";
  EXPECT_EQ(2, counts.isr_shrinks);
  EXPECT_EQ(0, counts.isr_expands);
  EXPECT_EQ(0, counts.unclean_elections);

  internal::v1::ClusterDelta back;
  back.add_topics()->mutable_topic()->set_topic_id("t");
  AddPartition(0, 2, 3, back.mutable_topics(0)->mutable_topic());
  AddPartition(1, 2, 1, back.mutable_topics(0)->mutable_topic());
  back.mutable_topics(0)->mutable_topic()->mutable_partitions(1)->set_unclean_epoch(7);
  counts = changes.Take(back);
  EXPECT_EQ(1, counts.unclean_elections);
  EXPECT_EQ(1, counts.elections);
  EXPECT_EQ(2, counts.isr_expands);

  internal::v1::ClusterDelta deleted;
  deleted.add_deleted_topics("t");
  changes.Take(deleted);
  counts = changes.Take(died);
  EXPECT_EQ(0, counts.elections + counts.isr_shrinks)
      << "another topic under the same id would be new";
}

}  // namespace
}  // namespace falaj::metadata
