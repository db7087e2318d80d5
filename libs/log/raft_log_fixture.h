// What the tests of RaftLog share: a directory, short ways to write, and what a crash leaves.
#ifndef LIBS_LOG_RAFT_LOG_FIXTURE_H_
#define LIBS_LOG_RAFT_LOG_FIXTURE_H_

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <memory>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "rocksdb/db.h"

#include "libs/base/random.h"
#include "libs/base/status.h"
#include "libs/log/raft_log.h"
#include "libs/log/raft_log_database.h"

namespace falaj::log {

namespace fs = std::filesystem;
namespace pb = ::falaj::internal::v1;

inline pb::RaftEntry Entry(uint64_t index, uint64_t term, std::string data) {
  pb::RaftEntry entry;
  entry.set_index(index);
  entry.set_term(term);
  entry.set_type(pb::RAFT_ENTRY_TYPE_COMMAND);
  entry.set_data(std::move(data));
  return entry;
}

inline std::vector<pb::RaftEntry> Entries(uint64_t first, uint64_t last, uint64_t term) {
  std::vector<pb::RaftEntry> entries;
  for (uint64_t i = first; i <= last; ++i) entries.push_back(Entry(i, term, absl::StrCat("e", i)));
  return entries;
}

inline pb::RaftHardState HardState(uint64_t term, int32_t vote, uint64_t commit) {
  pb::RaftHardState state;
  state.set_term(term);
  state.set_vote(vote);
  state.set_commit(commit);
  return state;
}

inline raft::Snapshot MakeSnapshot(uint64_t index, uint64_t term, std::string data) {
  pb::RaftSnapshot meta;
  meta.set_index(index);
  meta.set_term(term);
  meta.mutable_membership()->add_voters(1);
  return raft::FinishSnapshot(std::move(meta), Bytes::Own(std::move(data)));
}

class RaftLogTest : public testing::Test {
 protected:
  RaftLogTest() {
    directory_ = absl::StrCat(testing::TempDir(), "/raft_log_test_",
                              testing::UnitTest::GetInstance()->current_test_info()->name(), "_",
                              Random::FromSystem().Next());
    options_.directory = absl::StrCat(directory_, "/raft");
    options_.node_id = NodeId(1);
    options_.cluster_id_if_new = Uuid::FromRandomBits(1, 2);
    options_.initial_membership.voters = {NodeId(1)};
  }
  ~RaftLogTest() override {
    log_.reset();  // Its threads still write files, and delete them.
    fs::remove_all(directory_);
  }

  // Closes what is open and opens again.
  absl::Status Reopen() {
    log_.reset();
    auto opened = RaftLog::Open(options_);
    if (!opened.ok()) return opened.status();
    log_ = *std::move(opened);
    restored_ = log_->TakeRestored();
    return absl::OkStatus();
  }

  void Write(uint64_t first, uint64_t last, uint64_t term, uint64_t commit = 0) {
    const absl::Status status =
        log_->Persist(HardState(term, 1, commit), Entries(first, last, term), true);
    ASSERT_TRUE(status.ok()) << status;
  }

  // Both steps of storing a snapshot of this node's.
  absl::Status Save(const raft::Snapshot& snapshot, uint64_t first_kept) {
    const absl::Status written = log_->WriteSnapshot(snapshot);
    return written.ok() ? log_->CommitSnapshot(snapshot, LogIndex(first_kept)) : written;
  }

  // "1/1 2/1 3/2" of what was restored.
  std::string RestoredLog() const {
    std::string text;
    for (const pb::RaftEntry& entry : restored_.entries) {
      absl::StrAppend(&text, text.empty() ? "" : " ", entry.index(), "/", entry.term());
    }
    return text;
  }

  std::vector<fs::path> FilesEndingWith(absl::string_view extension) const {
    std::vector<fs::path> files;
    for (const auto& file : fs::directory_iterator(options_.directory)) {
      if (file.path().extension() == std::string(extension)) files.push_back(file.path());
    }
    return files;
  }

  // As a crash leaves the directory: the files as they are at one moment, without a clean close.
  // RocksDB deletes files and writes its manifest on a thread of its own: a copy during which the
  // files changed is of no moment, and is made again.
  void CrashAndKeepFiles() {
    const std::string copy = options_.directory + "-copy";
    std::error_code error;
    std::map<std::string, FileState> before;
    do {
      before = FileStates();
      fs::remove_all(copy);
      fs::copy(options_.directory, copy, fs::copy_options::recursive, error);
    } while (error || FileStates() != before);
    log_.reset();
    fs::remove_all(options_.directory);
    fs::rename(copy, options_.directory);
  }

  // Of the default column family; the log must be closed.
  void DeleteSmallKey(const char* key) const {
    std::vector<std::string> names;
    ASSERT_TRUE(rocksdb::DB::ListColumnFamilies({}, options_.directory, &names).ok());
    std::vector<rocksdb::ColumnFamilyDescriptor> descriptors;
    for (const std::string& name : names) descriptors.emplace_back(name, RaftFamilyOptions(name));
    std::vector<rocksdb::ColumnFamilyHandle*> families;
    rocksdb::DB* db = nullptr;
    ASSERT_TRUE(rocksdb::DB::Open({}, options_.directory, descriptors, &families, &db).ok());
    EXPECT_TRUE(db->Delete(rocksdb::WriteOptions(), key).ok());
    for (rocksdb::ColumnFamilyHandle* family : families) db->DestroyColumnFamilyHandle(family);
    EXPECT_TRUE(db->Close().ok());
    delete db;
  }

  // The write-ahead log that holds data.
  fs::path LargestWal() const {
    fs::path largest;
    for (const fs::path& file : FilesEndingWith(".log")) {
      if (largest.empty() || fs::file_size(file) > fs::file_size(largest)) largest = file;
    }
    return largest;
  }

  using FileState = std::pair<uintmax_t, fs::file_time_type>;  // Size and time of the last write.

  std::map<std::string, FileState> FileStates() const {
    std::map<std::string, FileState> states;
    for (const auto& file : fs::recursive_directory_iterator(options_.directory)) {
      std::error_code gone;  // Leaves values that no file has.
      const uintmax_t size = fs::file_size(file.path(), gone);
      states[file.path()] = {size, fs::last_write_time(file.path(), gone)};
    }
    return states;
  }

  static void FlipByte(const fs::path& file, int64_t offset) {
    std::fstream stream(file, std::ios::in | std::ios::out | std::ios::binary);
    stream.seekg(offset);
    const char byte = static_cast<char>(stream.get() ^ 0x5a);
    stream.seekp(offset);
    stream.put(byte);
    ASSERT_TRUE(stream.good());
  }

  // Where `text` stands in the file; -1 if it does not.
  static int64_t Find(const fs::path& file, const std::string& text) {
    std::ifstream stream(file, std::ios::binary);
    const std::string bytes((std::istreambuf_iterator<char>(stream)), {});
    const size_t at = bytes.find(text);
    return at == std::string::npos ? -1 : static_cast<int64_t>(at);
  }

  void ExpectCorrupt(const absl::Status& status) const {
    EXPECT_EQ(ReasonOf(status), Reason::kCorruptRecord) << status;
    EXPECT_TRUE(absl::StrContains(status.message(), options_.directory)) << status;
  }

  std::string directory_;
  RaftLog::Options options_;
  std::unique_ptr<RaftLog> log_;
  raft::Restored restored_;
};

}  // namespace falaj::log

#endif  // LIBS_LOG_RAFT_LOG_FIXTURE_H_
