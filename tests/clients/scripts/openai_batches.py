"""OpenAI's SDK against files and batches: prints what it read."""

import io
import json
import sys
import time

import openai

URL, KEY, TEXT = sys.argv[1:4]
client = openai.OpenAI(base_url=f"{URL}/v1", api_key=KEY, max_retries=0)
found = {}


def line(number, model, path, **body):
    return {
        "custom_id": f"{TEXT} {number}",
        "method": "POST",
        "url": path,
        "body": {"model": model, **body},
    }


def chat(number, model="chat", **more):
    messages = [{"role": "user", "content": f"{TEXT} {number}"}]
    return line(number, model, "/v1/chat/completions", messages=messages, **more)


def upload(lines, **how):
    text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
    return client.files.create(
        file=("要求.jsonl", io.BytesIO(text.encode())), purpose="batch", **how
    )


def begin(lines, path="/v1/chat/completions", **how):
    return client.batches.create(
        input_file_id=upload(lines).id, endpoint=path, completion_window="24h", **how
    )


def ended(batch):
    until = time.monotonic() + 90
    while time.monotonic() < until:
        batch = client.batches.retrieve(batch.id)
        if batch.status in {"completed", "failed", "expired", "cancelled"}:
            return batch
        time.sleep(0.1)
    raise AssertionError(batch)


def read(file_id):
    return [json.loads(line) for line in client.files.content(file_id).text.splitlines()]


lines = [chat(n) for n in range(60)] + [chat(60, stream=True), chat(61, logit_bias={"1": 2})]
begun = begin(
    lines, metadata={"name": TEXT}, output_expires_after={"anchor": "created_at", "seconds": 3600}
)
found["begun"] = [begun.status, begun.object, begun.expires_at - begun.created_at]
batch = ended(begun)
found["batch"] = batch.to_dict()
found["answers"] = read(batch.output_file_id)
found["refusals"] = read(batch.error_file_id)
written = client.files.retrieve(batch.output_file_id)
found["written"] = [written.purpose, written.filename, written.expires_at - written.created_at]

others = {
    "/v1/completions": [line(0, "text", "/v1/completions", prompt=TEXT)],
    "/v1/embeddings": [
        line(0, "vectors", "/v1/embeddings", input=[TEXT]),
        line(1, "vectors", "/v1/embeddings", input=[TEXT], encoding_format="base64"),
    ],
    "/v1/responses": [line(0, "chat", "/v1/responses", input=TEXT, instructions="短く")],
}
begun = {path: begin(lines, path) for path, lines in others.items()}
found["others"] = {
    path: [answer["response"]["body"] for answer in read(ended(batch).output_file_id)]
    for path, batch in begun.items()
}

broken = [
    chat(0),
    chat(0),
    chat(1, "other"),
    chat(2) | {"url": "/v1/embeddings"},
    {"custom_id": "x"},
]
failed = ended(begin(broken))
found["failed"] = [failed.status, failed.failed_at is not None, failed.errors.object]
found["faults"] = [[f.line, f.code, f.param] for f in failed.errors.data]
nobody = ended(begin([chat(0, "nobody")]))
found["nobody"] = [nobody.errors.data[0].code, nobody.errors.data[0].param]

slow = begin([chat(n, "slow") for n in range(400)])
until = time.monotonic() + 60
while client.batches.retrieve(slow.id).request_counts.completed < 20 and time.monotonic() < until:
    time.sleep(0.05)
found["cancelling"] = client.batches.cancel(slow.id).status
slow = ended(slow)
found["cancelled"] = slow.to_dict()
kept = read(slow.output_file_id)
found["kept"] = [len(kept), len({answer["custom_id"] for answer in kept})]
found["left"] = read(slow.error_file_id)[-1]

found["listed"] = [batch.id for batch in client.batches.list(limit=3)]
found["files"] = [file.purpose for file in client.files.list(limit=4)]
file = upload([chat(0)], expires_after={"anchor": "created_at", "seconds": 7200})
found["expires"] = file.expires_at - file.created_at
found["deleted"] = client.files.delete(file.id).deleted

errors = {}
for name, ask in {
    "gone": lambda: client.files.retrieve(file.id),
    "no input": lambda: client.batches.create(
        input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h"
    ),
    "too late": lambda: client.batches.cancel(slow.id if slow.status != "cancelled" else batch.id),
    "unknown": lambda: client.batches.retrieve("batch_x"),
    "window": lambda: client.batches.create(
        input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="1h"
    ),
}.items():
    try:
        ask()
    except openai.APIError as error:
        errors[name] = [type(error).__name__, error.status_code, error.param, error.code]
found["errors"] = errors
sys.stdout.write(json.dumps(found, ensure_ascii=False) + "\n")
