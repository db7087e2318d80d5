#include "services/gateway/offset_lookup.h"

#include <map>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"

#include "libs/base/mutex.h"
#include "libs/base/status.h"
#include "libs/rpc/byte_buffer.h"
#include "services/gateway/route_confirmer.h"
#include "services/gateway/route_table.h"
#include "services/gateway/storage_link.h"

namespace falaj::gateway {
namespace {

constexpr absl::Duration kRetryDelay = absl::Milliseconds(50);

// One lookup under way: rounds of parallel calls, until every question has an answer or the
// deadline has passed.
class Lookup : public std::enable_shared_from_this<Lookup> {
 public:
  Lookup(const GatewayParts* parts, std::vector<OffsetQuestion> questions, MonotonicTime deadline,
         std::function<void(OffsetAnswers)> done)
      : parts_(parts),
        questions_(std::move(questions)),
        deadline_(deadline),
        done_(std::move(done)),
        answers_(questions_.size(), MakeError(Reason::kLeaderUnavailable, "not asked yet")),
        answered_(questions_.size(), false) {}

  void Round() {
    bool missing = false;
    {
      MutexLock lock(&mu_);
      for (size_t i = 0; i < questions_.size() && !missing; ++i) {
        missing = !answered_[i] &&
                  IsMissing(parts_->routes->Exists(questions_[i].topic, questions_[i].partition));
      }
    }
    if (!missing) return AskLeaders(absl::OkStatus());
    parts_->confirmer->Confirm([self = shared_from_this()](const absl::Status& confirmed) {
      self->AskLeaders(confirmed);
    });
  }

 private:
  // `confirmed`: whether what is missing in the table does not exist.
  void AskLeaders(const absl::Status& confirmed) {
    std::map<std::string, std::vector<size_t>> by_node;
    std::map<std::string, internal::v1::FindOffsetsRequest> requests;
    {
      MutexLock lock(&mu_);
      for (size_t i = 0; i < questions_.size(); ++i) {
        if (!answered_[i]) Prepare(i, confirmed, &by_node, &requests);
      }
      calls_left_ = by_node.size();
    }
    if (by_node.empty()) {
      EndRound();
      return;
    }
    const absl::Duration timeout =
        std::max(deadline_ - parts_->clock->MonotonicNow(), absl::Milliseconds(1));
    for (auto& [address, indexes] : by_node) {
      parts_->links->Get(address)->Call(
          "FindOffsets", requests[address], timeout,
          [self = shared_from_this(), indexes = indexes](absl::StatusOr<Bytes> response) {
            self->TakeResponse(indexes, std::move(response));
          });
    }
  }

  void Prepare(size_t i, const absl::Status& confirmed,
               std::map<std::string, std::vector<size_t>>* by_node,
               std::map<std::string, internal::v1::FindOffsetsRequest>* requests)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    const OffsetQuestion& question = questions_[i];
    absl::StatusOr<Route> route = parts_->routes->Find(question.topic, question.partition);
    if (!route.ok()) {
      SetAnswer(i, AsConfirmed(route.status(), confirmed));
      if (IsMissing(route.status())) answered_[i] = true;  // Asked once: whoever wants asks again.
      return;
    }
    internal::v1::FindOffset* query = (*requests)[route->address].add_queries();
    query->set_topic_id(std::string(route->topic.bytes()));
    query->set_partition(question.partition.value());
    query->set_leader_epoch(route->epoch.value());
    *query->mutable_target() = question.target;
    (*by_node)[route->address].push_back(i);
  }

  // A question whose leader is missing or has moved stays open for the next round.
  void SetAnswer(size_t i, absl::StatusOr<internal::v1::FoundOffset> answer)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
    answered_[i] = answer.ok() || !IsLeaderMissing(answer.status());
    answers_[i] = std::move(answer);
  }

  void TakeResponse(const std::vector<size_t>& indexes, absl::StatusOr<Bytes> response) {
    internal::v1::FindOffsetsResponse parsed;
    if (response.ok() && (!rpc::ParseProto(*response, &parsed) ||
                          parsed.results_size() != static_cast<int>(indexes.size()))) {
      response = MakeError(Reason::kInternal, "a storage node gave a malformed answer");
    }
    {
      MutexLock lock(&mu_);
      for (size_t k = 0; k < indexes.size(); ++k) {
        if (!response.ok()) {
          SetAnswer(indexes[k], response.status());
        } else if (const auto& result = parsed.results(static_cast<int>(k)); result.has_error()) {
          SetAnswer(indexes[k], ErrorOfNode(result.error()));
        } else {
          SetAnswer(indexes[k], result);
        }
      }
      if (--calls_left_ > 0) return;
    }
    EndRound();
  }

  void EndRound() {
    bool open = false;
    {
      MutexLock lock(&mu_);
      for (const bool answered : answered_) open |= !answered;
    }
    if (open && parts_->clock->MonotonicNow() + kRetryDelay < deadline_ &&
        parts_->timers->RunAfter(kRetryDelay, [self = shared_from_this()] { self->Round(); })) {
      return;
    }
    OffsetAnswers answers;
    {
      MutexLock lock(&mu_);
      answers = std::move(answers_);
    }
    done_(std::move(answers));
  }

  const GatewayParts* const parts_;
  const std::vector<OffsetQuestion> questions_;
  const MonotonicTime deadline_;
  const std::function<void(OffsetAnswers)> done_;

  Mutex mu_;
  OffsetAnswers answers_ ABSL_GUARDED_BY(mu_);
  std::vector<bool> answered_ ABSL_GUARDED_BY(mu_);
  size_t calls_left_ ABSL_GUARDED_BY(mu_) = 0;
};

}  // namespace

absl::Status CheckTarget(const v1::OffsetTarget& target) {
  switch (target.target_case()) {
    case v1::OffsetTarget::kOffset:
      if (target.offset() >= 0) return absl::OkStatus();
      return MakeError(Reason::kInvalidRequest,
                       absl::StrCat("offset ", target.offset(), " is negative"),
                       {{"field", "offset"}});
    case v1::OffsetTarget::kTime:
      return absl::OkStatus();
    case v1::OffsetTarget::kNamed:
      if (target.named() == v1::NAMED_OFFSET_EARLIEST ||
          target.named() == v1::NAMED_OFFSET_LATEST) {
        return absl::OkStatus();
      }
      return MakeError(Reason::kInvalidRequest, "named must be EARLIEST or LATEST",
                       {{"field", "named"}});
    case v1::OffsetTarget::TARGET_NOT_SET:
      break;
  }
  return MakeError(Reason::kInvalidRequest, "a position must be an offset, a time or a name",
                   {{"field", "target"}});
}

void LookUpOffsets(const GatewayParts* parts, std::vector<OffsetQuestion> questions,
                   MonotonicTime deadline, std::function<void(OffsetAnswers)> done) {
  std::make_shared<Lookup>(parts, std::move(questions), deadline, std::move(done))->Round();
}

}  // namespace falaj::gateway
