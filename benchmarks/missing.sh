#!/usr/bin/env bash
# Runs what the benchmark page needs and benchmarks/results/paper.csv lacks, the quickest first, and
# draws the page and its figures anew. It may be stopped, and goes on where it was.
# Usage: bash benchmarks/missing.sh FOLDER_OF_CAMELS [more options of mlsbi bench, such as --jobs 2]
# Results from elsewhere first: python benchmarks/merge.py --out benchmarks/results/paper.csv \
#     benchmarks/results/paper.csv OTHER.csv
set -eu
folder=$1
shift
OMP_NUM_THREADS=1 mlsbi bench --all --data "$folder" --out benchmarks/results/paper.csv \
    --figures docs/images/bench --page docs/benchmarks.md "$@"
