#!/usr/bin/env bash
# TAU Urban Acoustic Scenes 2019, the official split: every row of Tables 2 to 5 of Jung 2020, the paper's numbers beside.
# raw_resnet on 48 kHz stereo with the tags of a tagger that recipes/fsdkaggle2019 trained; softmax and SVM.
# A stopped recipe goes on where it was; any stage can be run again alone.
#
#   --corpus DIR                where TAU-urban-acoustic-scenes-2019-development lies
#   --download true|false       fetch it there first (36 GB)
#   --tagger RUN                a trained tagger, such as ../fsdkaggle2019/exp/fold1/second-run
#   --stage N, --stop-stage N   from and up to which stage (1 prep, 2 featurize, 3 tags, 4 train, 5 extract, 6 svm,
#                               7 fuse, 8 score)
#   --table "2 3 4 5"           all systems of these tables
#   --system "none both-4-3"    these systems (without --table): none codecat codecat_transform, before_code-LAYERS,
#                               attention-HEADS-LAYERS, both-HEADS-LAYERS (shared layers),
#                               separate-HEADS-LAYERS-ATTENTION_LAYERS
#   --kernel "rbf sigmoid"      of the SVM; tune: chosen by --tune inside the training clips
#   --schedule paper|try        paper: 90 epochs, for a GPU; try: two epochs of tiny networks, to see it run
#   --epochs N                  of training (0: the schedule's)
#   --partial true|false        do with the clips that are there
#   --folds 1                   the corpus has one
#   --device "auto"             where networks compute: auto, cpu, cuda, or several such as "cuda:0 cuda:1" in turn
#   --jobs N                    processes, and trainings side by side (0: one a core)
#   --out DIR                   where everything goes: 28 GB for the waveforms, little else
#   --seed N

# shellcheck disable=SC2034,SC2154  # begin.sh reads the options and sets common
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)

corpus=""
download=false
tagger=""
stage=1
stop_stage=8
table=""
system="none both-4-3"
kernel="rbf sigmoid"
schedule=paper
epochs=0
partial=false
folds=1
device=auto
jobs=0
out="$here/exp"
seed=0

. "$here/../common/begin.sh"
. "$common/raw_resnet.sh"
one_of download true false
words kernel linear rbf sigmoid tune
one_of schedule paper try
one_of partial true false
whole epochs seed

# The systems of a table of the paper.
systems_of_table() {
  local layers heads other
  case "$1" in
    2) echo none codecat codecat_transform before_code-{1..5} ;;
    3) echo attention-{2,4,8,16,32}-{0..3} ;;
    4) echo separate-{2,4}-{3,4}-{3,4} ;;
    5) echo both-{2,4,8,16,32}-{0..3} ;;
    *)
      echo "$0: the paper's tables of systems are 2 to 5, not $1" >&2
      return 2
      ;;
  esac
}

if [ -n "$table" ]; then
  system=""
  for number in $table; do
    found=$(systems_of_table "$number")
    system="$system $found"
  done
fi
tagged=false
for name in $system; do
  options_of "$name" > /dev/null
  [ "$name" = none ] || tagged=true
done
if [ "$tagged" = true ] && [ -z "$tagger" ] && due 3; then
  echo "$0: give --tagger RUN (recipes/fsdkaggle2019 trains one), or --system none" >&2
  exit 2
fi

settings=()
[ "$schedule" = paper ] || settings=(--config "$here/conf/$schedule.toml")
[ "$schedule" != paper ] || settings=(--config jung2020)

if due 1; then
  [ -n "$corpus" ] || slip "give --corpus DIR, where TAU-urban-acoustic-scenes-2019-development lies"
  options=()
  [ "$partial" = false ] || options+=(--set allow_partial=true --set allow_missing_classes=true)
  [ "$download" = false ] || options+=(--download)
  run prep dcase2019 "$corpus" "$out/data" "${parallel[@]}" "${options[@]}"
fi
if due 2; then
  run featurize "$out/data" "$out/waveforms" --type waveform --config jung2020 "${parallel[@]}"
fi
if due 3 && [ "$tagged" = true ]; then
  spectra=(--config akiyama2019)
  [ "$schedule" = paper ] || spectra=(--config "$here/../fsdkaggle2019/conf/$schedule.toml")
  run featurize "$out/data" "$out/logmel" --type logmel "${spectra[@]}" "${parallel[@]}"
  read -r where _ <<< "$device"
  run extract "$tagger" "$out/logmel" "$out/tags" --kind tag --device "$where"
fi

# Train, extract and svm of one system.
one_system() {
  local name=$1 number=0 other where base="$out/$1" options=() own=() one
  for other in $system; do
    [ "$other" != "$name" ] || break
    number=$((number + 1))
  done
  where=$(device_of "$number")
  read -ra options <<< "$(options_of "$name")"
  [ "$name" = none ] || own=(--tags "$out/tags")
  if due 4; then
    [ "$epochs" -eq 0 ] || options+=(--epochs "$epochs")
    run train "$out/waveforms" "$base-run" --model raw_resnet --fold 1 "${settings[@]}" "${options[@]}" "${own[@]}" \
      --seed "$seed" --device "$where"
  fi
  if due 5; then
    run extract "$base-run" "$out/waveforms" "$base-softmax" --kind posterior "${own[@]}" \
      --system "raw_resnet ${name//-/ } softmax" --device "$where"
    run extract "$base-run" "$out/waveforms" "$base-code" --kind embedding "${own[@]}" \
      --system "raw_resnet ${name//-/ }" --device "$where"
  fi
  if due 6; then
    for one in $kernel; do
      own=(--kernel "$one" --config jung2020)
      [ "$one" != tune ] || own=(--tune)
      run svm "$base-code" "$base-$one" --system "raw_resnet ${name//-/ } $one" "${own[@]}" --seed "$seed"
    done
  fi
}

if due 4 || due 5 || due 6; then
  read -ra names <<< "$system"
  side_by_side "$jobs" "$out/logs" one_system "${names[@]}"
fi
if due 7; then
  mkdir -p "$out/clips"
  for name in $system; do
    for back_end in softmax $kernel; do
      run fuse "$out/$name-$back_end" "$out/clips/$name-$back_end" --rule mean --force
    done
  done
fi
if due 8; then
  run score "$out"/clips/* --out "$out/scores" --force
  if [ -e "$out/scores/scores.json" ]; then
    python3 "$common/beside_paper.py" "$out/scores/scores.json" "$here/conf/paper.toml"
  fi
fi
