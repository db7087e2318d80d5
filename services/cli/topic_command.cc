#include <cstdio>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "google/protobuf/util/time_util.h"

#include "libs/base/status.h"
#include "libs/rpc/status_grpc.h"
#include "services/cli/commands.h"
#include "services/cli/move_watch.h"
#include "services/cli/offset_range.h"
#include "services/cli/outcomes.h"
#include "services/cli/session.h"
#include "services/cli/topic_settings.h"
#include "services/cli/values.h"

namespace falaj::cli {
namespace {

using google::protobuf::util::TimeUtil;

std::vector<std::string> TopicColumns() {
  return {"NAME", "PARTITIONS", "REPLICAS", "RETENTION", "DURABILITY", "COMPRESSION", "CREATED"};
}

std::vector<Cell> TopicRow(const v1::Topic& topic) {
  const absl::Duration retention =
      absl::Milliseconds(TimeUtil::DurationToMilliseconds(topic.config().retention()));
  const absl::Time created =
      absl::FromUnixMillis(TimeUtil::TimestampToMilliseconds(topic.create_time()));
  return {topic.name(),
          topic.partition_count(),
          topic.replication_factor(),
          retention == absl::ZeroDuration() ? "forever" : PrettyDuration(retention),
          DurabilityName(topic.config().durability()),
          CompressionName(topic.config().compression()),
          PrettyTime(created)};
}

absl::StatusOr<ExitCode> Create(const TopicOptions& options, client::Admin* admin) {
  v1::CreateTopicRequest request;
  if (options.partitions.has_value()) request.set_partition_count(*options.partitions);
  if (options.replicas.has_value()) request.set_replication_factor(*options.replicas);
  request.set_validate_only(options.validate_only);
  FALAJ_RETURN_IF_ERROR(FillConfig(options.settings, request.mutable_config(), nullptr));
  Table table(TopicColumns());
  Outcomes outcomes;
  for (const std::string& name : options.names) {
    request.set_name(name);
    absl::StatusOr<v1::Topic> topic = admin->CreateTopic(request);
    if (ReasonOf(topic.status()) == Reason::kTopicAlreadyExists && options.if_not_exists) {
      topic = admin->GetTopic(name);
    }
    outcomes.Add(topic.status());
    if (topic.ok()) table.Add(TopicRow(*topic));
  }
  if (!outcomes.all_failed()) table.Print(options.common.output);
  if (options.validate_only) std::fputs("Nothing was created.\n", stderr);
  return outcomes.code();
}

absl::StatusOr<ExitCode> List(const TopicOptions& options, client::Admin* admin) {
  FALAJ_ASSIGN_OR_RETURN(const std::vector<v1::Topic> topics, admin->ListTopics(options.internal));
  Table table(TopicColumns());
  for (const v1::Topic& topic : topics) table.Add(TopicRow(topic));
  table.Print(options.common.output);
  return ExitCode::kOk;
}

absl::Status DescribePartitions(const v1::Topic& topic, OutputMode mode, client::Admin* admin) {
  std::vector<v1::OffsetQuery> queries;
  for (const v1::Partition& partition : topic.partitions()) {
    v1::OffsetQuery& query = queries.emplace_back();
    query.set_topic(topic.name());
    query.set_partition(partition.partition());
    query.mutable_target()->set_named(v1::NAMED_OFFSET_LATEST);
  }
  FALAJ_ASSIGN_OR_RETURN(const std::vector<v1::OffsetResult> offsets, admin->ListOffsets(queries));
  // Scripts count columns: new ones come last.
  Table table({"TOPIC", "PARTITION", "LEADER", "EPOCH", "REPLICAS", "IN-SYNC", "START", "END",
               "RECORDS", "ERROR", "ELIGIBLE", "LAST-LEADER"});
  for (int i = 0; i < topic.partitions_size(); ++i) {
    const v1::Partition& partition = topic.partitions(i);
    const v1::OffsetResult& at = offsets[static_cast<size_t>(i)];
    table.Add({topic.name(), partition.partition(),
               partition.has_leader() ? Cell(partition.leader()) : Cell("none"),
               partition.leader_epoch(), absl::StrJoin(partition.replicas(), ","),
               absl::StrJoin(partition.in_sync_replicas(), ","), at.log_start_offset(),
               at.high_watermark(), at.high_watermark() - at.log_start_offset(),
               at.error().reason(), absl::StrJoin(partition.eligible_leader_replicas(), ","),
               partition.has_last_leader() ? Cell(partition.last_leader()) : Cell("")});
  }
  table.Print(mode);
  return absl::OkStatus();
}

absl::Status DescribeOne(const std::string& name, OutputMode mode, client::Admin* admin) {
  FALAJ_ASSIGN_OR_RETURN(const v1::Topic topic, admin->GetTopic(name));
  if (ResolveMode(mode) == OutputMode::kTable) {
    Table table(TopicColumns());
    table.Add(TopicRow(topic));
    table.Print(mode);
    std::fputs("\n", stdout);
  }
  return DescribePartitions(topic, mode, admin);
}

absl::StatusOr<ExitCode> Describe(const TopicOptions& options, client::Admin* admin) {
  Outcomes outcomes;
  for (const std::string& name : options.names) {
    outcomes.Add(DescribeOne(name, options.common.output, admin));
  }
  return outcomes.code();
}

absl::StatusOr<ExitCode> Update(const TopicOptions& options, client::Admin* admin) {
  v1::UpdateTopicRequest request;
  request.set_name(options.names[0]);
  FALAJ_RETURN_IF_ERROR(
      FillConfig(options.settings, request.mutable_config(), request.mutable_update_mask()));
  for (const std::string& field : options.unset) request.mutable_update_mask()->add_paths(field);
  if (options.replicas.has_value()) request.set_replication_factor(*options.replicas);
  FALAJ_ASSIGN_OR_RETURN(const v1::Topic topic, admin->UpdateTopic(request));
  Table table(TopicColumns());
  table.Add(TopicRow(topic));
  table.Print(options.common.output);
  if (!options.wait) return ExitCode::kOk;
  FALAJ_RETURN_IF_ERROR(
      WaitForMoves(admin, "moved", [&topic](const std::string& name, const v1::Partition& one) {
        return name == topic.name() && !one.target_replicas().empty();
      }));
  return ExitCode::kOk;
}

absl::StatusOr<ExitCode> Delete(const TopicOptions& options, client::Admin* admin) {
  Outcomes outcomes;
  for (const std::string& name : options.names) {
    const absl::Status status = admin->DeleteTopic(name);
    outcomes.Add(status);
    if (status.ok()) std::fprintf(stderr, "Deleted %s.\n", name.c_str());
  }
  return outcomes.code();
}

absl::StatusOr<ExitCode> AddPartitions(const TopicOptions& options, client::Admin* admin) {
  FALAJ_ASSIGN_OR_RETURN(const v1::Topic topic,
                         admin->AddPartitions(options.names[0], options.partitions.value_or(0)));
  Table table(TopicColumns());
  table.Add(TopicRow(topic));
  table.Print(options.common.output);
  return ExitCode::kOk;
}

absl::StatusOr<ExitCode> Truncate(const TopicOptions& options, client::Admin* admin) {
  FALAJ_ASSIGN_OR_RETURN(const OffsetRange range, ParseOffsetRange(options.before, absl::Now()));
  if (range.end.has_value() || range.begin.back > 0) {
    return MakeError(Reason::kInvalidRequest, "--before takes an offset, end, or @TIME");
  }
  FALAJ_ASSIGN_OR_RETURN(const v1::Topic topic, admin->GetTopic(options.names[0]));
  std::vector<int32_t> partitions = options.only_partitions;
  for (int32_t p = 0; options.only_partitions.empty() && p < topic.partition_count(); ++p) {
    partitions.push_back(p);
  }
  v1::TruncateTopicRequest request;
  request.set_name(topic.name());
  for (const int32_t partition : partitions) {
    v1::PartitionTruncation* truncation = request.add_truncations();
    truncation->set_partition(partition);
    *truncation->mutable_before() = range.begin.target;
  }
  FALAJ_ASSIGN_OR_RETURN(const v1::TruncateTopicResponse response, admin->TruncateTopic(request));
  Table table({"TOPIC", "PARTITION", "START", "ERROR"});
  Outcomes outcomes;
  for (const v1::PartitionStart& start : response.starts()) {
    table.Add({topic.name(), start.partition(), start.log_start_offset(), start.error().reason()});
    outcomes.Add(rpc::FromProto(start.error()));
  }
  table.Print(options.common.output);
  return outcomes.code();
}

}  // namespace

ExitCode RunTopic(const TopicOptions& options) {
  const absl::StatusOr<Session> session = OpenSession(options.common);
  if (!session.ok()) return FailUsage(session.status());
  client::Admin admin(session->admin_options());
  using Action = absl::StatusOr<ExitCode> (*)(const TopicOptions&, client::Admin*);
  constexpr std::pair<absl::string_view, Action> kActions[] = {
      {"create", Create},    {"list", List},     {"describe", Describe},
      {"update", Update},    {"delete", Delete}, {"add-partitions", AddPartitions},
      {"truncate", Truncate}};
  for (const auto& [name, action] : kActions) {
    if (name != options.action) continue;
    const absl::StatusOr<ExitCode> code = action(options, &admin);
    return code.ok() ? *code : Fail(code.status());
  }
  return ExitCode::kUsage;
}

}  // namespace falaj::cli
