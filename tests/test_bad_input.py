"""Bad input: each argument of each public function names itself and the remedy.

Priors, levels, hierarchies, data and simulate have their own tables beside their other tests.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sbi.utils import BoxUniform
from torch import nn

import mlsbi
from mlsbi import (
    MAF,
    MDN,
    NSF,
    Bridge,
    Emulator,
    LikelihoodFit,
    Multilevel,
    MultilevelData,
    Pooled,
    PosteriorFit,
    SingleLevel,
    Stack,
    Strategy,
    Training,
    Transfer,
    fit_likelihood,
    fit_posterior,
    load_fit,
    metrics,
    tasks,
)
from quick import rough_processes
from tiny import box, linear_data, tiny

SMALL = {"seed": 0, "ensemble": 1, "estimator": MDN((8,), 2), "training": tiny(max_steps=2)}
X, THETA = torch.zeros(3), torch.zeros(2)
ROWS_X, ROWS_THETA = torch.zeros(4, 3), torch.zeros(4, 2)
NAN = torch.full((3,), math.nan)


@dataclass(frozen=True)
class Place:
    """What the cases are called on."""

    posterior: PosteriorFit
    likelihood: LikelihoodFit
    data: MultilevelData
    folder: Path

    @property
    def saved(self) -> Path:
        """A folder with a fit."""
        if not (self.folder / "saved").exists():
            self.posterior.save(self.folder / "saved")
        return self.folder / "saved"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    data = linear_data((20, 6))
    return Place(
        fit_posterior(data, **SMALL),
        fit_likelihood(data, **SMALL),
        data,
        tmp_path_factory.mktemp("bad"),
    )


def uneven() -> MultilevelData:
    """Levels whose x differ in shape."""
    t = ROWS_THETA
    return MultilevelData.from_arrays(box(), [(t, ROWS_X), (t, ROWS_X, torch.zeros(4, 5))])


@dataclass(frozen=True)
class Case:
    """A call that has to fail, and words of its message: the argument first, the remedy last."""

    call: Callable[[Place], Any]
    error: type[Exception]
    words: tuple[str, ...]
    id: str


def case(name: str, call: Callable[[Place], Any], error: type[Exception], *words: str) -> Case:
    return Case(call, error, words, name)


def fitting() -> Iterator[Case]:
    """`fit_posterior` and `fit_likelihood`."""
    arguments: list[tuple[str, Any, type[Exception], tuple[str, ...]]] = [
        ("seed", 1.5, TypeError, ("seed", "integer")),
        ("seed", None, TypeError, ("seed", "integer")),
        ("seed", -1, ValueError, ("seed", "[0, 2**63)")),
        ("strategy", "multilevel", TypeError, ("strategy", "mlsbi.Multilevel()")),
        ("strategy", Multilevel, TypeError, ("strategy", "mlsbi.Multilevel()")),
        ("strategy", SingleLevel(level=7), ValueError, ("level", "0 .. 1", "level=-1")),
        ("estimator", 5, TypeError, ("estimator", "Pass one of")),
        ("estimator", "flow", ValueError, ("estimator", "must be one of")),
        ("estimator", MDN, TypeError, ("estimator", "mlsbi.MDN()")),
        ("estimator", lambda *_: None, TypeError, ("estimator", "ConditionalDensityEstimator")),
        ("embedding_net", torch.tanh, TypeError, ("embedding_net", "Pass a module")),
        ("embedding_net", nn.Linear(17, 2), ValueError, ("embedding_net", "(n, features)")),
        ("ensemble", 0, ValueError, ("ensemble", "at least 1")),
        ("ensemble", 2.0, TypeError, ("ensemble", "integer")),
        ("ensemble", True, TypeError, ("ensemble", "integer")),
        ("training", {"max_steps": 3}, TypeError, ("training", "mlsbi.Training(")),
        ("tails", "heavy", ValueError, ("tails", "'auto', 'asinh', 'linear'")),
        ("tails", None, TypeError, ("tails", "'auto', 'asinh', 'linear'")),
        ("device", 0, TypeError, ("device", "'cpu' or 'cuda'")),
        ("device", "tpu", ValueError, ("device", "'cpu' or 'cuda'")),
        ("device", "meta", ValueError, ("device", "'cpu' or 'cuda'")),
        ("device", "cuda:63", ValueError, ("device", "use 'cpu'")),
        ("progress", "yes", TypeError, ("progress", "True or False")),
        ("checkpoint", 5, TypeError, ("checkpoint", "path")),
        ("checkpoint", ".", ValueError, ("checkpoint", "name another file")),
    ]
    for function in (fit_posterior, fit_likelihood):
        for name, value, error, words in arguments:
            change = {name: value}

            def call(place: Place, function: Any = function, change: Any = change) -> Any:
                return function(place.data, **(SMALL | change))

            yield case(f"{function.__name__} {name}={_short(value)}", call, error, *words)
        yield case(
            f"{function.__name__} data=list",
            lambda _, function=function: function([(ROWS_THETA, ROWS_X)], **SMALL),
            TypeError, "data", "MultilevelData.from_arrays",
        )  # fmt: skip
        yield case(
            f"{function.__name__} data of uneven levels",
            lambda _, function=function: function(uneven(), **SMALL, strategy=Multilevel()),
            ValueError, "data", "(3,)", "(5,)", "common summaries",
        )  # fmt: skip
        yield case(
            f"{function.__name__} data of uneven levels, no summaries",
            lambda _, function=function: function(
                uneven(), **SMALL, strategy=Bridge(compress=False)
            ),
            ValueError, "data", "(3,)", "(5,)", "common summaries",
        )  # fmt: skip
        yield case(
            f"{function.__name__} a stacked strategy's level=7",
            lambda place, function=function: function(
                place.data, **SMALL, strategy=Stack(candidates=(SingleLevel(level=7), Pooled()))
            ),
            ValueError, "level", "0 .. 1", "level=-1",
        )  # fmt: skip


def _short(value: Any) -> str:
    return str(getattr(value, "__name__", value)).replace("\n", " ")[:30]


def evaluating() -> Iterator[Case]:
    """Methods of the two fits."""
    for which in ("posterior", "likelihood"):
        for id_, theta, x, error, words in (
            ("theta=text", "a", ROWS_X, TypeError, ("theta", "numpy.asarray")),
            ("theta=1-d", THETA, X, ValueError, ("theta", "2 dimension", "Reshape")),
            ("theta of 3", torch.zeros(4, 3), ROWS_X, ValueError, ("theta", "(n, 2)", "Reshape")),
            ("theta=NaN", ROWS_THETA * math.nan, ROWS_X, ValueError, ("theta", "finite", "Remove")),
            ("x=None", ROWS_THETA, None, TypeError, ("x", "numpy.asarray")),
            ("x complex", ROWS_THETA, ROWS_X * 1j, TypeError, ("x", "real")),
            ("x of 2", ROWS_THETA, torch.zeros(4, 2), ValueError, ("x", "(4, 3)", "Pass one")),
            ("x of 5 rows", ROWS_THETA, torch.zeros(5, 3), ValueError, ("x", "(4, 3)", "Pass one")),
            ("x=NaN", ROWS_THETA, NAN, ValueError, ("x", "finite", "Remove")),
            ("x=inf", ROWS_THETA, ROWS_X / 0, ValueError, ("x", "finite", "Remove")),
        ):  # fmt: skip

            def log_prob(place: Place, which: str = which, theta: Any = theta, x: Any = x) -> Any:
                return getattr(place, which).log_prob(theta, x)

            yield case(f"{which}.log_prob {id_}", log_prob, error, *words)
        yield from _drawing(which)


def _drawing(which: str) -> Iterator[Case]:
    at, one, size = ("x", X, 3) if which == "posterior" else ("theta", THETA, 2)
    good = {"n": 5, at: one, "seed": 0}
    for method in ("sample", "sample_batched"):
        good[at] = one if method == "sample" else torch.zeros(4, size)
        other = "sample_batched" if method == "sample" else "use sample"
        for change, error, words in (
            ({"n": 0}, ValueError, ("n", "at least 1")),
            ({"n": 2.5}, TypeError, ("n", "integer")),
            ({"n": (5,)}, TypeError, ("n", "integer")),
            ({"seed": -3}, ValueError, ("seed", "[0, 2**63)")),
            ({"seed": "a"}, TypeError, ("seed", "integer")),
            ({at: "a"}, TypeError, (at, "numpy.asarray")),
            ({at: torch.zeros(4, 9)}, ValueError, (at, other)),
            ({at: torch.full((size,), math.inf)}, ValueError, (at, "finite")),
            ({at: torch.zeros(2, 4, size)}, ValueError, (at, other)),
        ):  # fmt: skip

            def call(place: Place, method: str = method, arguments: Any = good | change) -> Any:
                arguments = dict(arguments)
                return getattr(getattr(place, which), method)(arguments.pop("n"), **arguments)

            yield case(f"{which}.{method} {_short(change)}", call, error, *words)
    for x_o, error, words in (
        ("a", TypeError, ("x_o", "numpy.asarray")),
        (torch.zeros(4), ValueError, ("x_o", "(3,)" if which == "posterior" else "3")),
        (torch.zeros(2, 2, 3), ValueError, ("x_o", "3")),
        (NAN, ValueError, ("x_o", "finite")),
    ):
        yield case(
            f"{which}.posterior x_o={_short(x_o)}",
            lambda place, x_o=x_o: getattr(place, which).posterior(x_o),
            error, *words,
        )  # fmt: skip


def sampling_options() -> Iterator[Case]:
    yield case(
        "likelihood.posterior sample_with", lambda p: p.likelihood.posterior(X, sample_with="hmc"),
        ValueError, "sample_with", "'mcmc'",
    )  # fmt: skip
    yield case(
        "likelihood.posterior unknown", lambda p: p.likelihood.posterior(X, chains=3),
        TypeError, "chains", "num_chains",
    )  # fmt: skip
    yield case(
        "posterior.posterior of several", lambda p: p.posterior.posterior(ROWS_X),
        ValueError, "x_o", "(3,)", "sample_batched",
    )  # fmt: skip


def disk() -> Iterator[Case]:
    """`fit.save` and `load_fit`."""
    for id_, call, error, words in (
        ("save path=5", lambda p: p.posterior.save(5), TypeError, ("path", "folder")),
        ("save path=None", lambda p: p.posterior.save(None), TypeError, ("path", "folder")),
        ("save twice", lambda p: p.posterior.save(p.saved), ValueError, ("path", "overwrite=True")),
        ("save over a file", lambda p: p.posterior.save(p.saved / "fit.json", overwrite=True),
         ValueError, ("path", "name another folder")),
        ("save overwrite=1", lambda p: p.posterior.save(p.saved, overwrite=1),
         TypeError, ("overwrite", "True or False")),
        ("load path=5", lambda p: load_fit(5), TypeError, ("path", "folder")),
        ("load nothing", lambda p: load_fit(p.folder / "no"), ValueError, ("path", "fit.save")),
        ("load prior", lambda p: load_fit(p.saved, prior="box"), TypeError, ("prior",)),
        ("load prior of 3", lambda p: load_fit(p.saved, prior=box(3)),
         ValueError, ("prior", "2 parameters", "Pass the prior")),
        ("load embedding_net", lambda p: load_fit(p.saved, embedding_net="net"),
         TypeError, ("embedding_net", "Module")),
        ("load device", lambda p: load_fit(p.saved, device="tpu"),
         ValueError, ("device", "'cpu' or 'cuda'")),
    ):  # fmt: skip
        yield case(id_, call, error, *words)


def options() -> Iterator[Case]:
    """Training, strategies and estimators."""
    for kind, name, value, error, word in (
        *((Training, n, 0, ValueError, "at least 1")
          for n in ("max_steps", "patience", "evaluate_every", "batch_size")),
        *((Training, n, 2.5, TypeError, "integer")
          for n in ("max_steps", "patience", "evaluate_every", "batch_size", "warmup")),
        (Training, "warmup", -1, ValueError, "at least 0"),
        (Training, "learning_rate", 0.0, ValueError, "positive"),
        (Training, "learning_rate", math.nan, ValueError, "positive"),
        (Training, "learning_rate", "1e-3", TypeError, "number"),
        (Training, "weight_decay", -1.0, ValueError, "zero or positive"),
        (Training, "weight_decay", None, TypeError, "number"),
        (Training, "clip", 0.0, ValueError, "positive"),
        (Training, "clip", "no", TypeError, "number"),
        (Training, "validation_fraction", 1.0, ValueError, "between 0 and 1"),
        (Training, "validation_fraction", 0.0, ValueError, "between 0 and 1"),
        (Training, "validation_fraction", "a", TypeError, "number"),
        (Training, "schedule", "linear", ValueError, "'cosine', 'constant'"),
        (Training, "schedule", None, TypeError, "'cosine', 'constant'"),
        (Training, "average", 1.0, ValueError, "at most"),
        (Training, "average", None, TypeError, "number"),
        (Training, "dropout", 1.0, ValueError, "at most"),
        (Training, "dropout", -0.1, ValueError, "zero or positive"),
        (Training, "dropout", "a", TypeError, "number"),
        (Training, "common_dropout", "yes", TypeError, "bool"),
        (Training, "checkpoint_seconds", -1.0, ValueError, "zero or positive"),
        (Training, "checkpoint_seconds", None, TypeError, "number"),
        *((strategy, "training", {}, TypeError, "mlsbi.Training(")
          for strategy in (SingleLevel, Multilevel, Transfer, Pooled, Bridge, Emulator, Stack)),
        (Bridge, "draws", "fake", ValueError, "'both', 'real', 'emulated'"),
        (Bridge, "draws", None, TypeError, "'both', 'real', 'emulated'"),
        *((strategy, "num_draws", 0, ValueError, "at least 1") for strategy in (Bridge, Emulator)),
        *((strategy, "num_draws", 2.5, TypeError, "integer") for strategy in (Bridge, Emulator)),
        *((strategy, "compress", "yes", ValueError, "'auto', True or False")
          for strategy in (Bridge, Emulator)),
        *((strategy, switch, 1, TypeError, "True or False")
          for strategy in (Bridge, Emulator) for switch in ("inflate", "crossfit")),
        (Bridge, "clamp", "yes", TypeError, "True or False"),
        (Bridge, "correct", 1, TypeError, "True or False"),
        (Stack, "candidates", (), ValueError, "Pass strategies"),
        (Stack, "candidates", Bridge(), TypeError, "Pass strategies"),
        (Stack, "candidates", "bridge", TypeError, "Pass strategies"),
        (Stack, "candidates", (Bridge,), TypeError, "Pass strategies"),
        (Stack, "candidates", (Bridge(), "single"), TypeError, "Pass strategies"),
        (Stack, "prior_count", -1.0, ValueError, "zero or positive"),
        (Stack, "prior_count", "a", TypeError, "number"),
        (Stack, "prior_count", math.nan, ValueError, "zero or positive"),
        (Stack, "calibrate", 1, TypeError, "calibrate must be"),
        (SingleLevel, "level", "a", TypeError, "integer"),
        (SingleLevel, "level", -2, ValueError, "at least -1"),
        (SingleLevel, "level", True, TypeError, "integer"),
        (Transfer, "rate", 0.0, ValueError, "positive"),
        (Transfer, "rate", "a", TypeError, "number"),
        (Multilevel, "rescale", 1, TypeError, "bool"),
        (Multilevel, "project", "yes", TypeError, "bool"),
        (Multilevel, "start", "cold", ValueError, "'warm'"),
        (Multilevel, "start", None, TypeError, "'warm'"),
        (Multilevel, "warm_rate", 0.0, ValueError, "positive"),
        (Multilevel, "held_out", "low", ValueError, "'high'"),
        (Multilevel, "standardise", "none", ValueError, "'pooled'"),
        *((spec, "hidden", bad, error, word) for spec in (MDN, MAF, NSF)
          for bad, error, word in (
              ((0,), ValueError, "at least 1"), ((1.5,), TypeError, "integer"),
              (64, TypeError, "(64,"), ("ab", TypeError, "integer"),
          )),
        (MDN, "components", 0, ValueError, "at least 1"),
        (MDN, "components", "4", TypeError, "integer"),
        *((spec, "transforms", 0, ValueError, "at least 1") for spec in (MAF, NSF)),
        *((spec, "transforms", 1.0, TypeError, "integer") for spec in (MAF, NSF)),
    ):  # fmt: skip
        yield case(
            f"{kind.__name__}({name}={_short(value)})",
            lambda _, kind=kind, name=name, value=value: kind(**{name: value}),
            error, name, word,
        )  # fmt: skip
    for method in (Training.paper, Multilevel.paper):
        yield case(
            f"{method.__qualname__}(epochs=0)",
            lambda _, method=method: method(epochs=0),
            ValueError, "max_steps", "at least 1",
        )  # fmt: skip


def scoring() -> Iterator[Case]:
    """Metrics."""
    good, bad = torch.zeros(5, 2), torch.full((5, 2), math.nan)
    table = torch.zeros(4)
    for id_, call, error, words in (
        ("nlpd type", lambda p: metrics.nlpd("a"), TypeError, ("log_prob", "numpy.asarray")),
        ("nlpd shape", lambda p: metrics.nlpd(good), ValueError, ("log_prob", "1 dimension")),
        ("nlpd empty", lambda p: metrics.nlpd(torch.zeros(0)), ValueError, ("log_prob", "one")),
        ("nlpd NaN", lambda p: metrics.nlpd([math.nan]), ValueError, ("log_prob", "status")),
        ("kld type", lambda p: metrics.kld_on_grid(None, table), TypeError, ("log_p", "asarray")),
        ("kld q type", lambda p: metrics.kld_on_grid(table, None), TypeError, ("log_q", "asarray")),
        ("kld shape", lambda p: metrics.kld_on_grid(table, torch.zeros(5)),
         ValueError, ("log_q", "same grid")),
        ("kld NaN", lambda p: metrics.kld_on_grid(table, table * math.nan),
         ValueError, ("log_q", "Widen")),
        ("kld one point", lambda p: metrics.kld_on_grid([0.0], [0.0]), ValueError, ("log_p", "2")),
        ("grid order", lambda p: metrics.kld_grid(low=1.0, high=0.0), ValueError, ("low", "below")),
        ("grid type", lambda p: metrics.kld_grid(low="a"), TypeError, ("low", "number")),
        ("grid inf", lambda p: metrics.kld_grid(high=math.inf), ValueError, ("high", "finite")),
        ("grid points", lambda p: metrics.kld_grid(num_points=1), ValueError, ("num_points", "2")),
        ("mmd type", lambda p: metrics.mmd_squared("a", good), TypeError, ("x", "numpy.asarray")),
        ("mmd 1-d", lambda p: metrics.mmd_squared(good, torch.zeros(5)), ValueError, ("y", "last")),
        ("mmd d", lambda p: metrics.mmd_squared(good + torch.rand(5, 2), torch.zeros(5, 3)),
         ValueError, ("y", "d of x")),
        ("mmd NaN", lambda p: metrics.mmd_squared(good, bad), ValueError, ("y", "finite")),
        ("mmd scale", lambda p: metrics.mmd_squared(good, good, length_scale=0.0),
         ValueError, ("length_scale", "positive")),
        ("mmd scale type", lambda p: metrics.mmd_squared(good, good, length_scale="a"),
         TypeError, ("length_scale", "number")),
        ("median equal", lambda p: metrics.median_length_scale(good),
         ValueError, ("x", "length_scale=")),
        ("median one", lambda p: metrics.median_length_scale(good[:1]),
         ValueError, ("x", "2 rows")),
        ("ranks type", lambda p: metrics.hpd_ranks("a", good, seed=0),
         TypeError, ("log_prob", "numpy.asarray")),
        ("ranks shape", lambda p: metrics.hpd_ranks(table, torch.zeros(9, 3), seed=0),
         ValueError, ("log_prob_samples", "(num_samples, 4)")),
        ("ranks NaN", lambda p: metrics.hpd_ranks(table * math.nan, torch.zeros(9, 4), seed=0),
         ValueError, ("log_prob", "status")),
        ("ranks seed", lambda p: metrics.hpd_ranks(table, torch.zeros(9, 4), seed=None),
         TypeError, ("seed", "integer")),
        ("curve range", lambda p: metrics.coverage_of_ranks([1.5]),
         ValueError, ("ranks", "[0, 1]")),
        ("curve empty", lambda p: metrics.coverage_of_ranks([]), ValueError, ("ranks", "one")),
        ("curve levels", lambda p: metrics.coverage_of_ranks([0.5], num_levels=0),
         ValueError, ("num_levels", "at least 1")),
        ("coverage theta", lambda p: metrics.expected_coverage(p.posterior, THETA, ROWS_X, seed=0),
         ValueError, ("theta", "2 dimension")),
        ("coverage x", lambda p: metrics.expected_coverage(p.posterior, ROWS_THETA, X, seed=0),
         ValueError, ("x", "n = 4")),
        ("coverage n", lambda p: metrics.expected_coverage(
            p.posterior, ROWS_THETA, ROWS_X, seed=0, num_samples=0), ValueError,
         ("num_samples", "at least 1")),
        ("coverage fit", lambda p: metrics.expected_coverage("fit", ROWS_THETA, ROWS_X, seed=0),
         TypeError, ("fit", "fit_posterior")),
    ):  # fmt: skip
        yield case(f"metrics: {id_}", call, error, *words)


def makers() -> Iterator[Case]:
    """Tasks."""
    for id_, call, error, words in (
        ("g_and_k form", lambda p: tasks.g_and_k("both"), ValueError, ("form", "'likelihood'")),
        ("g_and_k form type", lambda p: tasks.g_and_k(1), TypeError, ("form", "'likelihood'")),
        ("g_and_k low", lambda p: tasks.g_and_k(low="a"), ValueError, ("low", "'maclaurin'")),
        ("g_and_k low type", lambda p: tasks.g_and_k(low=None), TypeError, ("low", "'maclaurin'")),
        ("ou", lambda p: tasks.ornstein_uhlenbeck(5), ValueError, ("parameters", "3 or 4")),
        ("ou type", lambda p: tasks.ornstein_uhlenbeck("3"), TypeError, ("parameters", "integer")),
        ("toggle", lambda p: tasks.toggle_switch("hard"), ValueError, ("truncation", "'normal'")),
        ("toggle type", lambda p: tasks.toggle_switch(0), TypeError, ("truncation", "'normal'")),
        ("camels folder", lambda p: tasks.camels(p.folder), ValueError, ("folder", "spectra")),
        ("camels folder type", lambda p: tasks.camels(5), TypeError, ("folder", "path")),
        ("camels parameters", lambda p: tasks.camels(p.folder, parameters=("h",)),
         ValueError, ("parameters", "'sigma_8'")),
        ("camels parameters type", lambda p: tasks.camels(p.folder, parameters="sigma_8"),
         TypeError, ("parameters", "tuple")),
        ("camels no parameters", lambda p: tasks.camels(p.folder, parameters=()),
         ValueError, ("parameters", "tuple")),
        ("camels split", lambda p: tasks.camels(p.folder, split="a"),
         ValueError, ("split", "'clean'")),
        ("camels split type", lambda p: tasks.camels(p.folder, split=1),
         TypeError, ("split", "'clean'")),
        ("task n", lambda p: tasks.ornstein_uhlenbeck().data((5, 5, 5), 0), ValueError, ("n",)),
        ("task n type", lambda p: tasks.ornstein_uhlenbeck().data(5, 0), TypeError, ("n",)),
        ("task seed", lambda p: tasks.ornstein_uhlenbeck().data((5, 5), -1), ValueError, ("seed",)),
    ):  # fmt: skip
        yield case(f"tasks: {id_}", call, error, *words)


CASES = [
    *fitting(), *evaluating(), *sampling_options(), *disk(), *options(), *scoring(), *makers(),
]  # fmt: skip


# Not yet refused as they should be; strict, so that a repair asks for its line to be taken out.
@pytest.mark.parametrize("bad", [pytest.param(bad, id=bad.id) for bad in CASES])
def test_bad_input_is_refused_with_the_argument_and_the_remedy(bad: Case, place: Place) -> None:
    with pytest.raises(bad.error) as caught:
        bad.call(place)
    assert type(caught.value) is bad.error  # no subclass that a user would not think of
    message = str(caught.value)
    assert bad.words[0] in message[: len(message) // 2 + 40], message  # it starts with the name
    for word in bad.words:
        assert word in message, f"{word!r} is not in {message!r}"


def test_every_option_has_a_case() -> None:
    """A new field of an option class needs a line in the table."""
    ids = [c.id for c in CASES]
    named = {SingleLevel, Multilevel, Transfer, Pooled, Bridge, Emulator, Stack}
    for kind in (Training, *named, MDN, MAF, NSF):
        for option in fields(kind):
            assert any(i.startswith(f"{kind.__name__}({option.name}=") for i in ids), option.name
    strategies = {
        k for k in vars(mlsbi).values() if isinstance(k, type) and issubclass(k, Strategy)
    }
    assert strategies == {Strategy, *named}


@pytest.mark.parametrize("rows", [1, 2])
def test_one_or_two_rows_of_every_level_are_enough(
    rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    rough_processes(monkeypatch)
    for strategy in (SingleLevel(), Multilevel(), Transfer(), Pooled(), Stack()):
        fit = fit_posterior(linear_data((rows, rows)), **SMALL, strategy=strategy)
        assert torch.isfinite(fit.log_prob(ROWS_THETA, X)).all()
        assert fit.status.ok


@pytest.mark.parametrize("kind", [fit_posterior, fit_likelihood])
@pytest.mark.parametrize("strategy", [SingleLevel(), Stack()], ids=["one level", "stack"])
def test_constant_outputs_and_wild_scales_train(
    strategy: Strategy, kind: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    rough_processes(monkeypatch)
    theta = torch.rand(30, 2)
    x = torch.cat([torch.ones(30, 1), 1e12 * theta[:, :1], 1e-12 * theta[:, 1:]], 1)
    levels = [(theta, x)]
    if strategy == Stack():  # a constant output, one that the levels share, and one that differs
        levels.append((theta[:12], x[:12] * torch.tensor([1.0, 1.0, 0.9]), x[:12]))
    data = MultilevelData.from_arrays(BoxUniform(torch.zeros(2), torch.ones(2)), levels)
    fit = kind(data, **SMALL, strategy=strategy)
    assert fit.status.ok
    assert np.isfinite(fit.log_prob(theta, x).numpy()).all()
