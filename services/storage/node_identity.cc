#include "services/storage/node_identity.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <fstream>
#include <optional>
#include <sstream>
#include <system_error>
#include <utility>
#include <vector>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

#include "libs/base/crc32c.h"
#include "libs/base/status.h"

namespace falaj::storage {
namespace {

namespace fs = std::filesystem;

constexpr absl::string_view kMagic = "falaj-storage 1\n";

absl::Status Failed(absl::string_view what, const std::string& path) {
  return MakeError(Reason::kStorageFailed,
                   absl::StrCat(what, " ", path, ": ", std::generic_category().message(errno)),
                   {{"path", path}});
}

// nullopt: no such file.
std::optional<std::string> ReadFile(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  if (!in) return std::nullopt;
  std::ostringstream text;
  text << in.rdbuf();
  return text.str();
}

absl::Status SyncDirectory(const std::string& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return Failed("cannot open", path);
  const absl::Cleanup close_fd = [fd] { ::close(fd); };
  return ::fsync(fd) == 0 ? absl::OkStatus() : Failed("cannot sync", path);
}

absl::Status WriteAndSync(const std::string& path, absl::string_view text) {
  const int fd = ::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  if (fd < 0) return Failed("cannot create", path);
  const absl::Cleanup close_fd = [fd] { ::close(fd); };
  if (::write(fd, text.data(), text.size()) != static_cast<ssize_t>(text.size())) {
    return Failed("cannot write", path);
  }
  return ::fsync(fd) == 0 ? absl::OkStatus() : Failed("cannot sync", path);
}

// All of `text` is in the file, or the file is as it was.
absl::Status ReplaceFile(const std::string& directory, const std::string& name,
                         absl::string_view text) {
  const std::string path = absl::StrCat(directory, "/", name);
  FALAJ_RETURN_IF_ERROR(WriteAndSync(path + ".new", text));
  if (::rename((path + ".new").c_str(), path.c_str()) != 0) return Failed("cannot rename", path);
  return SyncDirectory(directory);
}

absl::Status Damaged(const std::string& data_dir) {
  return MakeError(
      Reason::kCorruptRecord,
      absl::StrCat("the identity of the data directory ", data_dir, " is damaged or missing"),
      {{"path", data_dir + "/identity"}});
}

}  // namespace

absl::StatusOr<NodeIdentity> NodeIdentity::Open(const std::string& data_dir, NodeId node,
                                                Random* random) {
  std::error_code error;
  fs::create_directories(data_dir, error);
  if (error) {
    return MakeError(Reason::kStorageFailed,
                     absl::StrCat("cannot make ", data_dir, ": ", error.message()),
                     {{"path", data_dir}});
  }
  NodeIdentity identity(data_dir, node);
  if (const std::optional<std::string> text = ReadFile(data_dir + "/identity")) {
    FALAJ_RETURN_IF_ERROR(identity.Load(*text));
  } else {
    if (fs::exists(identity.store_directory(), error)) return Damaged(data_dir);
    identity.directory_id_ = random->NextUuid();
    FALAJ_RETURN_IF_ERROR(identity.Save());
  }
  const std::string clean = data_dir + "/clean";
  if (const std::optional<std::string> text = ReadFile(clean)) {
    int64_t epoch = 0;
    if (absl::SimpleAtoi(*text, &epoch)) identity.clean_epoch_ = NodeEpoch{epoch};
    if (::unlink(clean.c_str()) != 0) return Failed("cannot remove", clean);
    FALAJ_RETURN_IF_ERROR(SyncDirectory(data_dir));
  }
  return identity;
}

absl::Status NodeIdentity::Load(const std::string& text) {
  const size_t sum_at = text.rfind("crc32c ");
  uint32_t sum = 0;
  if (sum_at == std::string::npos ||
      !absl::SimpleAtoi(absl::string_view(text).substr(sum_at + 7), &sum) ||
      crc32c::Of(absl::string_view(text).substr(0, sum_at)) != sum ||
      text.compare(0, kMagic.size(), kMagic.data(), kMagic.size()) != 0) {
    return Damaged(data_dir_);
  }
  int32_t node = 0;
  for (const absl::string_view line :
       absl::StrSplit(absl::string_view(text).substr(0, sum_at), '\n')) {
    const std::pair<absl::string_view, absl::string_view> field =
        absl::StrSplit(line, absl::MaxSplits(' ', 1));
    if (field.first == "node_id" && !absl::SimpleAtoi(field.second, &node)) {
      return Damaged(data_dir_);
    }
    if (field.first == "directory_id") {
      FALAJ_ASSIGN_OR_RETURN(directory_id_, Uuid::Parse(field.second));
    }
    if (field.first == "cluster_id") {
      FALAJ_ASSIGN_OR_RETURN(cluster_id_, Uuid::Parse(field.second));
    }
  }
  if (directory_id_.is_nil()) return Damaged(data_dir_);
  if (node == node_.value()) return absl::OkStatus();
  return MakeError(Reason::kClusterMismatch,
                   absl::StrCat("the data directory ", data_dir_, " belongs to node ", node,
                                ", not to node ", node_),
                   {{"path", data_dir_},
                    {"node", absl::StrCat(node_.value())},
                    {"node_on_record", absl::StrCat(node)}});
}

absl::Status NodeIdentity::Save() const {
  std::string text = absl::StrCat(kMagic, "directory_id ", directory_id_.ToString(), "\nnode_id ",
                                  node_.value(), "\n");
  if (!cluster_id_.is_nil()) absl::StrAppend(&text, "cluster_id ", cluster_id_.ToString(), "\n");
  absl::StrAppend(&text, "crc32c ", crc32c::Of(text), "\n");
  return ReplaceFile(data_dir_, "identity", text);
}

absl::Status NodeIdentity::JoinCluster(const Uuid& cluster) {
  if (cluster == cluster_id_) return absl::OkStatus();
  if (!cluster_id_.is_nil()) {
    return MakeError(
        Reason::kClusterMismatch,
        absl::StrCat("the data directory belongs to cluster ", cluster_id_.ToString(),
                     ", the metadata service to ", cluster.ToString()),
        {{"cluster_id", cluster.ToString()}, {"cluster_id_on_record", cluster_id_.ToString()}});
  }
  cluster_id_ = cluster;
  return Save();
}

absl::Status NodeIdentity::MarkClean(NodeEpoch epoch) {
  return ReplaceFile(data_dir_, "clean", absl::StrCat(epoch.value(), "\n"));
}

}  // namespace falaj::storage
