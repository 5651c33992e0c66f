"""The process that translates large requests keeps nothing of those that it has rejected, and sends all of others."""

import socket
import subprocess
import sys

from extproc.exchange.endpoint import BedrockCall
from extproc.worker import translation_wire as wire

PROGRAM = """
import gc, socket, weakref
from extproc.exchange import translation
from extproc.openai.errors import ApiError
from extproc.worker.translation_process import serve

class Request:
    pass

requests = weakref.WeakSet()

def circular_fault(body, *others):
    error = ApiError(400, f"{len(requests)} earlier requests are in memory")
    request = Request()
    requests.add(request)
    raise error from error

translation.read = circular_fault
gc.disable()
with socket.socket(fileno=0) as connection:
    serve(connection)
"""


def test_a_request_whose_error_refers_to_itself_is_freed() -> None:
    """The collector is off while a job runs, as in `main`."""
    ours, theirs = socket.socketpair()
    with ours, subprocess.Popen([sys.executable, "-c", PROGRAM], stdin=theirs) as process:
        theirs.close()
        replies = [rejection(ours, number) for number in range(3)]
        ours.shutdown(socket.SHUT_RDWR)
        assert process.wait() == 0
    assert replies == ["0 earlier requests are in memory"] * 3


def rejection(connection: socket.socket, number: int) -> str:
    """Return the message with which the process rejects a request."""
    wire.send(connection, wire.Header(wire.ReadRequest(number, "/chat/completions"), (2,)), [b"{}"])
    reply = wire.receive_header(connection, wire.ProcessReply)
    assert reply is not None
    assert isinstance(reply.reply, wire.Error)
    return reply.reply.message


def test_all_of_a_call_but_its_body_crosses() -> None:
    sent, had = wire.CallFields.__struct_fields__, BedrockCall.__struct_fields__
    assert set(sent) - {"blobs"} == set(had) - {"body"}
