#ifndef TESTS_SIMULATION_DATA_STORAGE_NODE_H_
#define TESTS_SIMULATION_DATA_STORAGE_NODE_H_

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <utility>

#include "libs/base/ids.h"
#include "libs/base/random.h"
#include "tests/simulation/data/store.h"
#include "tests/simulation/data/world.h"

namespace falaj::simulation::data {

class StorageProcess;

// How a node's disk is at present.
struct DiskWeather {
  SimTime write_max = 300 * kMicrosecond;
  SimTime sync_max = 2 * kMillisecond;
};

// StorageNode is one machine: a disk that stays, and a process that comes and goes.
//
// Whatever a process has set going dies with it. What arrives at a paused process waits until it
// goes on, as it does in the buffers of a kernel.
class StorageNode {
 public:
  StorageNode(World* world, NodeId id, uint64_t seed);
  ~StorageNode();

  NodeId id() const { return id_; }
  Store& store() { return store_; }
  const Store& store() const { return store_; }
  DiskWeather& disk_weather() { return disk_weather_; }
  bool running() const { return process_ != nullptr; }
  bool paused() const { return paused_; }
  bool stopping() const { return stopping_; }
  StorageProcess* process() const { return process_.get(); }  // Null if none runs.

  // Requires: none runs.
  void Start();
  // kill -9; the others notice sooner or later. With a power loss the disk loses what it may.
  void Kill(bool power_loss);
  void Pause();
  void Resume();
  void StopCleanly();

  // Its process has met a damaged batch.
  void OnDamage(PartitionNumber partition);

  // Its disk is another one, or of another time. That takes longer than messages do: what its
  // processes so far have sent has arrived, or is lost. A registration among it would give back its
  // place to a node that no longer holds anything.
  void OnDiskChanged();
  bool MayRegister(absl::string_view incarnation) const {
    return !disk_changed_ || incarnation == incarnation_.bytes();
  }

  // Lets the present process do it later, if it is still there.
  void After(SimTime delay, EventKind kind, std::function<void()> action);
  // Lets the process that runs now do it, now or when it goes on.
  void Deliver(std::function<void()> action);
  // A function that does nothing once the present process has gone.
  template <typename F>
  auto Guarded(F action) {
    return [this, generation = generation_, action = std::move(action)](auto... arguments) {
      Run(generation, [action, arguments...] { action(arguments...); });
    };
  }
  uint64_t generation() const { return generation_; }

 private:
  void Run(uint64_t generation, std::function<void()> action);

  World* const world_;
  const NodeId id_;
  Random random_;
  Store store_;
  DiskWeather disk_weather_;
  std::unique_ptr<StorageProcess> process_;
  std::unique_ptr<StorageProcess> ended_;  // Until nothing of it is on the stack.
  uint64_t generation_ = 0;
  Uuid incarnation_;  // Of the latest process.
  bool disk_changed_ = false;
  bool paused_ = false;
  bool stopping_ = false;
  std::deque<std::function<void()>> waiting_;  // While paused.
};

}  // namespace falaj::simulation::data

#endif  // TESTS_SIMULATION_DATA_STORAGE_NODE_H_
