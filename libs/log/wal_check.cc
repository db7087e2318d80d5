#include "libs/log/wal_check.h"

#include <algorithm>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

#include "libs/base/crc32c.h"
#include "libs/base/status.h"
#include "libs/log/store_health.h"

namespace falaj::log {
namespace {

// A log file is a row of 32 KiB blocks of records: masked CRC-32C (4, little-endian), length (2,
// little-endian), type (1), payload. The CRC covers type and payload. A block's last bytes are zero
// if a header no longer fits.
constexpr size_t kBlock = 32 << 10;
constexpr size_t kHeader = 7;
constexpr uint8_t kTypeMax = 4;  // full 1, first 2, middle 3, last 4

uint32_t Byte(absl::string_view s, size_t i) { return static_cast<uint8_t>(s[i]); }

uint32_t Unmask(uint32_t masked) {
  const uint32_t rotated = masked - 0xa282ead8U;
  return rotated >> 17 | rotated << 15;
}

bool CrcMatches(absl::string_view record, size_t payload) {
  const uint32_t stored =
      Byte(record, 0) | Byte(record, 1) << 8 | Byte(record, 2) << 16 | Byte(record, 3) << 24;
  return Unmask(stored) == crc32c::Of(record.substr(6, 1 + payload));
}

// The size of the intact record at the start of `rest`, if there is one.
std::optional<size_t> IntactRecord(absl::string_view rest) {
  if (rest.size() < kHeader) return std::nullopt;
  const size_t payload = Byte(rest, 4) | Byte(rest, 5) << 8;
  const uint32_t type = Byte(rest, 6);
  if (type == 0 || type > kTypeMax || kHeader + payload > rest.size()) return std::nullopt;
  if (!CrcMatches(rest, payload)) return std::nullopt;
  return kHeader + payload;
}

bool BlockIsWhole(absl::string_view block) {
  size_t pos = 0;
  while (const std::optional<size_t> size = IntactRecord(block.substr(pos))) pos += *size;
  return block.size() - pos < kHeader;
}

bool FileIsDamaged(rocksdb::Env* env, const std::string& path) {
  std::unique_ptr<rocksdb::SequentialFile> file;
  if (!env->NewSequentialFile(path, &file, rocksdb::EnvOptions()).ok()) return false;
  std::vector<char> scratch(kBlock);
  rocksdb::Slice read;
  while (file->Read(kBlock, &read, scratch.data()).ok() && !read.empty()) {
    const absl::string_view block(read.data(), read.size());
    if (block.size() < kBlock) return !WalTailIsSound(block);
    if (!BlockIsWhole(block)) return true;
  }
  return false;
}

absl::Status CheckFile(rocksdb::Env* env, const std::string& directory, const std::string& name) {
  const std::string path = absl::StrCat(directory, "/", name);
  uint64_t size = 0;
  FALAJ_RETURN_IF_ERROR(FromRocks(env->GetFileSize(path, &size), directory, "read " + name));
  if (size == 0) return absl::OkStatus();
  const uint64_t start = (size - 1) / kBlock * kBlock;
  std::unique_ptr<rocksdb::RandomAccessFile> file;
  FALAJ_RETURN_IF_ERROR(FromRocks(env->NewRandomAccessFile(path, &file, rocksdb::EnvOptions()),
                                  directory, "read " + name));
  std::vector<char> scratch(kBlock);
  rocksdb::Slice block;
  FALAJ_RETURN_IF_ERROR(
      FromRocks(file->Read(start, static_cast<size_t>(size - start), &block, scratch.data()),
                directory, "read " + name));
  if (WalTailIsSound(absl::string_view(block.data(), block.size()))) return absl::OkStatus();
  return MakeError(Reason::kCorruptRecord,
                   absl::StrCat("the file ", name, " in '", directory,
                                "' is damaged: intact records follow a broken one"),
                   {{"directory", directory}, {"file", name}});
}

}  // namespace

bool WalTailIsSound(absl::string_view block) {
  size_t pos = 0;
  while (const std::optional<size_t> size = IntactRecord(block.substr(pos))) pos += *size;
  const absl::string_view rest = block.substr(pos);
  // Complete but for its length field: a cut-off record would not match its checksum.
  if (rest.size() > kHeader && Byte(rest, 6) != 0 && CrcMatches(rest, rest.size() - kHeader)) {
    return false;
  }
  for (size_t skip = 1; skip < rest.size(); ++skip) {
    if (IntactRecord(rest.substr(skip))) return false;
  }
  return true;
}

std::string FindDamagedWal(rocksdb::Env* env, const std::string& directory) {
  std::vector<std::string> names;
  if (!env->GetChildren(directory, &names).ok()) return "";
  std::sort(names.begin(), names.end());  // The oldest first: its number has as many digits.
  for (const std::string& name : names) {
    if (!absl::EndsWith(name, ".log")) continue;
    if (FileIsDamaged(env, absl::StrCat(directory, "/", name))) return name;
  }
  return "";
}

absl::Status CheckWalTails(rocksdb::Env* env, const std::string& directory) {
  std::vector<std::string> names;
  FALAJ_RETURN_IF_ERROR(FromRocks(env->GetChildren(directory, &names), directory, "list files"));
  // Of manifests only the one that counts: others are left over, and RocksDB does not read them.
  std::string manifest;
  const rocksdb::Status current =
      rocksdb::ReadFileToString(env, absl::StrCat(directory, "/CURRENT"), &manifest);
  if (!current.ok()) manifest.clear();  // The store will not open, and says so.
  absl::StripTrailingAsciiWhitespace(&manifest);
  for (const std::string& name : names) {
    if (!absl::EndsWith(name, ".log") && name != manifest) continue;
    FALAJ_RETURN_IF_ERROR(CheckFile(env, directory, name));
  }
  return absl::OkStatus();
}

}  // namespace falaj::log
