# With FALAJ_LINK_ARCHIVES the packages that do the work of a request (gRPC, Protocol Buffers, Abseil, RocksDB) are linked
# into the executables from their archives. As shared libraries they reach their own functions through a table and their
# thread-local variables through a call, thousands of times for a request: a sixth of the processor time of a small write.
#
# So is tcmalloc in the place of the C library's allocator: requests are made of many small blocks, which one thread takes
# and another gives back. It saves a tenth of a small write, for 4 MiB more of each idle process.
option(FALAJ_LINK_ARCHIVES "Link gRPC, Protocol Buffers, Abseil, RocksDB and tcmalloc into the executables" OFF)

# falaj_locations(VARIABLE TARGET): the properties in which an imported target says where its file is.
function(falaj_locations variable target)
  get_target_property(configurations ${target} IMPORTED_CONFIGURATIONS)
  set(found "")
  foreach(property IN ITEMS IMPORTED_LOCATION LISTS configurations)
    string(REGEX REPLACE "^([A-Z]+)$" "IMPORTED_LOCATION_\\1" property ${property})
    get_property(is_set TARGET ${target} PROPERTY ${property} SET)
    if(is_set)
      list(APPEND found ${property})
    endif()
  endforeach()
  set(${variable} ${found} PARENT_SCOPE)
endfunction()

# falaj_take_archive(TARGET): lets an imported shared library mean the archive that its package has beside it.
function(falaj_take_archive target)
  falaj_locations(locations ${target})
  foreach(location IN LISTS locations)
    get_target_property(library ${target} ${location})
    string(REGEX REPLACE "\\.so[.0-9]*$" ".a" archive "${library}")
    if(NOT EXISTS "${archive}")
      message(FATAL_ERROR "${target}: there is no ${archive} beside ${library}; -DFALAJ_LINK_ARCHIVES=OFF does without")
    endif()
    set_target_properties(${target} PROPERTIES ${location} "${archive}")
  endforeach()
endfunction()

# falaj_weaken(TARGET SYMBOL...): lets functions of ours take the place of a package's. In a shared library they do so by
# themselves; those of an archive must be weak, or the linker finds two of each.
function(falaj_weaken target)
  falaj_locations(locations ${target})
  list(TRANSFORM ARGN PREPEND "--weaken-symbol=")
  foreach(location IN LISTS locations)
    get_target_property(archive ${target} ${location})
    cmake_path(GET archive FILENAME name)
    set(weakened ${CMAKE_BINARY_DIR}/archives/${name})
    file(MAKE_DIRECTORY ${CMAKE_BINARY_DIR}/archives)
    execute_process(COMMAND ${CMAKE_OBJCOPY} ${ARGN} ${archive} ${weakened}.new COMMAND_ERROR_IS_FATAL ANY)
    # A newer one would have everything linked again.
    file(COPY_FILE ${weakened}.new ${weakened} ONLY_IF_DIFFERENT)
    file(REMOVE ${weakened}.new)
    set_target_properties(${target} PROPERTIES ${location} ${weakened})
  endforeach()
endfunction()

add_library(falaj_allocator INTERFACE)
set(FALAJ_ROCKSDB RocksDB::rocksdb-shared)
if(FALAJ_LINK_ARCHIVES)
  if(FALAJ_SANITIZE)
    message(FATAL_ERROR "FALAJ_LINK_ARCHIVES would take the allocator from the sanitizer of FALAJ_SANITIZE")
  endif()
  # What is left of the shared libraries is the system's: nothing that ships looks for them where it was built.
  set(CMAKE_SKIP_RPATH ON)
  set(FALAJ_ROCKSDB RocksDB::rocksdb)
  get_property(imported DIRECTORY PROPERTY IMPORTED_TARGETS)
  foreach(target IN LISTS imported)
    get_target_property(type ${target} TYPE)
    if(target MATCHES "^(gRPC|absl|protobuf)::" AND type MATCHES "^(SHARED|UNKNOWN)_LIBRARY$")
      falaj_take_archive(${target})
    endif()
  endforeach()
  # libs/rpc/callback_threads.cc and libs/log/rocks_crc32c.cc have what is called instead.
  falaj_weaken(gRPC::grpc++ _ZN4grpc15CompletionQueue21CallbackAlternativeCQEv
               _ZN4grpc15CompletionQueue28ReleaseCallbackAlternativeCQEPS0_)
  falaj_weaken(RocksDB::rocksdb _ZN7rocksdb6crc32c6ExtendEjPKcm)
  find_library(FALAJ_TCMALLOC libtcmalloc_minimal.a REQUIRED)
  target_link_libraries(falaj_allocator INTERFACE ${FALAJ_TCMALLOC})
endif()
