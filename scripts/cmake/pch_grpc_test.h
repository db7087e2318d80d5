// Precompiled for every test that talks gRPC.
#ifndef SCRIPTS_CMAKE_PCH_GRPC_TEST_H_
#define SCRIPTS_CMAKE_PCH_GRPC_TEST_H_

#include "gmock/gmock.h"
#include "gtest/gtest.h"

#include "scripts/cmake/pch_grpc.h"

#endif  // SCRIPTS_CMAKE_PCH_GRPC_TEST_H_
