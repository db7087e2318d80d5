// Tells a torn write-ahead log tail from a damaged one, which RocksDB does not always do.
//
// RocksDB stops quietly at the end of a log when a record claims to be longer than the file. That
// is what a crash in the middle of a write leaves, but also what one flipped bit in a length field
// leaves, and then intact records behind it would be lost without a word. After a real crash
// nothing intact can follow the torn record, so the check is: does it?
#ifndef LIBS_LOG_WAL_CHECK_H_
#define LIBS_LOG_WAL_CHECK_H_

#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "rocksdb/env.h"

namespace falaj::log {

// Checks the last block of every write-ahead log file in the directory, and of the manifest, which
// has the same format: CORRUPT_RECORD naming the directory if intact records lie behind one that is
// cut off. Reads at most 32 KiB per file.
absl::Status CheckWalTails(rocksdb::Env* env, const std::string& directory);

// Which log file has a damaged record somewhere, by name; empty if none has, or none can be read.
// For messages: RocksDB finds the damage, and does not say where. Reads all files.
std::string FindDamagedWal(rocksdb::Env* env, const std::string& directory);

// The last, possibly partial, block of a log file. False if it is damaged in the sense above.
bool WalTailIsSound(absl::string_view block);

}  // namespace falaj::log

#endif  // LIBS_LOG_WAL_CHECK_H_
