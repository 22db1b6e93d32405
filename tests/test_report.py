"""Reports: one file that needs no other, says what is there and what is missing, and is true."""

from __future__ import annotations

import re
from dataclasses import replace

import matplotlib as mpl
import pytest
import torch
from matplotlib.figure import Figure

import mlsbi
from mlsbi._data_digest import runs_digest
from mlsbi.calibration import Calibration
from mlsbi.checking.finding import Finding
from mlsbi.reporting import report
from mlsbi.reporting.draws import draws_at
from mlsbi.reporting.markup import number, plain, rich, table, tag, trimmed
from mlsbi.reporting.pictures import dark_colours, svg_of
from mlsbi.reporting.reproduce import call_text
from mlsbi.reporting.words import duration
from page_reader import read_page
from tiny import linear_data, tiny

X_O = torch.tensor([0.2, -0.1, 0.4])


@pytest.fixture(scope="module")
def data():
    return linear_data((60, 24), costs=[1.0, 10.0])


@pytest.fixture(scope="module")
def fit(data):
    return mlsbi.fit_posterior(data, strategy=mlsbi.Multilevel(training=tiny()), seed=1, ensemble=2)


@pytest.fixture(scope="module")
def low_fit(data):
    low = mlsbi.MultilevelData.from_arrays(data.prior, [(data.theta(0), data.x(0))])
    strategy = mlsbi.SingleLevel(training=tiny())
    return mlsbi.fit_posterior(low, strategy=strategy, seed=1, ensemble=2)


@pytest.fixture(scope="module")
def likelihood(data):
    strategy = mlsbi.SingleLevel(training=tiny())
    return mlsbi.fit_likelihood(data.top(), strategy=strategy, seed=1, ensemble=2)


@pytest.fixture(scope="module")
def full(fit, data, low_fit, tmp_path_factory):
    """A report with all that needs no check."""
    path = tmp_path_factory.mktemp("report") / "report.html"
    report(
        fit, path, data=data, x_o=X_O, theta_o=[0.1, 0.2], low_fit=low_fit, num_draws=500,
        labels=[r"$\alpha_1$", "<b>"], levels=["coarse & quick", "fine"], title="Two <lines>",
        description="First.\n\nSecond </p>.",
    )  # fmt: skip
    return path.read_text(encoding="utf-8")


# --- the page --------------------------------------------------------------------------------


def test_the_page_needs_nothing_else(full):
    page = read_page(full)
    assert len(full.encode()) < 2_000_000
    for name, attributes in page.elements:
        assert name not in {"iframe", "object", "embed"}
        for key in ("src", "href", "data"):
            target = attributes.get(key) or ""
            outside = target.startswith(("http:", "https:", "//", "file:"))
            assert not outside or (name == "a" and key == "href")
    assert not re.search(r"url\(\s*['\"]?(?!#)", full)
    assert "@import" not in full


def test_ids_are_unique_and_references_resolve(full):
    page = read_page(full)
    ids = page.ids()
    assert len(ids) == len(set(ids))
    wanted = {
        (a.get("href") or "#")[1:]
        for _, a in page.elements
        if (a.get("href") or "").startswith("#")
    }
    wanted |= {a["aria-labelledby"] for _, a in page.elements if "aria-labelledby" in a}
    wanted |= set(re.findall(r"url\(#([^)]+)\)", full))
    assert wanted
    assert wanted <= set(ids)


def test_headings_go_down_one_by_one(full):
    levels = [level for level, _ in read_page(full).headings]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(b - a <= 1 for a, b in zip(levels, levels[1:], strict=False))


def test_pictures_and_tables_say_what_they_are(full):
    page = read_page(full)
    pictures = [a for name, a in page.elements if name == "svg"]
    assert len(pictures) == 3
    assert all(a["role"] == "img" and len(a["aria-label"]) > 40 for a in pictures)
    count = {n: sum(name == n for name, _ in page.elements) for n in ("figure", "figcaption")}
    assert count == {"figure": 3, "figcaption": 3}
    assert len(page.tables) == sum(name == "table" for name, _ in page.elements)
    heads = [a for name, a in page.elements if name == "th"]
    assert heads
    assert all(a.get("scope") in {"row", "col"} for a in heads)


def test_text_is_escaped(full):
    page = read_page(full)
    assert page.headings[0] == (1, "Two <lines>")
    assert not any(name in {"b", "lines"} for name, _ in page.elements)
    assert "Second </p>." in page.text
    assert "level 0 is coarse & quick".lower() in page.text.lower()


def test_same_arguments_same_bytes(fit, data, low_fit, tmp_path):
    options = {"data": data, "x_o": X_O, "low_fit": low_fit, "num_draws": 200, "seed": 3}
    first = report(fit, tmp_path / "a.html", **options).read_bytes()
    with mpl.rc_context({"axes.facecolor": "red", "font.size": 30, "savefig.dpi": 7}):
        before = dict(mpl.rcParams)
        second = report(fit, tmp_path / "b.html", **options).read_bytes()
        assert dict(mpl.rcParams) == before
    assert first == second
    other = report(fit, tmp_path / "c.html", **(options | {"seed": 4})).read_bytes()
    assert other != first


# --- what it says ----------------------------------------------------------------------------


def test_the_parameter_table_holds_the_draws(fit, full):
    from mlsbi._random import derive_seed

    draws = fit.sample(500, x=X_O, seed=derive_seed(0, "report", "this fit")).double()
    caption = "Parameters at the observation: mean, standard deviation and quantiles"
    rows = read_page(full).tables[caption]
    assert rows[0][:6] == ["parameter", "mean", "sd", "5 %", "median", "95 %"]
    for i, row in enumerate(rows[1:]):
        found = [float(cell.replace("−", "-")) for cell in row[1:6]]
        column = draws[:, i]
        quantiles = column.quantile(torch.tensor([0.05, 0.5, 0.95], dtype=torch.float64))
        wanted = [column.mean(), column.std(), *quantiles]
        assert found == pytest.approx([float(w) for w in wanted], abs=0.01)


def test_levels_and_costs(full):
    page = read_page(full)
    rows = page.tables["Runs of each level"]
    assert rows[1][:5] == ["0", "coarse & quick", "60", "1", "19%"]
    assert rows[2][:5] == ["1", "fine", "24 pairs", "10", "81%"]  # 24 x 11 of 60 + 264
    assert "costs as much as 10 of level 0" in page.text
    ends = page.tables["Where the parameters of the runs lie: smallest to largest"]
    assert ends[1][1] == "−1 to 1"


def test_a_fit_that_was_widened_says_so(fit, tmp_path):
    widened = replace(fit, calibration=Calibration((1.5, 1.5), "scale", 40, "cross-fitting"))
    page = read_page(report(widened, tmp_path / "r.html").read_text(encoding="utf-8"))
    assert "widened by a factor of 1.5 from 40 runs" in page.text
    assert 'mlsbi.calibrate(fit, check, method="scale", seed=0)' in page.text


def test_what_is_missing_is_said(fit, tmp_path):
    page = read_page(report(fit, tmp_path / "bare.html").read_text(encoding="utf-8"))
    for words in (
        "not checked",
        "without an observation",
        "without the data",
        "check = mlsbi.check",
    ):
        assert words in page.text
    names = [text for _, text in page.headings]
    assert "The observation" not in names
    assert "Warnings" not in names


def test_the_code_of_the_page_makes_the_fit_again(fit, data, full):
    source = next(
        block for block in re.findall(r"<code>(.*?)</code>", full, re.DOTALL) if "load(" in block
    )
    source = source.replace("&quot;", '"').replace('mlsbi.MultilevelData.load("runs.zarr")', "runs")
    names = {"runs": data}
    exec(source, names)  # noqa: S102  the block is what readers are told to run
    again = names["fit"]
    theta = data.theta(1)
    assert torch.equal(again.log_prob(theta, data.x(1)), fit.log_prob(theta, data.x(1)))


@pytest.mark.parametrize(
    "value",
    [
        mlsbi.Stack(candidates=(mlsbi.Bridge(), mlsbi.SingleLevel(level=0))),
        mlsbi.Stack(),
        mlsbi.Multilevel(training=mlsbi.Training(max_steps=7)),
        mlsbi.MDN(components=2),
    ],
)
def test_calls_in_words_give_the_same_again(value):
    assert eval(call_text(value), {"mlsbi": mlsbi}) == value  # noqa: S307


def test_the_fingerprint_is_of_every_number(data):
    assert runs_digest(data) == runs_digest(linear_data((60, 24), costs=[1.0, 10.0]))
    names = {runs_digest(data), runs_digest(linear_data((60, 24), seed=1))}
    names.add(runs_digest(linear_data((60, 23))))
    x = data.x(1).clone()
    x[5, 1] = x[5, 1].nextafter(torch.tensor(9.0))
    pairs = (data.theta(1), data.x_coarse(1), x)
    changed = mlsbi.MultilevelData.from_arrays(data.prior, [(data.theta(0), data.x(0)), pairs])
    names.add(runs_digest(changed))
    assert len(names) == 4


# --- checks ------------------------------------------------------------------------------------


def checked_page(fit, folder, check, **options):
    path = report(fit, folder / "checked.html", check=check, **options)
    return read_page(path.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def found(fit):
    """A check on runs that the fit has not seen."""
    test = linear_data((1, 50), seed=9)
    return mlsbi.check(fit, test.theta(1), test.x(1), num_draws=40, labels=["gain", "offset"])


def test_a_check_on_held_out_runs(fit, found, tmp_path):
    page = checked_page(fit, tmp_path, found)
    assert found.state.value in page.text
    rows = page.tables["Verdict by parameter"]
    assert [row[0] for row in rows[1:]] == ["all together", "gain", "offset"]
    assert [row[1] for row in rows[1:]] == [v.state.value for v in found.verdicts]
    factor = found.verdicts[1].scale
    assert rows[2][2] == f"{factor.value:.2f} ({factor.low:.2f} to {factor.high:.2f})"
    assert "Judged on 50 held-out runs" in page.text
    regions = page.tables["How often regions of highest density hold the truth"]
    half = float(found.coverage.empirical[found.coverage.levels.sub(0.5).abs().argmin()])
    assert regions[1][1] == f"{half:.0%}"
    pictures = {a["id"] for name, a in page.elements if name == "figure"}
    assert {"verdict-plot", "coverage-plot", "tarp-plot", "ranks-plot", "moments-plot"} <= pictures


def test_a_cross_fitted_check_says_who_wins(fit, data, tmp_path):
    rival = mlsbi.SingleLevel(training=tiny())
    found = mlsbi.check(fit, data, folds=2, num_draws=40, against=rival)
    page = checked_page(fit, tmp_path, found, data=data)
    assert "cross-fitting" in page.text
    assert found.comparison.text.rstrip(".") in page.text
    assert "Gain over SingleLevel" in page.text
    assert [row[0] for row in page.tables["Verdict by parameter"][2:]] == ["θ1", "θ2"]


def test_warnings_come_first(fit, found, tmp_path):
    warning = Finding("odd", "warning", "<Something> is odd.", "Look at it.")
    note = Finding("note", "note", "Good to know.")
    page = checked_page(fit, tmp_path, replace(found, findings=(note, warning)))
    names = [text for _, text in page.headings]
    assert names[1:3] == ["Summary", "Warnings"]
    text = page.text
    assert text.index("<Something> is odd.") < text.index("Good to know.")
    assert "Look at it." in text
    assert "There is a warning below." in text


def test_an_observation_far_away_is_warned_of(fit, data, tmp_path):
    options = {
        "data": data,
        "num_draws": 200,
        "overlay": False,
        "outputs": ["left", "mid", "right"],
    }
    near = read_page(report(fit, tmp_path / "near.html", x_o=X_O, **options).read_text("utf-8"))
    assert "Nothing speaks against it" in near.text
    far_x = X_O + torch.tensor([0.0, 12.0, 0.0])
    far = read_page(report(fit, tmp_path / "far.html", x_o=far_x, **options).read_text("utf-8"))
    assert [text for _, text in far.headings][2] == "Warnings"
    assert far.text.count("Nothing speaks against it") == 0
    assert "at the top of this page" in far.text
    rows = far.tables["x_o, output by output"]
    assert [row[0] for row in rows[1:]] == ["left", "mid", "right"]
    assert float(rows[2][1]) == pytest.approx(11.9, abs=0.06)


def test_a_check_of_another_fit_is_refused(likelihood, found, tmp_path):
    with pytest.raises(ValueError, match="check must be of this fit, a likelihood fit"):
        report(likelihood, tmp_path / "r.html", check=found)


# --- likelihood fits ---------------------------------------------------------------------------


def test_draws_of_a_likelihood_fit_are_its_posterior(likelihood):
    observations = torch.stack([X_O, X_O + 0.1])
    draws = draws_at(likelihood, observations, 4000, seed=5).double()
    grid = torch.cartesian_prod(*[torch.linspace(-0.995, 0.995, 200)] * 2)
    log_density = sum(likelihood.log_prob(grid, x).double() for x in observations)
    weights = torch.softmax(log_density, 0)
    mean = weights @ grid.double()
    sd = (weights @ (grid.double() - mean) ** 2).sqrt()
    error = sd / 2000**0.5  # the draws are worth half of their number at least
    assert ((draws.mean(0) - mean).abs() < 5 * error).all()
    assert ((draws.std(0) / sd - 1).abs() < 5 / 2000**0.5).all()
    one = draws_at(likelihood, X_O, 4000, seed=5).double()  # another posterior than that of two
    assert ((one.mean(0) - mean).abs() > 5 * error).any()


def test_a_likelihood_fit_and_its_level_alone(likelihood, data, tmp_path):
    path = report(
        likelihood, tmp_path / "r.html", data=data.top(), x_o=torch.stack([X_O] * 3), num_draws=200
    )
    page = read_page(path.read_text(encoding="utf-8"))
    assert "likelihood p ( x | θ )" in page.text
    assert "the only one" in page.text


# --- pieces ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "digits", "text"),
    [
        (0.0, 3, "0"), (1.0, 3, "1.00"), (-1.234, 3, "−1.23"), (999.6, 3, "1,000"),
        (1234567.0, 3, "1,234,567"), (0.09996, 3, "0.100"), (3.1e-6, 2, "3.1 × 10^−6"),
        (float("nan"), 3, "–"), (float("-inf"), 3, "−∞"), (None, 3, "–"), (1500, 3, "1,500"),
    ],
)  # fmt: skip
def test_numbers(value, digits, text):
    assert number(value, digits) == text


def test_numbers_without_zeros_at_the_end():
    assert [trimmed(v) for v in (1.0, 0.1, 100.0, 2.5e-7)] == ["1", "0.1", "100", "2.50 × 10^−7"]
    assert [duration(s) for s in (2e-5, 0.5, 42.0, 600.0, 9000.0)] == [
        "20\u00a0µs", "500\u00a0ms", "42\u00a0s", "10\u00a0min", "2.5\u00a0h",
    ]  # fmt: skip


def test_names_as_tex_has_them():
    assert rich(r"$\sigma_8$ & more") == '<span class="math">σ<sub>8</sub></span> &amp; more'
    assert rich(r"$\Omega_{\rm m}^2$") == '<span class="math">Ω<sub>m</sub><sup>2</sup></span>'
    assert plain(r"$\theta_{1}$ of $x$") == "θ_1 of x"
    assert rich("5 $ and <i>") == "5 $ and &lt;i&gt;"
    assert (
        tag("p", "<", None, tag("b", "x"), class_='a"b') == '<p class="a&quot;b">&lt;<b>x</b></p>'
    )
    assert "10<sup>−6</sup>" in table(["a", "b"], [["r", 1e-6]], caption="c")


def simple_figure(colour="0.4"):
    figure = Figure()
    ax = figure.add_subplot()
    ax.plot([0, 1], [0, 1], color=colour)
    ax.fill_between([0, 1], [1, 2], color="#0072B2")
    ax.set_title("words")
    return figure


def test_two_pictures_share_no_id_and_carry_no_date():
    first = svg_of(simple_figure, name="one", alt="a line")
    second = svg_of(simple_figure, name="two", alt="a line")
    ids = [set(re.findall(r' id="([^"]+)"', picture)) for picture in (first, second)]
    assert ids[0]
    assert not ids[0] & ids[1]
    used = set(re.findall(r'href="#([^"]+)"', first)) | set(re.findall(r"url\(#([^)]+)\)", first))
    assert used
    assert used <= ids[0]
    assert "metadata" not in first
    assert "<style" not in first


def test_colours_follow_the_page():
    picture = svg_of(simple_figure, name="one", alt="a line")
    assert "var(--c666666,#666666)" in picture
    assert "var(--c0072b2,#0072b2)" in picture
    assert not re.search(r"(?<![,#])#(?:666666|0072b2)", picture)
    rules = dark_colours(picture)
    assert "--c0072b2:#4aa8e8;" in rules
    # the palette, and black, are seen on the dark page as well as on the light one
    dark = dark_colours("".join(f"var(--c{c}," for c in PALETTE))
    for colour in re.findall(r":(#[0-9a-f]{6});", dark):
        assert contrast(colour, "#14171b") > 4.5


PALETTE = ("000000", "0072b2", "d55e00", "009e73", "cc79a7", "e69f00", "56b4e9")


def contrast(first, second):
    """Of the Web Content Accessibility Guidelines, version 2."""

    def luminance(colour):
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted([luminance(first), luminance(second)])
    return (high + 0.05) / (low + 0.05)


# --- wrong arguments ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"x_o": torch.zeros(4)}, ValueError, "x_o must have shape"),
        ({"x_o": torch.zeros(2, 3)}, ValueError, "x_o must have shape"),
        ({"theta_o": [0.1]}, ValueError, "theta_o must have shape"),
        ({"labels": ["a"]}, ValueError, "labels must hold 2"),
        ({"labels": "ab"}, TypeError, "labels must be a list"),
        ({"outputs": ["a"]}, ValueError, "outputs must hold 3"),
        ({"levels": ["a"]}, ValueError, "levels must hold 2"),
        ({"data": linear_data((60, 23))}, ValueError, "data must be the runs"),
        ({"data": 3}, TypeError, "data must be MultilevelData"),
        ({"predictive": torch.zeros(5, 2)}, ValueError, "predictive must have shape"),
        ({"num_draws": 1}, ValueError, "num_draws must be at least"),
        ({"seed": -1}, ValueError, "seed must lie"),
        ({"check": 3}, TypeError, "check must be Check"),
        ({"low_fit": 3}, TypeError, "low_fit must be"),
        ({"x_o": X_O, "others": {"a": torch.zeros(3, 5)}}, ValueError, "others"),
    ],
)
def test_wrong_arguments_are_named(fit, tmp_path, options, error, words):
    with pytest.raises(error, match=words):
        report(fit, tmp_path / "r.html", **options)
    assert not (tmp_path / "r.html").exists()


def test_files_that_are_there_stay(fit, tmp_path):
    path = tmp_path / "r.html"
    path.write_text("mine")
    with pytest.raises(ValueError, match="exists already"):
        report(fit, path)
    assert path.read_text() == "mine"
    assert report(fit, path, overwrite=True) == path
    with pytest.raises(ValueError, match="got the folder"):
        report(fit, tmp_path)
    with pytest.raises(ValueError, match="no folder"):
        report(fit, tmp_path / "no" / "r.html")
    with pytest.raises(TypeError, match="path must be"):
        report(fit, 3)
    with pytest.raises(TypeError, match="fit must be"):
        report("fit", tmp_path / "s.html")
