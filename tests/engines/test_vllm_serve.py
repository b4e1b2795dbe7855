"""vLLM's own server, knowing nothing of this project but its entry point, answers a question about a picture."""

from __future__ import annotations

import base64
import io
import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from artquant.core.prompts import IMAGE_PLACEHOLDER
from artquant.engines.torch_engine import TorchEngine
from artquant.model.checkpoint import Checkpoint
from artquant.paintings.exam import square
from tests.engines.vllm_worker import needs_vllm

TINY = Path(__file__).resolve().parents[2] / "artquant" / "checkpoints" / "artquant-tiny"
SETTINGS = {
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "VLLM_NO_USAGE_STATS": "1",
    "TORCHDYNAMO_DISABLE": "1",
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", str(TINY), "--served-model-name", "artquant"]
    command += ["--host", "127.0.0.1", "--port", str(port), "--dtype", "float32", "--enforce-eager"]
    log, address = tmp_path_factory.mktemp("serve") / "log", f"http://127.0.0.1:{port}"
    with log.open("wb") as file, subprocess.Popen(command, stdout=file, stderr=file, env=os.environ | SETTINGS, cwd="/") as process:
        try:
            while process.poll() is None:
                try:
                    urllib.request.urlopen(f"{address}/health", timeout=5).read()
                except (urllib.error.URLError, OSError):
                    time.sleep(0.5)
                else:
                    yield address
                    break
            else:
                pytest.fail(f"the server ended: {log.read_text()[-2000:]}")
        finally:
            process.terminate()
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()


@needs_vllm
@pytest.mark.timeout(600)
def test_the_server_says_of_a_painting_what_the_torch_engine_says(server: str) -> None:
    engine = TorchEngine.load(Checkpoint.open(str(TINY)))
    painting = square(7_000_001, engine.image_size)
    said = engine.assess(painting[None], critique=True).critiques[0]
    assert said
    for part in ("perception", "emotion"):
        question = engine.prompts.critique[part].removeprefix("USER: ").split(f"\n{IMAGE_PLACEHOLDER}")[0]
        assert ask(server, question, painting) == said[part]


def ask(server: str, question: str, painting) -> str:
    buffer = io.BytesIO()
    Image.fromarray(painting).save(buffer, "PNG")
    picture = {"url": f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"}
    content = [{"type": "text", "text": question}, {"type": "image_url", "image_url": picture}]
    body = {"model": "artquant", "temperature": 0, "max_tokens": 160, "messages": [{"role": "user", "content": content}]}
    request = urllib.request.Request(f"{server}/v1/chat/completions", json.dumps(body).encode(), {"Content-Type": "application/json"})
    return json.loads(urllib.request.urlopen(request, timeout=300).read())["choices"][0]["message"]["content"].strip()
