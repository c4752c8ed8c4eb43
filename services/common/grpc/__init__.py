"""The gRPC side of every service: a server, one table from errors to codes, and messages from views."""

from services.common.grpc.interceptors import CODE_OF, caller_of, code_of, start_key
from services.common.grpc.messages import from_json, to_message, to_request
from services.common.grpc.server import CALLS, HEALTH_STREAMS, LARGEST_REQUEST, STREAMS, GrpcServer

__all__ = [
    "CALLS",
    "CODE_OF",
    "HEALTH_STREAMS",
    "LARGEST_REQUEST",
    "STREAMS",
    "GrpcServer",
    "caller_of",
    "code_of",
    "from_json",
    "start_key",
    "to_message",
    "to_request",
]
