#!/usr/bin/env bash
# The tables of README.md: every cell of the paper's tasks, resumable. About an hour on one core.
# Usage: bash benchmarks/paper_tables.sh FOLDER_OF_CAMELS [first|second]
# Seeds 10 and up: settings were chosen while looking at seeds 0, 1 and 100 to 104.
set -eu
folder=$1
part=${2:-all}
out=benchmarks/results
bench() { mlsbi bench "$@" --first-seed 10; }
ours="--strategy single --strategy multilevel --strategy transfer"
ablation="--strategy multilevel-rescale --strategy multilevel-project --strategy multilevel-none"
paper_ablation="--strategy paper@2000 --strategy paper-rescale@2000 --strategy paper-project@2000 --strategy paper-none@2000"

if [ "$part" != second ]; then
    bench ou $ours --strategy paper --single-runs 200,500,1000 --seeds 5 --out $out/ou.csv
    bench g-and-k-npe $ours --strategy paper --single-runs 500,1000 --seeds 5 --out $out/g-and-k-npe.csv
    bench camels-sigma8 $ours --strategy paper --single-runs 800 --seeds 5 --data "$folder" --out $out/camels-sigma8.csv
    bench camels-2 $ours --strategy paper --single-runs 800 --seeds 5 --data "$folder" --out $out/camels-2.csv
    bench g-and-k-npe --strategy multilevel --estimator nsf --budget 1000,100 --seeds 3 --out $out/g-and-k-npe.csv
    bench ou --strategy single --strategy multilevel --estimator nsf --budget 1000,100 --budget 1000,10 --seeds 3 --out $out/nsf.csv
    bench g-and-k-npe --strategy multilevel --estimator nsf --budget 1000,10 --seeds 3 --out $out/nsf.csv
fi
if [ "$part" != first ]; then
    bench toggle $ours --single-runs 2010,10000 --seeds 3 --out $out/toggle.csv
    bench toggle $ablation $paper_ablation --paper-estimator mdn:1 --budget 10000,500,100 --seeds 3 --out $out/toggle.csv
    bench g-and-k-nle $ours --single-runs 300,10000 --seeds 5 --out $out/g-and-k-nle.csv
    bench g-and-k-nle --strategy paper --paper-estimator mdn:1 --budget 10000,50 --budget 10000,300 --seeds 3 --out $out/g-and-k-nle.csv
fi
