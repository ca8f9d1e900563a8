"""Jobs that end as their message says; imported by locked-down processes of a test."""

import json


def answer(payload, message, attachment, kept):
    """The message and the attachment back, or a crash."""
    if message.get("crash"):
        raise ValueError("as asked")
    return json.dumps({"said": payload, "of": attachment.decode(), **message}).encode()


def prepare(payload):
    """Nothing that children share."""
