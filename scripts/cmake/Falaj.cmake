# The few functions every CMakeLists.txt of Falaj uses. Targets only, explicit file lists, no globbing: a stale
# file must not build.

add_library(falaj_flags INTERFACE)
# -pthread everywhere: some packages ask for it, and a precompiled header serves only equal flags.
target_compile_options(falaj_flags INTERFACE -pthread -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wnon-virtual-dtor
                                             -Woverloaded-virtual)
if(FALAJ_WERROR)
  target_compile_options(falaj_flags INTERFACE -Werror)
endif()
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  # g++ 12 sees uninitialised inline storage in every moved absl::InlinedVector once it optimises.
  if(FALAJ_SANITIZE)
    target_compile_options(falaj_flags INTERFACE -Wno-maybe-uninitialized)
  endif()
  target_compile_options(falaj_flags INTERFACE $<$<NOT:$<CONFIG:Debug>>:-Wno-maybe-uninitialized>)
endif()
if(CMAKE_CXX_COMPILER_ID STREQUAL "Clang")
  target_compile_options(falaj_flags INTERFACE -Wthread-safety)
endif()
target_include_directories(falaj_flags INTERFACE ${CMAKE_SOURCE_DIR})
target_link_libraries(falaj_flags INTERFACE falaj_allocator)

add_library(falaj_sanitize INTERFACE)
if(FALAJ_SANITIZE)
  target_compile_options(falaj_sanitize INTERFACE -fsanitize=${FALAJ_SANITIZE} -fno-sanitize-recover=all
                                                  -fno-omit-frame-pointer)
  target_link_options(falaj_sanitize INTERFACE -fsanitize=${FALAJ_SANITIZE})
endif()
target_link_options(falaj_sanitize INTERFACE -fuse-ld=lld)

# The sources of tests are compiled as fast as it goes: half of a clean build is tests, and what they test keeps its
# optimisation, but for inline functions, which the linker takes from the test.
add_library(falaj_unoptimised INTERFACE)
target_compile_options(falaj_unoptimised INTERFACE $<$<CONFIG:RelWithDebInfo>:-O0>)

# falaj_precompile(NAME HEADER LINK...): makes the precompiled header that falaj_configure gives to targets of equal flags.
# Its anchor is written once: a newer one would rebuild every precompiled header, and with them everything.
if(NOT EXISTS ${CMAKE_BINARY_DIR}/pch_anchor.cc)
  file(WRITE ${CMAKE_BINARY_DIR}/pch_anchor.cc "")
endif()
function(falaj_precompile name header)
  add_library(${name} OBJECT ${CMAKE_BINARY_DIR}/pch_anchor.cc)
  target_link_libraries(${name} PRIVATE falaj_flags falaj_sanitize ${ARGN})
  target_precompile_headers(${name} PRIVATE ${CMAKE_SOURCE_DIR}/scripts/cmake/${header})
endfunction()

# The precompiled headers: std + Abseil for everybody, gRPC on top for what talks gRPC, and both again with GoogleTest.
set(falaj_pure_deps absl::status absl::statusor absl::strings absl::time absl::flat_hash_map absl::btree absl::span)
set(falaj_grpc_deps gRPC::grpc++ protobuf::libprotobuf ${falaj_pure_deps})
falaj_precompile(falaj_pch_pure pch_pure.h ${falaj_pure_deps})
falaj_precompile(falaj_pch_grpc pch_grpc.h ${falaj_grpc_deps})
falaj_precompile(falaj_pch_pure_test pch_pure_test.h falaj_unoptimised GTest::gmock ${falaj_pure_deps})
falaj_precompile(falaj_pch_grpc_test pch_grpc_test.h falaj_unoptimised GTest::gmock ${falaj_grpc_deps})

# falaj_configure(TARGET GRPC TEST): flags, sanitizers and the precompiled header. GRPC: whether it talks gRPC; TEST:
# whether it is a test that is not optimised; TRUE or FALSE.
function(falaj_configure target grpc test)
  set(pch falaj_pch_pure)
  if(grpc)
    set(pch falaj_pch_grpc)
  endif()
  if(test)
    string(APPEND pch _test)
    target_link_libraries(${target} PRIVATE falaj_unoptimised)
  endif()
  target_link_libraries(${target} PRIVATE falaj_flags falaj_sanitize)
  target_precompile_headers(${target} REUSE_FROM ${pch})
endfunction()

# falaj_library(NAME [GRPC] SRCS ... [DEPS public ...] [PRIVATE_DEPS ...]) makes falaj_NAME, alias falaj::NAME.
function(falaj_library name)
  cmake_parse_arguments(ARG "GRPC" "" "SRCS;DEPS;PRIVATE_DEPS" ${ARGN})
  add_library(falaj_${name} STATIC ${ARG_SRCS})
  add_library(falaj::${name} ALIAS falaj_${name})
  target_include_directories(falaj_${name} PUBLIC ${CMAKE_SOURCE_DIR})
  target_link_libraries(falaj_${name} PUBLIC ${ARG_DEPS} PRIVATE ${ARG_PRIVATE_DEPS})
  falaj_configure(falaj_${name} ${ARG_GRPC} FALSE)
endfunction()

# falaj_binary(NAME [GRPC] SRCS ... DEPS ...) makes an executable called NAME under bin/.
function(falaj_binary name)
  cmake_parse_arguments(ARG "GRPC" "" "SRCS;DEPS" ${ARGN})
  add_executable(${name} ${ARG_SRCS})
  target_link_libraries(${name} PRIVATE ${ARG_DEPS})
  falaj_configure(${name} ${ARG_GRPC} FALSE)
endfunction()

# falaj_test(NAME [GRPC] [LABEL label] [TIMEOUT s] SRCS ... DEPS ...) makes NAME and one CTest entry of the same name. The
# label is unit (default), integration or sim. The target falaj_tests_LABEL builds all tests of a label. Simulations keep
# their optimisation: what the linker takes from an unoptimised object would slow a million events.
function(falaj_test name)
  cmake_parse_arguments(ARG "GRPC" "LABEL;TIMEOUT" "SRCS;DEPS" ${ARGN})
  add_executable(${name} ${ARG_SRCS})
  target_link_libraries(${name} PRIVATE ${ARG_DEPS} GTest::gmock_main)
  add_test(NAME ${name} COMMAND ${name})
  if(NOT ARG_LABEL)
    set(ARG_LABEL unit)
  endif()
  if(ARG_LABEL STREQUAL sim)
    falaj_configure(${name} ${ARG_GRPC} FALSE)
  else()
    falaj_configure(${name} ${ARG_GRPC} TRUE)
  endif()
  set_tests_properties(${name} PROPERTIES LABELS ${ARG_LABEL})
  if(NOT TARGET falaj_tests_${ARG_LABEL})
    add_custom_target(falaj_tests_${ARG_LABEL})
  endif()
  add_dependencies(falaj_tests_${ARG_LABEL} ${name})
  if(ARG_LABEL STREQUAL unit AND NOT ARG_GRPC)
    # What ThreadSanitizer can judge: the packaged gRPC is not instrumented.
    set_tests_properties(${name} PROPERTIES LABELS "unit;plain")
    if(NOT TARGET falaj_tests_plain)
      add_custom_target(falaj_tests_plain)
    endif()
    add_dependencies(falaj_tests_plain ${name})
  endif()
  if(ARG_TIMEOUT)
    set_tests_properties(${name} PROPERTIES TIMEOUT ${ARG_TIMEOUT})
  endif()
endfunction()
