#include "libs/client/admin.h"

#include <gmock/gmock.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <deque>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "falaj/v1/cluster_service.grpc.pb.h"

#include "libs/base/mutex.h"
#include "libs/base/status.h"
#include "libs/rpc/server.h"
#include "libs/rpc/status_grpc.h"

namespace falaj::client {
namespace {

using ::testing::ElementsAre;

// Watches end as the test has laid out: the indexes to send, and then the status.
class FakeClusterService final : public v1::ClusterService::Service {
 public:
  void Script(std::vector<uint64_t> indexes, absl::Status end) {
    MutexLock lock(&mu_);
    scripts_.emplace_back(std::move(indexes), std::move(end));
  }
  std::vector<uint64_t> watched_after() const {
    MutexLock lock(&mu_);
    return watched_after_;
  }
  // How many connections the watches came by.
  size_t peers() const {
    MutexLock lock(&mu_);
    return peers_.size();
  }

 private:
  grpc::Status WatchCluster(grpc::ServerContext* context, const v1::WatchClusterRequest* request,
                            grpc::ServerWriter<v1::WatchClusterResponse>* writer) override {
    std::pair<std::vector<uint64_t>, absl::Status> script;
    {
      MutexLock lock(&mu_);
      watched_after_.push_back(request->after_metadata_index());
      peers_.insert(context->peer());
      if (!scripts_.empty()) {
        script = std::move(scripts_.front());
        scripts_.pop_front();
      }
    }
    for (uint64_t index : script.first) {
      v1::WatchClusterResponse response;
      response.set_metadata_index(index);
      writer->Write(response);
    }
    return rpc::ToGrpc(script.second);
  }

  mutable Mutex mu_;
  std::deque<std::pair<std::vector<uint64_t>, absl::Status>> scripts_ ABSL_GUARDED_BY(mu_);
  std::vector<uint64_t> watched_after_ ABSL_GUARDED_BY(mu_);
  std::set<std::string> peers_ ABSL_GUARDED_BY(mu_);
};

class AdminWatchTest : public ::testing::Test {
 protected:
  // Watches until `last` has come; the indexes that came.
  absl::Status Watch(uint64_t last) {
    Admin admin({.address = host_->address(), .timeout = timeout_});
    return admin.WatchCluster(0, [&](const v1::WatchClusterResponse& event) {
      seen_.push_back(event.metadata_index());
      return event.metadata_index() != last;
    });
  }

  absl::Duration timeout_ = absl::Seconds(20);
  FakeClusterService service_;
  std::unique_ptr<rpc::ServerHost> host_ = *rpc::ServerHost::Start({}, {&service_}, nullptr);
  std::vector<uint64_t> seen_;
};

TEST_F(AdminWatchTest, AWatchGoesOnWhereItsConnectionBroke) {
  service_.Script({5, 7}, MakeError(Reason::kShuttingDown, "restarts"));
  service_.Script({9}, absl::OkStatus());
  EXPECT_TRUE(Watch(9).ok());
  EXPECT_THAT(seen_, ElementsAre(5, 7, 9));
  EXPECT_THAT(service_.watched_after(), ElementsAre(0, 7));
}

TEST_F(AdminWatchTest, AWatchThatCannotGoOnBeginsWithASnapshot) {
  service_.Script({5}, MakeError(Reason::kShuttingDown, "restarts"));
  service_.Script({}, MakeError(Reason::kWatchCompacted, "too old"));
  service_.Script({20}, absl::OkStatus());
  EXPECT_TRUE(Watch(20).ok());
  EXPECT_THAT(service_.watched_after(), ElementsAre(0, 5, 0));
}

TEST_F(AdminWatchTest, AWatchThatNeverWorkedEnds) {
  service_.Script({}, MakeError(Reason::kMetadataUnavailable, "no metadata node"));
  EXPECT_EQ(Reason::kMetadataUnavailable, ReasonOf(Watch(1)));
  EXPECT_THAT(service_.watched_after(), ElementsAre(0));
}

absl::Status Stopping() {
  return WithRetryAfter(MakeError(Reason::kShuttingDown, "stops"), absl::Milliseconds(5));
}

// It answers so for as long as the connection lives, and others may have found no other one.
TEST_F(AdminWatchTest, AWatchGoesOnAfterAGatewayThatStops) {
  service_.Script({5}, Stopping());
  service_.Script({}, Stopping());
  service_.Script({}, absl::CancelledError("took the connection and cut it off"));
  service_.Script({9}, absl::OkStatus());
  EXPECT_TRUE(Watch(9).ok());
  EXPECT_THAT(seen_, ElementsAre(5, 9));
  EXPECT_THAT(service_.watched_after(), ElementsAre(0, 5, 5, 5));
  EXPECT_EQ(service_.peers(), 4u) << "each attempt has a connection of its own";
}

TEST_F(AdminWatchTest, AWatchDoesNotLookForAnotherGatewayForEver) {
  timeout_ = absl::Milliseconds(50);
  for (int i = 0; i < 1000; ++i) service_.Script({}, Stopping());
  EXPECT_EQ(Reason::kShuttingDown, ReasonOf(Watch(1)));
  EXPECT_GT(service_.watched_after().size(), 1u);
}

}  // namespace
}  // namespace falaj::client
