// Batches and records for tests of this library and of those above it.
#ifndef LIBS_RECORD_TESTING_BATCHES_H_
#define LIBS_RECORD_TESTING_BATCHES_H_

#include <cstddef>
#include <string>
#include <utility>
#include <vector>

#include "libs/base/bytes.h"
#include "libs/base/random.h"
#include "libs/record/batch_builder.h"
#include "libs/record/record.h"

namespace falaj::record::testing_batches {

// Records of every shape: null and empty fields, headers, timestamps out of order.
std::vector<Record> RandomRecords(Random* random, size_t count);

Bytes Build(const std::vector<Record>& records, const BatchBuilder::BuildOptions& options);

// The records of a batch. Fails the test if it cannot be read.
std::vector<Record> Decode(const Bytes& batch);

// The same bytes in pieces of 1 to `piece_size_max` bytes, each in memory of its own.
Bytes Scatter(const Bytes& bytes, Random* random, size_t piece_size_max);

// Writes the right CRC into an encoded batch.
void FixCrc(std::string* batch);

// The batch with `change(std::string*)` applied and the CRC made right again, so that a check
// behind the CRC is what refuses it.
template <typename Change>
Bytes Tamper(const Bytes& batch, Change change) {
  std::string bytes = batch.ToString();
  change(&bytes);
  FixCrc(&bytes);
  return Bytes::Own(std::move(bytes));
}

}  // namespace falaj::record::testing_batches

#endif  // LIBS_RECORD_TESTING_BATCHES_H_
