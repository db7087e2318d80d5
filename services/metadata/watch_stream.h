#ifndef SERVICES_METADATA_WATCH_STREAM_H_
#define SERVICES_METADATA_WATCH_STREAM_H_

#include <cstddef>
#include <memory>

#include "absl/status/status.h"

#include "falaj/internal/v1/metadata_service.pb.h"

#include "services/metadata/event_stream.h"
#include "services/metadata/watch_hub.h"

namespace falaj::metadata {

// WatchStream sends one storage node or gateway the changes of the cluster. See EventStream.
class WatchStream final : public EventStream<internal::v1::WatchClusterResponse>, public Watcher {
 public:
  // Lives until both gRPC and the caller let go of it.
  static std::shared_ptr<WatchStream> Create(size_t queue_bytes_max) {
    auto stream = std::shared_ptr<WatchStream>(new WatchStream(queue_bytes_max));
    stream->Own(stream);
    return stream;
  }

  bool Push(const WatchEvent& event) override { return Enqueue(event.message, event.size_bytes); }
  bool PushKeepalive(const WatchEvent& event) override {
    return EnqueueIfIdle(event.message, event.size_bytes);
  }
  void Close(const absl::Status& status) override { EventStream::Close(status); }

 private:
  using EventStream::EventStream;
};

}  // namespace falaj::metadata

#endif  // SERVICES_METADATA_WATCH_STREAM_H_
