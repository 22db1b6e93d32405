"""Plans: a sequence of ints that knows its cost, what to expect, and what limits it."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from matplotlib.figure import Figure

import mlsbi
from mlsbi._json import to_json
from mlsbi._table import Table
from mlsbi.planning.allocation import optimal
from mlsbi.planning.needs import Needs
from mlsbi.planning.plan import Plan, make_plan

TWO = Needs((1.0, 0.05), 1.1, "a rule", "nats")
FOUR = Needs((1.0, 0.2, 0.05, 0.01), 1.1, "a bound")
COSTS = (1.0, 8.0, 64.0, 512.0)


def two(**more):
    return make_plan(TWO, (1.0, 40.0), **more)


def four(**more):
    return make_plan(FOUR, COSTS, **more)


# --- a sequence of ints --------------------------------------------------------------------------


def test_a_plan_is_a_sequence_of_plain_ints():
    plan = two(budget=5000)
    assert isinstance(plan, Sequence)
    assert plan is not None
    assert list(plan) == [2048, 72]
    assert [type(n) for n in plan] == [int, int]
    assert (len(plan), plan[0], plan[-1], plan[:1], 72 in plan) == (2, 2048, 72, (2048,), True)
    assert plan == (2048, 72)
    assert plan == [2048, 72]
    assert (2048, 72) == plan
    assert plan != (2048, 73)
    assert plan != "2048"
    assert plan == two(budget=5000.0)
    assert {plan: 1}[(2048, 72)] == 1
    assert np.asarray(plan).tolist() == [2048, 72]
    first, second = plan
    assert (first, second) == plan.n
    assert mlsbi.Plan is Plan


def test_numbers_of_numpy_become_plain():
    plan = make_plan(
        TWO, np.array([1.0, 40.0]), budget=np.float32(5000), existing=np.array([5, 1]),
        minimum=np.int64(3), seconds=np.array([0.1, 2.0]), cores=np.int64(2),
    )  # fmt: skip
    json.dumps(plan.to_dict())
    assert all(type(n) is int for n in (*plan, *plan.existing, *plan.minimum))


def test_short_texts():
    assert str(two(budget=5000.5)) == repr(two(budget=5000.5))
    assert str(two(budget=5000.5)) == "Plan(2048, 72, cost 5,000 of 5,000)"
    assert str(two(budget=700, cost_unit="seconds")) == "Plan(290, 10, cost 700 of 700 seconds)"
    assert str(two(error=1e-3)) == "Plan(2429, 85, cost 5,914)"


# --- what it holds -------------------------------------------------------------------------------


def test_figures_by_hand():
    plan = two(budget=5000, existing=(2040, 70), seconds=(0.5, 3.0), cores=4, minimum=1)
    n0, n1 = plan
    assert plan.new == (n0 - 2040, n1 - 70)
    assert plan.row_costs == (1.0, 41.0)
    assert plan.cost == (n0 - 2040) + 41 * (n1 - 70) <= 5000
    assert plan.left == 5000 - plan.cost < 1
    assert plan.total_cost == n0 + 41 * n1
    assert plan.error == pytest.approx(1 / n0 + 0.05 / n1)
    assert plan.seconds == pytest.approx(((n0 - 2040) * 0.5 + (n1 - 70) * 3.5) / 4)
    assert plan.single_n == pytest.approx(1.1 / plan.error)
    assert plan.factor == pytest.approx(plan.single_n / n1)
    assert plan.cost_factor == pytest.approx(plan.single_n * 40 / (n0 + 41 * n1))


def test_a_single_level_is_worth_itself():
    plan = make_plan(Needs((2.0,), 2.0, "by hand"), (3.0,), budget=100)
    assert plan == (33,)
    assert (plan.factor, plan.cost_factor, plan.left) == (1.0, 1.0, 1.0)
    plan.plot()


def test_seconds_are_unknown_where_one_level_is_and_no_shorter_than_a_row():
    assert two(budget=5000).seconds is None
    assert two(budget=5000, seconds=(1.0, None)).seconds is None
    assert two(budget=60, minimum=1, seconds=(0.1, 9.0), cores=100).seconds == pytest.approx(9.1)


def test_the_budget_is_kept_and_what_is_left_buys_no_row():
    for budget in np.geomspace(50, 1e6, 40):
        plan = two(budget=float(budget))
        assert 0 <= plan.left < 1
    assert two(error=1e-3).left is None


def test_budget_and_error_are_each_others_converse():
    for budget in (700.0, 5e3, 1e6):
        plan = two(budget=budget)
        back = two(error=plan.error)
        assert back.error <= plan.error
        assert back.cost <= plan.cost * 1.001


def test_deadline_limits_and_says_so():
    seconds = (1.0, 8.0, 64.0, 512.0)
    rich = four(budget=20_000, seconds=seconds, deadline=1e6)
    poor = four(budget=20_000, seconds=seconds, deadline=1000.0, cores=8)
    assert rich == four(budget=20_000)
    assert not any("deadline" in note for note in rich.notes)
    assert poor.seconds <= 1000
    assert poor.cost < rich.cost
    assert any("deadline binds" in note and str(rich.n) in note for note in poor.notes)
    alone = four(seconds=seconds, deadline=1000.0, cores=8)
    assert alone == poor
    assert alone.budget is None
    assert alone.left is None
    assert "Time alone limits the plan." in alone.notes


def test_an_error_to_reach_before_a_deadline():
    assert two(error=1e-3, seconds=(0.1, 4.0), deadline=600.0) == two(error=1e-3)
    with pytest.raises(ValueError, match=r"deadline .* 591.* got 500") as caught:
        two(error=1e-3, seconds=(0.1, 4.0), deadline=500.0)
    assert "more cores" in str(caught.value)
    with pytest.raises(ValueError, match="seconds must say"):
        two(error=1e-3, deadline=500.0)


# --- least numbers of rows -----------------------------------------------------------------------


def test_eight_rows_a_level_by_default_fewer_with_a_warning():
    assert min(four(budget=12_000)) == 8
    assert min(four(error=1.0)) == 8
    assert two(budget=16 * 42).minimum == (8, 8)  # half of the budget pays for them
    few = two(budget=16 * 42 - 1)
    assert few.minimum == (7, 7)
    assert any(note.startswith("Warning: 8 rows a level") for note in few.notes)
    assert two(budget=42) == (1, 1)
    with pytest.raises(ValueError, match=r"budget must pay .* 42") as caught:
        two(budget=41)
    assert "lower minimum" not in str(caught.value)
    slow = two(budget=1e4, seconds=(1.0, 40.0), deadline=90.0)
    assert slow.minimum == (1, 1)
    assert not any("Warning" in note for note in two(budget=5000).notes)


def test_a_minimum_of_ones_own_is_kept_or_refused():
    assert two(budget=5000, minimum=(10, 100)).n[1] == 100
    assert two(budget=5000, minimum=1) == two(budget=5000)
    with pytest.raises(ValueError, match="lower minimum"):
        two(budget=5000, minimum=500)


def test_notes_say_which_level_is_held():
    held = two(budget=450, minimum=8)
    assert held == (122, 8)
    free = two(budget=450, minimum=1)
    assert any(note.startswith("Level 1: held up") and str(free.n) in note for note in held.notes)
    had = two(budget=12 * 41, existing=(5000, 0))
    assert any("Level 0: no new rows" in note for note in had.notes)
    idle = make_plan(replace(TWO, b=(1.0, 0.0)), (1.0, 40.0), budget=5000)
    assert idle == (5000 - 8 * 41, 8)
    assert any("Level 1: nothing is gained" in note for note in idle.notes)
    assert two(budget=5000).notes == ()


# --- table, JSON, figure -------------------------------------------------------------------------


def test_table_is_printed_and_returned(capsys):
    plan = four(budget=20_000, existing=(0, 500, 0, 0), cost_unit="hours", seconds=COSTS, cores=8)
    table = plan.table()
    assert isinstance(table, Table)
    printed = capsys.readouterr().out
    assert printed == f"{table}\n"
    assert table.column("level") == [0, 1, 2, 3]
    assert table.column("n") == list(plan)
    assert table.column("new") == list(plan.new)
    assert table.column("cost of a row") == [1, 9, 72, 576]
    assert sum(table.column("share of the budget")) == pytest.approx(1)
    assert table.column("b") == list(FOUR.b)
    assert sum(table.column("share of the error")) == pytest.approx(1)
    for words in ("20,000 hours of 20,000", "left over", "a bound", "level 3 alone", "8 cores"):
        assert words in " ".join(table.notes), words


def test_table_warns_where_one_level_alone_is_better():
    plan = make_plan(Needs((1.0, 1.0), 1.0, "by hand"), (1.0, 2.0), budget=1000)
    assert plan.cost_factor < 1
    assert any("alone is expected to be better" in note for note in plan.table().notes)
    assert not any("Warning" in note for note in two(budget=5000).table().notes)


@pytest.mark.parametrize(
    "plan",
    [
        two(budget=5000, cost_unit="seconds"),
        two(budget=60),
        two(error=0.01, existing=(5, 0)),
        four(seconds=COSTS, deadline=1e4, cores=3),
        make_plan(
            Needs((0.0, 0.0), 0.0, "nothing varies"), (1.0, 2.0), budget=100, seconds=(1, None)
        ),
    ],
    ids=str,
)
def test_json_and_back(plan):
    text = to_json(plan.to_dict())
    assert json.loads(text) == json.loads(json.dumps(plan.to_dict(), allow_nan=False))
    back = Plan.from_dict(json.loads(text))
    assert back == plan
    assert back.to_dict() == plan.to_dict()
    assert back.needs == plan.needs
    assert (back.budget, back.deadline, back.notes) == (plan.budget, plan.deadline, plan.notes)


@pytest.mark.parametrize(
    "plan",
    [
        two(budget=5000),
        two(budget=0, existing=(10, 10)),
        four(budget=20_000, seconds=COSTS, deadline=3600.0, cores=8, existing=(0, 500, 0, 0)),
        four(error=1e-3),
        make_plan(replace(TWO, b=(1.0, 0.0)), (1.0, 40.0), budget=1300),
        make_plan(Needs((0.0, 0.0), 0.0, "nothing varies"), (1.0, 2.0), budget=100),
    ],
    ids=str,
)
def test_figure_of_any_plan(plan, tmp_path):
    figure = plan.plot()
    assert isinstance(figure, Figure)
    figure.savefig(tmp_path / "plan.png")
    assert (tmp_path / "plan.png").read_bytes().startswith(b"\x89PNG")
    assert len(figure.axes) == 3  # two panels, one with a second axis for the factor


def test_figure_shows_the_optimum():
    figure = two(budget=5000).plot()
    rows, expected, factor = figure.axes
    names = [text.get_text() for text in rows.get_legend().texts]
    assert names == ["level 0", "level 1"]
    curves = [line for line in rows.lines if line.get_label() in names]
    for level, line in enumerate(curves):
        budget, n = line.get_data()
        assert (budget[0], budget[-1]) == pytest.approx((500, 50_000))
        exact = [optimal(TWO.b, (1, 41), b, minimum=8)[level] for b in budget]
        assert n == pytest.approx(exact)
    error, alone = expected.lines[:2]
    n1, factors = factor.lines[0].get_data()
    assert factors * n1 == pytest.approx(1.1 / error.get_ydata())
    cost = np.asarray(curves[0].get_ydata()) + 41 * np.asarray(curves[1].get_ydata())
    assert alone.get_ydata() == pytest.approx(1.1 * 40 / cost)


def test_figure_into_axes_of_ones_own():
    figure = Figure()
    assert two(budget=5000).plot(figure.subplots(1, 2)) is figure
    for wrong in (figure.subplots(1, 3), 5, [1, 2]):
        with pytest.raises(ValueError, match="axes must be two"):
            two(budget=5000).plot(wrong)


# --- bad input -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wrong", "error", "words"),
    [
        ({}, ValueError, ("budget or error", "neither", "deadline=")),
        ({"budget": 1.0, "error": 1.0}, ValueError, ("budget or error", "not both", "Leave one")),
        ({"budget": -1.0}, ValueError, ("budget", "-1")),
        ({"budget": math.nan}, ValueError, ("budget", "nan")),
        ({"budget": math.inf}, ValueError, ("budget", "inf", "finite")),
        ({"budget": "all"}, TypeError, ("budget", "str")),
        ({"error": 0.0}, ValueError, ("error", "positive")),
        ({"budget": 500, "needs": (1.0, 0.1)}, TypeError, ("needs", "Needs", "tuple", "pilot")),
        ({"budget": 500, "costs": (1.0,)}, ValueError, ("costs", "one entry a level, 2", "got 1")),
        ({"budget": 500, "costs": (1.0, 0.0)}, ValueError, ("costs[1]", "positive")),
        ({"budget": 500, "existing": (1, 2, 3)}, ValueError, ("existing", "2", "got 3")),
        ({"budget": 500, "existing": (1, 2.5)}, TypeError, ("existing[1]", "2.5")),
        ({"budget": 500, "minimum": -2}, ValueError, ("minimum", "-2")),
        ({"budget": 500, "cores": 0}, ValueError, ("cores", "at least 1")),
        ({"budget": 500, "cost_unit": 3}, TypeError, ("cost_unit", "int")),
        ({"budget": 500, "seconds": (1.0,)}, ValueError, ("seconds", "2", "got 1")),
        ({"budget": 500, "deadline": 60.0}, ValueError, ("seconds", "deadline")),
        ({"deadline": -60.0}, ValueError, ("deadline", "positive")),
        ({"deadline": 30, "seconds": (1, 40)}, ValueError, ("deadline", "level 1", "41", "30")),
        (
            {"budget": 500, "needs": Needs((1.0, math.nan), 1.0, "")},
            ValueError,
            ("needs", "[1]", "nan"),
        ),
    ],
)
def test_errors_say_what_came_and_what_to_do(wrong, error, words):
    arguments = {"needs": TWO, "costs": (1.0, 40.0)} | wrong
    with pytest.raises(error) as caught:
        make_plan(arguments.pop("needs"), arguments.pop("costs"), **arguments)
    for word in words:
        assert word in str(caught.value)
