"""What schemathesis makes up is led to what exists: a part of the names in paths become the room, people, nodes and bridges of the server
under test, so that not everything ends at 404. Operations that would end the meeting keep their made-up names; `contract.py` asks those."""

import json
import os
import zlib

import schemathesis

THERE = json.loads(os.environ["AMPHI_THERE"])
SPARED = {"endRoom", "kick", "promote", "demote", "moderator", "endMeeting", "kickParticipant"}


def led(context, values):
    """The same values lead to the same names."""
    if not values or context.operation.definition.raw["operationId"] in SPARED:
        return values
    digest = zlib.crc32(json.dumps(values, sort_keys=True, default=str).encode())
    if digest % 3 == 0:
        return values
    return {name: THERE[name][digest % len(THERE[name])] if name in THERE else value for name, value in values.items()}


@schemathesis.hook
def map_path_parameters(context, path_parameters):
    return led(context, path_parameters)


@schemathesis.hook
def before_call(context, case, kwargs):
    # A stream of events never ends by itself.
    assert case.operation.definition.raw["operationId"] != "streamEvents"
