// Commands about many things of which some cannot be had or done, against a gateway that refuses as
// it is told; and servers whose HTTP answers are not what they should be.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <fstream>
#include <iterator>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "falaj/v1/cluster_service.grpc.pb.h"
#include "falaj/v1/topic_service.grpc.pb.h"

#include "libs/base/status.h"
#include "libs/base/testing/temp_directory.h"
#include "libs/rpc/server.h"
#include "libs/rpc/status_grpc.h"
#include "services/cli/captured.h"
#include "services/cli/commands.h"
#include "services/cli/http_get.h"

namespace falaj::cli {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;

// It has the topics a, b and c; what is asked about one of `refused` fails.
class HalfGateway final : public v1::TopicService::Service, public v1::ClusterService::Service {
 public:
  std::vector<std::string> refused;
  Reason reason = Reason::kMetadataUnavailable;

 private:
  grpc::Status ListTopics(grpc::ServerContext* /*context*/,
                          const v1::ListTopicsRequest* /*request*/,
                          v1::ListTopicsResponse* response) override {
    for (const char* name : {"a", "b", "c"}) response->add_topics()->set_name(name);
    return grpc::Status::OK;
  }
  grpc::Status GetTopic(grpc::ServerContext* /*context*/, const v1::GetTopicRequest* request,
                        v1::GetTopicResponse* response) override {
    return Fill(request->name(), response->mutable_topic());
  }
  grpc::Status GetCluster(grpc::ServerContext* /*context*/,
                          const v1::GetClusterRequest* /*request*/,
                          v1::GetClusterResponse* /*response*/) override {
    return grpc::Status::OK;
  }
  grpc::Status ListReassignments(grpc::ServerContext* /*context*/,
                                 const v1::ListReassignmentsRequest* /*request*/,
                                 v1::ListReassignmentsResponse* /*response*/) override {
    return grpc::Status::OK;
  }
  grpc::Status ElectLeaders(grpc::ServerContext* /*context*/,
                            const v1::ElectLeadersRequest* request,
                            v1::ElectLeadersResponse* response) override {
    return Fill(request->topic(), response->mutable_topic());
  }

  // One partition, led by the preferred leader.
  grpc::Status Fill(const std::string& name, v1::Topic* topic) const {
    for (const std::string& one : refused) {
      if (one == name) return rpc::ToGrpc(MakeError(reason, absl::StrCat("not ", name)));
    }
    topic->set_name(name);
    topic->add_partitions()->add_replicas(1);
    topic->mutable_partitions(0)->set_leader(1);
    return grpc::Status::OK;
  }
};

class PartlyDoneTest : public testing::Test {
 protected:
  CommonOptions Common() const {
    CommonOptions common;
    common.address = host_->address();
    common.output = OutputMode::kTsv;
    return common;
  }
  Outcome ElectAll() {
    ClusterOptions options;
    options.common = Common();
    options.action = "elect";
    options.all = true;
    return Capture(RunCluster, options);
  }
  Outcome Collect(const std::vector<std::string>& http = {}) {
    BundleOptions options;
    options.common = Common();
    options.directory = Path();
    options.http = http;
    return Capture(RunBundle, options);
  }
  std::string Path() const { return directory_.PathOf("bundle"); }
  std::string Read(const std::string& name) const {
    std::ifstream file(absl::StrCat(Path(), "/", name));
    return std::string(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>());
  }

  TempDirectory directory_;
  HalfGateway gateway_;
  std::unique_ptr<rpc::ServerHost> host_ =
      *rpc::ServerHost::Start({},
                              {static_cast<v1::TopicService::Service*>(&gateway_),
                               static_cast<v1::ClusterService::Service*>(&gateway_)},
                              nullptr);
};

TEST_F(PartlyDoneTest, AnElectionInAllTopicsShowsThoseWhereItWasHeld) {
  EXPECT_EQ(ElectAll().code, ExitCode::kOk);
  gateway_.refused = {"b"};
  Outcome outcome = ElectAll();
  EXPECT_EQ(outcome.code, ExitCode::kPartial);
  EXPECT_THAT(outcome.rows(), ElementsAre(StartsWith("a\t0\t1\t"), StartsWith("c\t0\t1\t")));
  EXPECT_THAT(outcome.err, HasSubstr("not b"));
  gateway_.refused = {"a", "b", "c"};
  outcome = ElectAll();
  EXPECT_EQ(outcome.code, ExitCode::kFailed);
  EXPECT_EQ(outcome.out, "");
  gateway_.reason = Reason::kTopicNotFound;
  EXPECT_EQ(ElectAll().code, ExitCode::kOk) << "all were deleted meanwhile";
}

TEST_F(PartlyDoneTest, ABundleHoldsTheTopicsThatCanBeHad) {
  gateway_.refused = {"b"};
  EXPECT_EQ(Collect().code, ExitCode::kPartial);
  EXPECT_THAT(Read("topics.json"), AllOf(HasSubstr("\"name\":\"a\""), HasSubstr("\"name\":\"c\""),
                                         Not(HasSubstr("\"name\":\"b\""))));
  EXPECT_EQ(Read("missing.txt"), "topics.json, b: METADATA_UNAVAILABLE: not b\n");
}

// Answers every request with the same bytes and closes the connection; without any, with silence.
class RawServer {
 public:
  explicit RawServer(std::string answer, int family = AF_INET) : answer_(std::move(answer)) {
    fd_ = ::socket(family, SOCK_STREAM, 0);
    sockaddr_in6 six{};
    six.sin6_family = AF_INET6;
    six.sin6_addr = in6addr_loopback;
    sockaddr_in four{};
    four.sin_family = AF_INET;
    four.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    const bool is_six = family == AF_INET6;
    auto* const address =
        is_six ? reinterpret_cast<sockaddr*>(&six) : reinterpret_cast<sockaddr*>(&four);
    socklen_t size = is_six ? sizeof six : sizeof four;
    listens_ = fd_ >= 0 && ::bind(fd_, address, size) == 0 && ::listen(fd_, 8) == 0 &&
               ::getsockname(fd_, address, &size) == 0;
    const int port = ntohs(is_six ? six.sin6_port : four.sin_port);
    address_ = absl::StrCat(is_six ? "[::1]:" : "127.0.0.1:", port);
    if (listens_) thread_ = std::thread([this] { Serve(); });
  }
  ~RawServer() {
    if (fd_ >= 0) ::shutdown(fd_, SHUT_RDWR);
    if (thread_.joinable()) thread_.join();
    if (fd_ >= 0) ::close(fd_);
  }
  bool listens() const { return listens_; }
  const std::string& address() const { return address_; }

 private:
  void Serve() const {
    while (true) {
      const int peer = ::accept(fd_, nullptr, nullptr);
      if (peer < 0) return;
      char request[4096];
      if (::recv(peer, request, sizeof request, 0) > 0 && !answer_.empty()) {
        EXPECT_EQ(::send(peer, answer_.data(), answer_.size(), MSG_NOSIGNAL),
                  static_cast<ssize_t>(answer_.size()));
      } else {
        EXPECT_EQ(::recv(peer, request, sizeof request, 0), 0) << "the client gives up";
      }
      ::close(peer);
    }
  }

  const std::string answer_;
  int fd_ = -1;
  bool listens_ = false;
  std::string address_;
  std::thread thread_;
};

constexpr absl::Duration kLong = absl::Seconds(20);

TEST(HttpGetTest, TheStatusComesWithTheBody) {
  const RawServer server("HTTP/1.1 503 Not Now\r\nContent-Length: 5\r\n\r\nwait\n");
  const auto answer = HttpGet(server.address(), "/healthz", kLong);
  ASSERT_TRUE(answer.ok()) << answer.status();
  EXPECT_EQ(answer->status, 503);
  EXPECT_EQ(answer->body, "wait\n");
}

TEST(HttpGetTest, AnAddressMayBeInBrackets) {
  const RawServer server("HTTP/1.1 200 OK\r\ncontent-length:2\r\n\r\nok", AF_INET6);
  if (!server.listens()) GTEST_SKIP() << "this machine has no IPv6";
  const auto answer = HttpGet(server.address(), "/metrics", kLong);
  ASSERT_TRUE(answer.ok()) << answer.status();
  EXPECT_EQ(answer->body, "ok");
}

TEST(HttpGetTest, SilenceIsCalledATimeout) {
  const RawServer server("");
  const auto answer = HttpGet(server.address(), "/metrics", absl::Milliseconds(50));
  EXPECT_THAT(answer.status().message(), HasSubstr("timed out"));
}

TEST(HttpGetTest, AnAnswerIsWholeOrAnError) {
  EXPECT_EQ(ParseHttpAnswer("HTTP/1.0 200 OK\r\n\r\nto the end")->body, "to the end");
  const auto message = [](absl::string_view answer) {
    return std::string(ParseHttpAnswer(answer).status().message());
  };
  EXPECT_THAT(message("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf"),
              HasSubstr("4 of 10 bytes"));
  EXPECT_THAT(message("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n"),
              HasSubstr("chunked"));
  for (const char* answer :
       {"", "SSH-2.0-x\r\n\r\n", "HTTP/1.1\r\n\r\n", "HTTP/1.1 two\r\n\r\n", "HTTP/1.1 200 OK\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n"}) {
    EXPECT_THAT(message(answer), HasSubstr("not HTTP")) << answer;
  }
}

TEST_F(PartlyDoneTest, APageThatIsNotThereIsMissingAndBadHealthIsNot) {
  const RawServer server("HTTP/1.1 404 Not Found\r\nContent-Length: 3\r\n\r\nno\n");
  EXPECT_EQ(Collect({server.address()}).code, ExitCode::kPartial);
  const std::string name = absl::StrReplaceAll(server.address(), {{":", "-"}}) + ".txt";
  EXPECT_THAT(Read("missing.txt"), AllOf(HasSubstr("metrics-" + name), HasSubstr("status 404"),
                                         Not(HasSubstr("healthz"))));
  EXPECT_EQ(Read("healthz-" + name), "no\n");
  EXPECT_EQ(Read("metrics-" + name), "");
}

}  // namespace
}  // namespace falaj::cli
