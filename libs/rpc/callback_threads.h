#ifndef LIBS_RPC_CALLBACK_THREADS_H_
#define LIBS_RPC_CALLBACK_THREADS_H_

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
// linker takes a program's definition before that of a library; nothing else of gRPC is touched.
// Half as many threads as cores, at least one, named falaj-rpc; they live as long as the process.
// A callback must not block: it may be the only thread that moves bytes.
//
// Starts them if they do not run yet; MakeChannel and ServerHost do so.
void StartCallbackThreads();

}  // namespace falaj::rpc

#endif  // LIBS_RPC_CALLBACK_THREADS_H_
