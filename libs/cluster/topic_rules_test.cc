#include "libs/cluster/topic_rules.h"

#include <gtest/gtest.h>

#include <functional>
#include <string>

#include "falaj/v1/record.pb.h"

#include "libs/base/status.h"

namespace falaj::cluster {
namespace {

using internal::v1::TopicSettings;

TEST(TopicRulesTest, NamesHaveOneTo249PlainCharacters) {
  for (const std::string& name :
       {std::string("a"), std::string("Flights_2024.raw-v2"), std::string("..."),
        std::string(249, 'x'), std::string("__groups")}) {
    EXPECT_TRUE(ValidateTopicName(name).ok()) << name;
  }
  for (const std::string& name :
       {std::string(), std::string("."), std::string(".."), std::string(250, 'x'),
        std::string("a b"), std::string("a/b"), std::string("fl\xc3\xbcge"), std::string("a\0b", 3),
        std::string("a\n")}) {
    const absl::Status status = ValidateTopicName(name);
    EXPECT_EQ(Reason::kInvalidName, ReasonOf(status)) << name;
    EXPECT_EQ("name", MetadataOf(status)["field"]);
  }
}

TEST(TopicRulesTest, UsersMayNotTakeInternalNames) {
  EXPECT_TRUE(ValidateUserTopicName("_mine").ok());
  EXPECT_EQ(Reason::kInvalidName, ReasonOf(ValidateUserTopicName("__groups")));
  EXPECT_EQ(Reason::kInvalidName, ReasonOf(ValidateUserTopicName("")));
}

TEST(TopicRulesTest, CountsHaveBounds) {
  EXPECT_TRUE(ValidatePartitionCount(1).ok());
  EXPECT_TRUE(ValidatePartitionCount(10'000).ok());
  for (int32_t count : {0, -1, 10'001}) {
    EXPECT_EQ(Reason::kInvalidRequest, ReasonOf(ValidatePartitionCount(count)));
  }
  EXPECT_TRUE(ValidateReplicationFactor(1).ok());
  EXPECT_EQ(Reason::kInvalidRequest, ReasonOf(ValidateReplicationFactor(0)));
  EXPECT_EQ(Reason::kInvalidRequest, ReasonOf(ValidateReplicationFactor(-3)));
}

TEST(TopicRulesTest, TheDefaultsAreValid) {
  EXPECT_TRUE(ValidateTopicSettings(DefaultTopicSettings(), 1).ok());
}

TEST(TopicRulesTest, EverySettingHasARange) {
  struct Case {
    const char* field;
    std::function<void(TopicSettings*)> change;
  };
  const Case bad[] = {
      {"config.retention", [](TopicSettings* s) { s->set_retention_ms(999); }},
      {"config.retention", [](TopicSettings* s) { s->set_retention_ms(-1); }},
      {"config.retention", [](TopicSettings* s) { s->set_retention_ms(kTimeSettingMsMax + 1); }},
      {"config.unclean_election_after",
       [](TopicSettings* s) { s->set_unclean_election_after_ms(999); }},
      {"config.retention_bytes", [](TopicSettings* s) { s->set_retention_bytes(-1); }},
      {"config.compression", [](TopicSettings* s) { s->set_compression(0); }},
      {"config.compression", [](TopicSettings* s) { s->set_compression(99); }},
      {"config.batch_bytes_max", [](TopicSettings* s) { s->set_batch_bytes_max(1'023); }},
      {"config.batch_bytes_max", [](TopicSettings* s) { s->set_batch_bytes_max((8 << 20) + 1); }},
      {"config.min_in_sync_replicas", [](TopicSettings* s) { s->set_min_in_sync_replicas(0); }},
      {"config.min_in_sync_replicas", [](TopicSettings* s) { s->set_min_in_sync_replicas(4); }},
  };
  for (const Case& c : bad) {
    TopicSettings settings = DefaultTopicSettings();
    c.change(&settings);
    const absl::Status status = ValidateTopicSettings(settings, 3);
    EXPECT_EQ(Reason::kInvalidConfig, ReasonOf(status)) << c.field;
    EXPECT_EQ(c.field, MetadataOf(status)["field"]);
  }
  const std::function<void(TopicSettings*)> good[] = {
      [](TopicSettings* s) { s->set_retention_ms(0); },
      [](TopicSettings* s) { s->set_retention_ms(1'000); },
      [](TopicSettings* s) { s->set_unclean_election_after_ms(1'000); },
      [](TopicSettings* s) { s->set_batch_bytes_max(8 << 20); },
      [](TopicSettings* s) { s->set_min_in_sync_replicas(3); },
      [](TopicSettings* s) { s->set_compression(v1::COMPRESSION_ZSTD); },
  };
  for (const auto& change : good) {
    TopicSettings settings = DefaultTopicSettings();
    change(&settings);
    EXPECT_TRUE(ValidateTopicSettings(settings, 3).ok()) << settings.ShortDebugString();
  }
}

TEST(TopicRulesTest, EveryFieldOfTheMessageCanBeCopied) {
  TopicSettings other;
  other.set_retention_ms(5'000);
  other.set_retention_bytes(6);
  other.set_fsync(false);
  other.set_compression(v1::COMPRESSION_LZ4);
  other.set_batch_bytes_max(4'096);
  other.set_min_in_sync_replicas(2);
  other.set_append_time(true);
  other.set_unclean_election_after_ms(7'000);
  TopicSettings settings = DefaultTopicSettings();
  const auto* const descriptor = TopicSettings::descriptor();
  for (int i = 0; i < descriptor->field_count(); ++i) {
    EXPECT_FALSE(SameTopicSettings(other, settings));
    EXPECT_TRUE(CopyTopicSetting(other, descriptor->field(i)->name(), &settings).ok());
  }
  EXPECT_TRUE(SameTopicSettings(other, settings));
  EXPECT_EQ(Reason::kInvalidRequest, ReasonOf(CopyTopicSetting(other, "colour", &settings)));
}

}  // namespace
}  // namespace falaj::cluster
