"""A large prefix of S3, listed in ranges side by side, and handed on in their order.

A range is what lies behind one key up to and with another, and the store is told where it begins. Stores that list by the bytes of the keys
(S3) are cut at any key, those that may list folder by folder (SeaweedFS) only where both orders agree: behind all keys that begin alike, by
characters that come after the slash. What is not as it should be then, in the order or below the common beginning, makes the whole listing
start again in one piece: nothing was handed on before.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from itertools import chain, islice
from pathlib import Path
from queue import Empty, Queue
from threading import Event

import pyarrow as pa
import pyarrow.parquet as pq

from artquant.core.schema import ARTWORK_ID, ETAG, SIZE_BYTES
from artquant.results.windows import WINDOW_ROWS
from artquant.storage.buckets import is_addressable
from artquant.storage.store import ObjectInfo, Store

NUM_THREADS, MAX_RANGES, _MAX_DEPTH = 32, 64, 32
LOOK_KEYS, PAGE_KEYS = 3_000, 1_000  # a smaller prefix is listed in one piece; what one request lists
_MIN_RANGE_KEYS = 5 * PAGE_KEYS
_TOP = "\U0010ffff"  # behind every character that keys have
_SCHEMA = pa.schema([(ARTWORK_ID, pa.string()), (SIZE_BYTES, pa.int64()), (ETAG, pa.string())])
Watch = Callable[[Iterator[ObjectInfo]], Iterator[ObjectInfo]]
KnownRanges = list[tuple[str, str, int]]  # first id, last id, how many


class OutOfOrder(Exception):
    """The store does not list in the order in which it was cut."""


def known_ranges(store: Store, ledger: Sequence[str]) -> KnownRanges:
    """Return what the footers of a ledger say of its row groups."""
    found: KnownRanges = []
    for key in ledger:
        metadata = pq.ParquetFile(store.open_input(key), pre_buffer=False).metadata
        for number in range(metadata.num_row_groups):
            group = metadata.row_group(number)
            statistics = group.column(0).statistics
            if statistics is not None and statistics.has_min_max:
                found.append((statistics.min, statistics.max, group.num_rows))
    return found


def list_artworks(store: Store, known: Callable[[], KnownRanges] = list, watch: Watch = iter) -> Iterator[pa.Table]:
    """List every object below `store` as tables of id, size and etag; in byte order where the store lists so. `known`: what was there last
    time, asked for where there is much. Raises UserError, before the first table or after some."""
    objects = store.list()
    first = list(islice(objects, LOOK_KEYS))
    if len(first) == LOOK_KEYS and store.is_byte_ordered is not None:
        keys = [info.key for info in first]
        base, cuts = cuts_of(known(), store.is_byte_ordered) or ("", [])
        if not cuts or not all(key.startswith(base) for key in keys):
            base, cuts = probe(store, keys[:PAGE_KEYS])
        if cuts and _is_in_order(keys, store.is_byte_ordered):
            with tempfile.TemporaryDirectory(prefix="artquant-listing-") as folder, ExitStack() as stack:
                try:
                    paths = _spool(store, base, cuts, Path(folder), watch)
                except OutOfOrder:
                    paths = []
                for path in paths:
                    yield from _read(stack.enter_context(pa.OSFile(str(path))))
                if paths:
                    return
    infos = watch(chain(first, objects))
    while batch := list(islice(infos, WINDOW_ROWS)):
        yield _table(batch)


def cuts_of(known: KnownRanges, is_byte_ordered: bool) -> tuple[str, list[str]] | None:
    """Return (what all keys begin with, where to cut) for ranges of some MAX_RANGES equal shares; None where too little is known."""
    num_keys = sum(num for _, _, num in known)
    num_ranges = min(MAX_RANGES, num_keys // _MIN_RANGE_KEYS)
    if num_ranges < 2:
        return None
    base = os.path.commonprefix([min(first for first, _, _ in known), max(last for _, last, _ in known)])
    cuts: list[str] = []
    seen = 0
    for _, last, num in sorted(known, key=lambda group: group[1]):
        seen += num
        if seen >= (len(cuts) + 1) * num_keys / num_ranges and len(cuts) < num_ranges - 1:
            cuts.append(last)
    if is_byte_ordered:
        return "", sorted({cut for cut in cuts if is_addressable(cut)})
    return base, sorted({cut for last in cuts if (cut := _cut_behind(base, last[len(base) :])) and is_addressable(cut)})


def probe(store: Store, page: list[str]) -> tuple[str, list[str]]:
    """Return the same from a look at the store, of which `page` are the first keys: by the character that follows on what all keys begin
    with, and by the next one where there is much. Groups of less than a page cost what listing them costs, larger ones a request each."""
    base = ""
    for folder in _folders(page[0]):  # down to where keys part
        if _page(store, f"{folder}{_TOP}"):
            break
        base = folder
    for _ in range(_MAX_DEPTH):
        groups, is_all = _large_groups(store, base, page)
        if not (is_all and len(groups) == 1):
            break
        base = groups[0][0]
    # A second character where the first page of a group lies in one: then there may be many pages.
    deep = [_is_alike(group, found) for group, found in groups]
    with ThreadPoolExecutor(NUM_THREADS) as pool:
        below = pool.map(lambda one: _large_groups(store, *one)[0], [one for one, is_deep in zip(groups, deep, strict=True) if is_deep])
        finer = [group for found in below for group, _ in found]
    cuts = sorted({cut for group in (*(group for group, _ in groups), *finer) if (cut := _cut_behind(base, group[len(base) :], True))})
    step = -(-len(cuts) // MAX_RANGES) or 1
    return base, cuts[step - 1 :: step]


def _large_groups(store: Store, base: str, page: list[str]) -> tuple[list[tuple[str, list[str]]], bool]:
    """Return (what a group of more than a page begins with, its first page), one character behind `base`; and whether that is all."""
    found: list[tuple[str, list[str]]] = []
    is_all = True
    for _ in range(MAX_RANGES):
        if not page or not page[-1].startswith(base):
            return found, is_all and not page
        group = page[-1][: len(base) + 1]
        if group == base or (found and group <= found[-1][0]):
            break
        is_large = page[0].startswith(group) and len(page) == PAGE_KEYS
        if is_large:
            found.append((group, page))
        is_all = is_all and is_large
        behind = f"{group}{_TOP}" if is_large else page[-1]
        if not is_addressable(behind):
            break
        page = _page(store, behind)
    return found, False


def _is_alike(group: str, page: Sequence[str]) -> bool:
    return page[-1].startswith(page[0][: len(group) + 1])


def _page(store: Store, after: str) -> list[str]:
    return [info.key for info in islice(store.list(after=after), PAGE_KEYS)] if is_addressable(after) else []


def _folders(key: str) -> list[str]:
    parts = key.split("/")
    return ["/".join(parts[:count]) + "/" for count in range(1, len(parts)) if is_addressable("/".join(parts[:count]))]


def _cut_behind(base: str, rest: str, is_whole: bool = False) -> str | None:
    """Return a cut behind all keys that begin with `base` and the first characters of `rest` that come after the slash; None for none."""
    length = next((place for place, character in enumerate(rest) if character <= "/"), len(rest))
    return f"{base}{rest[:length]}{_TOP}" if length and (length == len(rest) or not is_whole) else None


def _is_in_order(keys: Sequence[str], is_byte_ordered: bool) -> bool:
    """By bytes; or, where that is not known of the store, folder by folder."""
    if keys == sorted(keys):
        return True
    return not is_byte_ordered and keys == sorted(keys, key=_by_folder)


def _by_folder(key: str) -> str:
    return key.replace("/", "\0")


def _spool(store: Store, base: str, cuts: Sequence[str], folder: Path, watch: Watch) -> list[Path]:
    """List all ranges into files, of which the names are returned in order. Raises OutOfOrder, and UserError."""
    ranges = list(zip(["", *cuts], [*cuts, None], strict=True))
    paths = [folder / f"{number}.arrow" for number in range(len(ranges))]
    with ExitStack() as stack:
        sinks = [stack.enter_context(pa.OSFile(str(path), "wb")) for path in paths]
        writers = [stack.enter_context(pa.ipc.new_stream(sink, _SCHEMA)) for sink in sinks]
        pages = _side_by_side([_pages(store, base, after, until) for after, until in ranges])

        def written() -> Iterator[ObjectInfo]:
            for number, page in pages:
                writers[number].write_table(_table(page))
                yield from page

        for _ in watch(written()):
            pass
    return paths


def _pages(store: Store, base: str, after: str, until: str | None) -> Iterator[list[ObjectInfo]]:
    objects = store.list(after=after)
    last = after
    while page := list(islice(objects, PAGE_KEYS)):
        keys = [info.key for info in page]
        end = next((place for place, key in enumerate(keys) if until is not None and key > until), len(keys))
        # The page is here, so its rest is looked at too: a key that was due before shows that the order is another.
        if not all(key > after and key.startswith(base) for key in keys[:end]) or any(until and key <= until for key in keys[end:]):
            raise OutOfOrder
        if not _is_in_order([last, *keys[:end]] if last else keys[:end], bool(store.is_byte_ordered)):
            raise OutOfOrder
        if end:
            yield page[:end]
            last = keys[end - 1]
        if end < len(keys):
            return


def _side_by_side(sources: Sequence[Iterator[list[ObjectInfo]]]) -> Iterator[tuple[int, list[ObjectInfo]]]:
    """Yield (number of the source, page) as they come, each source read by one thread at a time; few pages are held."""
    ready: Queue[tuple[int, list[ObjectInfo] | None]] = Queue(NUM_THREADS)
    is_over = Event()

    def read(number: int) -> None:
        try:
            for page in sources[number]:
                if is_over.is_set():
                    return
                ready.put((number, page))
        finally:
            ready.put((number, None))

    with ThreadPoolExecutor(NUM_THREADS) as pool:
        reading = [pool.submit(read, number) for number in range(len(sources))]
        try:
            for _ in sources:
                while (item := ready.get())[1] is not None:
                    yield item[0], item[1]
                reading[item[0]].result()
        finally:
            is_over.set()
            for future in reading:
                future.cancel()
            while not all(future.done() for future in reading):
                try:
                    ready.get(timeout=0.05)
                except Empty:
                    continue


def _table(page: Sequence[ObjectInfo]) -> pa.Table:
    keys, sizes, etags = zip(*page, strict=True)
    return pa.table([pa.array(keys, pa.string()), pa.array(sizes, pa.int64()), pa.array(etags, pa.string())], schema=_SCHEMA)


def _read(file: pa.NativeFile) -> Iterator[pa.Table]:
    with pa.ipc.open_stream(file) as reader:
        for batch in reader:
            yield pa.Table.from_batches([batch])
