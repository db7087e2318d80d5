#include "services/storage/storage_service_impl.h"

#include <memory>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"

#include "libs/base/status.h"
#include "libs/rpc/status_grpc.h"
#include "services/storage/append_stream.h"
#include "services/storage/read_call.h"
#include "services/storage/replica_stream.h"

namespace falaj::storage {
namespace {

constexpr int kQueriesMax = 10'000;

// A position of the log as a target names it.
struct Position {
  Offset offset;
  int64_t timestamp_ms = -1;
};

bool NeedsDisk(const v1::OffsetTarget& target) {
  return target.target_case() == v1::OffsetTarget::kTime;
}

absl::StatusOr<Position> CommittedEnd(const PartitionState& state) {
  if (!state.serving) return NotKnownYet(state);
  return Position{state.high_watermark};
}

// Blocks on disk if the target is a time.
absl::StatusOr<Position> Resolve(const ServiceParts& parts,
                                 const std::shared_ptr<Partition>& partition,
                                 const PartitionState& state, const v1::OffsetTarget& target) {
  switch (target.target_case()) {
    case v1::OffsetTarget::kOffset: {
      const Offset offset{target.offset()};
      if (offset >= state.log_start && offset <= state.high_watermark) return Position{offset};
      return OffsetOutOfRange(offset, state);
    }
    case v1::OffsetTarget::kTime: {
      const int64_t wanted_ms = target.time().seconds() * 1000 + target.time().nanos() / 1'000'000;
      const absl::StatusOr<std::optional<log::TimeResult>> found =
          parts.store->FindTime(partition->id(), wanted_ms, state.high_watermark);
      if (!found.ok()) return parts.ExplainRead(partition, state.epoch, found.status());
      if (!found->has_value()) return CommittedEnd(state);
      return Position{(*found)->offset, (*found)->timestamp_ms};
    }
    case v1::OffsetTarget::kNamed:
      if (target.named() == v1::NAMED_OFFSET_EARLIEST) return Position{state.log_start};
      if (target.named() == v1::NAMED_OFFSET_LATEST) return CommittedEnd(state);
      return BadField("target.named", "must be set");
    case v1::OffsetTarget::TARGET_NOT_SET:
      break;
  }
  return BadField("target", "must be set");
}

absl::Status FindOne(const ServiceParts& parts, const internal::v1::FindOffset& query,
                     internal::v1::FoundOffset* result) {
  result->set_timestamp_ms(-1);
  FALAJ_ASSIGN_OR_RETURN(const std::shared_ptr<Partition> partition,
                         parts.Find(query.topic_id(), query.partition()));
  const PartitionState state = partition->state();
  FALAJ_RETURN_IF_ERROR(Partition::CheckReadable(state, LeaderEpoch{query.leader_epoch()}));
  result->set_log_start_offset(state.log_start.value());
  result->set_high_watermark(state.high_watermark.value());
  FALAJ_ASSIGN_OR_RETURN(const Position found, Resolve(parts, partition, state, query.target()));
  result->set_offset(found.offset.value());
  result->set_timestamp_ms(found.timestamp_ms);
  return absl::OkStatus();
}

void FindAll(const ServiceParts& parts, const internal::v1::FindOffsetsRequest& request,
             internal::v1::FindOffsetsResponse* response) {
  for (const internal::v1::FindOffset& query : request.queries()) {
    internal::v1::FoundOffset* result = response->add_results();
    const absl::Status status = FindOne(parts, query, result);
    if (status.ok()) continue;
    parts.metrics->CountError(status);
    rpc::ToProto(status, result->mutable_error());
  }
}

void End(grpc::ServerUnaryReactor* reactor, const absl::Status& status) {
  reactor->Finish(rpc::ToGrpc(status));
}

// Runs `work`, which ends the call, where it may block, or ends the call with QUOTA_EXCEEDED.
void RunOnDiskReader(const ServiceParts& parts, grpc::ServerUnaryReactor* reactor,
                     std::function<void()> work) {
  if (parts.disk_readers->Run(std::move(work))) return;
  End(reactor,
      WithRetryAfter(MakeError(Reason::kQuotaExceeded, "too many requests wait for the disk"),
                     absl::Milliseconds(100)));
}

void Truncate(const ServiceParts& parts, grpc::ServerUnaryReactor* reactor,
              const internal::v1::TruncatePrefixRequest& request,
              internal::v1::TruncatePrefixResponse* response) {
  auto partition = parts.Find(request.topic_id(), request.partition());
  if (!partition.ok()) return End(reactor, partition.status());
  const PartitionState state = (*partition)->state();
  const LeaderEpoch epoch{request.leader_epoch()};
  const absl::Status serving = Partition::CheckServing(state, epoch);
  if (!serving.ok()) return End(reactor, serving);
  const auto before = Resolve(parts, *partition, state, request.before());
  if (!before.ok()) return End(reactor, before.status());
  parts.shard->TruncatePrefix(*std::move(partition), epoch, before->offset,
                              [reactor, response](absl::StatusOr<Offset> log_start) {
                                if (log_start.ok()) {
                                  response->set_log_start_offset(log_start->value());
                                }
                                End(reactor, log_start.status());
                              });
}

}  // namespace

grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>* StorageServiceImpl::Append(
    grpc::CallbackServerContext* /*context*/) {
  return AppendStream::Open(parts_);
}

grpc::ServerUnaryReactor* StorageServiceImpl::Read(grpc::CallbackServerContext* /*context*/,
                                                   const grpc::ByteBuffer* request,
                                                   grpc::ByteBuffer* response) {
  return ReadCall::Start(parts_, *request, response);
}

grpc::ServerUnaryReactor* StorageServiceImpl::FindOffsets(
    grpc::CallbackServerContext* context, const internal::v1::FindOffsetsRequest* request,
    internal::v1::FindOffsetsResponse* response) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  if (request->queries().empty() || request->queries_size() > kQueriesMax) {
    End(reactor, BadField("queries", absl::StrCat("must be 1 to ", kQueriesMax)));
    return reactor;
  }
  bool disk = false;
  for (const internal::v1::FindOffset& query : request->queries()) {
    disk = disk || NeedsDisk(query.target());
  }
  const auto work = [parts = parts_, reactor, request, response] {
    FindAll(*parts, *request, response);
    End(reactor, absl::OkStatus());
  };
  if (disk) {
    RunOnDiskReader(*parts_, reactor, work);
  } else {
    work();
  }
  return reactor;
}

grpc::ServerUnaryReactor* StorageServiceImpl::TruncatePrefix(
    grpc::CallbackServerContext* context, const internal::v1::TruncatePrefixRequest* request,
    internal::v1::TruncatePrefixResponse* response) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  const auto work = [parts = parts_, reactor, request, response] {
    Truncate(*parts, reactor, *request, response);
  };
  if (NeedsDisk(request->before())) {
    RunOnDiskReader(*parts_, reactor, work);
  } else {
    work();
  }
  return reactor;
}

grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>* StorageServiceImpl::Replicate(
    grpc::CallbackServerContext* /*context*/) {
  return ReplicaStream::Open(parts_);
}

}  // namespace falaj::storage
