#include "services/metadata/newest_streams.h"

#include "gtest/gtest.h"

namespace falaj::metadata {
namespace {

TEST(NewestStreamsTest, OnlyTheEndOfTheNewestStreamOfAPeerCounts) {
  NewestStreams streams;
  const int first = 0;
  const int second = 0;
  const int other = 0;
  streams.Opened(NodeId(1), &first);
  streams.Opened(NodeId(2), &other);
  streams.Opened(NodeId(1), &second);
  EXPECT_FALSE(streams.Closed(NodeId(1), &first)) << "another one has taken its place";
  EXPECT_TRUE(streams.Closed(NodeId(1), &second));
  EXPECT_FALSE(streams.Closed(NodeId(1), &second)) << "once";
  EXPECT_TRUE(streams.Closed(NodeId(2), &other));
}

TEST(NewestStreamsTest, AStreamThatNeverProvedItsOriginIsNobodys) {
  NewestStreams streams;
  const int ours = 0;
  const int stranger = 0;
  streams.Opened(NodeId(1), &ours);
  EXPECT_FALSE(streams.Closed(NodeId(), &stranger));
  EXPECT_FALSE(streams.Closed(NodeId(1), &stranger));
  EXPECT_TRUE(streams.Closed(NodeId(1), &ours));
}

}  // namespace
}  // namespace falaj::metadata
