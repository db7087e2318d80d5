// The packaged RocksDB (7.8.3) computes CRC-32C with tables: 1 GB/s, where the processor's
// instruction makes many times that. It does so for every byte of the write-ahead log, which took
// an eighth of a storage node's processor time.
//
// So rocks_crc32c.cc defines rocksdb::crc32c::Extend anew, with ours. The dynamic linker takes a
// program's definition before that of a library, as libs/rpc/callback_threads.h has it do for gRPC;
// where RocksDB is linked in, scripts/cmake/Archives.cmake has made its own one weak. What is
// computed is the same, to the bit.
#ifndef LIBS_LOG_ROCKS_CRC32C_H_
#define LIBS_LOG_ROCKS_CRC32C_H_

namespace falaj::log {

// Whether the linker finds our definition for RocksDB: else it goes on with its own, and all is
// well but slower. Of a RocksDB that is linked in this is always so: a strong definition beside a
// weak one is taken, and without weakening the link fails. RocksInfoLog asks, which every database
// of ours has: that also links the definition in.
bool RocksUsesOurCrc32c();

}  // namespace falaj::log

#endif  // LIBS_LOG_ROCKS_CRC32C_H_
