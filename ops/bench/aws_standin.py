"""AWS as far as one function needs it to answer: every start is acknowledged at once.

Run as ``python -m ops.bench.aws_standin PORT``; RAPIDO_BENCH_SECRET is what Secrets Manager holds.
It runs nothing: what is measured against it is the cell's own part.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any

_ARN = "arn:aws:states:us-east-1:123456789012:execution:bench:"
Answer = dict[str, Any]


def _started(ask: Answer) -> Answer:
    return {"executionArn": _ARN + ask["name"], "startDate": time.time()}


def _running(ask: Answer) -> Answer:
    described = {"status": "RUNNING", "stateMachineArn": _ARN, "startDate": time.time()}
    return {"executionArn": ask["executionArn"], **described}


def _secret(ask: Answer) -> Answer:
    return {"Name": ask["SecretId"], "SecretString": os.environ["RAPIDO_BENCH_SECRET"]}


def _taken(ask: Answer) -> Answer:
    done = [{"Id": e["Id"], "MessageId": e["Id"], "MD5OfMessageBody": ""} for e in ask["Entries"]]
    return {"Successful": done, "Failed": []}


_CALLS: dict[str, Callable[[Answer], Answer]] = {
    "AWSStepFunctions.StartExecution": _started,
    "AWSStepFunctions.DescribeExecution": _running,
    "secretsmanager.GetSecretValue": _secret,
    "AmazonSQS.SendMessageBatch": _taken,
}


async def _answer(target: str, ask: Answer) -> tuple[int, Answer]:
    if target == "AmazonSQS.ReceiveMessage":
        await asyncio.sleep(float(ask.get("WaitTimeSeconds", 1)))
        return 200, {}
    if target not in _CALLS:
        return 400, {"__type": "UnknownOperationException", "message": f"no {target} here"}
    return 200, _CALLS[target](ask)


async def _serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            pairs = (line.partition(":") for line in head[1:])
            headers = {name.lower(): value.strip() for name, _, value in pairs}
            body = await reader.readexactly(int(headers.get("content-length", "0")))
            target = headers.get("x-amz-target", "")
            status, answer = await _answer(target, json.loads(body or b"{}"))
            sent = json.dumps(answer).encode()
            writer.write(
                b"HTTP/1.1 %d X\r\nContent-Type: application/x-amz-json-1.0\r\n"
                b"Content-Length: %d\r\n\r\n%b" % (status, len(sent), sent)
            )
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        pass  # the caller closed its connection
    finally:
        writer.close()


async def _main(port: int) -> None:
    server = await asyncio.start_server(_serve, "127.0.0.1", port, backlog=256)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_main(int(sys.argv[1])))
