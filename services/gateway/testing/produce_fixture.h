// What the tests of Produce and StreamProduce share: frames, and short ways to open a stream, to
// read its acks and to end it.
#ifndef SERVICES_GATEWAY_TESTING_PRODUCE_FIXTURE_H_
#define SERVICES_GATEWAY_TESTING_PRODUCE_FIXTURE_H_

#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "falaj/v1/producer_service.pb.h"

#include "libs/base/clock.h"
#include "libs/rpc/status_grpc.h"
#include "services/gateway/testing/test_gateway.h"

namespace falaj::gateway {

class ProduceTest : public TestGateway {
 protected:
  using Stream = grpc::ClientReaderWriter<v1::StreamProduceRequest, v1::StreamProduceResponse>;

  static constexpr char kStreamProduce[] = "/falaj.v1.ProducerService/StreamProduce";

  static v1::StreamProduceRequest OpenFrame(const std::string& topic,
                                            v1::Acks acks = v1::ACKS_ALL) {
    v1::StreamProduceRequest frame;
    frame.mutable_open()->set_topic(topic);
    frame.mutable_open()->set_acks(acks);
    return frame;
  }
  static v1::StreamProduceRequest BatchFrame(uint64_t id, int32_t partition, const Bytes& batch) {
    v1::StreamProduceRequest frame;
    frame.mutable_batch()->set_batch_id(id);
    frame.mutable_batch()->set_partition(partition);
    frame.mutable_batch()->set_batch(batch.ToString());
    return frame;
  }
  static v1::ProduceRequest Records(const std::string& topic, std::vector<std::string> keys) {
    v1::ProduceRequest request;
    request.set_topic(topic);
    request.set_acks(v1::ACKS_ALL);
    for (const std::string& key : keys) {
      request.add_records()->set_key(key);
      request.mutable_records()->rbegin()->set_value("v-" + key);
    }
    return request;
  }

  // Opens a stream on the topic and takes the opened frame.
  std::unique_ptr<Stream> Open(grpc::ClientContext* context, const std::string& topic,
                               v1::Acks acks = v1::ACKS_ALL) {
    context->set_deadline(absl::ToChronoTime(Clock::Real()->Now() + absl::Seconds(30)));
    auto stream = producers_->StreamProduce(context);
    v1::StreamProduceResponse response;
    EXPECT_TRUE(stream->Write(OpenFrame(topic, acks)));
    EXPECT_TRUE(stream->Read(&response) && response.has_opened());
    opened_ = response.opened();
    return stream;
  }
  v1::BatchAck ReadAck(Stream* stream) {
    v1::StreamProduceResponse response;
    EXPECT_TRUE(stream->Read(&response) && response.has_ack());
    return response.ack();
  }
  absl::Status End(Stream* stream) {
    stream->WritesDone();
    v1::StreamProduceResponse rest;
    while (stream->Read(&rest)) {
    }
    return rpc::FromGrpc(stream->Finish());
  }
  // How a stream that sends these frames ends.
  absl::Status EndOf(const std::vector<v1::StreamProduceRequest>& frames) {
    std::vector<std::string> raw;
    for (const auto& frame : frames) raw.push_back(frame.SerializeAsString());
    return SendRawFrames(channel_, kStreamProduce, raw);
  }

  v1::ProduceStreamOpened opened_;
};

}  // namespace falaj::gateway

#endif  // SERVICES_GATEWAY_TESTING_PRODUCE_FIXTURE_H_
