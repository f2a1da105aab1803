#!/usr/bin/env bash
# LITIS Rouen, 20 splits of 2419 / 607 clips: Tables 2 and 3 of Phan 2019, the paper's numbers beside those measured.
# Att-CRNN and CNN on log-mel and log-gammatone, softmax and SVM, and the fusion of both features.
# A stopped recipe goes on where it was; any stage can be run again alone, for any of the splits.
#
#   --corpus DIR                where LITIS lies: data_rouen/, relation_wav_examples.txt, the files of the splits
#                               (make_tree.py makes such a tree of short made sounds to try this on)
#   --stage N, --stop-stage N   from and up to which stage (1 prep, 2 denoise, 3 featurize, 4 train, 5 extract, 6 svm,
#                               7 fuse, 8 score)
#   --splits 1-20               which splits; 1-3 and 1,5 do too (--folds is the same)
#   --networks "att_crnn cnn"   which networks
#   --features "logmel gammatone"
#   --back-ends "softmax svm"   the network's own output, the calibrated SVM on its embeddings (the paper's)
#   --denoised true|false       whether the denoised recording is a second channel
#   --schedule paper|cpu|try    paper: 500 epochs as published, for a GPU; cpu: 30 epochs; try: two epochs of tiny
#                               networks, to see it run (conf/*.toml)
#   --epochs N                  of training (0: the schedule's)
#   --monitor test              write the test accuracy of every epoch into the history (figure 2; it chooses nothing)
#   --device auto|cpu|cuda      where networks compute
#   --jobs N                    processes, and trainings side by side (0: one a core)
#   --out DIR                   where everything goes: about 50 MB a split and system, 2 GB for features
#   --seed N

# shellcheck disable=SC2034,SC2154  # begin.sh reads the options and sets fold_list and parallel
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)

corpus=""
stage=1
stop_stage=8
folds=1-20
splits=""
networks="att_crnn cnn"
features="logmel gammatone"
back_ends="softmax svm"
denoised=true
schedule=paper
epochs=0
monitor=""
device=auto
jobs=0
out="$here/exp"
seed=0

. "$here/../common/begin.sh"
[ -z "$splits" ] || fold_list=$(expand_range "$splits")
words networks att_crnn cnn
words features logmel gammatone
words back_ends softmax svm
one_of denoised true false
one_of schedule paper cpu try
whole epochs seed

if due 1; then
  [ -n "$corpus" ] || slip "give --corpus DIR, where LITIS Rouen lies"
  run prep litis "$corpus" "$out/data" "${parallel[@]}" --seed "$seed"
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

# Train, extract and svm of one system in one split, named as fold1/att_crnn-logmel.
one_system() {
  local name=$1
  local fold=${name%%/*} network feature options=(--config phan2019)
  network=${name#*/}
  feature=${network#*-} network=${network%-*} fold=${fold#fold}
  local system="$out/fold$fold/$network-$feature"
  mkdir -p "$out/fold$fold"
  if due 4; then
    case "$schedule" in
      cpu) options=(--config "$here/conf/$network.toml") ;;
      try) options=(--config "$here/conf/try-$network.toml") ;;
    esac
    [ "$epochs" -eq 0 ] || options+=(--epochs "$epochs")
    run train "$out/$feature" "$system-run" --model "$network" --fold "$fold" --mix between_class \
      "${options[@]}" --seed "$seed" --device "$device" ${monitor:+--monitor "$monitor"}
  fi
  if due 5; then
    [[ "$back_ends" != *softmax* ]] ||
      run extract "$system-run" "$out/$feature" "$system-softmax" --kind posterior --device "$device"
    [[ "$back_ends" != *svm* ]] ||
      run extract "$system-run" "$out/$feature" "$system-embedding" --kind embedding --device "$device"
  fi
  if due 6 && [[ "$back_ends" = *svm* ]]; then
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

# Segments of 2 s to clips of 30 s, and both features to one, by the product of their probabilities (section 4.5).
# Made anew each time (--force): a second call may bring further splits.
if due 7; then
  mkdir -p "$out/clips" "$out/fused"
  for back_end in $back_ends; do
    for network in $networks; do
      both=()
      for feature in $features; do
        inputs=()
        for fold in $fold_list; do inputs+=("$out/fold$fold/$network-$feature-$back_end"); done
        run fuse "${inputs[@]}" "$out/clips/$network-$feature-$back_end" --rule product --force
        both+=("${inputs[@]}")
      done
      fused="$network-$back_end"
      run fuse "${both[@]}" "$out/fused/$fused" --level segment --system "$network fused $back_end" --force
      run fuse "$out/fused/$fused" "$out/clips/$fused" --force
    done
  done
fi
if due 8; then
  results=()
  for network in $networks; do
    for back_end in $back_ends; do
      for feature in $features; do
        for fold in $fold_list; do results+=("$out/fold$fold/$network-$feature-$back_end"); done
        results+=("$out/clips/$network-$feature-$back_end")
      done
      results+=("$out/fused/$network-$back_end" "$out/clips/$network-$back_end")
    done
  done
  run score "${results[@]}" --out "$out/scores" --force
  if [ -e "$out/scores/scores.json" ]; then
    python3 "$here/paper_tables.py" "$out/scores/scores.json"
  fi
fi
