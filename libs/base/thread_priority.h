// How much of the processor a thread gets when others want it, too.
#ifndef LIBS_BASE_THREAD_PRIORITY_H_
#define LIBS_BASE_THREAD_PRIORITY_H_

namespace falaj {

// The calling thread steps back behind those that serve, for the rest of its life: `nice` of 1 to
// 19, each a fifth less weight. For work in the background that comes in bursts. A failure is
// logged, and does no other harm. There is no way back without privileges.
void StepBack(int nice);

}  // namespace falaj

#endif  // LIBS_BASE_THREAD_PRIORITY_H_
