"""Simulators that are programs: one process a row, in a scratch folder of its own."""

from __future__ import annotations

import hashlib
import os
import shlex
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from mlsbi._checks import check_positive, check_type
from mlsbi.hierarchy import Level
from mlsbi.simulate._placeholders import Argument, fill, is_plain, parse, plain_text, settle, uses
from mlsbi.simulate._processes import how_it_ended, run_program
from mlsbi.simulate._scratch import Scratch, remove_leftovers, scratch_folder

__all__ = ["CommandLevel", "Program", "read_numbers"]

_TAIL = 2000  # characters of a failed program's output that are shown, its end
_PATH = (str, os.PathLike)


def CommandLevel(  # noqa: N802  it makes a Level and reads like one
    argv: Sequence[str | os.PathLike[str]],
    *,
    read: Callable[[Path], Any] | None = None,
    cost: float | None = None,
    name: str | None = None,
    timeout: float | None = None,
    scratch: str | os.PathLike[str] | None = None,
    keep_failed: bool = False,
    separator: str = ",",
    suffix: str = "",
) -> Level:
    """A level whose simulator is a program, run once a row in a scratch folder of its own.

    `{theta}` (all numbers, joined by `separator`), `{theta[0]}`, `{theta[1]}`, ..., `{seed}` (also
    in the environment, as `MLSBI_SEED`), `{out}` (where to write the output), `{scratch}` (the
    scratch folder, in which the program runs) and `{cwd}` (the current folder of when the level was
    made) are replaced in every argument; write `{{` and `}}` for braces. Numbers are written so
    that they read back exactly. Without `{out}` the output is what the program prints.

    The run fails if the program ends with another exit code than 0 or takes too long, or if its
    output is missing or cannot be read. The error holds the end of what it printed. Whatever it
    started is killed when it ends (in an isolated worker, on Linux; elsewhere when that ends).

    A store notices when the program, or a file that an argument names, holds something else than
    when the store was made, if it is given by a path and not found on PATH.

    Args:
        argv: The program and its arguments. The program is looked up now: a path with a separator
            from the current folder, any other name on PATH. Relative paths in the arguments start
            at the scratch folder: write `{cwd}/file`.
        read: `read(path)` returns the output, array-like, from the file that the program wrote. By
            default it is a NumPy file if it looks like one, else a text of numbers, which are
            separated by commas or white space and make one vector.
        cost: Cost of one run, in the same unit for all levels; None if not known.
        name: Name used in messages; by default the program's.
        timeout: Seconds that one run may take.
        scratch: Folder for the scratch folders; by default the one for temporary files.
        keep_failed: Whether the scratch folders of failed runs stay; the error names them.
        separator: What stands between the numbers of `{theta}`.
        suffix: End of the output file's name, such as `".npy"`, for programs that want one.

    Returns:
        The level. It needs a hierarchy with the default noise.

    Raises:
        TypeError: If an argument has the wrong type.
        ValueError: If the program is not found, or a placeholder is not known.
    """
    check_type(argv, (list, tuple), name="argv", remedy="Pass a list: [program, argument, ...].")
    if not argv:
        raise ValueError("argv must not be empty; got []. Pass [program, argument, ...].")
    for i, argument in enumerate(argv):
        check_type(argument, _PATH, name=f"argv[{i}]", remedy="Pass it as a string.")
    if read is not None and not callable(read):
        raise TypeError(
            f"read must be callable; got {type(read).__name__}. Pass a function read(path) -> x, "
            "or None."
        )
    if timeout is not None:
        timeout = check_positive(timeout, name="timeout")
    if scratch is not None:
        check_type(scratch, _PATH, name="scratch", remedy="Pass a folder's name, or None.")
    check_type(keep_failed, bool, name="keep_failed", remedy="Pass True or False.")
    check_type(separator, str, name="separator")
    _check_suffix(suffix)
    parsed = tuple(parse(os.fspath(argument), f"argv[{i}]") for i, argument in enumerate(argv))
    path = _find(parsed[0], os.fspath(argv[0]))
    cwd = os.getcwd()
    arguments = tuple(settle(piece, "cwd", cwd) for piece in parsed[1:])
    named = [path] if os.path.dirname(plain_text(parsed[0])) else []
    named += [plain_text(piece) for piece in arguments if is_plain(piece)]
    program = Program(
        path=path,
        arguments=arguments,
        contents=tuple(_digest(Path(file)) for file in named if os.path.isabs(file)),
        cwd=cwd,
        read=read,
        timeout=timeout,
        scratch=None if scratch is None else Path(scratch).absolute(),
        keep_failed=keep_failed,
        separator=separator,
        suffix=suffix,
    )
    return Level(program, cost=cost, batched=False, name=Path(path).name if name is None else name)


def _digest(file: Path) -> str:
    """What a file holds, in short: another version of a program makes another simulator of it."""
    try:
        with file.open("rb") as opened:
            return hashlib.file_digest(opened, "blake2b").hexdigest()[:32]
    except OSError:
        return ""  # no file after all, or a folder


def _check_suffix(suffix: str) -> None:
    check_type(suffix, str, name="suffix", remedy="Pass for example '.npy'.")
    if "/" in suffix or os.sep in suffix:
        raise ValueError(f"suffix must hold no path; got {suffix!r}. Pass for example '.npy'.")


def _find(parsed: Argument, given: str) -> str:
    """The program's absolute path. Links stay: some programs look at the name they run under."""
    if not is_plain(parsed):
        raise ValueError(f"argv[0] must have no placeholder; got {given!r}. Name one program.")
    text = plain_text(parsed)
    found = shutil.which(os.path.abspath(text) if os.path.dirname(text) else text)
    if found is not None:
        return os.path.abspath(found)
    if os.path.isfile(text):
        raise ValueError(
            f"argv[0] must be a program; got {given!r}, a file that is not executable or not on "
            "PATH. Make it executable (chmod +x) and pass its path with a separator, as in "
            "'./sim', or pass its interpreter first, as in ['python', '{cwd}/sim.py']."
        )
    raise ValueError(
        f"argv[0] must be a program; got {given!r}, which was not found from {os.getcwd()!r} or on "
        "PATH. Pass its full path."
    )


@dataclass(frozen=True)
class Program:
    """A program as a row-by-row simulator; see `CommandLevel`, which makes them."""

    path: str
    arguments: tuple[Argument, ...]
    contents: tuple[str, ...]
    read: Callable[[Path], Any] | None
    separator: str
    suffix: str
    # The rest changes no result, and does not make another simulator of it.
    cwd: str = field(compare=False)
    timeout: float | None = field(compare=False)
    scratch: Path | None = field(compare=False)
    keep_failed: bool = field(compare=False)

    def __call__(self, theta: np.ndarray, seed: int) -> Any:
        """Run it.

        Args:
            theta: Parameters, shape `(d,)`.
            seed: The row's seed.

        Returns:
            What `read` made of the output.

        Raises:
            TypeError: If `seed` is no integer.
            ValueError: If a placeholder asks for a parameter that is not there.
            RuntimeError: If the program fails; the message says how, and what it printed.
        """
        if isinstance(seed, bool) or not isinstance(seed, int):
            raise TypeError(
                f"u must be one seed a row for a program; got {type(seed).__name__}. Leave noise "
                "out of mlsbi.Hierarchy, and let the program draw its noise from {seed}."
            )
        numbers = [repr(float(np.float32(value))) for value in theta]
        remove_leftovers(self.scratch, os.getpid())
        with scratch_folder(self.scratch) as scratch:
            values = {"seed": str(seed), "scratch": str(scratch.path)}
            return self._run(scratch, numbers, values)

    def _run(self, scratch: Scratch, numbers: Sequence[str], values: dict[str, str]) -> Any:
        stdout, stderr = scratch.path / "mlsbi-stdout.txt", scratch.path / "mlsbi-stderr.txt"
        out = scratch.path / f"out{self.suffix}"
        values |= {"out": str(out), "theta": self.separator.join(numbers)}
        argv = [self.path, *(fill(piece, numbers, values) for piece in self.arguments)]

        def fail(how: str, cause: BaseException | None = None) -> NoReturn:
            if self.keep_failed:
                scratch.keep()
            raise RuntimeError(self._message(how, argv, scratch, stdout, stderr)) from cause

        try:
            code = run_program(
                argv,
                folder=scratch.path,
                environment={**os.environ, "MLSBI_SEED": values["seed"]},
                stdout=stdout,
                stderr=stderr,
                timeout=self.timeout,
            )
        except OSError as error:
            fail(f"could not be started: {error}", error)
        if code is None:
            fail(f"was killed: it ran longer than its timeout of {self.timeout:g} s")
        if code != 0:
            fail(how_it_ended(code))
        if not uses(self.arguments, "out"):
            out = stdout
        elif not out.exists():
            fail(f"wrote no output file {out.name!r}; suffix= changes the name that {{out}} gives")
        try:
            return (self.read or read_numbers)(out)
        except Exception as error:
            return fail(f"gave output that cannot be read: {type(error).__name__}: {error}", error)

    def _message(
        self, how: str, argv: Sequence[str], scratch: Scratch, stdout: Path, stderr: Path
    ) -> str:
        lines = [f"the program {how}", f"command: {shlex.join(argv)}"]
        names = [plain_text(piece) for piece in self.arguments if is_plain(piece)]
        for name in names:
            if not os.path.isabs(name) and os.path.isfile(os.path.join(self.cwd, name)):
                lines.append(f"it runs in its scratch folder: for {name!r} write '{{cwd}}/{name}'")
        for label, path in (("stderr", stderr), ("stdout", stdout)):
            lines.append(f"{label}: {_tail(path) or '(nothing)'}")
        if scratch.kept:
            lines.append(f"scratch folder, kept: {scratch.path}")
        else:
            lines.append("keep_failed=True would have kept its scratch folder")
        return "\n".join(lines)


def _tail(path: Path) -> str:
    """The end of a text file, however long it is."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(size - 4 * _TAIL, 0))
            text = file.read().decode(errors="replace").rstrip()
    except OSError:
        return ""
    return f"... {text[-_TAIL:]}" if len(text) > _TAIL else text


def read_numbers(path: Path) -> np.ndarray:
    """A NumPy file as it is, or the numbers of a text file as a vector.

    Raises:
        ValueError: If the file holds neither.
    """
    with path.open("rb") as file:
        start = file.read(6)
    if start == b"\x93NUMPY":
        return np.load(path, allow_pickle=False)
    text = path.read_text()
    rows = [line for line in (raw.partition("#")[0] for raw in text.splitlines()) if line.strip()]
    if not rows:
        raise ValueError("it is empty; expected numbers. Pass read=... for another format")
    return np.loadtxt(rows, delimiter="," if "," in text else None, ndmin=1).reshape(-1)
