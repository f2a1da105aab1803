#!/usr/bin/env bash
# The whole chain on a small made corpus: six scenes that share their textures and events. Some minutes on two cores.
#
#   --stage N, --stop-stage N   from and up to which stage (1 prep, 2 denoise, 3 featurize, 4 augment, 5 train,
#                               6 extract, 7 svm, 8 fuse, 9 score)
#   --folds 1, --folds 1-3      which folds
#   --epochs N                  of training
#   --clips N, --seconds S      clips a scene, and their length
#   --device auto|cpu|cuda      where networks compute
#   --jobs N                    processes, and trainings side by side (0: one a core)
#   --out DIR                   where everything goes
#   --seed N

# shellcheck disable=SC2034,SC2154  # begin.sh reads the options and sets fold_list and parallel
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)

stage=1
stop_stage=9
folds=1
epochs=10
clips=20
seconds=4
device=auto
jobs=0
out="$here/exp"
seed=0

. "$here/../common/begin.sh"
whole epochs clips seed

if due 1; then
  run prep synthetic "$out/audio" "$out/data" --seed "$seed" "${parallel[@]}" \
    --set n_clips_per_class="$clips" --set seconds="$seconds" --set sample_rate=22050
fi
if due 2; then
  run denoise "$out/data" "$out/denoised" "${parallel[@]}"
fi
if due 3; then
  for feature in logmel gammatone; do
    run featurize "$out/data" "$out/$feature" --type "$feature" --denoised "$out/denoised" \
      --set sample_rate=22050 "${parallel[@]}"
  done
fi

# Augment, train, extract and svm of one feature in one fold, named as fold1/logmel.
one_system() {
  local fold=${1%%/*} feature=${1#*/} dir="$out/${1%%/*}" kind
  fold=${fold#fold}
  mkdir -p "$dir"
  if due 4; then
    # A fixed set of mixed rows, three for each training row; recipes/esc10 mixes afresh in every epoch instead.
    run augment "$out/$feature" "$dir/$feature-mixed" --method between_class --fold "$fold" --seed "$seed" \
      --set rows_per_row=3.0
  fi
  if due 5; then
    run train "$dir/$feature-mixed" "$dir/$feature-run" --model att_crnn --fold "$fold" --epochs "$epochs" \
      --config "$here/conf/train.toml" --seed "$seed" --device "$device"
  fi
  if due 6; then
    for kind in posterior embedding; do
      run extract "$dir/$feature-run" "$out/$feature" "$dir/$feature-$kind" --kind "$kind" --device "$device"
    done
  fi
  if due 7; then
    run svm "$dir/$feature-embedding" "$dir/$feature-svm" --seed "$seed"
  fi
}

systems=()
for fold in $fold_list; do
  mkdir -p "$out/logs/fold$fold"
  systems+=("fold$fold/logmel" "fold$fold/gammatone")
done
if due 4 || due 5 || due 6 || due 7; then
  side_by_side "$jobs" "$out/logs" one_system "${systems[@]}"
fi
if due 8; then
  mkdir -p "$out/clips" "$out/fused"
  for back_end in posterior svm; do
    both=()
    for feature in logmel gammatone; do
      inputs=()
      for fold in $fold_list; do inputs+=("$out/fold$fold/$feature-$back_end"); done
      run fuse "${inputs[@]}" "$out/clips/$feature-$back_end"
      both+=("${inputs[@]}")
    done
    run fuse "${both[@]}" "$out/fused/$back_end" --level segment --system "att_crnn fused ${back_end/posterior/softmax}"
    run fuse "$out/fused/$back_end" "$out/clips/fused-$back_end"
  done
fi
if due 9; then
  segments=()
  for fold in $fold_list; do segments+=("$out/fold$fold"/{logmel,gammatone}-{posterior,svm}); done
  run score "${segments[@]}" "$out/fused"/{posterior,svm} "$out/clips"/{logmel,gammatone,fused}-{posterior,svm} --out "$out/scores" --force
fi
