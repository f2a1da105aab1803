#!/usr/bin/env bash
# ESC-10, five official folds: raw_resnet of Jung 2020 with and without tags, softmax and SVM.
# The tags are those of tag_resnets that learn from mixtures of clips. They are cross-fitted: a clip is tagged by a network
# that has heard neither its fold nor the fold that is tested, so that tags of training and of test clips are of one kind.
# A stopped recipe goes on where it was; any stage can be run again alone.
#
#   --corpus DIR                where ESC-10 or ESC-50 lies, as for run.sh
#   --stage N, --stop-stage N   from and up to which stage (1 prep, 2 featurize, 3 train taggers, 4 tags, 5 train, 6 extract,
#                               7 svm, 8 fuse, 9 score)
#   --folds 1-5                 which folds; each needs four taggers, all five ten
#   --system "none both-4-3"    none codecat codecat_transform, before_code-LAYERS, attention-HEADS-LAYERS,
#                               both-HEADS-LAYERS, separate-HEADS-LAYERS-ATTENTION_LAYERS; the first two are compared
#   --kernel "rbf"              of the SVM, one or several of linear rbf sigmoid tune
#   --schedule cpu|try          cpu: conf/raw_resnet.toml, conf/tag_resnet.toml; try: two epochs of tiny networks
#   --epochs N                  of raw_resnet (0: the schedule's)
#   --partial true|false        do with the clips that are there
#   --device "auto"             where networks compute: auto, cpu, cuda, or several such as "cuda:0 cuda:1" in turn
#   --jobs N                    processes, and trainings side by side (0: one a core)
#   --out DIR                   where everything goes
#   --seed N

# shellcheck disable=SC2034,SC2154  # begin.sh reads the options, and sets common, fold_list and parallel
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)

corpus=""
stage=1
stop_stage=9
folds=1-5
system="none both-4-3"
kernel=rbf
schedule=cpu
epochs=0
partial=false
device=auto
jobs=0
out="$here/exp/jung2020"
seed=0

. "$here/../common/begin.sh"
. "$common/raw_resnet.sh"
words kernel linear rbf sigmoid tune
one_of schedule cpu try
one_of partial true false
whole epochs seed

tagged=false
for name in $system; do
  options_of "$name" > /dev/null
  [ "$name" = none ] || tagged=true
done

short=""
[ "$schedule" != try ] || short=try-
waves=(--config "$here/conf/${short}raw_resnet.toml")
spectra=(--config "$here/conf/${short}tag_resnet.toml")

if due 1; then
  [ -n "$corpus" ] || slip "give --corpus DIR, where esc10 lies"
  options=()
  [ "$partial" = false ] || options+=(--set allow_partial=true)
  run prep esc10 "$corpus" "$out/data" "${parallel[@]}" "${options[@]}"
  if [ "$tagged" = true ]; then
    python3 "$here/parts.py" "$out/data" "$out/parts.csv"
    run prep table "$out/parts.csv" "$out/parts" --set allow_absolute=true "${parallel[@]}"
  fi
fi
if due 2; then
  run featurize "$out/data" "$out/waveforms" --type waveform "${waves[@]}" "${parallel[@]}"
  if [ "$tagged" = true ]; then
    run featurize "$out/parts" "$out/logmel" --type logmel "${spectra[@]}" "${parallel[@]}"
  fi
fi

# pair_of I J prints the fold of parts.py that leaves both out.
pair_of() { if [ "$1" -lt "$2" ]; then echo "$1$2"; else echo "$2$1"; fi; }

# tags_of FOLD CLIPS prints where the tags of the test clips of fold CLIPS lie that a network without both folds made.
tags_of() {
  local pair subset=valid
  pair=$(pair_of "$1" "$2")
  [ "$2" -ne "${pair:0:1}" ] || subset="test"
  echo "$out/taggers/$pair/tags-$subset"
}

# One tagger, named by its pair of folds, and its tags of both.
one_tagger() {
  local pair=$1 base="$out/taggers/$1" where subset
  where=$(device_of $((pair % 10)))
  mkdir -p "$base"
  if due 3; then
    run train "$out/logmel" "$base/run" --model tag_resnet --fold "$pair" "${spectra[@]}" --seed "$seed" \
      --device "$where"
  fi
  if due 4; then
    for subset in test valid; do
      run extract "$base/run" "$out/logmel" "$base/tags-$subset" --kind tag --subset "$subset" --device "$where"
    done
  fi
}

if [ "$tagged" = true ] && { due 3 || due 4; }; then
  pairs=()
  for fold in $fold_list; do
    for other in 1 2 3 4 5; do
      pair=$(pair_of "$fold" "$other")
      [ "$fold" -eq "$other" ] || [[ " ${pairs[*]} " = *" $pair "* ]] || pairs+=("$pair")
    done
  done
  side_by_side "$jobs" "$out/logs/taggers" one_tagger "${pairs[@]}"
fi

# Train, extract and svm of one system in one fold, named as fold1/both-4-3.
one_system() {
  local fold name base="$out/$1" options=() own=() where other one
  fold=${1%%/*} name=${1#*/}
  fold=${fold#fold}
  where=$(device_of "$fold")
  mkdir -p "$out/fold$fold"
  read -ra options <<< "$(options_of "$name")"
  if [ "$name" != none ]; then
    for other in 1 2 3 4 5; do
      [ "$other" -eq "$fold" ] || own+=(--tags "$(tags_of "$fold" "$other")")
    done
    own+=(--tags "$(tags_of $((fold % 5 + 1)) "$fold")") # of the test clips: by the network without the next fold
  fi
  if due 5; then
    [ "$epochs" -eq 0 ] || options+=(--epochs "$epochs")
    run train "$out/waveforms" "$base-run" --model raw_resnet --fold "$fold" "${waves[@]}" "${options[@]}" "${own[@]}" \
      --seed "$seed" --device "$where"
  fi
  if due 6; then
    run extract "$base-run" "$out/waveforms" "$base-softmax" --kind posterior "${own[@]}" \
      --system "raw_resnet ${name//-/ } softmax" --device "$where"
    run extract "$base-run" "$out/waveforms" "$base-code" --kind embedding "${own[@]}" \
      --system "raw_resnet ${name//-/ }" --device "$where"
  fi
  if due 7; then
    for one in $kernel; do
      own=(--kernel "$one" --config jung2020)
      [ "$one" != tune ] || own=(--tune)
      run svm "$base-code" "$base-$one" --system "raw_resnet ${name//-/ } $one" "${own[@]}" --seed "$seed"
    done
  fi
}

if due 5 || due 6 || due 7; then
  systems=()
  for fold in $fold_list; do
    mkdir -p "$out/logs/fold$fold"
    for name in $system; do systems+=("fold$fold/$name"); done
  done
  side_by_side "$jobs" "$out/logs" one_system "${systems[@]}"
fi
if due 8; then
  mkdir -p "$out/clips"
  for name in $system; do
    for back_end in softmax $kernel; do
      results=()
      for fold in $fold_list; do results+=("$out/fold$fold/$name-$back_end"); done
      run fuse "${results[@]}" "$out/clips/$name-$back_end" --rule mean --force
    done
  done
fi

# The taggers by themselves, by lwlrap: with one label a clip, the mean of one through the rank of the right one.
if due 9; then
  if [ "$tagged" = true ]; then
    run score "$out"/taggers/*/tags-test --out "$out/tagger-scores" --force
  fi
  read -r first second _ <<< "$system"
  compare=()
  [ -z "$second" ] || compare=(--compare "raw_resnet ${first//-/ } softmax" "raw_resnet ${second//-/ } softmax")
  run score "$out"/clips/* --out "$out/scores" "${compare[@]}" --force
fi
