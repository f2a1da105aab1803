#!/usr/bin/env bash
# DCASE 2013 scenes, 100 real clips of 30 s, five stratified folds: Att-CRNN and CNN of Phan 2019 on log-mel and
# log-gammatone, softmax and SVM, fusion. The folds are made from --seed: none were published.
# A stopped recipe goes on where it was; any stage can be run again alone.
#
#   --corpus DIR                where the clips lie (bus01.wav to tubestation10.wav, or scenes_stereo/ with them)
#                               (make_tree.py makes such a tree of made sounds to try this on)
#   --download true|false       fetch and check scenes_stereo.zip (362 MB) into DIR first
#   --stage N, --stop-stage N   from and up to which stage (1 prep, 2 denoise, 3 featurize, 4 train, 5 extract, 6 svm,
#                               7 fuse, 8 score)
#   --folds 1-5                 which folds
#   --networks "att_crnn cnn"   which networks
#   --features "logmel gammatone"
#   --denoised true|false       whether the denoised recording is a second channel
#   --schedule cpu|paper        cpu: conf/*.toml, 30 epochs; paper: 500 epochs as published, for a GPU
#   --epochs N                  of training (0: the schedule's)
#   --device auto|cpu|cuda      where networks compute
#   --jobs N                    processes, and trainings side by side (0: one a core)
#   --out DIR                   where everything goes
#   --seed N                    of the folds too

# shellcheck disable=SC2034,SC2154  # begin.sh reads the options and sets fold_list and parallel
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)

corpus=""
download=false
stage=1
stop_stage=8
folds=1-5
networks="att_crnn cnn"
features="logmel gammatone"
denoised=true
schedule=cpu
epochs=0
device=auto
jobs=0
out="$here/exp"
seed=0

. "$here/../common/begin.sh"
one_of download true false
words networks att_crnn cnn
words features logmel gammatone
one_of denoised true false
one_of schedule cpu paper
whole epochs seed

if due 1; then
  [ -n "$corpus" ] || slip "give --corpus DIR, where the clips of DCASE 2013 lie (or are to lie, with --download true)"
  fetch=()
  [ "$download" = false ] || fetch=(--download)
  run prep dcase2013 "$corpus" "$out/data" --seed "$seed" "${parallel[@]}" "${fetch[@]}"
fi
if due 2 && [ "$denoised" = true ]; then
  run denoise "$out/data" "$out/denoised" "${parallel[@]}"
fi
if due 3; then
  channels=()
  [ "$denoised" = false ] || channels=(--denoised "$out/denoised")
  for feature in $features; do
    run featurize "$out/data" "$out/$feature" --type "$feature" --config phan2019 "${channels[@]}" "${parallel[@]}"
  done
fi

# Train, extract and svm of one system in one fold, named as fold1/att_crnn-logmel.
one_system() {
  local fold=${1%%/*} network=${1#*/} feature=${1##*-} options=(--config phan2019)
  fold=${fold#fold} network=${network%-*}
  local system="$out/fold$fold/$network-$feature"
  mkdir -p "$out/fold$fold"
  if due 4; then
    [ "$schedule" = paper ] || options=(--config "$here/conf/$network.toml")
    [ "$epochs" -eq 0 ] || options+=(--epochs "$epochs")
    run train "$out/$feature" "$system-run" --model "$network" --fold "$fold" --mix between_class \
      "${options[@]}" --seed "$seed" --device "$device"
  fi
  if due 5; then
    run extract "$system-run" "$out/$feature" "$system-softmax" --kind posterior --device "$device"
    run extract "$system-run" "$out/$feature" "$system-embedding" --kind embedding --device "$device"
  fi
  if due 6; then
    run svm "$system-embedding" "$system-svm" --seed "$seed"
  fi
}

systems=()
for fold in $fold_list; do
  mkdir -p "$out/logs/fold$fold"
  for network in $networks; do
    for feature in $features; do systems+=("fold$fold/$network-$feature"); done
  done
done
if due 4 || due 5 || due 6; then
  side_by_side "$jobs" "$out/logs" one_system "${systems[@]}"
fi

# Segments to clips and both features to one, by the product. Made anew each time (--force): a second call may bring
# further folds.
results=()
mkdir -p "$out/clips" "$out/fused"
for network in $networks; do
  for back_end in softmax svm; do
    both=()
    for feature in $features; do
      name="$network-$feature-$back_end" inputs=()
      for fold in $fold_list; do inputs+=("$out/fold$fold/$name"); done
      ! due 7 || run fuse "${inputs[@]}" "$out/clips/$name" --force
      results+=("${inputs[@]}" "$out/clips/$name")
      both+=("${inputs[@]}")
    done
    [ "$features" != "${features#* }" ] || continue # one feature alone is not fused with another
    name="$network-$back_end"
    if due 7; then
      run fuse "${both[@]}" "$out/fused/$name" --level segment --system "$network fused $back_end" --force
      run fuse "$out/fused/$name" "$out/clips/$name" --force
    fi
    results+=("$out/fused/$name" "$out/clips/$name")
  done
done
if due 8; then
  run score "${results[@]}" --out "$out/scores" --force
fi
