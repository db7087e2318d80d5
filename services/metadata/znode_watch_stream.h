#ifndef SERVICES_METADATA_ZNODE_WATCH_STREAM_H_
#define SERVICES_METADATA_ZNODE_WATCH_STREAM_H_

#include <cstddef>
#include <cstdint>
#include <memory>

#include "absl/status/status.h"

#include "falaj/v1/coordination_service.pb.h"

#include "libs/coordination/znode_watch_hub.h"
#include "services/metadata/event_stream.h"

namespace falaj::metadata {

// ZnodeWatchStream sends one client the changes of the znodes it watches. See EventStream.
class ZnodeWatchStream final : public EventStream<v1::WatchZnodesResponse>,
                               public coordination::ZnodeWatcher {
 public:
  // Lives until both gRPC and the caller let go of it.
  static std::shared_ptr<ZnodeWatchStream> Create(size_t queue_bytes_max) {
    auto stream = std::shared_ptr<ZnodeWatchStream>(new ZnodeWatchStream(queue_bytes_max));
    stream->Own(stream);
    return stream;
  }

  bool Push(const coordination::ZnodeWatchMessage& message) override {
    return Enqueue(message.response, message.size_bytes);
  }
  bool PushKeepalive(uint64_t index) override {
    v1::WatchZnodesResponse response;
    response.set_index(index);
    const size_t size = response.ByteSizeLong();
    return EnqueueIfIdle(std::make_shared<const v1::WatchZnodesResponse>(std::move(response)),
                         size);
  }
  void Close(const absl::Status& status) override { EventStream::Close(status); }

 private:
  using EventStream::EventStream;
};

}  // namespace falaj::metadata

#endif  // SERVICES_METADATA_ZNODE_WATCH_STREAM_H_
