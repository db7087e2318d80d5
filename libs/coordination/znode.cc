#include "libs/coordination/znode.h"

namespace falaj::coordination {
namespace {

// Rounds down, also before 1970, so that nanos are never negative.
void FillTime(int64_t time_ms, google::protobuf::Timestamp* time) {
  int64_t seconds = time_ms / 1'000;
  int64_t rest_ms = time_ms % 1'000;
  if (rest_ms < 0) {
    rest_ms += 1'000;
    --seconds;
  }
  time->set_seconds(seconds);
  time->set_nanos(static_cast<int32_t>(rest_ms * 1'000'000));
}

}  // namespace

uint64_t Znode::Hash() const {
  uint64_t hash = HashCombine(shared_path->hash, shared_data->hash);
  hash = HashCombine(hash, create_index.value());
  hash = HashCombine(hash, modify_index.value());
  hash = HashCombine(hash, children_index.value());
  hash = HashCombine(hash, static_cast<uint64_t>(version));
  hash = HashCombine(hash, static_cast<uint64_t>(children_version));
  hash = HashCombine(hash, static_cast<uint64_t>(child_count));
  hash = HashCombine(hash, static_cast<uint64_t>(ephemeral_session.value()));
  hash = HashCombine(hash, static_cast<uint64_t>(create_time_ms));
  hash = HashCombine(hash, static_cast<uint64_t>(modify_time_ms));
  return HashCombine(hash, next_sequence);
}

void FillStat(const Znode& znode, v1::ZnodeStat* stat) {
  stat->set_create_index(znode.create_index.value());
  stat->set_modify_index(znode.modify_index.value());
  stat->set_children_index(znode.children_index.value());
  stat->set_version(znode.version);
  stat->set_children_version(znode.children_version);
  stat->set_child_count(znode.child_count);
  stat->set_ephemeral_session_id(znode.ephemeral_session.value());
  FillTime(znode.create_time_ms, stat->mutable_create_time());
  FillTime(znode.modify_time_ms, stat->mutable_modify_time());
}

void FillWithoutData(const Znode& znode, v1::Znode* message) {
  message->set_path(znode.path());
  FillStat(znode, message->mutable_stat());
}

void FillWithData(const Znode& znode, v1::Znode* message) {
  FillWithoutData(znode, message);
  message->set_data(znode.data());
}

void FillState(const Znode& znode, internal::v1::ZnodeState* state) {
  state->set_path(znode.path());
  state->set_data(znode.data());
  state->set_create_index(znode.create_index.value());
  state->set_modify_index(znode.modify_index.value());
  state->set_children_index(znode.children_index.value());
  state->set_version(znode.version);
  state->set_children_version(znode.children_version);
  state->set_child_count(znode.child_count);
  state->set_ephemeral_session_id(znode.ephemeral_session.value());
  state->set_create_time_ms(znode.create_time_ms);
  state->set_modify_time_ms(znode.modify_time_ms);
  state->set_next_sequence(znode.next_sequence);
}

Znode ZnodeOf(const internal::v1::ZnodeState& state) {
  Znode znode;
  znode.shared_path = ShareBytes(state.path());
  znode.shared_data = ShareBytes(state.data());
  znode.create_index = LogIndex(state.create_index());
  znode.modify_index = LogIndex(state.modify_index());
  znode.children_index = LogIndex(state.children_index());
  znode.version = state.version();
  znode.children_version = state.children_version();
  znode.child_count = state.child_count();
  znode.ephemeral_session = SessionId(state.ephemeral_session_id());
  znode.create_time_ms = state.create_time_ms();
  znode.modify_time_ms = state.modify_time_ms();
  znode.next_sequence = state.next_sequence();
  return znode;
}

}  // namespace falaj::coordination
