"""Whatever a client sends, the error says why: requests that are no messages at all, to every method of every service.

The methods come from the protos, so that a new one is tested as soon as it is described. Needs FALAJ_ADDRESS and
FALAJ_PROTOS, the folder of the protos.
"""

import importlib
import os
import pathlib
import unittest

import grpc

from interop_test import TIMEOUT_S, error_info

# Field 1, of 127 bytes, of which none follows.
MALFORMED = b"\x0a\x7f"


def public_methods():
    for proto in sorted(pathlib.Path(os.environ["FALAJ_PROTOS"], "falaj/v1").glob("*_service.proto")):
        file = importlib.import_module(f"falaj.v1.{proto.stem}_pb2").DESCRIPTOR
        for service in file.services_by_name.values():
            yield from service.methods


class MalformedTest(unittest.TestCase):

    def setUp(self):
        self.channel = grpc.insecure_channel(os.environ["FALAJ_ADDRESS"])
        self.addCleanup(self.channel.close)

    def call(self, method, request):
        """The error `method` ends with when it gets these bytes."""
        path = f"/{method.containing_service.full_name}/{method.name}"
        sends, gets = (("stream" if streams else "unary") for streams in (
            method.client_streaming, method.server_streaming))
        start = getattr(self.channel, f"{sends}_{gets}")(path)
        with self.assertRaises(grpc.RpcError) as caught:
            answer = start(iter([request]) if sends == "stream" else request, timeout=TIMEOUT_S)
            if gets == "stream":
                list(answer)
        return caught.exception

    def test_every_method_names_the_reason(self):
        methods = list(public_methods())
        self.assertGreater(len(methods), 30)
        for method in methods:
            with self.subTest(method=method.full_name):
                error = self.call(method, MALFORMED)
                self.assertEqual(error.code(), grpc.StatusCode.INVALID_ARGUMENT)
                info = error_info(error)
                self.assertEqual((info.reason, info.domain), ("INVALID_REQUEST", "falaj.dev"))
                self.assertTrue(error.details())


if __name__ == "__main__":
    unittest.main()
