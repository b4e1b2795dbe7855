"""Keys in, pixels out: fetch and decode on threads."""

import math
import threading
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np

from artquant.config import FetchSpec
from artquant.core.errors import Reject
from artquant.core.memory import decode_budget, keep_freed_memory
from artquant.core.schema import ARTWORK_ID, ATTEMPTS, ETAG, HEIGHT, MESSAGE, REJECT_CLASS, SIZE_BYTES, URI, WIDTH
from artquant.images import square as images
from artquant.pipelines.in_hand import FETCHING, InHand
from artquant.storage.address import locate
from artquant.storage.budget import BUDGET
from artquant.storage.store import Fetched, Store, open_store

MAX_UNDECODED_BYTES = 1 << 29  # 64 objects of 8 MB


class Loader:
    """Fetches artworks of some collections on some threads and decodes them on others, in the order in which they are asked for.

    A thread that waits for the store and one that decodes are never the same: with many of both in one pool they fight for the GIL.
    """

    def __init__(self, inputs: str | tuple[str, ...] | None, image_size: int, spec: FetchSpec, in_hand: InHand | None = None):
        import torch

        keep_freed_memory()
        BUDGET.limit(spec.max_requests_per_second)
        self.store = open_store(inputs) if isinstance(inputs, str) else None
        # Several inputs: an address is one of them and the id behind it. None: each row has an address of its own.
        self.stores = {store.uri_of(""): store for store in map(open_store, inputs)} if isinstance(inputs, tuple) else {}
        self.image_size, self.spec, self.in_hand = image_size, spec, in_hand
        self.fetchers = ThreadPoolExecutor(spec.threads)
        # The resize runs on torch, whose own threads would compete with these.
        self.decoders = ThreadPoolExecutor(spec.decode_threads, initializer=torch.set_num_threads, initargs=(1,))
        self.lock = threading.Lock()
        self.waiting: deque[tuple[dict[str, Any], Future[Fetched]]] = deque()
        self.room = self.window = 4 * spec.threads  # objects that may be under way or held undecoded
        self.held_bytes = 0  # theirs, as the plan says; one that is larger than MAX_UNDECODED_BYTES comes alone

    def begin(self, rows: list[dict[str, Any]]) -> tuple[np.ndarray, list[Future[dict[str, Any]]]]:
        """For rows with `artwork_id` and `etag` their pixels (N, S, S, 3) uint8, there when the row's future is done; its result says of
        which version they are, of what size it was, and why there are none (black) if so."""
        pixels = np.empty((len(rows), self.image_size, self.image_size, 3), np.uint8)
        arriving: list[Future[Fetched]] = [Future() for _ in rows]
        with self.lock:
            self.waiting.extend(zip(rows, arriving, strict=True))
            loading = [self.decoders.submit(self._decode, *each) for each in zip(rows, arriving, pixels, strict=True)]
        self._fetch_next(0, 0)
        return pixels, loading

    def _fetch_next(self, num_freed: int, freed_bytes: int) -> None:
        """Fetch in bursts: the store and its client do a fifth less per object than when they are woken for each."""
        with self.lock:
            self.room += num_freed
            self.held_bytes -= freed_bytes
            burst = min(self.room, len(self.waiting)) if self.room >= self.window // 2 else 0
            # First come, first served, as in `decoders`: what a decoder waits for is under way, or will be when all before it are decoded.
            for _ in range(burst):
                num_bytes = _planned_bytes(self.waiting[0][0])
                if self.room < self.window and self.held_bytes + num_bytes > MAX_UNDECODED_BYTES:
                    break
                self.room -= 1
                self.held_bytes += num_bytes
                self.fetchers.submit(self._fetch, *self.waiting.popleft())

    def _fetch(self, row: dict[str, Any], arriving: Future[Fetched]) -> None:
        try:
            fetched: Fetched | Reject
            if self.in_hand:  # a file system that never answers, or an object that is too large for this process, costs itself alone
                (fetched,) = self.in_hand.handle(FETCHING, [row[ARTWORK_ID]], lambda _: [self._get(row)])
            else:
                fetched = self._get(row)
            if isinstance(fetched, Reject):
                raise fetched
            arriving.set_result(fetched)
        except BaseException as error:
            arriving.set_exception(error)

    def _get(self, row: dict[str, Any]) -> Fetched:
        store, key = self._place(row)
        return store.fetch(
            key,
            attempts=self.spec.attempts,
            # Trouble that passes is over, or a reject, before anybody takes it for a stall.
            patience_seconds=min(self.spec.patience_seconds, self.in_hand.stall_seconds / 2 if self.in_hand else math.inf),
            timeout_seconds=self.spec.timeout_seconds,
            size_bytes=row.get(SIZE_BYTES),
            etag=row[ETAG],
        )

    def _place(self, row: dict[str, Any]) -> tuple[Store, str]:
        key = row[ARTWORK_ID]
        store = self.store or self.stores.get(row[URI].removesuffix(key))
        return (store, key) if store else locate(row[URI])

    def _decode(self, row: dict[str, Any], arriving: Future[Fetched], pixels: np.ndarray) -> dict[str, Any]:
        etag, attempts, width, height = row[ETAG], 1, 0, 0
        why = {REJECT_CLASS: "", MESSAGE: ""}
        try:
            data, etag, attempts = arriving.result()
            width, height = self._load(row[ARTWORK_ID], data, pixels)
        except Reject as reject:
            why = {REJECT_CLASS: reject.reject_class.value, MESSAGE: reject.message}
            attempts = getattr(reject, ATTEMPTS, attempts)
            pixels[:] = 0
        finally:
            self._fetch_next(1, _planned_bytes(row))
        return {ETAG: etag, WIDTH: width, HEIGHT: height, ATTEMPTS: attempts} | why

    def _load(self, artwork_id: str, data: bytes, pixels: np.ndarray) -> tuple[int, int]:
        """Load one artwork and return its width and height; it is in hand meanwhile. Raises Reject."""

        def load(_: list[int]) -> list[images.Picture | Reject]:
            try:
                return [
                    images.load(
                        data,
                        self.image_size,
                        max_pixels=self.spec.max_pixels,
                        fast=not self.spec.full_decode,
                        out=pixels,
                        budget=decode_budget(self.spec.decode_memory_mb),
                    )
                ]
            except Reject as reject:
                return [reject]

        (picture,) = self.in_hand.handle("decoding", [artwork_id], load) if self.in_hand else load([0])
        if isinstance(picture, Reject):
            raise picture
        return picture.width, picture.height


def _planned_bytes(row: dict[str, Any]) -> int:
    return row.get(SIZE_BYTES) or 0
