#ifndef LIBS_LOG_DIRECT_WRITES_H_
#define LIBS_LOG_DIRECT_WRITES_H_

#include <string>

namespace falaj::log {

// Whether files in `directory` can be written past the page cache (O_DIRECT), which some file
// systems refuse. False, too, if no file can be made there. Blocks on disk.
bool TakesDirectWrites(const std::string& directory);

}  // namespace falaj::log

#endif  // LIBS_LOG_DIRECT_WRITES_H_
