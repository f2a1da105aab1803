#!/usr/bin/env bash
# ESC-10, five official folds: Att-CRNN and CNN of Phan 2019 on log-mel and log-gammatone, softmax and SVM, fusion.
# A stopped recipe goes on where it was; any stage can be run again alone.
#
#   --corpus DIR                where ESC-10 or ESC-50 lies (audio/ and meta/esc50.csv, or the older folders of ogg files)
#   --stage N, --stop-stage N   from and up to which stage (1 prep, 2 denoise, 3 featurize, 4 train, 5 extract, 6 svm,
#                               7 fuse, 8 score)
#   --folds 1-5                 which folds
#   --networks "att_crnn cnn"   which networks
#   --features "logmel gammatone"
#   --denoised true|false       whether the denoised recording is a second channel
#   --schedule cpu|paper        cpu: conf/*.toml, some 30 epochs; paper: 500 epochs as published, for a GPU
#   --epochs N                  of training (0: the schedule's)
#   --valid next                validate on the next fold (3-1-1); results of such runs are for choosing settings
#   --monitor test              write the test accuracy of every epoch into the history (it chooses nothing)
#   --device auto|cpu|cuda      where networks compute
#   --jobs N                    processes, and trainings side by side (0: one a core)
#   --out DIR                   where everything goes
#   --seed N

# shellcheck disable=SC2034,SC2154  # begin.sh reads the options and sets fold_list and parallel
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)

corpus=""
stage=1
stop_stage=8
folds=1-5
networks="att_crnn cnn"
features="logmel gammatone"
denoised=true
schedule=cpu
epochs=0
valid=""
monitor=""
device=auto
jobs=0
out="$here/exp"
seed=0

. "$here/../common/begin.sh"

if due 1; then
  if [ -z "$corpus" ]; then
    echo "$0: give --corpus DIR, where ESC-10 or ESC-50 lies" >&2
    exit 2
  fi
  run prep esc10 "$corpus" "$out/data" "${parallel[@]}" ${valid:+--valid "$valid"}
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
  local name=$1
  local fold=${name%%/*} network feature options=(--config phan2019)
  network=${name#*/}
  feature=${network#*-} network=${network%-*} fold=${fold#fold}
  local system="$out/fold$fold/$network-$feature"
  mkdir -p "$out/fold$fold"
  if due 4; then
    [ "$schedule" = paper ] || options=(--config "$here/conf/$network.toml")
    [ "$epochs" -eq 0 ] || options+=(--epochs "$epochs")
    run train "$out/$feature" "$system-run" --model "$network" --fold "$fold" --mix between_class \
      "${options[@]}" --seed "$seed" --device "$device" ${monitor:+--monitor "$monitor"}
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

results=()
for fold in $fold_list; do
  for network in $networks; do
    for feature in $features; do
      for back_end in softmax svm; do results+=("$out/fold$fold/$network-$feature-$back_end"); done
    done
  done
done

if due 7; then
  mkdir -p "$out/clips" "$out/fused"
  for back_end in softmax svm; do
    for network in $networks; do
      both=()
      for feature in $features; do
        inputs=()
        for fold in $fold_list; do inputs+=("$out/fold$fold/$network-$feature-$back_end"); done
        run fuse "${inputs[@]}" "$out/clips/$network-$feature-$back_end"
        both+=("${inputs[@]}")
      done
      run fuse "${both[@]}" "$out/fused/$network-$back_end" --level segment --system "$network fused $back_end"
      run fuse "$out/fused/$network-$back_end" "$out/clips/$network-$back_end"
    done
    all=()
    for network in $networks; do all+=("$out/fused/$network-$back_end"); done
    run fuse "${all[@]}" "$out/fused/all-$back_end" --level segment --system "all fused $back_end"
    run fuse "$out/fused/all-$back_end" "$out/clips/all-$back_end"
  done
fi
if due 8; then
  clips=()
  for path in "$out"/clips/*; do
    [ "$path" = "$out/clips/all-svm" ] || clips+=("$path")
  done
  run score "${results[@]}" "$out"/fused/* "${clips[@]}" "$out/clips/all-svm" --out "$out/scores" --force
fi
