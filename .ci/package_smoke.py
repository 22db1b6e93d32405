"""The installed package from simulators to a posterior, small; run away from the sources."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path

import mlsbi

heavy = {"sbi", "matplotlib", "scipy", "pydantic", "rich", "typer"} & set(sys.modules)
if heavy:
    raise SystemExit(f"import mlsbi imports {', '.join(sorted(heavy))}")
home = Path(mlsbi.__file__).parent
if not home.is_relative_to(sys.prefix):
    raise SystemExit(f"mlsbi comes from {home}, not from the environment")
if version("mlsbi") != mlsbi.__version__ or not files(mlsbi).joinpath("py.typed").is_file():
    raise SystemExit("the version or py.typed is not right")

task = mlsbi.tasks.linear_gaussian()
data = mlsbi.simulate(task.hierarchy, [60, 20, 10], seed=1, store="runs.zarr")
fit = mlsbi.fit_posterior(
    data,
    seed=2,
    ensemble=2,
    strategy=mlsbi.Multilevel(),
    training=mlsbi.Training(max_steps=10, evaluate_every=5),
)
x_o = data.x(2)[0]
fit.save("fit")
same = mlsbi.load_fit("fit")
if not (fit.sample(5, x=x_o, seed=3) == same.sample(5, x=x_o, seed=3)).all():
    raise SystemExit("a loaded fit draws other samples")
fit.posterior(x_o).sample((5,), show_progress_bars=False)
mlsbi.report(fit, "report.html", data=data, x_o=x_o)
if "<style>" not in Path("report.html").read_text(encoding="utf-8"):
    raise SystemExit("the report has no style")

command = Path(sys.executable).parent / "mlsbi"
for words in (["init", "study"], ["status", "study/study.toml"]):
    subprocess.run([command, *words], check=True, stdout=subprocess.DEVNULL)
print("smoke: runs, a fit, a report and a study, all from the installed wheel")
