"""A gRPC server of generic methods on bytes, which tells on its standard output what it saw."""

import json
import sys
import threading
from concurrent import futures

import grpc


def say(**what):
    print(json.dumps(what), flush=True)


def metadata(context):
    return [[key, value.decode("latin-1") if isinstance(value, bytes) else value]
            for key, value in context.invocation_metadata()]


def unary(request, context):
    seen = json.dumps(metadata(context)).encode()
    context.send_initial_metadata((("x-first", "1"), ("x-first-bin", b"\x00\xff")))
    context.set_trailing_metadata((("x-seen-bin", seen), ("x-last", "2"), ("set-cookie", "a=b")))
    return request[::-1]


def up(requests, context):
    expected = 0
    for request in requests:
        if int(request) != expected:
            context.abort(grpc.StatusCode.DATA_LOSS, f"{request} for {expected}")
        expected += 1
    return str(expected).encode()


def down(request, context):
    for number in range(int(request)):
        yield str(number).encode()
    context.set_trailing_metadata((("x-sent", request.decode()),))


def both(requests, context):
    for request in requests:
        yield b"echo " + request


def fail(request, context):
    context.set_trailing_metadata((("x-why-bin", b"\x01\x02"),))
    context.abort(grpc.StatusCode.FAILED_PRECONDITION, "50 % of \u00e4")


def wait(request, context):
    ended = threading.Event()
    context.add_callback(ended.set)
    say(event="waiting", remaining=context.time_remaining())
    ended.wait(30)
    say(event="ended", active=context.is_active())
    return b""


def stream(request, context):
    yield b"first"
    wait(request, context)


def length(request, context):
    return str(len(request)).encode()


def refuse(request, context):
    known = dict(context.invocation_metadata()).get("authorization")
    if known != "Bearer ours":
        context.abort(grpc.StatusCode.UNAUTHENTICATED, "who are you")
    return b"known"


methods = {
    "Unary": grpc.unary_unary_rpc_method_handler(unary),
    "Up": grpc.stream_unary_rpc_method_handler(up),
    "Down": grpc.unary_stream_rpc_method_handler(down),
    "Both": grpc.stream_stream_rpc_method_handler(both),
    "Fail": grpc.unary_unary_rpc_method_handler(fail),
    "Wait": grpc.unary_unary_rpc_method_handler(wait),
    "Stream": grpc.unary_stream_rpc_method_handler(stream),
    "Length": grpc.unary_unary_rpc_method_handler(length),
    "Refuse": grpc.unary_unary_rpc_method_handler(refuse),
}
server = grpc.server(
    futures.ThreadPoolExecutor(16),
    handlers=[grpc.method_handlers_generic_handler("t.T", methods)],
    options=[("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)],
)
if len(sys.argv) > 1:
    with open(sys.argv[1], "rb") as key, open(sys.argv[2], "rb") as chain:
        credentials = grpc.ssl_server_credentials([(key.read(), chain.read())])
    port = server.add_secure_port("127.0.0.1:0", credentials)
else:
    port = server.add_insecure_port("127.0.0.1:0")
server.start()
say(event="listening", port=port)
# It ends with whoever started it.
sys.stdin.read()
