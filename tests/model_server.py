"""A small OpenAI-compatible server on loopback that knows some pictures, for tests: what it answers follows from what it is shown.

As a generator it describes the picture that it sees, and as a judge it compares the description with it and with the score. It answers 429,
stalls, breaks off, refuses, cuts off and sends malformed JSON where it is told to.
"""

from __future__ import annotations

import base64
import io
import json
import re
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
from PIL import Image

PARTS = ("perception", "cognition", "emotion")
SIDE = 12


def thumbnail(pixels: np.ndarray) -> np.ndarray:
    return np.asarray(Image.fromarray(pixels).resize((SIDE, SIDE), Image.Resampling.BOX), np.float64)


class ModelServer:
    """`known`: (pixels, row with score and texts) of each picture. `trouble`: request number -> what goes wrong with it, from 0 on;
    `first`: the texts of a generator's first round, given the row."""

    def __init__(
        self,
        known: Sequence[tuple[np.ndarray, Mapping[str, Any]]],
        trouble: Mapping[int, str] | Callable[[int], str | None] | None = None,
        first: Callable[[Mapping[str, Any]], Mapping[str, str]] | None = None,
        verdict: Callable[[bool], bool] = lambda fits: fits,
    ):
        self.pictures = np.stack([thumbnail(pixels) for pixels, _ in known])
        self.rows = [row for _, row in known]
        self.trouble = trouble.get if isinstance(trouble, Mapping) else trouble or (lambda number: None)
        self.first, self.verdict, self.lock = first, verdict, threading.Lock()
        self.requests: list[dict[str, Any]] = []
        self.answered: list[str] = []
        self.tokens = 0
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                server.answer(self)

            def log_message(self, *_: Any) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.http.server_port}/v1"

    def __enter__(self) -> ModelServer:
        threading.Thread(target=self.http.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: Any) -> None:
        self.http.shutdown()
        self.http.server_close()

    @property
    def verdicts(self) -> list[str]:
        return [text for text in self.answered if "agrees" in text]

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        body = json.loads(handler.rfile.read(int(handler.headers["Content-Length"])))
        with self.lock:
            number = len(self.requests)
            self.requests.append(body)
        trouble = self.trouble(number)
        if trouble == "429":
            return self.send(handler, 429, {"error": {"message": "slow down"}}, {"Retry-After": "0.01"})
        if trouble == "400 logprobs" and "logprobs" in body:
            return self.send(handler, 400, {"error": {"message": "logprobs are not supported"}})
        if trouble == "key":
            return self.send(handler, 401, {"error": {"message": "bad key"}})
        if trouble == "stall":
            time.sleep(1.5)
        text, reason, refusal = self.text(body), "stop", None
        if trouble == "malformed":
            text = text[: len(text) // 2].replace('"', "")
        if trouble == "cut off":
            text, reason = text[:20], "length"
        if trouble == "refuse":
            text, refusal = "", "I cannot describe this."
        message = {"role": "assistant", "content": text, "refusal": refusal}
        usage = {"prompt_tokens": len(json.dumps(body)) // 400, "completion_tokens": len(text) // 4, "total_tokens": 0}
        choice: dict[str, Any] = {"index": 0, "message": message, "finish_reason": reason}
        if body.get("logprobs"):
            yes = 0.9 if '"yes"' in text else 0.1
            tops = [{"token": word, "logprob": float(np.log(p)), "bytes": None} for word, p in (("yes", yes), ("no", 1 - yes))]
            best = tops[0] if yes > 0.5 else tops[1]
            choice["logprobs"] = {
                "content": [{"token": "{", "logprob": 0.0, "bytes": None, "top_logprobs": []}, best | {"top_logprobs": tops}]
            }
        with self.lock:
            self.tokens += usage["prompt_tokens"] + usage["completion_tokens"]
            self.answered.append(text)
        document = {"id": "x", "object": "chat.completion", "created": 0, "model": body["model"], "choices": [choice], "usage": usage}
        self.send(handler, 200, document, is_broken=trouble == "break off")

    def text(self, body: Mapping[str, Any]) -> str:
        question = body["messages"][0]["content"][0]["text"]
        row = self.seen(body)
        if "agrees" not in question:
            texts = self.first(row) if self.first and not body.get("seed") else row
            return json.dumps({part: texts[part] for part in PARTS})
        if "wrote of this picture" in question:
            fits = question.split("\n")[1] in " ".join(row[part] for part in PARTS)
            return json.dumps({"agrees": "yes" if self.verdict(fits) else "no", "reason": ""})
        score = float(re.findall(r"(\d+(?:\.\d+)?) on a scale", question)[0])
        fits = all(row[part] in question for part in PARTS) and abs(score - row["score"]) < 0.06
        return json.dumps({"agrees": "yes" if self.verdict(fits) else "no", "reason": "" if fits else "it tells of something else"})

    def seen(self, body: Mapping[str, Any]) -> Mapping[str, Any]:
        url = body["messages"][0]["content"][1]["image_url"]["url"]
        data = base64.b64decode(url.partition(",")[2])
        picture = thumbnail(np.asarray(Image.open(io.BytesIO(data)).convert("RGB")))
        return self.rows[int(np.abs(self.pictures - picture).mean((1, 2, 3)).argmin())]

    def send(
        self, handler: BaseHTTPRequestHandler, status: int, document: Any, headers: Mapping[str, str] | None = None, is_broken: bool = False
    ) -> None:
        data = json.dumps(document).encode()
        try:
            handler.send_response(status)
            handler.send_header("Content-Type", "application/json")
            handler.send_header("Content-Length", str(len(data)))
            for name, value in (headers or {}).items():
                handler.send_header(name, value)
            handler.end_headers()
            handler.wfile.write(data[: len(data) // 2] if is_broken else data)
            if is_broken:
                handler.close_connection = True
        except OSError:  # the client has gone: it was a stall
            handler.close_connection = True
