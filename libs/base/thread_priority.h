#ifndef LIBS_BASE_THREAD_PRIORITY_H_
#define LIBS_BASE_THREAD_PRIORITY_H_

namespace falaj {

// Lets the calling thread run behind those that serve, for as long as it lives: for bursts of work
// that nobody waits for. It still gets a share, two fifths of what a serving thread gets, so that
// it keeps up. A refusal of the system is logged once for each thread and changes nothing else.
void StepBack();

}  // namespace falaj

#endif  // LIBS_BASE_THREAD_PRIORITY_H_
