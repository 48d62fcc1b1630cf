"""Calls a gRPC server through keybearer: `grpc_client.py TARGET CASE`."""

import json
import sys
import threading
import time

import grpc

target, case = sys.argv[1:3]
channel = grpc.insecure_channel(target, options=[
    ("grpc.enable_http_proxy", 0),
    ("grpc.enable_retries", 0),
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
])
wanted = sys.argv[3] if len(sys.argv) > 3 else "1000"


def method(kind, name):
    return getattr(channel, kind)(f"/t.T/{name}", None, None)


def counted(number):
    """The number; for whoever waits, every ten thousandth is told."""
    if number % 10_000 == 9_999:
        print("at", number + 1, flush=True)
    return number


def unary(name="Unary"):
    return method("unary_unary", name)


def failing(call):
    try:
        call()
    except grpc.RpcError as error:
        return error
    raise AssertionError("the call did not fail")


def metadata_passes():
    sent = (
        ("authorization", "Bearer mine"),
        ("x-api-key", "mine"),
        ("x-own", "kept"),
        ("x-own-bin", b"\x00\x01\xfe"),
        ("cookie", "a=mine"),
    )
    response, call = unary().with_call(b"abc", metadata=sent, timeout=20)
    assert response == b"cba", response
    first = dict(call.initial_metadata())
    assert first["x-first"] == "1" and first["x-first-bin"] == b"\x00\xff", first
    last = dict(call.trailing_metadata())
    assert last["x-last"] == "2", last
    assert "set-cookie" not in last, last
    seen = json.loads(last["x-seen-bin"])
    of = lambda name: [value for key, value in seen if key == name]
    assert of("authorization") == ["Bearer ours"], seen
    assert of("x-own") == ["kept"], seen
    assert len(of("x-own-bin")) == 1, seen
    assert not of("x-api-key") and not of("cookie"), seen
    assert "mine" not in json.dumps(seen), seen
    assert call.code() == grpc.StatusCode.OK


def statuses_pass():
    error = failing(lambda: unary("Fail")(b"", timeout=20))
    assert error.code() == grpc.StatusCode.FAILED_PRECONDITION, error
    assert error.details() == "50 % of \u00e4", error
    assert dict(error.trailing_metadata())["x-why-bin"] == b"\x01\x02"
    error = failing(lambda: unary("Missing")(b"", timeout=20))
    assert error.code() == grpc.StatusCode.UNIMPLEMENTED, error


def uploads_pass_in_order():
    numbers = (str(counted(number)).encode() for number in range(int(wanted)))
    assert method("stream_unary", "Up")(numbers, timeout=600) == str(int(wanted)).encode()


def downloads_pass_in_order():
    call = method("unary_stream", "Down")(str(int(wanted)).encode(), timeout=600)
    received = [counted(int(message)) for message in call]
    assert received == list(range(int(wanted))), len(received)
    assert dict(call.trailing_metadata())["x-sent"] == str(int(wanted))
    assert call.code() == grpc.StatusCode.OK


def both_ways_at_once():
    """Each message waits for the answer to the one before: nothing may be held back."""
    answered = threading.Semaphore(0)

    def requests():
        for number in range(200):
            yield str(number).encode()
            assert answered.acquire(timeout=20)

    received = 0
    for answer in method("stream_stream", "Both")(requests(), timeout=60):
        assert answer == b"echo %d" % received, answer
        received += 1
        answered.release()
    assert received == 200, received


def deadlines_pass():
    begun = time.monotonic()
    error = failing(lambda: unary("Wait")(b"", timeout=1))
    assert error.code() == grpc.StatusCode.DEADLINE_EXCEEDED, error
    assert time.monotonic() - begun < 15


def cancellation_passes():
    call = method("unary_stream", "Stream")(b"")
    assert next(call) == b"first"
    call.cancel()
    assert call.code() == grpc.StatusCode.CANCELLED


def large_messages_pass():
    for size in (0, 1, 16384, 65536, 8 << 20):
        content = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
        assert unary("Length")(content, timeout=60) == str(size).encode()
        assert unary()(content, timeout=60) == content[::-1]


def own_errors_are_read():
    error = failing(lambda: unary()(b"", timeout=20))
    assert error.code().name == wanted, error
    assert "keybearer" in error.details(), error.details()
    print(error.details())


def many_at_once():
    calls = [unary().future(str(number).encode(), timeout=60) for number in range(int(wanted))]
    for number, call in enumerate(calls):
        assert call.result() == str(number).encode()[::-1]


globals()[case]()
channel.close()
