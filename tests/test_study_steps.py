"""The steps of a study: done once, taken up again, and done anew where something changed."""

from __future__ import annotations

import json
import sys
import threading

import distributed
import numpy as np
import pytest
import torch

import mlsbi
from mlsbi import training
from mlsbi.studies.journal import at_work
from mlsbi.study import Step, Study, StudyResult
from quick import short_trainings
from studies import COUNTS, FIT, LEVELS, PRIOR, SEEN, WHOLE, Place, states
from tiny import linear_data

STEPS = ("pilot", "plan", "simulate", "fit", "check", "report")


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder with a study; rivals and overlays train as short as the fit itself."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    short_trainings(monkeypatch, steps=20)
    made = Place(tmp_path)
    yield made
    sys.modules.pop(made.models, None)


def files(study):
    """When each result was written last."""
    names = ("fit/fit.json", "check.json", "report.html")
    return [(study.output / name).stat().st_mtime_ns for name in names]


@pytest.fixture
def quick_page(monkeypatch):
    """The report is its title: its figures take seconds."""

    def write(fit, path, *, title, **options):
        path.write_text(f"<title>{title}</title>")

    monkeypatch.setattr("mlsbi.reporting.report", write)


@pytest.fixture
def no_work(monkeypatch):
    """A function after which nothing may be trained or planned."""

    def forbid():
        def never(*args, **options):
            raise AssertionError("something was trained or planned again")

        monkeypatch.setattr(training._Loop, "__init__", never)
        monkeypatch.setattr("mlsbi.planning.pilot.Pilot.needs", never)

    return forbid


def test_all_of_it_is_done_once(place, no_work):
    study = place.study()
    assert set(states(study).values()) == {"to do", "not needed"}
    assert not study.output.exists()
    result = study.run()
    assert isinstance(result, StudyResult)
    assert result.plan is None
    assert result.data.n == (40, 12)
    assert place.calls == (52, 12)
    before = files(study)
    no_work()
    again = Study.load(study.path).run()
    assert place.calls == (52, 12)
    assert files(study) == before
    x = torch.tensor([0.1, 0.2])
    assert torch.equal(again.fit.sample(5, x=x, seed=1), result.fit.sample(5, x=x, seed=1))
    assert again.check.nlpd == result.check.nlpd
    assert tuple(states(study).values()) == ("not needed", "not needed", *["done"] * 4)
    assert [step.name for step in study.steps()] == list(STEPS)
    page = str(result)
    assert "40, 12" in page
    assert str(study.output / "report.html") in page
    assert "p(theta | x) by Multilevel, " in page


def test_a_plan_is_made_once_and_the_pilots_runs_count(place, no_work):
    study = place.study(PRIOR + LEVELS + FIT + "[plan]\nbudget = 900\n[pilot]\nn = 16\n")
    plan = study.plan()
    pilot = study.pilot()
    assert place.calls == (18, 18)
    assert states(study)["plan"] == "done"
    assert states(study)["simulate"] == "to do"
    data = study.simulate()
    assert data.n == tuple(plan)
    assert torch.equal(data.x(1)[:16], pilot.data.x(1))
    calls = place.calls
    assert calls == (18 + sum(n - 16 for n in data.n), 18 + data.n[1] - 16)
    assert calls[0] - 18 + 10 * (calls[1] - 18) <= 900  # what is run after the pilot
    no_work()
    assert study.plan() == plan
    assert study.simulate().n == data.n
    assert place.calls == calls
    document = json.loads((study.output / "plan.json").read_text())
    assert document["plan"]["n"] == list(plan)
    more = {"study": "of mlsbi plan", **document}  # which writes the same plan, and more words
    (study.output / "plan.json").write_text(json.dumps(more))
    assert states(study)["plan"] == "done"
    document["plan"]["n"][0] += 1  # or another plan, with --budget
    (study.output / "plan.json").write_text(json.dumps(document))
    assert states(study)["plan"] == "stale"
    larger = place.study(study.path.read_text().replace("budget = 900", "budget = 1500"))
    assert states(larger)["plan"] == states(larger)["simulate"] == "stale"
    assert states(larger)["pilot"] == "done"


def test_a_larger_budget_runs_what_is_missing(place):
    study = place.study(PRIOR + LEVELS + FIT + "[plan]\nbudget = 900\n[pilot]\nn = 16\n")
    data = study.simulate()
    calls = place.calls
    more = place.study(study.path.read_text().replace("budget = 900", "budget = 1500")).simulate()
    assert more.cost > data.cost
    for level in range(2):
        assert torch.equal(more.x(level)[: data.n[level]], data.x(level))
    grown = more.n[1] - data.n[1]
    assert place.calls == (calls[0] + more.n[0] - data.n[0] + grown, calls[1] + grown)


def test_counts_grow_and_shrink(place):
    data = place.study().simulate()
    more = place.study(WHOLE.replace("[40, 12]", "[50, 12]")).simulate()
    assert place.calls == (62, 12)
    assert torch.equal(more.x(0)[:40], data.x(0))
    fewer = place.study(WHOLE.replace("[40, 12]", "[30, 8]")).simulate()
    assert place.calls == (62, 12)
    assert fewer.n == (30, 8)
    assert torch.equal(fewer.x(1), data.x(1)[:8])


CHANGES = [  # of the file, and the steps that are done anew then
    ("[observation]", '[report]\ntitle = "Other words"\n[observation]', ["report"]),
    ("[0.3, -0.2]", "[0.3, -0.1]", ["check", "report"]),
    ("folds = 2", "folds = 3", ["check", "report"]),
    ("ensemble = 2", "ensemble = 1", ["fit", "check", "report"]),
    ("[fit]", '[fit]\nembedding_net = "MODELS:net"', ["fit", "check", "report"]),
    ("[fit]", '[fit]\ndevice = "cpu"', []),
    ("cost = 1\n", "cost = 1\n\n# a comment\n", []),
    ("[check]", "[run]\nexecutor = 1\n[check]", []),
]


@pytest.mark.usefixtures("quick_page")
def test_what_a_change_leaves_and_what_it_does_not(place):
    study = place.study()
    study.run()
    calls = place.calls
    for old, new, redone in CHANGES:
        assert old in WHOLE
        changed = place.study(WHOLE.replace(old, new, 1))
        found = states(changed)
        assert [name for name in STEPS if found[name] == "stale"] == redone, new
        assert all(found[name] in {"done", "stale", "not needed"} for name in STEPS)
    before = files(study)
    titled = place.study(WHOLE.replace("[observation]", '[report]\ntitle = "New"\n[observation]'))
    titled.run()
    after = files(study)
    assert after[:2] == before[:2]
    assert after[2] > before[2]
    assert "<title>New</title>" in titled.report().read_text()
    refitted = place.study(WHOLE.replace("ensemble = 2", "ensemble = 1")).run()
    assert refitted.fit.blueprint.members == 1
    assert place.calls == calls


def test_a_module_of_the_fit_that_changes_makes_it_again(place):
    text = WHOLE.replace("[fit]", '[fit]\nembedding_net = "MODELS:net"')
    study = place.study(text)
    fit = study.fit()
    assert states(study)["fit"] == "done"
    assert study.sample(3).shape == (3, 2)  # the net is found again, its weights come from the file
    draws = [own.sample(4, x=[0.0, 0.1], seed=0) for own in (study.fit(), fit)]
    assert torch.equal(*draws)
    module = place.folder / f"{place.models}.py"
    module.write_text(module.read_text() + "\n# another line\n")
    assert states(study)["fit"] == "stale"


@pytest.mark.usefixtures("quick_page")
def test_a_step_that_fails_leaves_what_was_there(place):
    study = place.study()
    study.run()
    before = files(study)
    wrong = place.study(WHOLE.replace("[fit]", '[fit]\nembedding_net = "MODELS:bad_net"'))
    with pytest.raises(ValueError, match=r"\[fit\]: embedding_net failed"):
        wrong.run()
    assert files(study) == before
    back = place.study()
    assert set(states(back).values()) == {"done", "not needed"}


def test_a_campaign_that_stops_goes_on(place):
    study = place.study()
    (place.folder / "broken").touch()
    with pytest.raises(RuntimeError, match="no convergence"):
        study.run()
    step = study.steps()[2]
    assert step.state == "to do"
    assert "runs are there" in step.why
    (place.folder / "broken").unlink()
    assert study.simulate().n == (40, 12)
    assert place.calls[0] <= 52 + 12
    whole = place.study(output=place.folder / "other").simulate()
    assert torch.equal(study.simulate().x(1), whole.x(1))


def test_a_training_that_is_stopped_goes_on(place, monkeypatch):
    study = place.study()
    study.simulate()
    advance, steps = training._Loop._advance, []

    def counting(loop):
        steps.append(loop.step)
        if len(steps) == 10:
            raise KeyboardInterrupt
        return advance(loop)

    monkeypatch.setattr(training._Loop, "_advance", counting)
    with pytest.raises(KeyboardInterrupt):
        study.fit()
    assert (study.output / "training").is_dir()
    assert states(study)["fit"] == "to do"
    fit = study.fit()
    resumed = len(steps) - 10
    assert not (study.output / "training").exists()
    whole = place.study(output=place.folder / "other").fit()
    assert resumed < len(steps) - 10 - resumed  # the first steps were not done again
    draws = [own.sample(5, x=[0.1, 0.2], seed=0) for own in (fit, whole)]
    assert torch.equal(*draws)


def test_what_another_training_left_is_removed(place, monkeypatch):
    study = place.study()
    study.simulate()
    with monkeypatch.context() as patch:
        patch.setattr(training._Loop, "_advance", _interrupt)
        with pytest.raises(KeyboardInterrupt):
            study.fit()
    assert place.study(WHOLE.replace("max_steps = 20", "max_steps = 15")).fit().status


def _interrupt(loop):
    raise KeyboardInterrupt


def test_one_at_a_time(place):
    study = place.study()
    with at_work(study.output):
        found = []
        other = threading.Thread(target=lambda: found.append(_refused(study)))
        other.start()
        other.join()
        assert "is in use" in found[0]
        assert "is in use" in _refused(study)
        assert study.steps()  # looking is free
    study.simulate()


def _refused(study):
    with pytest.raises(RuntimeError) as caught:
        study.fit()
    return str(caught.value)


def test_other_simulators_need_another_folder(place):
    study = place.study()
    study.simulate()
    other = place.study(WHOLE.replace("high = 1\n", "high = 2\n", 1))
    assert states(other)["simulate"] == "stale"
    with pytest.raises(ValueError, match="does not throw runs away: name another output folder"):
        other.run()
    assert study.simulate().n == (40, 12)
    assert place.study().simulate().n == (40, 12)
    assert place.study(other.path.read_text(), output=place.folder / "new").simulate().n == (40, 12)


def test_simulators_that_changed_go_on_where_that_is_allowed(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))
    text = PRIOR + LEVELS + FIT + "[plan]\nbudget = 900\n[pilot]\nn = 16\n"
    before = Place(tmp_path)
    data = before.study(text).simulate()
    calls = before.calls
    module = tmp_path / f"{before.models}.py"
    module.write_text(module.read_text().replace("no convergence", "did not converge"))
    sys.modules.pop(before.models)
    with pytest.raises(
        ValueError, match=r"changed since(.|\n)*set allow_changes = true in \[run\]"
    ):
        before.study(text).simulate()
    allowed = before.study(text + "[run]\nallow_changes = true\n").simulate()
    assert torch.equal(allowed.x(1), data.x(1))
    assert before.calls == calls
    sys.modules.pop(before.models)


@pytest.mark.usefixtures("quick_page")
def test_what_was_deleted_is_made_again(place):
    study = place.study()
    study.run()
    (study.output / "fit" / "weights.safetensors").write_bytes(b"damaged")
    (study.output / "check.json").write_text("{}")
    (study.output / "report.html").unlink()
    step = study.steps()[-1]
    assert (step.state, step.why) == ("to do", "report.html is gone")
    assert isinstance(study.fit(), mlsbi.PosteriorFit)
    assert study.report().is_file()
    assert study.check().n == 12
    (study.output / "steps.json").write_text("{")
    calls = place.calls
    study.run()
    assert place.calls == calls  # the store knows its rows


def test_samples(place):
    study = place.study()
    with pytest.raises(ValueError, match="there is no fit: simulate comes first"):
        study.sample(5)
    fit = study.fit()
    draws = study.sample(50)
    assert torch.equal(draws, fit.sample(50, x=[0.3, -0.2], seed=0))
    assert torch.equal(study.sample(50, seed=0), draws)
    assert not torch.equal(study.sample(50, seed=1), draws)
    assert torch.equal(study.sample(50, x=[0.0, 0.0]), fit.sample(50, x=[0.0, 0.0], seed=0))
    with pytest.raises(ValueError, match=r"x_o must have shape \(2,\)"):
        study.sample(5, x=[1.0])
    other = place.study(WHOLE.replace("ensemble = 2", "ensemble = 1"))
    with pytest.raises(ValueError, match="no fit of this state of the file"):
        other.sample(5)
    blind = place.study(WHOLE.replace(SEEN, ""))
    with pytest.raises(ValueError, match=r"has no \[observation\]"):
        blind.sample(5)
    assert blind.sample(5, x=[0.0, 0.0]).shape == (5, 2)


def test_a_likelihood_takes_observations_together(place):
    text = WHOLE.replace("[fit]", '[fit]\nkind = "likelihood"').replace(
        "x = [0.3, -0.2]", "x = [[0.3, -0.2], [0.3, -0.1], [0.2, -0.3]]"
    )
    study = place.study(text)
    result = study.run()
    assert isinstance(result.fit, mlsbi.LikelihoodFit)
    assert result.check.observation is None  # of several none is looked at by itself
    draws = study.sample(400)
    assert draws.shape == (400, 2)
    assert bool(result.data.prior.contains(draws).all())
    one = study.sample(400, x=[0.3, -0.2])
    assert float(draws.std(0).mean()) < float(one.std(0).mean())  # three say more than one


def test_held_out_runs_take_the_place_of_folds(place):
    own = linear_data((30, 20), event=(2,))
    np.save(place.folder / "theta.npy", own.theta(1).numpy())
    np.save(place.folder / "x.npy", own.x(1).numpy())
    text = WHOLE.replace("folds = 2", 'theta = "theta.npy"\nx = "x.npy"\nrows = "4:"')
    check = place.study(text).check()
    assert (check.source, check.n) == ("held-out runs", 16)
    assert check.labels == ("a", "b")
    wrong = place.study(text.replace('x = "x.npy"', 'x = "theta.npy:x"'))
    with pytest.raises(ValueError, match="check.x must have no name"):
        wrong.run()


@pytest.mark.usefixtures("quick_page")
def test_arrays_count_by_what_is_in_them(place):
    data = linear_data((40, 12), event=(2,))
    np.savez(place.folder / "0.npz", theta=data.theta(0), x=data.x(0))
    np.savez(place.folder / "1.npz", theta=data.theta(1), x=data.x(1), x_coarse=data.x_coarse(1))
    levels = """
    [[levels]]
    theta = "0.npz"
    x = "0.npz"
    [[levels]]
    theta = "1.npz"
    x = "1.npz"
    x_coarse = "1.npz"
    """
    study = place.study(PRIOR + levels + FIT + SEEN)
    assert study.plan() is None
    with pytest.raises(ValueError, match="levels must have simulators"):
        study.pilot()
    study.run()
    before = files(study)
    assert states(study)["simulate"] == "done"
    np.savez(place.folder / "0.npz", theta=data.theta(0), x=data.x(0))  # the same, written anew
    assert states(study)["simulate"] == "stale"
    study.run()
    assert files(study) == before
    np.savez(place.folder / "0.npz", theta=data.theta(0), x=data.x(0) + 1)
    assert states(study)["simulate"] == "stale"
    study.fit()
    assert files(study)[0] > before[0]


def test_an_executor_of_ones_own_is_closed(place):
    text = WHOLE + '[run]\nexecutor = "MODELS:executor"\nisolate = false\n'
    study = place.study(text)
    data = study.simulate()
    assert sys.modules[place.models].CLOSED == [True]
    assert torch.equal(data.x(0), place.study(output=place.folder / "o").simulate().x(0))
    assert study.cores == 1


@pytest.mark.filterwarnings("ignore")  # Dask's own
def test_a_dask_cluster_by_its_address(place, monkeypatch):
    more = '[run]\nisolate = false\nexecutor = "dask:'
    options = {"n_workers": 1, "processes": False, "dashboard_address": None}
    with distributed.LocalCluster(**options) as cluster:
        study = place.study(f'{WHOLE}{more}{cluster.scheduler_address}"\n')
        data = study.simulate()
        assert data.n == (40, 12)
        names = [name for name in cluster.scheduler.clients if name != "fire-and-forget"]
        assert names == []  # what was opened was closed
    assert torch.equal(data.x(1), place.study(output=place.folder / "o").simulate().x(1))
    assert study.simulate().n == data.n  # no scheduler is asked where all runs are there
    monkeypatch.setattr("mlsbi.studies.fitting._PATIENCE", 0.5)
    gone = place.study(f'{WHOLE}{more}tcp://127.0.0.1:1"\n', output=place.folder / "p")
    with pytest.raises(ValueError, match="run.executor must be the address of a Dask scheduler"):
        gone.simulate()


WRONG = [  # in the file, and the error that comes before anything is run
    ('strategy = "multilevel"', 'estimator = "nfs"', r"fit.estimator must be one of mdn, maf, nsf"),
    ("[fit]", '[fit]\nestimator = "MODELS:number"', "fit.estimator must name an estimator"),
    ("[fit]", '[fit]\nestimator = "MODELS:gone"', "fit.estimator must name an attribute"),
    ("[fit]", '[fit]\nembedding_net = "MODELS:number"', "fit.embedding_net must name a torch.nn"),
    ("[fit]", '[fit]\nembedding_net = "MODELS:low"', "fit.embedding_net .* ended in TypeError"),
    ("[fit]", '[fit]\ndevice = "abacus"', "fit.device must be"),
    ("[0.3, -0.2]", '"gone.csv"', "observation.x must name a file that is there"),
    ("[0.3, -0.2]", "[0.3, nan]", "observation.x must be finite"),
    ("[0.3, -0.2]", "[0.3, [1]]", "observation.x must be a rectangular array"),
    ("folds = 2", 'theta = "a.npy"\nx = "b.npy"', "check.theta must name a file that is there"),
    (COUNTS, "", "plan must have budget, error or deadline, or simulate must have n"),
    ("MODELS:low", "MODELS:lower", r"levels\[0\].simulator must name an attribute"),
]


@pytest.mark.parametrize(("old", "new", "message"), WRONG, ids=range(len(WRONG)))
def test_what_is_wrong_is_said_before_anything_is_run(old, new, message, place):
    assert old in WHOLE
    with pytest.raises(ValueError, match=message) as caught:
        place.study(WHOLE.replace(old, new, 1)).run()
    assert str(place.folder / "study.toml") in str(caught.value)
    assert place.calls == (0, 0)


def test_an_observation_of_another_shape_is_named(place):
    study = place.study(WHOLE.replace("[0.3, -0.2]", "[0.3]"))
    with pytest.raises(ValueError, match=r"observation.x must have shape \(2,\).*got \(1,\)"):
        study.check()
    study = place.study(WHOLE + '[report]\noutputs = ["one"]\n')
    with pytest.raises(ValueError, match="report.outputs must"):
        study.report()


def test_a_step_is_json(place):
    step = Step("fit", "done", "", place.folder / "fit", 1.5)
    assert json.loads(json.dumps(step.to_dict()))["path"] == str(place.folder / "fit")
