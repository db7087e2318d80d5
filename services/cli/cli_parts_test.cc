// The pure parts of the command: values, formats, offsets, output, contexts, input.
#include <zstd.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "libs/base/status.h"
#include "libs/base/testing/temp_directory.h"
#include "libs/record/batch_builder.h"
#include "libs/record/batch_reader.h"
#include "services/cli/completion.h"
#include "services/cli/contexts.h"
#include "services/cli/json_line.h"
#include "services/cli/line_source.h"
#include "services/cli/move_watch.h"
#include "services/cli/offset_range.h"
#include "services/cli/output.h"
#include "services/cli/progress.h"
#include "services/cli/record_format.h"
#include "services/cli/topic_settings.h"
#include "services/cli/values.h"

namespace falaj::cli {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

const absl::Time kNow = absl::FromUnixSeconds(1'700'000'000);

TEST(ValuesTest, DurationsKnowDays) {
  EXPECT_EQ(*ParseDuration("7d"), absl::Hours(7 * 24));
  EXPECT_EQ(*ParseDuration("1d12h"), absl::Hours(36));
  EXPECT_EQ(*ParseDuration("90s"), absl::Seconds(90));
  EXPECT_EQ(*ParseDuration("0"), absl::ZeroDuration());
  for (const char* bad : {"", "7", "d", "soon", "inf", "1e9d"}) {
    EXPECT_FALSE(ParseDuration(bad).ok()) << bad;
  }
  EXPECT_EQ(PrettyDuration(absl::Hours(36)), "1d12h");
}

TEST(ValuesTest, SizesHaveBinaryAndDecimalUnits) {
  EXPECT_EQ(*ParseBytes("1024"), 1024);
  EXPECT_EQ(*ParseBytes("16KiB"), 16384);
  EXPECT_EQ(*ParseBytes("64k"), 65536);
  EXPECT_EQ(*ParseBytes("10MB"), 10'000'000);
  EXPECT_EQ(*ParseBytes("1.5GiB"), 1'610'612'736);
  for (const char* bad : {"", "x", "-1", "1XB", "nan"}) EXPECT_FALSE(ParseBytes(bad).ok()) << bad;
  EXPECT_EQ(FormatBytes(1234567), "1.2 MB");
  EXPECT_EQ(FormatCount(-1234567), "-1,234,567");
  EXPECT_EQ(FormatCount(100), "100");
}

TEST(ValuesTest, TimesAreAbsoluteOrAgo) {
  EXPECT_EQ(*ParseTime("2023-11-14T22:13:20Z", absl::Now()), kNow);
  EXPECT_EQ(*ParseTime("1700000000", absl::Now()), kNow);
  EXPECT_EQ(*ParseTime("1700000000000", absl::Now()), kNow);
  EXPECT_EQ(*ParseTime("-2h", kNow), kNow - absl::Hours(2));
  EXPECT_EQ(*ParseTime("now", kNow), kNow);
  EXPECT_FALSE(ParseTime("yesterday", kNow).ok());
}

TEST(OffsetRangeTest, EveryFormOfTheManual) {
  EXPECT_EQ(ParseOffsetRange("start", kNow)->begin.target.named(), v1::NAMED_OFFSET_EARLIEST);
  EXPECT_EQ(ParseOffsetRange("end", kNow)->begin.target.named(), v1::NAMED_OFFSET_LATEST);
  EXPECT_EQ(ParseOffsetRange("500", kNow)->begin.target.offset(), 500);
  EXPECT_EQ(ParseOffsetRange("-10", kNow)->begin.back, 10);
  EXPECT_EQ(ParseOffsetRange("@-1h", kNow)->begin.target.time().seconds(), 1'700'000'000 - 3600);
  EXPECT_EQ(ParseOffsetRange("+15m", kNow)->begin.target.time().seconds(), 1'700'000'000 - 900);
  EXPECT_EQ(ParseOffsetRange("@2023-11-14T22:13:20Z", kNow)->begin.target.time().seconds(),
            1'700'000'000);
}

TEST(OffsetRangeTest, ARangeHasAnEnd) {
  const OffsetRange range = *ParseOffsetRange("5:8", kNow);
  EXPECT_EQ(range.begin.target.offset(), 5);
  EXPECT_EQ(range.end->target.offset(), 8);
  EXPECT_EQ(ParseOffsetRange(":8", kNow)->begin.target.named(), v1::NAMED_OFFSET_EARLIEST);
  EXPECT_FALSE(ParseOffsetRange("5:", kNow)->end.has_value());
  const OffsetRange times = *ParseOffsetRange("@2023-11-14T22:13:20Z:end", kNow);
  EXPECT_EQ(times.begin.target.time().seconds(), 1'700'000'000);
  EXPECT_EQ(times.end->target.named(), v1::NAMED_OFFSET_LATEST);
}

TEST(OffsetRangeTest, NonsenseIsRefused) {
  for (const char* bad : {"", "x", "@", "5:x", "+5", "1.5"}) {
    EXPECT_FALSE(ParseOffsetRange(bad, kNow).ok()) << bad;
  }
}

class RecordFormatTest : public testing::Test {
 protected:
  RecordFormatTest() {
    record::Record with_all;
    with_all.key = "k1";
    with_all.value = "v\"1";
    with_all.headers = {{"a", "1"}, {"b", std::nullopt}};
    with_all.timestamp_ms = 1700;
    record::BatchBuilder builder;
    builder.Add(with_all);
    record::Record tombstone;
    tombstone.timestamp_ms = 1701;
    builder.Add(tombstone);
    record::BatchBuilder::BuildOptions options;
    options.base_offset = Offset(41);
    reader_.emplace(*record::BatchReader::Open(*builder.Build(options), record::Limits()));
    EXPECT_TRUE(reader_->Next(&full_));
    EXPECT_TRUE(reader_->Next(&null_));
  }
  std::string Render(const char* format, const record::RecordView& record,
                     const char* null_text = "") {
    std::string out;
    RecordFormat::Parse(format)->Render("orders", PartitionIndex(3), record, null_text, &out);
    return out;
  }

  std::optional<record::BatchReader> reader_;
  record::RecordView full_;
  record::RecordView null_;
};

TEST_F(RecordFormatTest, EveryToken) {
  EXPECT_EQ(Render(R"(%t [%p] %o: %k=%s\n)", full_), "orders [3] 41: k1=v\"1\n");
  EXPECT_EQ(Render("%K/%S/%T/%h/%%", full_), "2/3/1700/a=1,b=/%");
  EXPECT_EQ(Render("%K/%S/%k/%s/%o", null_), "-1/-1///42");
  EXPECT_EQ(Render("%s %h", full_, "NULL"), "v\"1 a=1,b=NULL");
  EXPECT_EQ(Render(R"(\x41\t\0\\)", full_), std::string("A\t\0\\", 4));
}

TEST_F(RecordFormatTest, UnknownTokensAndEscapesAreRefused) {
  for (const char* bad : {"%x", "%", "\\q", "\\x4", "\\"}) {
    EXPECT_FALSE(RecordFormat::Parse(bad).ok()) << bad;
  }
}

TEST_F(RecordFormatTest, JsonHasKcatsKeys) {
  EXPECT_EQ(RecordJson("t", PartitionIndex(0), full_, true),
            R"({"topic":"t","partition":0,"offset":41,"tstype":"create","ts":1700,)"
            R"("headers":["a","1","b",null],"key":"k1","payload":"v\"1"})");
  EXPECT_EQ(RecordJson("t", PartitionIndex(0), null_, true),
            R"({"topic":"t","partition":0,"offset":42,"tstype":"create","ts":1701,)"
            R"("key":null,"payload":null})");
  EXPECT_THAT(RecordJson("t", PartitionIndex(0), null_, false), HasSubstr(R"("size":-1)"));
}

TEST_F(RecordFormatTest, LinesAreReadBySeparators) {
  record::Record record;
  std::optional<PartitionIndex> partition;
  const RecordFormat format = *RecordFormat::Parse(R"(%p;%T;%k=%s\n)");
  ASSERT_TRUE(format.ParseLine("4;99;key=a=b", &record, &partition).ok());
  EXPECT_EQ(partition, PartitionIndex(4));
  EXPECT_EQ(record.timestamp_ms, 99);
  EXPECT_EQ(record.key, "key");
  EXPECT_EQ(record.value, "a=b");
  EXPECT_FALSE(format.ParseLine("4;99;no separator", &record, &partition).ok());
  EXPECT_FALSE(format.ParseLine("x;99;k=v", &record, &partition).ok());
  EXPECT_FALSE(RecordFormat::Parse("%o")->ParseLine("1", &record, &partition).ok());
}

TEST(TableTest, ThreeModesOfOneTable) {
  Table table({"NAME", "END-OFFSET"});
  table.Add({"orders", int64_t{1204}});
  table.Add({"a\tb", 7});
  EXPECT_EQ(table.Render(OutputMode::kTable),
            "NAME    END-OFFSET\n"
            "orders       1,204\n"
            "a\tb              7\n");
  EXPECT_EQ(table.Render(OutputMode::kTsv), "NAME\tEND-OFFSET\norders\t1204\na\\tb\t7\n");
  EXPECT_EQ(table.Render(OutputMode::kJson),
            "{\"name\":\"orders\",\"end_offset\":1204}\n{\"name\":\"a\\tb\",\"end_offset\":7}\n");
}

TEST(ErrorTest, AnErrorNamesItsReasonAndTheNextCommand) {
  const std::string text =
      RenderError(MakeError(Reason::kTopicNotFound, "there is no topic 'x'", {{"topic", "x"}}));
  EXPECT_EQ(text,
            "error: TOPIC_NOT_FOUND: there is no topic 'x'\n"
            "  topic=x\n"
            "  try: falaj topic list\n");
}

TEST(JsonLineTest, StringsThatAreNotUtf8AreReplaced) {
  EXPECT_EQ(JsonLine().Add("a", "\xff").ToString(), "{\"a\":\"\xEF\xBF\xBD\"}");
  EXPECT_EQ(JsonLine().Add("n", 1.5).Add("b", true).AddNull("z").ToString(),
            R"({"n":1.5,"b":true,"z":null})");
}

TEST(ProgressTest, TheLineTellsHowFar) {
  EXPECT_EQ(ProgressBar::Render("records", 200, 100, 1'000'000, absl::Seconds(2)),
            "records  [##########----------]  50%  100 / 200  50/s  500.0 kB/s");
  EXPECT_EQ(ProgressBar::Render("records", 0, 100, 0, absl::Seconds(2)), "records  100  50/s");
  EXPECT_EQ(ProgressBar::Render("records", 0, 100, 0, absl::Seconds(2), 0.25),
            "records  [#####---------------]  25%  100  50/s");
}

v1::Topic TopicOf(const std::string& name, const std::vector<std::vector<int32_t>>& replicas) {
  v1::Topic topic;
  topic.set_name(name);
  for (const std::vector<int32_t>& nodes : replicas) {
    v1::Partition* const partition = topic.add_partitions();
    partition->set_partition(topic.partitions_size() - 1);
    partition->mutable_replicas()->Add(nodes.begin(), nodes.end());
  }
  return topic;
}

TEST(MoveWatchTest, CountsWhatIsLeftFromSnapshotAndChanges) {
  MoveWatch watch([](const std::string& /*topic*/, const v1::Partition& partition) {
    return std::find(partition.replicas().begin(), partition.replicas().end(), 3) !=
           partition.replicas().end();
  });
  v1::WatchClusterResponse event;
  *event.mutable_snapshot()->add_topics() = TopicOf("a", {{1, 3}, {1, 2}, {3, 1}});
  *event.mutable_snapshot()->add_topics() = TopicOf("b", {{3}});
  watch.Take(event);
  EXPECT_EQ(watch.remaining(), 3);
  v1::WatchClusterResponse change;
  *change.mutable_delta()->add_topics() = TopicOf("a", {{1, 2}, {1, 2}, {3, 1}});
  watch.Take(change);
  EXPECT_EQ(watch.remaining(), 2);
  change.mutable_delta()->clear_topics();
  change.mutable_delta()->add_deleted_topics("b");
  watch.Take(change);
  EXPECT_EQ(watch.remaining(), 1);
  watch.Take(event);
  EXPECT_EQ(watch.remaining(), 3) << "a snapshot begins anew";
}

TEST(ContextsTest, ABookIsWrittenAndReadBack) {
  const TempDirectory directory;
  const std::string path = directory.PathOf("dir/contexts.json");
  EXPECT_TRUE(LoadContexts(path)->contexts.empty());
  ContextBook book;
  book.contexts["prod"] = {"gateway:7400", "the real thing"};
  book.contexts["dev"] = {"localhost:7400", ""};
  EXPECT_TRUE(book.Use("prod").ok());
  EXPECT_TRUE(book.Use("dev").ok());
  EXPECT_FALSE(book.Use("nowhere").ok());
  ASSERT_TRUE(SaveContexts(path, book).ok());
  const ContextBook read = *LoadContexts(path);
  EXPECT_EQ(read.current, "dev");
  EXPECT_EQ(read.previous, "prod");
  EXPECT_EQ(read.contexts.at("prod").address, "gateway:7400");
}

TEST(ContextsTest, AFileThatIsNoBookIsRefused) {
  const TempDirectory directory;
  const std::string path = directory.PathOf("bad.json");
  for (const char* content : {"[]", "{", "{\"contexts\":[]}"}) {
    std::ofstream(path) << content;
    EXPECT_FALSE(LoadContexts(path).ok()) << content;
  }
}

// Sets a variable of the environment, or unsets it, for as long as this lives.
class Environment {
 public:
  Environment(const char* name, const std::optional<std::string>& value) : name_(name) {
    if (const char* old = getenv(name)) old_ = old;
    Set(value);
  }
  Environment(const Environment&) = delete;
  Environment& operator=(const Environment&) = delete;
  ~Environment() { Set(old_); }

 private:
  void Set(const std::optional<std::string>& value) {
    if (value.has_value()) {
      setenv(name_, value->c_str(), 1);
    } else {
      unsetenv(name_);
    }
  }

  const char* const name_;
  std::optional<std::string> old_;
};

TEST(ContextsTest, TheAddressComesFromTheNearestPlace) {
  const TempDirectory directory;
  const Environment config("XDG_CONFIG_HOME", directory.PathOf("config"));
  const Environment address("FALAJ_ADDRESS", std::nullopt);
  const Environment context("FALAJ_CONTEXT", std::nullopt);
  EXPECT_EQ(*ResolveAddress("", ""), "localhost:7400");
  ContextBook book;
  book.contexts["a"] = {"a:1", ""};
  book.contexts["b"] = {"b:1", ""};
  book.current = "a";
  ASSERT_TRUE(SaveContexts(ContextPath(), book).ok());
  EXPECT_EQ(*ResolveAddress("", ""), "a:1");
  setenv("FALAJ_CONTEXT", "b", 1);
  EXPECT_EQ(*ResolveAddress("", ""), "b:1");
  setenv("FALAJ_ADDRESS", "env:1", 1);
  EXPECT_EQ(*ResolveAddress("", ""), "env:1");
  EXPECT_EQ(*ResolveAddress("", "a"), "a:1");
  EXPECT_EQ(*ResolveAddress("flag:1", "a"), "flag:1");
  EXPECT_FALSE(ResolveAddress("", "c").ok());
}

std::vector<std::string> Lines(const std::string& path) {
  std::vector<std::string> lines;
  auto source = LineSource::Open(path);
  EXPECT_TRUE(source.ok()) << source.status();
  absl::string_view line;
  while (source.ok() && (*source)->Next(&line)) lines.emplace_back(line);
  return lines;
}

TEST(LineSourceTest, PlainAndCompressedFilesGiveTheSameLines) {
  const TempDirectory directory;
  const std::string plain = directory.PathOf("lines.txt");
  const std::string text = "one\n\ntwo\tx\nlast";
  std::ofstream(plain) << text;
  EXPECT_THAT(Lines(plain), ElementsAre("one", "", "two\tx", "last"));
  std::string packed(ZSTD_compressBound(text.size()), '\0');
  packed.resize(ZSTD_compress(packed.data(), packed.size(), text.data(), text.size(), 3));
  std::ofstream(plain + ".zst", std::ios::binary) << packed;
  EXPECT_THAT(Lines(plain + ".zst"), ElementsAre("one", "", "two\tx", "last"));
}

TEST(LineSourceTest, ACutOrForeignFileIsAnError) {
  const TempDirectory directory;
  EXPECT_FALSE(LineSource::Open(directory.PathOf("missing")).ok());
  const std::string path = directory.PathOf("foreign.zst");
  std::ofstream(path) << "this is not zstd at all";
  auto source = *LineSource::Open(path);
  absl::string_view line;
  EXPECT_FALSE(source->Next(&line));
  EXPECT_FALSE(source->status().ok());
}

TEST(TopicSettingsTest, OnlyWhatIsGivenIsSetAndMasked) {
  TopicSettings settings;
  settings.retention = "1d";
  settings.durability = "os";
  settings.unclean_election_after = "30s";
  v1::TopicConfig config;
  google::protobuf::FieldMask mask;
  ASSERT_TRUE(FillConfig(settings, &config, &mask).ok());
  EXPECT_EQ(config.retention().seconds(), 86400);
  EXPECT_EQ(config.durability(), v1::DURABILITY_OS);
  EXPECT_FALSE(config.has_retention_bytes());
  EXPECT_EQ(config.unclean_election_after().seconds(), 30);
  EXPECT_THAT(mask.paths(), ElementsAre("retention", "durability", "unclean_election_after"));
  settings.durability = "paper";
  EXPECT_FALSE(FillConfig(settings, &config, &mask).ok());
}

TEST(CompletionTest, TheScriptKnowsCommandsAndSubcommands) {
  const std::string script =
      CompletionScript("bash", {{"", {"topic", "dev"}}, {"topic", {"create", "list"}}});
  EXPECT_THAT(script, HasSubstr("words=\"topic dev\""));
  EXPECT_THAT(script, HasSubstr("= \"topic\" ]; then words=\"create list\""));
}

}  // namespace
}  // namespace falaj::cli
