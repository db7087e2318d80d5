#include "libs/base/turn.h"

#include <utility>

#include "absl/algorithm/container.h"

namespace falaj {
namespace {

thread_local Turn* current_turn = nullptr;

}  // namespace

Turn::Turn() : outer_(std::exchange(current_turn, this)) {}

Turn::~Turn() {
  current_turn = outer_;
  for (Work& work : work_) std::exchange(work.run, nullptr)();  // With what it kept alive.
}

void Turn::AtEnd(const void* subject, std::function<void()> work) {
  if (current_turn == nullptr) return work();
  std::vector<Work>& all = current_turn->work_;
  const auto is_due = [subject](const Work& one) { return one.subject == subject; };
  if (!absl::c_any_of(all, is_due)) all.push_back({subject, std::move(work)});
}

}  // namespace falaj
