// What the tests of Fetch and Consume share: frames, and short ways to open a stream and to read
// from it.
#ifndef SERVICES_GATEWAY_TESTING_CONSUME_FIXTURE_H_
#define SERVICES_GATEWAY_TESTING_CONSUME_FIXTURE_H_

#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "falaj/v1/consumer_service.pb.h"

#include "libs/base/clock.h"
#include "services/gateway/testing/test_gateway.h"

namespace falaj::gateway {

class ConsumeTest : public TestGateway {
 protected:
  using Stream = grpc::ClientReaderWriter<v1::ConsumeRequest, v1::ConsumeResponse>;

  static constexpr char kConsume[] = "/falaj.v1.ConsumerService/Consume";

  static v1::ConsumeRequest OpenFrame(const std::string& topic, std::vector<int32_t> partitions,
                                      int64_t credit) {
    v1::ConsumeRequest frame;
    for (const int32_t partition : partitions) {
      v1::PartitionPosition* position = frame.mutable_open()->mutable_partitions()->add_positions();
      position->set_topic(topic);
      position->set_partition(partition);
      position->mutable_position()->set_offset(0);
    }
    frame.mutable_open()->mutable_initial_credit()->set_bytes(credit);
    frame.mutable_open()->set_format(v1::RECORD_FORMAT_BATCHES);
    return frame;
  }
  static v1::ConsumeRequest GrantFrame(int64_t bytes) {
    v1::ConsumeRequest frame;
    frame.mutable_grant()->set_bytes(bytes);
    return frame;
  }
  static v1::ConsumeRequest SeekFrame(const std::string& topic, int64_t offset) {
    v1::ConsumeRequest frame;
    v1::PartitionPosition* position = frame.mutable_seek()->add_positions();
    position->set_topic(topic);
    position->mutable_position()->set_offset(offset);
    return frame;
  }
  std::unique_ptr<Stream> Start(grpc::ClientContext* context, const v1::ConsumeRequest& open) {
    context->set_deadline(absl::ToChronoTime(Clock::Real()->Now() + absl::Seconds(30)));
    auto stream = consumers_->Consume(context);
    v1::ConsumeResponse response;
    EXPECT_TRUE(stream->Write(open));
    EXPECT_TRUE(stream->Read(&response) && response.has_opened());
    opened_ = response.opened();
    return stream;
  }
  // The next records frame.
  static v1::PartitionRecords ReadRecords(Stream* stream) {
    v1::ConsumeResponse response;
    while (stream->Read(&response)) {
      if (response.has_records()) return response.records();
    }
    ADD_FAILURE() << "the stream ended: " << stream->Finish().error_message();
    return {};
  }
  // The leader of partition 0, and all that it leads.
  std::pair<FakeStorage*, std::vector<int32_t>> OneLeader(const std::string& topic,
                                                          int32_t partitions) {
    FakeStorage* const leader = LeaderOf(topic, 0);
    std::vector<int32_t> led;
    for (int32_t p = 0; p < partitions; ++p) {
      if (LeaderOf(topic, p) == leader) led.push_back(p);
    }
    return {leader, led};
  }
  static bool IsReadTimes(const FakeStorage* node, size_t times) {
    return Eventually([&] { return node->read_calls().size() >= times; });
  }
  absl::Status EndOf(const std::vector<v1::ConsumeRequest>& frames) {
    std::vector<std::string> raw;
    for (const auto& frame : frames) raw.push_back(frame.SerializeAsString());
    return SendRawFrames(channel_, kConsume, raw);
  }

  v1::ConsumeStreamOpened opened_;
};

}  // namespace falaj::gateway

#endif  // SERVICES_GATEWAY_TESTING_CONSUME_FIXTURE_H_
