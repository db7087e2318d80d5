#ifndef LIBS_RPC_CALLBACK_THREADS_H_
#define LIBS_RPC_CALLBACK_THREADS_H_

#include "absl/time/time.h"

namespace falaj::rpc {

// The threads that run gRPC's callbacks, those of all channels and servers of the process.
//
// The packaged gRPC (1.51) has at least two of them, and ends them with the last channel. Both do
// harm. Of two threads on one completion queue one polls the sockets; before it handles what has
// come it wakes the other one to poll in its place, so that every message costs a wake-up and a
// switch of context. On two cores that was a fifth of a gateway's processor time. And a last
// channel that a callback releases makes its thread join itself, which aborts the process.
//
// So this file defines the two functions of gRPC that start and end these threads. The dynamic
// linker takes a program's definition before that of a library, and scripts/cmake/Archives.cmake
// makes those of the archive weak; nothing else of gRPC is touched.
// Half as many threads as cores, at least one, named falaj-rpc, as long as the process lives.
// A callback must not block: it may be the only thread that moves bytes. One that writes a little
// to a disk, because that takes less time than to wake another thread, says so (MayBlock), and
// somebody has to look now and then whether the disk has let it go (ReplaceHeldUp).
//
// Starts them if they do not run yet; MakeChannel and ServerHost do so.
void StartCallbackThreads();

// While one lives, the calling thread does something that a disk may keep it at. At most one per
// thread at a time. Means nothing on threads that run no callbacks.
class MayBlock {
 public:
  MayBlock();
  ~MayBlock();
  MayBlock(const MayBlock&) = delete;
  MayBlock& operator=(const MayBlock&) = delete;
};

// Starts a thread in place of each that has been at the same thing for so long; when it is let go
// it ends. To be called a few times a second while anything uses MayBlock. Returns how many it has
// replaced.
int ReplaceHeldUp(absl::Duration limit);

}  // namespace falaj::rpc

#endif  // LIBS_RPC_CALLBACK_THREADS_H_
