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

add_library(falaj_sanitize INTERFACE)
if(FALAJ_SANITIZE)
  target_compile_options(falaj_sanitize INTERFACE -fsanitize=${FALAJ_SANITIZE} -fno-sanitize-recover=all
                                                  -fno-omit-frame-pointer)
  target_link_options(falaj_sanitize INTERFACE -fsanitize=${FALAJ_SANITIZE})
endif()
target_link_options(falaj_sanitize INTERFACE -fuse-ld=lld)

# The two precompiled headers: std + Abseil for everybody, and gRPC on top for what talks gRPC.
# Written once: a newer anchor would rebuild both precompiled headers, and with them everything.
if(NOT EXISTS ${CMAKE_BINARY_DIR}/pch_anchor.cc)
  file(WRITE ${CMAKE_BINARY_DIR}/pch_anchor.cc "")
endif()
add_library(falaj_pch_pure OBJECT ${CMAKE_BINARY_DIR}/pch_anchor.cc)
target_link_libraries(falaj_pch_pure PRIVATE falaj_flags falaj_sanitize absl::status absl::statusor absl::strings
                                             absl::time absl::flat_hash_map absl::btree absl::span)
target_precompile_headers(falaj_pch_pure PRIVATE ${CMAKE_SOURCE_DIR}/scripts/cmake/pch_pure.h)
add_library(falaj_pch_grpc OBJECT ${CMAKE_BINARY_DIR}/pch_anchor.cc)
target_link_libraries(falaj_pch_grpc PRIVATE falaj_flags falaj_sanitize gRPC::grpc++ protobuf::libprotobuf absl::status
                                             absl::statusor absl::strings absl::time absl::flat_hash_map absl::btree)
target_precompile_headers(falaj_pch_grpc PRIVATE ${CMAKE_SOURCE_DIR}/scripts/cmake/pch_grpc.h)

# falaj_configure(TARGET [GRPC]): flags, sanitizers and the precompiled header.
function(falaj_configure target use_grpc)
  target_link_libraries(${target} PRIVATE falaj_flags falaj_sanitize)
  if(use_grpc)
    target_precompile_headers(${target} REUSE_FROM falaj_pch_grpc)
  else()
    target_precompile_headers(${target} REUSE_FROM falaj_pch_pure)
  endif()
endfunction()

# falaj_library(NAME [GRPC] SRCS ... [DEPS public ...] [PRIVATE_DEPS ...]) makes falaj_NAME, alias falaj::NAME.
function(falaj_library name)
  cmake_parse_arguments(ARG "GRPC" "" "SRCS;DEPS;PRIVATE_DEPS" ${ARGN})
  add_library(falaj_${name} STATIC ${ARG_SRCS})
  add_library(falaj::${name} ALIAS falaj_${name})
  target_include_directories(falaj_${name} PUBLIC ${CMAKE_SOURCE_DIR})
  target_link_libraries(falaj_${name} PUBLIC ${ARG_DEPS} PRIVATE ${ARG_PRIVATE_DEPS})
  falaj_configure(falaj_${name} "${ARG_GRPC}")
endfunction()

# falaj_binary(NAME [GRPC] SRCS ... DEPS ...) makes an executable called NAME under bin/.
function(falaj_binary name)
  cmake_parse_arguments(ARG "GRPC" "" "SRCS;DEPS" ${ARGN})
  add_executable(${name} ${ARG_SRCS})
  target_link_libraries(${name} PRIVATE ${ARG_DEPS})
  falaj_configure(${name} "${ARG_GRPC}")
endfunction()

# falaj_test(NAME [GRPC] [SLOW] SRCS ... DEPS ...) makes NAME and one CTest entry of the same name. LABEL is one of
# unit (default), sim, integration, e2e. The target falaj_tests_LABEL builds all tests of a label.
function(falaj_test name)
  cmake_parse_arguments(ARG "GRPC" "LABEL;TIMEOUT" "SRCS;DEPS" ${ARGN})
  add_executable(${name} ${ARG_SRCS})
  target_link_libraries(${name} PRIVATE ${ARG_DEPS} GTest::gmock_main)
  falaj_configure(${name} "${ARG_GRPC}")
  add_test(NAME ${name} COMMAND ${name})
  if(NOT ARG_LABEL)
    set(ARG_LABEL unit)
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
