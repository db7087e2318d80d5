// Precompiled for every test that does not talk gRPC.
#ifndef SCRIPTS_CMAKE_PCH_PURE_TEST_H_
#define SCRIPTS_CMAKE_PCH_PURE_TEST_H_

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "scripts/cmake/pch_pure.h"

#endif  // SCRIPTS_CMAKE_PCH_PURE_TEST_H_
