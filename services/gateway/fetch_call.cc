#include "services/gateway/fetch_call.h"

#include <algorithm>
#include <map>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "google/protobuf/util/time_util.h"

#include "falaj/v1/consumer_service.pb.h"

#include "libs/base/status.h"
#include "libs/rpc/byte_buffer.h"
#include "libs/rpc/open_calls.h"
#include "libs/rpc/status_grpc.h"
#include "services/gateway/batch_frames.h"
#include "services/gateway/offset_lookup.h"
#include "services/gateway/route_confirmer.h"
#include "services/gateway/storage_link.h"
#include "services/gateway/unreached_epoch.h"

namespace falaj::gateway {
namespace {

constexpr int kPartitionsMax = 1000;
constexpr int32_t kMaxBytesDefault = 1 << 20;
constexpr int32_t kMaxBytesMax = 3
                                 << 20;  // Answers stay below the 4 MiB that clients take unasked.
constexpr size_t kDecodedBytesMax = 3 << 20;
constexpr absl::Duration kMaxWaitMax = absl::Seconds(30);
constexpr absl::Duration kLookupTimeout = absl::Seconds(5);
constexpr absl::Duration kNodeGrace =
    absl::Seconds(5);                // On top of the wait, for a node to answer.
constexpr int kPartitionsField = 1;  // Of FetchResponse.

constexpr absl::Duration kLeadersWait = absl::Seconds(2);
constexpr absl::Duration kLeadersWaitWithRecords = absl::Milliseconds(100);
constexpr absl::Duration kLeaderRetryDelay = absl::Milliseconds(20);

// Which node leads is the gateway's business: clients hear that nobody does, now.
absl::Status PublicError(const absl::Status& error) {
  if (ReasonOf(error) != Reason::kNotLeader) return error;
  return WithRetryAfter(MakeError(Reason::kLeaderUnavailable, error.message(), MetadataOf(error)),
                        absl::Milliseconds(100));
}

absl::Status BadField(const std::string& field, const std::string& value, const std::string& rule) {
  return MakeError(Reason::kInvalidRequest, absl::StrCat(field, " is ", value, "; it ", rule),
                   {{"field", field}, {"value", value}});
}

absl::Status CheckFetch(const v1::FetchRequest& request) {
  const int count = request.partitions_size();
  if (count < 1 || count > kPartitionsMax) {
    return BadField("partitions", absl::StrCat("a list of ", count),
                    absl::StrCat("must have 1 to ", kPartitionsMax, " entries"));
  }
  if (request.max_bytes() < 0 || request.max_bytes() > kMaxBytesMax) {
    return BadField("max_bytes", absl::StrCat(request.max_bytes()),
                    absl::StrCat("must be 0 to ", kMaxBytesMax));
  }
  if (request.min_bytes() < 0 || request.min_bytes() > kMaxBytesMax) {
    return BadField("min_bytes", absl::StrCat(request.min_bytes()),
                    absl::StrCat("must be 0 to ", kMaxBytesMax));
  }
  const int64_t wait_ms =
      google::protobuf::util::TimeUtil::DurationToMilliseconds(request.max_wait());
  if (wait_ms < 0 || wait_ms > absl::ToInt64Milliseconds(kMaxWaitMax)) {
    return BadField("max_wait", absl::StrCat(wait_ms, " ms"), "must be 0 to 30 s");
  }
  for (const v1::FetchPartition& partition : request.partitions()) {
    FALAJ_RETURN_IF_ERROR(CheckTarget(partition.start()));
    if (partition.last_epoch() < 0) {
      return BadField("partitions.last_epoch", absl::StrCat(partition.last_epoch()),
                      "must not be negative");
    }
    if (partition.max_bytes() < 0) {
      return BadField("partitions.max_bytes", absl::StrCat(partition.max_bytes()),
                      "must not be negative");
    }
  }
  if (!v1::RecordFormat_IsValid(request.format())) {
    return BadField("format", absl::StrCat(static_cast<int>(request.format())),
                    "must be RECORDS or BATCHES");
  }
  return absl::OkStatus();
}

class FetchCall : public grpc::ServerUnaryReactor,
                  public rpc::StoppableCall,
                  public std::enable_shared_from_this<FetchCall> {
 public:
  FetchCall(const GatewayParts* parts, const std::string& peer, grpc::ByteBuffer* response)
      : parts_(parts), budget_(parts->budgets->Open(peer)), response_(response) {}

  void Begin(const grpc::ByteBuffer& request) {
    self_ = shared_from_this();
    parts_->calls->Add(this);
    absl::Status status;
    if (!rpc::ParseProto(request, &request_)) {
      status = MakeError(Reason::kInvalidRequest, "the request is not a well-formed FetchRequest",
                         {{"field", "request"}});
    } else {
      status = CheckFetch(request_);
    }
    if (const std::optional<BudgetScope> full = budget_.Full(); status.ok() && full.has_value()) {
      parts_->metrics->CountThrottled(*full);
      status = BudgetExceeded(*full);
    }
    if (!status.ok()) {
      Finish(rpc::ToGrpc(status));
      return;
    }
    if (request_.max_bytes() == 0) request_.set_max_bytes(kMaxBytesDefault);
    min_bytes_ = std::max(1, request_.min_bytes());
    max_wait_ = absl::Milliseconds(
        google::protobuf::util::TimeUtil::DurationToMilliseconds(request_.max_wait()));
    deadline_ = parts_->clock->MonotonicNow() + max_wait_;
    states_.resize(static_cast<size_t>(request_.partitions_size()));
    Resolve();
  }

 private:
  struct State {
    Offset asked;
    absl::Status error;    // Settled: not asked any more.
    bool settled = false;  // It has what it was asked for; others are asked again.
    std::optional<MonotonicTime> doubted_since;  // See unreached_epoch.h.
    PartitionRead read;
  };
  struct NodeRead {
    std::vector<size_t> partitions;
    internal::v1::ReadRequest request;
  };

  // Waits no longer: what has come meanwhile is the answer.
  void Stop() override {
    MutexLock lock(&mu_);
    stopping_ = true;
    if (!waiting_) return;
    for (const auto& call : calls_) call->Cancel();
  }

  void OnDone() override {
    parts_->calls->Remove(this);
    if (answered_) budget_.Remove(static_cast<int64_t>(answer_bytes_));
    const auto last = std::move(self_);
  }

  void OnCancel() override {
    MutexLock lock(&mu_);
    cancelled_ = true;
    for (const auto& call : calls_) call->Cancel();
  }

  // Positions by name or time become offsets; plain offsets need nobody.
  void Resolve() {
    std::vector<OffsetQuestion> questions;
    std::vector<size_t> asked;
    for (int i = 0; i < request_.partitions_size(); ++i) {
      const v1::FetchPartition& partition = request_.partitions(i);
      if (partition.start().target_case() == v1::OffsetTarget::kOffset) {
        states_[static_cast<size_t>(i)].asked = Offset(partition.start().offset());
      } else {
        questions.push_back(
            {partition.topic(), PartitionIndex(partition.partition()), partition.start()});
        asked.push_back(static_cast<size_t>(i));
      }
    }
    if (questions.empty()) {
      Glance();
      return;
    }
    LookUpOffsets(parts_, std::move(questions), parts_->clock->MonotonicNow() + kLookupTimeout,
                  [self = shared_from_this(), asked](OffsetAnswers answers) {
                    for (size_t k = 0; k < asked.size(); ++k) {
                      State& state = self->states_[asked[k]];
                      if (answers[k].ok()) {
                        state.asked = Offset(answers[k]->offset());
                      } else {
                        state.error = answers[k].status();
                      }
                    }
                    self->Glance();
                  });
  }

  // Whoever is not in the table is looked for once more, before anything is read.
  void Glance() {
    bool missing = false;
    for (size_t i = 0; i < states_.size() && !missing; ++i) {
      const v1::FetchPartition& partition = request_.partitions(static_cast<int>(i));
      missing =
          states_[i].error.ok() && IsMissing(parts_->routes->Exists(
                                       partition.topic(), PartitionIndex(partition.partition())));
    }
    if (!missing) return BeginReading();
    parts_->confirmer->Confirm([self = shared_from_this()](const absl::Status& confirmed) {
      self->confirmed_ = confirmed;
      self->BeginReading();
    });
  }

  void BeginReading() {
    const MonotonicTime now = parts_->clock->MonotonicNow();
    first_doubts_end_ = now + kUnreachedWait;
    leaders_deadline_ = now + kLeadersWait;
    if (max_wait_ > absl::ZeroDuration())
      leaders_deadline_ = std::min(leaders_deadline_, deadline_);
    ReadNodes(absl::ZeroDuration());
  }

  std::map<std::string, NodeRead> PlanReads(absl::Duration wait) {
    std::map<std::string, NodeRead> by_node;
    for (size_t i = 0; i < states_.size(); ++i) {
      State& state = states_[i];
      if (!state.error.ok() || state.settled) continue;
      const v1::FetchPartition& partition = request_.partitions(static_cast<int>(i));
      absl::StatusOr<Route> route =
          parts_->routes->Find(partition.topic(), PartitionIndex(partition.partition()));
      if (!route.ok()) {
        state.error = AsConfirmed(route.status(), confirmed_);
        continue;
      }
      NodeRead& node = by_node[route->address];
      node.partitions.push_back(i);
      internal::v1::ReadPartition* read = node.request.add_partitions();
      read->set_topic_id(std::string(route->topic.bytes()));
      read->set_partition(partition.partition());
      read->set_leader_epoch(route->epoch.value());
      read->set_offset(state.asked.value());
      if (partition.has_last_epoch() && partition.start().has_offset()) {
        read->set_last_epoch(partition.last_epoch());
      }
      read->set_max_bytes(partition.max_bytes());
    }
    const auto nodes = static_cast<int32_t>(std::max<size_t>(1, by_node.size()));
    for (auto& [address, node] : by_node) {
      node.request.set_max_bytes(std::max(1, request_.max_bytes() / nodes));
      node.request.set_min_bytes(min_bytes_);
      node.request.set_max_wait_ms(static_cast<int32_t>(absl::ToInt64Milliseconds(wait)));
    }
    return by_node;
  }

  void ReadNodes(absl::Duration wait) {
    std::map<std::string, NodeRead> by_node = PlanReads(wait);
    {
      MutexLock lock(&mu_);
      calls_left_ = by_node.size();
      calls_.clear();
      waiting_ = wait > absl::ZeroDuration();
    }
    if (by_node.empty()) {
      Conclude(wait);
      return;
    }
    for (auto& [address, node] : by_node) {
      auto call = parts_->links->Get(address)->Call(
          "Read", node.request, wait + kNodeGrace,
          [self = shared_from_this(), wait,
           indexes = node.partitions](absl::StatusOr<Bytes> response) {
            self->TakeRead(indexes, wait, std::move(response));
          });
      MutexLock lock(&mu_);
      calls_.push_back(std::move(call));
      if (cancelled_ || ((enough_ || stopping_) && waiting_)) calls_.back()->Cancel();
    }
  }

  void TakeRead(const std::vector<size_t>& indexes, absl::Duration wait,
                absl::StatusOr<Bytes> response) {
    absl::StatusOr<std::vector<PartitionRead>> reads = ParseReadAnswer(response);
    if (reads.ok() && reads->size() != indexes.size()) {
      reads = MakeError(Reason::kInternal, "a storage node gave a malformed answer");
    }
    bool done = false;
    {
      MutexLock lock(&mu_);
      const bool cut_short = !reads.ok() && reads.status().code() == absl::StatusCode::kCancelled &&
                             (enough_ || cancelled_ || (stopping_ && waiting_));
      for (size_t k = 0; k < indexes.size() && !cut_short; ++k) {
        State& state = states_[indexes[k]];
        if (!reads.ok()) {
          state.error = reads.status();
          continue;
        }
        state.read = std::move((*reads)[k]);
        state.error = state.read.error;
        bytes_ += static_cast<int64_t>(state.read.batches.size());
      }
      enough_ = bytes_ >= min_bytes_;
      if (enough_ && wait > absl::ZeroDuration()) {
        // Nodes that still wait need not; what they get meanwhile comes with the next fetch. Nodes
        // that were not asked to wait answer anyway, and cutting them short would starve them.
        for (const auto& call : calls_) call->Cancel();
      }
      done = --calls_left_ == 0;
    }
    if (done) Conclude(wait);
  }

  // What to do once every node that was asked has answered.
  void Conclude(absl::Duration wait) {
    const MonotonicTime now = parts_->clock->MonotonicNow();
    const bool glance = wait == absl::ZeroDuration();
    // The lead may have moved during the wait: then this is about to look for it.
    if (!glance) leaders_deadline_ = std::min(now + kLeadersWait, deadline_);
    NoteDoubts(now);
    if (ForgetMissingLeaders(now) &&
        parts_->timers->RunAfter(kLeaderRetryDelay, [self = shared_from_this()] {
          self->ReadNodes(absl::ZeroDuration());
        })) {
      return;
    }
    if (glance && NothingToTell() && deadline_ - now >= absl::Milliseconds(1)) {
      ReadNodes(deadline_ - now);
    } else {
      Answer();
    }
  }

  // Every node that was asked has answered: what has no answer, or another one, is not in doubt.
  void NoteDoubts(MonotonicTime now) {
    MutexLock lock(&mu_);
    for (size_t i = 0; i < states_.size(); ++i) {
      std::optional<MonotonicTime>& since = states_[i].doubted_since;
      if (!IsUnreachedAt(i)) {
        since.reset();
      } else if (!since.has_value()) {
        since = now;
      }
    }
    if (enough_) leaders_deadline_ = std::min(leaders_deadline_, now + kLeadersWaitWithRecords);
  }
  bool IsUnreachedAt(size_t i) const {
    const v1::FetchPartition& partition = request_.partitions(static_cast<int>(i));
    return partition.has_last_epoch() && partition.start().has_offset() &&
           IsUnreached(*parts_->routes, partition.topic(), PartitionIndex(partition.partition()),
                       LeaderEpoch(partition.last_epoch()), states_[i].error);
  }

  // True if the leader of some partition was missing (a topic just made, a node just restarted) and
  // there is time to look for it again.
  bool ForgetMissingLeaders(MonotonicTime now) {
    MutexLock lock(&mu_);
    if (cancelled_ || stopping_ || parts_->timers->closed()) return false;
    std::vector<State*> missing;
    for (State& state : states_) {
      if (IsWorthAnotherLook(state, now)) missing.push_back(&state);
    }
    if (missing.empty()) return false;
    for (State& state : states_) state.settled = enough_ && state.error.ok();
    for (State* state : missing) state->error = absl::OkStatus();
    if (!enough_) bytes_ = 0;  // Everything is read again.
    return true;
  }
  // Once there are records a leader is looked for only if it is there, and has not taken over yet,
  // or has just handed over: then it would be missed in every fetch. One that has not come as far
  // as the client gets the time that proves that there is no such leader, once a fetch.
  bool IsWorthAnotherLook(const State& state, MonotonicTime now) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    if (state.error.ok() || !IsLeaderMissing(state.error)) return false;
    if (state.doubted_since.has_value() && now < *state.doubted_since + kUnreachedWait) {
      return now < deadline_ || *state.doubted_since < first_doubts_end_;
    }
    if (enough_ && ReasonOf(state.error) != Reason::kNotLeader) return false;
    return now < leaders_deadline_;
  }

  // True if waiting may bring something: not enough bytes yet and no error to report.
  bool NothingToTell() {
    MutexLock lock(&mu_);
    if (enough_ || cancelled_ || stopping_) return false;
    bytes_ = 0;  // The wait reads the same records again.
    return std::all_of(states_.begin(), states_.end(),
                       [](const State& state) { return state.error.ok(); });
  }

  // True if a client that waits for records has been kept from them by the stop.
  bool CutShort() {
    MutexLock lock(&mu_);
    if (!stopping_ || bytes_ > 0 || max_wait_ == absl::ZeroDuration()) return false;
    return std::all_of(states_.begin(), states_.end(),
                       [](const State& state) { return state.error.ok(); });
  }

  void Answer() {
    if (CutShort()) {
      Finish(rpc::ToGrpc(MakeError(Reason::kShuttingDown, "this gateway is stopping")));
      return;
    }
    const MonotonicTime now = parts_->clock->MonotonicNow();
    std::vector<Bytes> pieces;
    int64_t bytes = 0;
    for (size_t i = 0; i < states_.size(); ++i) {
      State& state = states_[i];
      const v1::FetchPartition& partition = request_.partitions(static_cast<int>(i));
      const LeaderEpoch last_epoch(partition.last_epoch());
      if (state.doubted_since.has_value() &&
          IsGone(*parts_->routes, partition.topic(), PartitionIndex(partition.partition()),
                 last_epoch, state.error, now - *state.doubted_since)) {
        state.error = RecordUnknown(state.asked, last_epoch, state.read);
      }
      state.read.error = PublicError(state.error);
      const auto size = static_cast<int64_t>(state.read.batches.size());
      if (!state.error.ok() || (bytes > 0 && bytes + size > request_.max_bytes())) {
        state.read.batches = Bytes();
        state.read.next_offset = state.asked;
        state.read.last_epoch = LeaderEpoch(-1);
      }
      bytes += static_cast<int64_t>(state.read.batches.size());
      AppendPartition(static_cast<int>(i), &state, &pieces);
    }
    answered_ = true;
    budget_.Add(static_cast<int64_t>(answer_bytes_));
    *response_ = rpc::ToByteBuffer(pieces);
    Finish(grpc::Status::OK);
  }

  void AppendPartition(int index, State* state, std::vector<Bytes>* pieces) {
    const v1::FetchPartition& partition = request_.partitions(index);
    v1::PartitionRecords message = DescribeRead(
        partition.topic(), PartitionIndex(partition.partition()), state->asked, state->read);
    Bytes payload = state->read.batches;
    if (request_.format() != v1::RECORD_FORMAT_BATCHES) {
      Decode(payload, *state, &message);
      payload = Bytes();
    }
    if (message.has_error()) parts_->metrics->CountError(rpc::FromProto(message.error()));
    answer_bytes_ += message.ByteSizeLong() + payload.size();
    pieces->push_back(Bytes::Own(FramePrefix(kPartitionsField, message, payload.size())));
    if (!payload.empty()) pieces->push_back(std::move(payload));
  }

  // Decoded records may be many times larger than their batches, and a batch larger than what
  // clients take: the answer ends between two records, and the rest comes with the next fetch. Only
  // a record that is larger by itself comes whole, and alone.
  void Decode(const Bytes& payload, const State& state, v1::PartitionRecords* message) {
    if (answer_bytes_ >= kDecodedBytesMax) {
      message->set_next_offset(state.asked.value());
      message->clear_last_epoch();
      message->set_size_bytes(0);
      return;
    }
    RunLimits limits;
    limits.run_bytes_max = kDecodedBytesMax - answer_bytes_;
    limits.first_comes_whole = !has_records_;
    auto runs = DecodeRuns(payload, state.asked, *message, limits);
    if (runs.ok()) {
      *message = std::move(runs->front());
      has_records_ = has_records_ || !message->records().empty();
      return;
    }
    message->set_next_offset(state.asked.value());
    message->clear_last_epoch();
    message->set_size_bytes(0);
    rpc::ToProto(runs.status(), message->mutable_error());
  }

  const GatewayParts* const parts_;
  const CallBudget budget_;
  grpc::ByteBuffer* const response_;
  std::shared_ptr<FetchCall> self_;  // Released by OnDone.

  v1::FetchRequest request_;
  int32_t min_bytes_ = 1;
  size_t answer_bytes_ = 0;   // Of the answer so far.
  bool has_records_ = false;  // It has decoded ones.
  bool answered_ = false;     // They are counted in the budget.
  absl::Duration max_wait_;
  MonotonicTime deadline_;          // Of the wait for records.
  MonotonicTime leaders_deadline_;  // Until then missing leaders are looked for again.
  absl::Status confirmed_;          // OK: partitions that are not in the table do not exist.
  MonotonicTime first_doubts_end_;  // A doubt from before may outlast the wait.
  std::vector<State>
      states_;  // One a partition; each touched by one node's answer at a time, under mu_.

  Mutex mu_;
  std::vector<std::shared_ptr<UnaryCall>> calls_ ABSL_GUARDED_BY(mu_);
  size_t calls_left_ ABSL_GUARDED_BY(mu_) = 0;
  int64_t bytes_ ABSL_GUARDED_BY(mu_) = 0;
  bool enough_ ABSL_GUARDED_BY(mu_) = false;
  bool cancelled_ ABSL_GUARDED_BY(mu_) = false;
  bool waiting_ ABSL_GUARDED_BY(mu_) = false;  // The nodes have been asked to wait for records.
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;
};

}  // namespace

grpc::ServerUnaryReactor* StartFetch(const GatewayParts* parts,
                                     grpc::CallbackServerContext* context,
                                     const grpc::ByteBuffer* request, grpc::ByteBuffer* response) {
  auto call = std::make_shared<FetchCall>(parts, context->peer(), response);
  FetchCall* const reactor = call.get();
  call->Begin(*request);
  return reactor;
}

}  // namespace falaj::gateway
