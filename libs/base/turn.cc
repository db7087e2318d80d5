#include "libs/base/turn.h"

#include <utility>

namespace falaj {
namespace {

thread_local Turn* current_turn = nullptr;

}  // namespace

Turn::Turn() : outer_(std::exchange(current_turn, this)) {}

Turn::~Turn() {
  current_turn = outer_;
  for (std::function<void()>& work : work_) std::exchange(work, nullptr)();  // With what it kept.
}

void Turn::AtEnd(const void* subject, std::function<void()> work) {
  if (current_turn == nullptr) return work();
  if (!current_turn->subjects_.insert(subject).second) return;
  current_turn->work_.push_back(std::move(work));
}

bool Turn::IsDue(const void* subject) {
  return current_turn != nullptr && current_turn->subjects_.contains(subject);
}

bool Turn::IsOpen() { return current_turn != nullptr; }

}  // namespace falaj
