// CoordinationState to and from its snapshot.

#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "google/protobuf/io/coded_stream.h"
#include "google/protobuf/io/zero_copy_stream_impl_lite.h"
#include "google/protobuf/wire_format_lite.h"

#include "libs/base/status.h"
#include "libs/coordination/coordination_state.h"
#include "libs/coordination/limits.h"
#include "libs/coordination/path_rules.h"

namespace falaj::coordination {
namespace {

namespace pb = ::falaj::internal::v1;

using google::protobuf::internal::WireFormatLite;

constexpr size_t kRoomPerItem = 64;  // What a session or znode has besides its bytes.

absl::Status Damaged(absl::string_view what) {
  return MakeError(Reason::kCorruptRecord,
                   absl::StrCat("the coordination snapshot is damaged: ", what),
                   {{"what", std::string(what)}});
}

absl::StatusOr<SessionPtr> SessionOf(const pb::CoordinationSession& snapshot) {
  auto session = std::make_shared<Session>();
  session->id = SessionId(snapshot.session_id());
  session->secret = snapshot.secret();
  session->timeout_ms = snapshot.timeout_ms();
  if (!session->secret.empty() && session->secret.size() != kSessionSecretSize) {
    return Damaged("a session's secret has another size");
  }
  if (session->timeout_ms < 1) return Damaged("a session has no timeout");
  if (snapshot.saved_results_size() > static_cast<int>(kSavedAnswersMax)) {
    return Damaged("a session has too many answers");
  }
  uint64_t last = 0;
  for (const pb::SavedResult& saved : snapshot.saved_results()) {
    if (saved.request_id() <= last) return Damaged("a session's answers are out of order");
    last = saved.request_id();
    if (saved.has_result() == !saved.error_reason().empty()) {
      return Damaged("an answer is neither a result nor an error");
    }
    session->answers.push_back({last, ShareBytes(saved.SerializeAsString())});
  }
  return SessionPtr(std::move(session));
}

absl::Status CheckNumbers(const Znode& znode) {
  if (znode.create_index > znode.modify_index || znode.create_index > znode.children_index) {
    return Damaged("a znode was changed before it was created");
  }
  if (znode.version < 0 || znode.child_count < 0 || znode.children_version < znode.child_count ||
      znode.next_sequence > kSequenceMax + 1) {
    return Damaged("a znode's counts cannot be");
  }
  if (znode.data().size() > kDataSizeMax) return Damaged("a znode is too large");
  return absl::OkStatus();
}

// Counts children as znodes come in the order of the tree, in which siblings stand side by side.
class ChildCounter {
 public:
  // The next znode's parent. False: the parent before it has another number of children.
  bool Next(const Znode& parent) {
    ++children_;
    if (parent_ != nullptr && parent_->path() == parent.path()) {
      ++run_;
      return true;
    }
    const bool matched = RunMatches();
    parent_ = &parent;
    run_ = 1;
    return matched;
  }
  // After the last. `claimed`: the sum of all child counts. If it is right, and every parent met
  // has the number it claims, those without children claim none.
  bool Matches(int64_t claimed) const { return RunMatches() && children_ == claimed; }

 private:
  bool RunMatches() const { return parent_ == nullptr || parent_->child_count == run_; }

  const Znode* parent_ = nullptr;  // In the tree: it stays there, as it is.
  int64_t run_ = 0;
  int64_t children_ = 0;
};

absl::Status CheckRoot(const pb::CoordinationState& snapshot) {
  if (snapshot.znodes_size() == 0 || snapshot.znodes(0).path() != kRootPath) {
    return Damaged("there is no '/'");
  }
  if (snapshot.znodes(0).ephemeral_session_id() != 0) return Damaged("'/' is ephemeral");
  return absl::OkStatus();
}

// The next znode is a child of `parent`, null if that is not there.
absl::Status CountChild(const ZnodePtr* parent, ChildCounter* children) {
  if (parent == nullptr) return Damaged("a znode has no parent");
  if ((*parent)->is_ephemeral()) return Damaged("an ephemeral znode has a child");
  if (!children->Next(**parent)) return Damaged("a znode miscounts its children");
  return absl::OkStatus();
}

// All of `saved`, which may have been another session's.
void FillWithoutAnswers(const Session& session, pb::CoordinationSession* saved) {
  saved->set_session_id(session.id.value());
  saved->set_secret(session.secret);
  saved->set_timeout_ms(session.timeout_ms);
}

// The head of a field that holds `size` bytes. Of fields 1 to 15.
void WriteHeader(int field, size_t size, google::protobuf::io::CodedOutputStream* out) {
  out->WriteTag(WireFormatLite::MakeTag(field, WireFormatLite::WIRETYPE_LENGTH_DELIMITED));
  out->WriteVarint32(static_cast<uint32_t>(size));
}

// A field of `size` bytes with its head.
size_t FieldSize(size_t size) { return 1 + WireFormatLite::LengthDelimitedSize(size); }

}  // namespace

absl::StatusOr<CoordinationState> CoordinationState::FromSnapshot(
    const pb::CoordinationState& snapshot) {
  CoordinationState state;
  FALAJ_RETURN_IF_ERROR(state.LoadSessions(snapshot));
  FALAJ_RETURN_IF_ERROR(state.LoadTree(snapshot));
  return state;
}

absl::Status CoordinationState::LoadSessions(const pb::CoordinationState& snapshot) {
  SessionId last_session;
  for (const pb::CoordinationSession& saved : snapshot.sessions()) {
    FALAJ_ASSIGN_OR_RETURN(SessionPtr session, SessionOf(saved));
    if (session->id <= last_session) return Damaged("sessions are out of order");
    last_session = session->id;
    PutSession(std::move(session));
  }
  return absl::OkStatus();
}

absl::StatusOr<ZnodePtr> CoordinationState::LoadZnode(const pb::ZnodeState& saved) const {
  if (!ValidatePath(saved.path()).ok()) return Damaged("a znode has an impossible path");
  auto znode = std::make_shared<const Znode>(ZnodeOf(saved));
  FALAJ_RETURN_IF_ERROR(CheckNumbers(*znode));
  if (znode->is_ephemeral() && FindSession(znode->ephemeral_session) == nullptr) {
    return Damaged("an ephemeral znode has outlived its session");
  }
  return ZnodePtr(std::move(znode));
}

// After the sessions, which ephemeral znodes name.
absl::Status CoordinationState::LoadTree(const pb::CoordinationState& snapshot) {
  FALAJ_RETURN_IF_ERROR(CheckRoot(snapshot));
  ChildCounter children;
  int64_t claimed_children = 0;
  std::string last_path;
  for (const pb::ZnodeState& saved : snapshot.znodes()) {
    FALAJ_ASSIGN_OR_RETURN(ZnodePtr znode, LoadZnode(saved));
    claimed_children += znode->child_count;
    if (!last_path.empty() && ZnodeKey(last_path) >= ZnodeKey(znode->path())) {
      return Damaged("znodes are out of order");
    }
    if (!last_path.empty()) {
      absl::Status counted = CountChild(FindInTree(ParentOf(znode->path())), &children);
      if (!counted.ok()) return counted;
    }
    last_path = znode->path();
    Put(std::move(znode));
  }
  if (!children.Matches(claimed_children)) return Damaged("a znode miscounts its children");
  return absl::OkStatus();
}

pb::CoordinationState CoordinationState::Snapshot() const {
  pb::CoordinationState snapshot;
  snapshot.mutable_sessions()->Reserve(static_cast<int>(sessions_.size()));
  for (const auto& [id, session] : sessions_) {
    pb::CoordinationSession* const saved = snapshot.add_sessions();
    FillWithoutAnswers(*session, saved);
    for (const SavedAnswer& answer : session->answers) {
      // It was encoded by this process, or parsed by it: it parses.
      saved->add_saved_results()->ParseFromString(answer.encoded->bytes);
    }
  }
  snapshot.mutable_znodes()->Reserve(static_cast<int>(tree_.size()));
  for (const auto& [key, znode] : tree_) FillState(*znode, snapshot.add_znodes());
  return snapshot;
}

// One message of each kind is filled again and again: hardly any memory is taken but for the
// result, and answers are copied as they are kept.
std::string CoordinationState::SerializeSnapshot() const {
  std::string bytes;
  bytes.reserve(static_cast<size_t>(data_bytes_ + saved_answer_bytes_) +
                kRoomPerItem * (sessions_.size() + tree_.size()));
  google::protobuf::io::StringOutputStream stream(&bytes);
  google::protobuf::io::CodedOutputStream out(&stream);
  pb::CoordinationSession session;
  for (const auto& [id, kept] : sessions_) {
    FillWithoutAnswers(*kept, &session);
    size_t size = session.ByteSizeLong();
    for (const SavedAnswer& answer : kept->answers) size += FieldSize(answer.encoded->bytes.size());
    WriteHeader(pb::CoordinationState::kSessionsFieldNumber, size, &out);
    session.SerializeWithCachedSizes(&out);
    for (const SavedAnswer& answer : kept->answers) {
      const std::string& encoded = answer.encoded->bytes;
      WriteHeader(pb::CoordinationSession::kSavedResultsFieldNumber, encoded.size(), &out);
      out.WriteString(encoded);
    }
  }
  pb::ZnodeState znode;
  for (const auto& [key, kept] : tree_) {
    FillState(*kept, &znode);
    WriteHeader(pb::CoordinationState::kZnodesFieldNumber, znode.ByteSizeLong(), &out);
    znode.SerializeWithCachedSizes(&out);
  }
  out.Trim();
  return bytes;
}

}  // namespace falaj::coordination
