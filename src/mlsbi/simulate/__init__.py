"""Run a hierarchy: plan chunks of rows, run each (a pure function), put the results together."""

from __future__ import annotations

from mlsbi.simulate._chunks import CHUNK_ROWS, Chunk, ChunkResult, plan_chunks, run_chunk
from mlsbi.simulate._run import simulate

__all__ = ["CHUNK_ROWS", "Chunk", "ChunkResult", "plan_chunks", "run_chunk", "simulate"]
