"""The bytes that a request holds of the budget once its calls to Bedrock are known.

The bodies of all calls count, and the responses that are kept until the last has come: those of embeddings, which are
many times as long as their texts, and the parts of a request to `/responses` that its response repeats. The rest of a
chat response is passed on as it comes.

Decision: docs/decisions.md, D102.
"""

from collections.abc import Sequence

from extproc.exchange.budget import Reservation
from extproc.exchange.call_series import CallSeries
from extproc.exchange.endpoint import BedrockCall
from extproc.exchange.local_replies import too_many_inputs


def hold_calls(reservation: Reservation, calls: Sequence[BedrockCall]) -> None:
    """Hold the bytes of these calls and of their responses, before the first call is made.

    Raises `ApiError`: 413 where they can never be had, with the number of inputs for which they can; 429 or 503 where
    they are not there at the moment.
    """
    if type(calls) is CallSeries:
        outgoing, response, inputs = calls.outgoing, calls.response, calls.inputs
    else:
        outgoing = sum([len(call.body) for call in calls])
        response = sum([call.response for call in calls])
        inputs = sum([call.inputs for call in calls])
    needed = max(reservation.body, outgoing) + response
    if inputs > 1 and needed > reservation.most:
        raise too_many_inputs(inputs, _fitting(inputs, needed, reservation.most))
    reservation.hold(outgoing=outgoing, response=response)
    if len(calls) > 1:
        reservation.hold_pieces()  # Envoy has the client's body until all calls are made


def _fitting(inputs: int, needed: int, most: int) -> int:
    """Return how many of the inputs fit. One less than their part: what each call has beside them does not shrink."""
    return max(1, inputs * most // needed - 1)
