"""Run a hierarchy: a campaign that loses nothing.

The loop (`_campaign`) hands out tasks (`_plan`) to a pool (`_pool`). A worker draws their rows
(`_chunks`) and settles them (`_settle`): calls, retries, whose fault. Simulators run in the worker
(`_calls`) or in a process beside it that may die (`_sandbox`, `_wardens`, `_warden`). Outcomes
(`_rows`) go to memory (`_memory`) or to a store (`_store`).
"""

from __future__ import annotations

from mlsbi.simulate._chunks import CHUNK_ROWS, Chunk, draw_chunk
from mlsbi.simulate._command import CommandLevel
from mlsbi.simulate._pool import LocalProcesses
from mlsbi.simulate._reproduce import reproduce
from mlsbi.simulate._rows import DONE, FAILED, PENDING
from mlsbi.simulate._run import simulate
from mlsbi.simulate._store import CampaignStore, StoreReader, read_store
from mlsbi.simulate._tables import export_runs, import_runs

__all__ = [
    "CHUNK_ROWS",
    "DONE",
    "FAILED",
    "PENDING",
    "CampaignStore",
    "Chunk",
    "CommandLevel",
    "LocalProcesses",
    "StoreReader",
    "draw_chunk",
    "export_runs",
    "import_runs",
    "read_store",
    "reproduce",
    "simulate",
]
