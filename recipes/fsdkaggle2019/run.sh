#!/usr/bin/env bash
# FSDKaggle2019: the audio tagger of Jung 2020 (Akiyama 2019's ResNet), in two steps. A first network learns from curated
# and from noisy labels, each with its own head, and tags the noisy clips; a second one learns from these soft tags in the
# place of the noisy labels. Judged by lwlrap on the official test clips.
# A stopped recipe goes on where it was; any stage can be run again alone.
#
#   --corpus DIR                where FSDKaggle2019.audio_*/ and FSDKaggle2019.meta/ lie, or Kaggle's own layout
#   --stage N, --stop-stage N   from and up to which stage (1 prep, 2 featurize, 3 train the first, 4 tag with it,
#                               5 train the second, 6 tag with it, 7 score)
#   --folds 1-5                 which fifth of the curated clips validates (it chooses nothing but with --select valid)
#   --schedule paper|try        paper: eight cycles of 64 epochs, for a GPU; try: two epochs of a tiny network
#   --epochs N                  of each training (0: the schedule's)
#   --select last|valid         which epoch is kept
#   --partial true|false        do with the clips that are there
#   --device "auto"             where networks compute: auto, cpu, cuda, or several such as "cuda:0 cuda:1" in turn
#   --jobs N                    processes, and trainings side by side (0: one a core)
#   --out DIR                   where everything goes: 10 GB for features
#   --seed N

# shellcheck disable=SC2034,SC2154  # begin.sh reads the options and sets fold_list
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)

corpus=""
stage=1
stop_stage=7
folds=1-5
schedule=paper
epochs=0
select=last
partial=false
device=auto
jobs=0
out="$here/exp"
seed=0

. "$here/../common/begin.sh"
one_of schedule paper try
one_of select last valid
one_of partial true false
whole epochs seed

settings=(--config akiyama2019)
[ "$schedule" = paper ] || settings=(--config "$here/conf/$schedule.toml")

if due 1; then
  [ -n "$corpus" ] || slip "give --corpus DIR, where FSDKaggle2019 lies"
  options=()
  [ "$partial" = false ] || options+=(--set allow_partial=true --set allow_missing_classes=true)
  run prep fsdkaggle2019 "$corpus" "$out/data" "${settings[@]}" "${parallel[@]}" "${options[@]}"
fi
if due 2; then
  run featurize "$out/data" "$out/logmel" --type logmel "${settings[@]}" "${parallel[@]}"
fi

# Both networks of a fold, named as fold1.
one_fold() {
  local fold=${1#fold} base="$out/$1" where more=()
  where=$(device_of "$(place_of "$fold")")
  mkdir -p "$base"
  [ "$epochs" -eq 0 ] || more+=(--epochs "$epochs")
  if due 3; then
    run train "$out/logmel" "$base/first-run" --model tag_resnet --fold "$fold" "${settings[@]}" "${more[@]}" \
      --select "$select" --seed "$seed" --device "$where"
  fi
  if due 4; then
    run extract "$base/first-run" "$out/logmel" "$base/first-tags" --kind tag --device "$where" \
      --system "tag_resnet, labels"
  fi
  if due 5; then
    run train "$out/logmel" "$base/second-run" --model tag_resnet --fold "$fold" "${settings[@]}" "${more[@]}" \
      --soft-targets "$base/first-tags" --select "$select" --seed "$seed" --device "$where"
  fi
  if due 6; then
    run extract "$base/second-run" "$out/logmel" "$base/second-tags" --kind tag --device "$where" \
      --system "tag_resnet, soft tags of noisy clips"
  fi
}

if due 3 || due 4 || due 5 || due 6; then
  names=()
  for fold in $fold_list; do names+=("fold$fold"); done
  side_by_side "$jobs" "$out/logs" one_fold "${names[@]}"
fi
if due 7; then
  results=()
  for fold in $fold_list; do results+=("$out/fold$fold/first-tags" "$out/fold$fold/second-tags"); done
  run score "${results[@]}" --out "$out/scores" --force
fi
