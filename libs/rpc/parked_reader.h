#ifndef LIBS_RPC_PARKED_READER_H_
#define LIBS_RPC_PARKED_READER_H_

#include <grpcpp/grpcpp.h>

#include "absl/base/thread_annotations.h"

#include "libs/base/mutex.h"

namespace falaj::rpc {

// ParkedReader reads a stream from the server on a thread that has nothing else to do.
//
// gRPC's own grpc::ClientReader has the thread that waits in Read() poll the sockets of the whole
// process, in turn with gRPC's threads: every message of every call may wake it, only to be handed
// on. Two such waits made a third of all context switches of a busy storage node. Here the thread
// sleeps until the message is there.
//
//   ParkedReader<Response> reader;
//   stub->async()->Watch(&context, &request, &reader);
//   reader.Begin();
//   while (reader.Read(&response)) ...
//   grpc::Status status = reader.Finish();
//
// Finish() is to be called once, after Read() has returned false or the context was cancelled.
// Threads: one, and gRPC's.
template <typename Response>
class ParkedReader final : public grpc::ClientReadReactor<Response> {
 public:
  ParkedReader() = default;
  ParkedReader(const ParkedReader&) = delete;
  ParkedReader& operator=(const ParkedReader&) = delete;

  void Begin() {
    this->AddHold();  // Reads start from outside gRPC's callbacks; released by Finish().
    this->StartCall();
  }

  // False: no further message will come.
  [[nodiscard]] bool Read(Response* response) {
    {
      MutexLock lock(&mu_);
      reading_ = true;
    }
    this->StartRead(response);
    MutexLock lock(&mu_);
    while (reading_) changed_.Wait(&mu_);
    return read_;
  }

  [[nodiscard]] grpc::Status Finish() {
    this->RemoveHold();
    MutexLock lock(&mu_);
    while (!done_) changed_.Wait(&mu_);
    return status_;
  }

 private:
  void OnReadDone(bool ok) override {
    MutexLock lock(&mu_);
    reading_ = false;
    read_ = ok;
    changed_.NotifyOne();
  }

  void OnDone(const grpc::Status& status) override {
    MutexLock lock(&mu_);
    done_ = true;
    status_ = status;
    changed_.NotifyOne();
  }

  Mutex mu_;
  CondVar changed_;
  bool reading_ ABSL_GUARDED_BY(mu_) = false;
  bool read_ ABSL_GUARDED_BY(mu_) = false;  // Whether the last read brought a message.
  bool done_ ABSL_GUARDED_BY(mu_) = false;
  grpc::Status status_ ABSL_GUARDED_BY(mu_);
};

}  // namespace falaj::rpc

#endif  // LIBS_RPC_PARKED_READER_H_
